"""Several rows of a sequence read as one step: long series become short ones, and nothing is lost.

k rows are one patch, the number of patches of T rows is ceil(T / k). Where k does not divide T, the first patch holds
the oldest rows at its end, and before them a stand-in that is read and counts in no loss: the mean of the rows that fit
saw. So patches lie the same way at the end of every sequence, where codes are made and unrolling starts. (Patches of
series as tokens: Nie et al., ICLR 2023; frames stacked for recurrent networks: Sak et al., Interspeech 2015.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch

Floats = NDArray[Any]
Integers = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Patches:
    """How a model reads rows: `length` of them as one step, with `fill` (I,) in place of those that are not there."""

    length: int
    fill: Floats

    @staticmethod
    def of(batch: Batch, weights: Floats | None, length: int) -> Patches:
        """Those of a model that learns from these sequences, with their mean row."""
        rows_w = None if weights is None else np.repeat(weights.astype(np.float64) / weights.max(), batch.lengths())
        return Patches(length, np.average(batch.data.astype(np.float64), axis=0, weights=rows_w).astype(batch.dtype))

    def number(self, n_steps: Any) -> Any:
        """The patches of so many rows."""
        return -(-n_steps // self.length)

    def offsets(self, offsets: Integers) -> Integers:
        """The same of sequences that lie one after the other."""
        bounds = np.zeros_like(offsets)
        np.cumsum(self.number(np.diff(offsets)), out=bounds[1:])
        return bounds

    def read(self, batch: Batch) -> Batch:
        """The sequences with a patch a step."""
        k, I = self.length, batch.n_features
        lengths = batch.lengths()
        bounds = self.offsets(batch.offsets)
        if not (lengths % k).any():
            gaps = None if batch.missing is None else batch.missing.reshape(-1, k * I)
            return batch.hand_labels(Batch(batch.data.reshape(-1, k * I), bounds, batch.is_list, gaps))
        # Row r of a sequence goes to place r + absent of its patches.
        places = np.arange(batch.n_rows) + np.repeat(k * bounds[1:] - batch.offsets[1:], lengths)
        data = np.empty((int(bounds[-1]) * k, I), batch.dtype)
        missing = np.ones(data.shape, dtype=bool)
        data[:] = self.fill
        data[places] = batch.data
        missing[places] = False if batch.missing is None else batch.missing
        return batch.hand_labels(Batch(data.reshape(-1, k * I), bounds, batch.is_list, missing.reshape(-1, k * I)))

    def rows(self, patches: Floats, offsets: Integers) -> Floats:
        """Rows (offsets[-1], I) of patches (number, k I) in chronological order: what `read` made of them undone."""
        lengths = np.diff(offsets)
        places = np.arange(offsets[-1]) + np.repeat(self.length * self.offsets(offsets)[1:] - offsets[1:], lengths)
        rows: Floats = patches.reshape(-1, len(self.fill))
        return rows if len(places) == len(rows) else rows[places]

    def rows_latest_first(self, patches: Floats, n_steps: int) -> Floats:
        """The n_steps latest rows (N, n_steps, I) of patches (N, number, k I), latest first both."""
        N, number, _ = patches.shape
        rows = patches.reshape(N, number, self.length, -1)[:, :, ::-1].reshape(N, number * self.length, -1)
        return np.ascontiguousarray(rows[:, :n_steps])
