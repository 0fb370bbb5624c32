"""Channels and codes in units of their own: the mean and deviation of all that fit saw, taken off what is read and put
back on what is given.

A channel that is constant, or as good as that (its deviation is within the rounding of its values), counts in units of
1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch

Floats = NDArray[Any]

STANDARDIZE = ("none", "channel", "global")

# Roundings of a channel's largest value within which its deviation is no more than noise.
_ROUNDINGS = 16
# The part of the widest direction of codes that fainter ones are taken for.
_FAINTEST = 1e-3


@dataclass(frozen=True, eq=False, slots=True)
class Scaling:
    """How a model reads numbers: (x - mean) / scale, both (I,)."""

    kind: str
    mean: Floats
    scale: Floats

    @staticmethod
    def of(kind: str, data: Floats, rows_w: Floats | None = None, missing: NDArray[np.bool_] | None = None) -> Scaling:
        """That of rows (n, I), by channel or ("global") with one scale for all, the root of their mean variance."""
        weights = None if rows_w is None else np.broadcast_to(rows_w[:, None], data.shape)
        if missing is not None:
            weights = (~missing) * (1.0 if weights is None else weights)
        rows = data.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(rows, axis=0, weights=weights)
            differences = rows - mean if missing is None else np.where(missing, 0, rows - mean)
            variance = np.average(np.square(differences), axis=0, weights=weights)
            deviation = np.sqrt(variance)
            if kind == "global":
                deviation = np.full_like(deviation, np.sqrt(variance.mean()))
            noise = _ROUNDINGS * np.finfo(data.dtype).eps * np.abs(rows).max(axis=0)
        scale = np.where(deviation > noise if kind == "channel" else deviation > noise.min(), deviation, 1.0)
        if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
            raise ValueError("X is too large to be standardised: the variance of a channel overflows; divide it first")
        return Scaling(kind, mean.astype(data.dtype), np.maximum(scale, np.finfo(data.dtype).tiny).astype(data.dtype))

    def rows(self, rows: Floats) -> Floats:
        """What the model reads of rows (..., I)."""
        with np.errstate(over="ignore"):
            scaled: Floats = (rows - self.mean) / self.scale
        if not np.isfinite(scaled).all():
            raise ValueError("X holds numbers too far from those that the model was fitted on: standardised they "
                             f"overflow {rows.dtype}")
        return scaled

    def read(self, batch: Batch) -> Batch:
        """The same of a batch."""
        scaled = Batch(np.ascontiguousarray(self.rows(batch.data)), batch.offsets, batch.is_list, batch.missing)
        return batch.hand_labels(scaled)

    def back(self, rows: Floats) -> Floats:
        """Rows (..., I) of the model's as the user's."""
        with np.errstate(over="ignore"):
            given: Floats = rows * self.scale + self.mean
        return given

    def residuals(self, rows: Floats) -> Floats:
        """Differences of rows (n, k I), k of the user's to one of the model's, in the user's units."""
        k = rows.shape[1] // len(self.scale)
        given: Floats = rows * np.tile(self.scale, k)
        return given


@dataclass(frozen=True, eq=False, slots=True)
class Whitening:
    """Codes made uncorrelated and of deviation 1: (z - mean) forward, and back by `inverse`, both (C, C) and symmetric.

    Of all linear maps that do so the one that moves codes least (ZCA: Bell and Sejnowski, Vision Research 37, 1997), so
    every element remains the one it was. Directions in which codes differ by less than a thousandth of what they do in
    the widest are enlarged as much as that thousandth and no more, or rounding and noise would become the largest of
    all.
    """

    kind: str    # of the pooling that the codes have
    mean: Floats
    forward: Floats
    inverse: Floats

    @staticmethod
    def of(kind: str, codes: Floats, w: Floats | None = None) -> Whitening:
        """That of codes (n, C), with weights (n,)."""
        rows = codes.astype(np.float64)
        mean = np.average(rows, axis=0, weights=w)
        rows -= mean
        noise = _ROUNDINGS * np.finfo(codes.dtype).eps * float(np.abs(codes).max())
        w = np.full(len(rows), 1 / len(rows)) if w is None else w / w.sum()
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = (rows * w[:, None]).T @ rows
        if not np.isfinite(covariance).all():
            raise ValueError("codes are too large to be whitened: their variance overflows")
        values, vectors = np.linalg.eigh(covariance)
        deviation = np.sqrt(np.maximum(values, 0))
        widest = float(deviation.max())
        deviation = np.maximum(deviation, _FAINTEST * widest) if widest > noise else np.ones_like(deviation)
        forward, inverse = ((vectors * scale) @ vectors.T for scale in (1 / deviation, deviation))
        return Whitening(kind, *(x.astype(codes.dtype) for x in (mean, forward, inverse)))

    def rows(self, codes: Floats) -> Floats:
        """Codes (n, C) as they are given."""
        found: Floats = (codes - self.mean) @ self.forward
        return found

    def back(self, codes: Floats) -> Floats:
        """The same undone."""
        found: Floats = codes @ self.inverse + self.mean
        return found
