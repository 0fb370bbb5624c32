"""Initial values of the parameters, and theta as the mathematics has it. Where its blocks lie: _form.pyx."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import dense
from rae_fast._form import Form

Floats = NDArray[Any]

# Scale of the input and output weights of the orthogonal start: docs/design.md.
ORTHOGONAL_INPUT_SCALE = 0.3

# Draws between two chances for Ctrl-C: some 10 ms. The stream is the same however it is cut.
_DRAWS_AT_ONCE = 1 << 20


def stacked(theta: NDArray[Any], form: Form) -> tuple[NDArray[Any], ...]:
    """Views W (H+I, H), b_h (H,), h0 (H,), V (H, H+I), c (H+I,) of theta, of any element type.

    V is a transposed view: of its blocks, or for tied parameters of W's.
    """
    H, K = form.n_hidden, form.n_hidden + form.n_inputs
    start = {block.name: block.start for block in form.blocks}

    def rows(name: str, *shape: int) -> NDArray[Any]:
        return theta[start[name]:start[name] + int(np.prod(shape))].reshape(shape)

    return (rows("W_hh", K, H), rows("b_h", H), rows("h0", H), rows("W_hh" if form.tied else "V_hh", K, H).T,
            rows("c_h", K))


def code_maps(theta: NDArray[Any], form: Form) -> tuple[NDArray[Any], ...]:
    """Views W_hc (H, C), b_c (C,), V_ch (C, H), c_1 (H,) of theta, of any element type, for a form with n_code."""
    H, C = form.n_hidden, form.code_size
    start = {block.name: block.start for block in form.blocks}
    return (theta[start["W_hc"]:start["b_c"]].reshape(H, C), theta[start["b_c"]:start["V_ch"]],
            theta[start["V_ch"]:start["c_1"]].reshape(C, H), theta[start["c_1"]:start["c_1"] + H])


def all_finite(theta: Floats) -> bool:
    """Whether all parameters are, without a copy of their size."""
    return all(bool(np.isfinite(theta[a:a + _DRAWS_AT_ONCE]).all()) for a in range(0, len(theta), _DRAWS_AT_ONCE))


def initialise(form: Form, scale: float, rng: np.random.Generator, dtype: np.dtype[Any]) -> Floats:
    """A new theta of normal draws times scale, every parameter included, biases and h0 too.

    This is the original program's initialisation (0.1 * randn for all eight). Draws are made in
    float64 in the order of NAMES, then cast, so that both dtypes start from the same numbers. Of tied
    parameters only W is drawn.
    """
    theta = form.empty(dtype)
    for name, view in form.views(theta).items():  # in the order of NAMES
        if form.tied and name in ("V_hh", "V_hx"):
            continue
        rows = view.reshape(view.shape[0], -1) if view.ndim == 1 else view
        at_once = max(1, _DRAWS_AT_ONCE // rows.shape[1])
        for start in range(0, len(rows), at_once):
            part = rows[start:start + at_once]
            part[...] = scale * rng.standard_normal(part.shape)
    return theta


def orthogonal(form: Form, rng: np.random.Generator, dtype: np.dtype[Any], threads: int = 1) -> Floats:
    """A start that can carry long sequences: W_hh a random rotation, V_hh its inverse.

    Reading a step rotates the code and adds the input; decoding it rotates back. W_hh is uniform over
    the orthogonal matrices (QR of normal draws, signs fixed: Mezzadri 2007), V_hh = W_hh^T, W_xh and
    V_hx are normal draws times ORTHOGONAL_INPUT_SCALE, biases and h0 are 0; the columns of W_hc are
    orthonormal, V_ch = W_hc^T. Draws in the order W_xh, W_hh, V_hx (of tied parameters no V_hx), W_hc.
    """
    theta = form.empty(dtype)
    theta[:] = 0
    p = form.views(theta)
    p["W_xh"][...] = ORTHOGONAL_INPUT_SCALE * rng.standard_normal(p["W_xh"].shape)
    p["W_hh"][...] = dense.orthonormal_rows(rng.standard_normal(p["W_hh"].shape).T, rng, threads).T
    if not form.tied:
        p["V_hh"][...] = p["W_hh"].T
        p["V_hx"][...] = ORTHOGONAL_INPUT_SCALE * rng.standard_normal(p["V_hx"].shape)
    if form.n_code:
        # The code holds a random subspace of the state, and gives that part back.
        p["W_hc"][...] = dense.orthonormal_rows(rng.standard_normal((form.n_code, form.n_hidden)), rng, threads).T
        p["V_ch"][...] = p["W_hc"].T
    return theta
