"""The one warning about data: arrays that look as if their axes meant something else.

A matrix is one sequence (T, I), as in torch.nn.RNN; archives of series have matrices (N, T) with a series in each row,
and aeon has arrays (N, channels, T). Both are valid input of another meaning, so nothing but the numbers can tell. The
rule: series are smooth along time. Where neighbours along the axis that would be features differ by far less than
neighbours along the axis that would be time (mean squares below a quarter of these), and that axis has at least 20
numbers, a user is told. A list, or for a matrix an array of three dimensions, is never in doubt.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

# Fewest numbers along an axis that is taken for time, fewest rows of a matrix of series, and how much smoother it is.
_FEWEST_STEPS, _FEWEST_ROWS, _SMOOTHER = 20, 5, 0.25
# Of one step a sequence: its numbers must differ from their neighbours by less than this part of their variance.
_SMOOTH = 0.25
# Rows or sequences that are looked at.
_SAMPLE = 200
_PACKAGE = str(Path(__file__).parent)


def roughness(x: Floats, axis: int) -> float:
    """Mean square of the differences of neighbours."""
    with np.errstate(all="ignore"):
        return float(np.square(np.diff(x, axis=axis)).mean())


def doubt(X: Any) -> str | None:
    """What is strange about an array of two or three dimensions; None for everything that is not."""
    if not isinstance(X, np.ndarray) or X.dtype.kind != "f" or X.ndim not in (2, 3) or X.shape[-1] < _FEWEST_STEPS:
        return None
    x = X[:_SAMPLE].astype(np.float64)
    if not np.isfinite(x).all():
        return None
    n, last = X.shape[0], X.shape[-1]
    if X.ndim == 2:
        if n < _FEWEST_ROWS or not roughness(x, 1) < _SMOOTHER * roughness(x, 0):
            return None
        return (f"X of shape {X.shape} is taken for ONE sequence of {n} steps with {last} features, but its rows look "
                f"like {n} series of {last} steps. If they are, pass X[:, :, None]; if not, pass X[None]")
    steps = X.shape[1]
    if steps >= last:
        return None
    rough = roughness(x, 2)
    with np.errstate(all="ignore"):
        smooth = rough < _SMOOTHER * roughness(x, 1) if steps > 1 else rough < _SMOOTH * float(x.var(axis=2).mean())
    if not smooth:
        return None
    return (f"X of shape {X.shape} is taken for {n} sequences of {steps} steps with {last} features, but looks like "
            "(n_sequences, n_channels, n_steps), as aeon has it. If it is, pass X.transpose(0, 2, 1); if not, pass "
            "list(X)")


def warn(X: Any) -> None:
    """Tell a user where the layout of an array is in doubt."""
    if message := doubt(X):
        level, frame = 1, inspect.currentframe()
        while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            level, frame = level + 1, frame.f_back
        warnings.warn(message, UserWarning, stacklevel=level)
