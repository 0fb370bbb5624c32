"""The flat parameter vector: its layout, its named views, its initial values.

Storage order, frozen because files and reductions depend on it (H hidden units, I inputs)::

    theta = [ W (H+I, H) | b_h (H) | h0 (H) | V (H, H+I) | c_h (H) | c_x (I) ]
    W = [W_hh; W_xh]      V = [V_hh, V_hx]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

# Also the order in which `initialise` draws, and the keys of RAE.parameters_ and of gradients.
NAMES = ("W_xh", "W_hh", "b_h", "h0", "V_hh", "V_hx", "c_h", "c_x")

# Draws between two chances for Ctrl-C: some 10 ms. The stream is the same however it is cut.
_DRAWS_AT_ONCE = 1 << 20


def size(n_inputs: int, n_hidden: int) -> int:
    """Number of parameters."""
    return 2 * (n_hidden + n_inputs) * n_hidden + 3 * n_hidden + n_inputs


def stacked(theta: Floats, n_inputs: int, n_hidden: int) -> tuple[Floats, ...]:
    """Views W (H+I, H), b_h (H,), h0 (H,), V (H, H+I), c (H+I,) of theta, as the kernels use them."""
    H, K = n_hidden, n_hidden + n_inputs
    ends = np.cumsum([K * H, H, H, H * K, K])
    W, b_h, h0, V, c = np.split(theta, ends[:-1])
    return W.reshape(K, H), b_h, h0, V.reshape(H, K), c


def views(theta: Floats, n_inputs: int, n_hidden: int) -> dict[str, Floats]:
    """The eight named parameters as views into theta: writing to one writes to theta."""
    H = n_hidden
    W, b_h, h0, V, c = stacked(theta, n_inputs, n_hidden)
    return {"W_xh": W[H:], "W_hh": W[:H], "b_h": b_h, "h0": h0,
            "V_hh": V[:, :H], "V_hx": V[:, H:], "c_h": c[:H], "c_x": c[H:]}


def initialise(n_inputs: int, n_hidden: int, scale: float, rng: np.random.Generator,
               dtype: np.dtype[Any]) -> Floats:
    """A new theta of normal draws times scale, every parameter included, biases and h0 too.

    This is the original program's initialisation (0.1 * randn for all eight). Draws are made in
    float64 in the order of NAMES, then cast, so that both dtypes start from the same numbers.
    """
    theta = np.empty(size(n_inputs, n_hidden), dtype=dtype)
    for view in views(theta, n_inputs, n_hidden).values():  # in the order of NAMES
        rows = view.reshape(view.shape[0], -1) if view.ndim == 1 else view
        at_once = max(1, _DRAWS_AT_ONCE // rows.shape[1])
        for start in range(0, len(rows), at_once):
            part = rows[start:start + at_once]
            part[...] = scale * rng.standard_normal(part.shape)
    return theta
