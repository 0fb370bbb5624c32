"""Sizes that a user leaves to the data: n_hidden=None and patch_length="auto"."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast.hyperparameters import Settings

Floats = NDArray[Any]

# Without n_code: that of the original program.
_PLAIN_HIDDEN = 24


def decided(settings: Settings, batch: Batch, weights: Floats | None) -> tuple[int, int]:
    """n_hidden and patch_length for a model of these sequences, in rows as the user has them."""
    length = 1 if settings.patch_length == "auto" else settings.patch_length
    if length > 1 and settings.output == "softmax":
        raise ValueError(f"patch_length={length} needs output='linear': a softmax is over the symbols of one row")
    n_hidden = settings.n_hidden
    if n_hidden is None:
        n_hidden = _PLAIN_HIDDEN if settings.n_code is None else max(settings.n_code, 64)
    return n_hidden, length
