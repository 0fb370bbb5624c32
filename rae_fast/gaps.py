"""Numbers that are missing, as NaN says: read as the mean of their channel, and judged by nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch

Floats = NDArray[Any]

MISSING = ("error", "ignore")


@dataclass(frozen=True, eq=False, slots=True)
class Gaps:
    """How a model reads what is missing: as `fill` (I,)."""

    fill: Floats

    @staticmethod
    def of(batch: Batch, rows_w: Floats | None) -> Gaps:
        """The means of what is there."""
        rows = batch.data.astype(np.float64)
        there = np.ones(rows.shape) if batch.missing is None else (~batch.missing).astype(np.float64)
        if rows_w is not None:
            there *= rows_w[:, None]
        counts = there.sum(axis=0)
        if not (counts > 0).all():
            raise ValueError(f"feature {int(np.argmin(counts))} has no number in the sequences that are learned "
                             "from; leave it out")
        return Gaps(((rows * there).sum(axis=0) / counts).astype(batch.dtype))

    def read(self, batch: Batch) -> Batch:
        """The batch with these in place of what is missing; without gaps the batch itself."""
        if batch.missing is None:
            return batch
        filled = Batch(np.where(batch.missing, self.fill, batch.data), batch.offsets, batch.is_list, batch.missing)
        return batch.hand_labels(filled)

    def rows(self, rows: Any) -> Floats:
        """The same of rows (..., I) with NaN."""
        array = np.asarray(rows, dtype=self.fill.dtype)
        found: Floats = np.where(np.isnan(array), self.fill, array)
        return found
