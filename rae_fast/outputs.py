"""Probabilities of categorical outputs: softmax, and spherical softmax (de Brebisson & Vincent, ICLR 2016).

Spherical: p_i = (o_i^2 + e) / sum_j (o_j^2 + e) of outputs o, with e = SMOOTHING / I (_form.pyx).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from rae_fast._form import SMOOTHING, Form

Floats = NDArray[Any]


def probabilities(rows: Floats, form: Form) -> Floats:
    """Of outputs (..., I) of a form with categorical ones."""
    if form.output == "softmax":
        found: Floats = softmax(rows, axis=-1)
        return found
    squares = _squares(rows)
    shares: Floats = squares / squares.sum(axis=-1, keepdims=True)
    return shares


def log_probabilities(rows: Floats, form: Form) -> Floats:
    """Their logarithms."""
    if form.output == "softmax":
        found: Floats = log_softmax(rows, axis=-1)
        return found
    squares = _squares(rows)
    logs: Floats = np.log(squares) - np.log(squares.sum(axis=-1, keepdims=True))
    return logs


def ranked(rows: Floats, form: Form) -> Floats:
    """What is the larger, the more an output says."""
    return np.abs(rows) if form.output == "spherical" else rows


def _squares(rows: Floats) -> Floats:
    squares: Floats = np.square(rows) + rows.dtype.type(SMOOTHING / rows.shape[-1])
    return squares
