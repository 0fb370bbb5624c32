"""Long series as many short ones: windows of so many steps and what was found of them as one series, or equal parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import inputs
from rae_fast._batch import Batch
from rae_fast._messages import shown

Floats = NDArray[Any]

REDUCTIONS = ("mean", "max", "min")


def starts(n_steps: int, width: int, stride: int) -> NDArray[np.intp]:
    """Where windows begin: every `stride` steps, and a last one that ends with the series."""
    for name, value in (("n_steps", n_steps), ("width", width), ("stride", stride)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1; got {shown(value)}")
    if width > n_steps:
        raise ValueError(f"width={width} is more than the {n_steps} steps of the series")
    found = np.arange(0, n_steps - width + 1, stride, dtype=np.intp)
    return found if found[-1] == n_steps - width else np.append(found, n_steps - width)


def cut(batch: Batch, weights: Floats | None, longest: int, length: int) -> tuple[Batch, Floats | None]:
    """The sequences of more than `longest` steps as equal parts of at most `length`, each with its weight; no copy."""
    if batch.longest <= longest:
        return batch, weights
    lengths = batch.lengths()
    parts = np.where(lengths > longest, -(-lengths // length), 1)
    # The k-th of n parts of T steps begins at step k T // n.
    k = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    offsets = np.repeat(batch.offsets[:-1], parts) + k * np.repeat(lengths, parts) // np.repeat(parts, parts)
    return batch.cut(np.append(offsets, batch.n_rows)), None if weights is None else np.repeat(weights, parts)


def windows(X: Any, width: int, stride: int = 1) -> Floats:
    """Cut a long series into windows, which overlap where the stride is smaller than the width.

    A model learns from windows of a long series as from so many sequences: many updates a pass, and none that goes back
    through all of it. Every step is in at least one window: a last one ends with the series.

    Parameters
    ----------
    X : array-like of shape (T, I) or (T,)
    width : int
        Steps of a window.
    stride : int, default=1
        Steps between the beginnings of two. Beyond `width`, steps in between are left out.

    Returns
    -------
    ndarray of shape (n, width, I); a copy

    Raises
    ------
    ValueError
        For another shape, and a series shorter than a window.

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import windows
    >>> windows(np.arange(7), width=3, stride=2)[..., 0].tolist()
    [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    """
    series = inputs.as_numbers(X, "X")
    if series.ndim == 1:
        series = series[:, None]
    if series.ndim != 2:
        raise ValueError(f"X has {series.ndim} dimensions; expected one series, (n_steps, n_features) or (n_steps,)")
    at = starts(len(series), width, stride)
    found: Floats = series[at[:, None] + np.arange(width)]
    return found


def fold(values: Any, n_steps: int, width: int, stride: int = 1, reduce: str = "mean") -> Floats:
    """What was found of windows as one series again: of each step, the mean (or largest, smallest) of all that has it.

    Parameters
    ----------
    values : array-like of shape (n,), (n, width) or (n, width, ...)
        One for each window, such as its error, or one for each of its steps, such as `reconstruct` gives.
    n_steps : int
        Steps of the series.
    width, stride : int
        Those that the windows were cut with.
    reduce : {"mean", "max", "min"}, default="mean"

    Returns
    -------
    ndarray of float64 of shape (n_steps, ...): NaN for steps that no window has

    Raises
    ------
    ValueError
        For another number of windows or steps.

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import fold, windows
    >>> x = np.arange(7.0)
    >>> fold(windows(x, 3, 2), 7, 3, 2)[:, 0].tolist() == x.tolist()
    True
    >>> fold([1, 2, 6], 7, 3, 2).tolist()
    [1.0, 1.0, 1.5, 2.0, 4.0, 6.0, 6.0]
    """
    at = starts(n_steps, width, stride)
    found = np.asarray(values, dtype=np.float64)
    if found.ndim == 1:
        found = np.repeat(found[:, None], width, axis=1)
    if found.ndim < 1 or found.shape[:2] != (len(at), width):
        raise ValueError(f"values have shape {np.shape(values)}; {len(at)} windows of {width} steps are needed")
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce must be one of {', '.join(map(repr, REDUCTIONS))}; got {shown(reduce)}")
    steps = at[:, None] + np.arange(width)
    out = np.full((n_steps, *found.shape[2:]), {"mean": 0.0, "max": -np.inf, "min": np.inf}[reduce])
    {"mean": np.add, "max": np.maximum, "min": np.minimum}[reduce].at(out, steps, found)
    counts = np.bincount(steps.ravel(), minlength=n_steps)
    if reduce == "mean":
        out /= np.maximum(counts, 1).reshape(-1, *[1] * (out.ndim - 1))
    out[counts == 0] = np.nan
    return out
