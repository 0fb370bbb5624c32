"""Numbers that are missing, as NaN says: read as what their neighbours in time make probable, and judged by nothing.

Of a channel as a first-order autoregression around its mean, the expectation of a number given the last one seen before
it and the first one after it. Between close neighbours of a smooth series that is a straight line, far from any, and of
what has no memory, the mean. It is read so much better than the mean, and than what the model itself expects, that
there is no choice: docs/quality.md, "Gaps".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch

Floats = NDArray[Any]
Integers = NDArray[np.intp]

MISSING = ("error", "ignore", "padding")

# A larger correlation of neighbours is taken for this one: then a number a million steps away still counts a little.
_MOST = 1 - 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class Gaps:
    """How a model reads what is missing: by the mean (I,) of each channel and the correlation (I,) of neighbours in it.

    kind: "ignore", or "padding" where rows of nothing but NaN at the end are no steps either.
    """

    kind: str
    mean: Floats
    correlation: Floats

    @staticmethod
    def of(kind: str, batch: Batch, rows_w: Floats | None) -> Gaps:
        """What is there says them."""
        rows = batch.data.astype(np.float64)
        there = np.ones(rows.shape, dtype=bool) if batch.missing is None else ~batch.missing
        if not there.any(axis=0).all():
            raise ValueError(f"feature {int(np.argmin(there.any(axis=0)))} has no number in the sequences that are "
                             "learned from; leave it out")
        weights = np.ones(len(rows)) if rows_w is None else rows_w
        unit = np.maximum(np.abs(rows).max(axis=0), np.finfo(float).tiny)
        rows /= unit  # so that sums do not overflow
        mean = np.average(rows, axis=0, weights=there * weights[:, None])
        constant = np.where(there, rows, -np.inf).max(axis=0) == np.where(there, rows, np.inf).min(axis=0)
        rows = np.where(there & ~constant, rows - mean, 0)
        mean *= unit
        largest = np.abs(rows).max(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows /= largest  # whose squares do not vanish
            pairs = (there[1:] & there[:-1]) * weights[1:, None]
            pairs[batch.offsets[1:-1] - 1] = 0  # of two sequences
            products = (pairs * rows[1:] * rows[:-1]).sum(axis=0)
            squares = (pairs * (np.square(rows[1:]) + np.square(rows[:-1]))).sum(axis=0) / 2
            correlation = np.nan_to_num(products / squares)
        return Gaps(kind, mean.astype(batch.dtype), np.clip(correlation, 0, _MOST).astype(batch.dtype))

    def read(self, batch: Batch) -> Batch:
        """The batch with what is probable in place of what is missing; without gaps the batch itself."""
        if batch.missing is None:
            return batch
        data = batch.data.copy()
        row, channel = np.nonzero(batch.missing)
        before, after = _neighbours(~batch.missing, batch.offsets)
        before, after = before[row, channel], after[row, channel]
        first, end = batch.offsets[:-1], batch.offsets[1:]
        number = np.searchsorted(end, row, side="right")
        data[row, channel] = self._expected(channel, data, row, np.where(before >= first[number], before, -1),
                                            np.where(after < end[number], after, -1))
        return batch.hand_labels(Batch(data, batch.offsets, batch.is_list, batch.missing))

    def rows(self, rows: Any, expected: Floats | None = None) -> Floats:
        """Rows (..., I) with NaN, of which nothing before or after is known: the mean, or what else is expected."""
        array = np.asarray(rows, dtype=self.mean.dtype)
        if array.shape[-1:] != self.mean.shape:
            return array  # which its reader refuses
        if expected is None or expected.shape != array.shape:
            expected = self.mean
        found: Floats = np.where(np.isnan(array), expected, array)
        return found

    def next(self, rows: Floats) -> Floats:
        """What is expected of the rows (..., I) that follow these."""
        expected: Floats = self.mean + self.correlation * (rows - self.mean)
        return expected

    def ahead(self, rows: Floats) -> Floats:
        """A series (T, I) with what was expected, by what came before alone, in place of NaN."""
        missing = np.isnan(rows)
        if not missing.any():
            return rows
        data = np.where(missing, 0, rows).astype(self.mean.dtype)
        row, channel = np.nonzero(missing)
        before = _neighbours(~missing, np.array([0, len(rows)]))[0][row, channel]
        data[row, channel] = self._expected(channel, data, row, before, np.full(len(row), -1))
        return data

    def _expected(self, channel: Integers, data: Floats, row: Integers, before: Integers, after: Integers) -> Floats:
        """The numbers of these rows and channels, given those of the rows before and after; -1 where there is none.

        With r the correlation, a and b the distances, D = 1 - r^(2 (a + b)): r^a (1 - r^(2 b)) / D of the one before
        and r^b (1 - r^(2 a)) / D of the one after, all less the mean.
        """
        with np.errstate(divide="ignore"):
            decay = np.log(self.correlation.astype(np.float64))[channel]
        a = np.where(before < 0, np.inf, row - before)
        b = np.where(after < 0, np.inf, after - row)
        whole = -np.expm1(2 * (a + b) * decay)
        mean = self.mean.astype(np.float64)[channel]
        found = mean.copy()
        for distance, other, neighbour in ((a, b, before), (b, a, after)):
            part = np.exp(distance * decay) * -np.expm1(2 * other * decay) / whole
            found += part * np.where(neighbour < 0, 0, data[neighbour, channel] - mean)
        return found


def _neighbours(there: NDArray[np.bool_], offsets: Integers) -> tuple[Integers, Integers]:
    """Of each number, the last row up to it and the first from it on that has one in its channel: -1 and the number of
    rows where there is none. Of all rows, which are those of several sequences."""
    number = np.arange(len(there))[:, None]
    before = np.maximum.accumulate(np.where(there, number, -1), axis=0)
    after = np.minimum.accumulate(np.where(there, number, len(there))[::-1], axis=0)[::-1]
    return before, after
