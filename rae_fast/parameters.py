"""The flat parameter vector: its layout, its named views, its initial values.

Storage order, frozen because files and reductions depend on it (H hidden units, I inputs)::

    theta = [ W (H+I, H) | b_h (H) | h0 (H) | V^T (H+I, H) | c_h (H) | c_x (I) ]
    W = [W_hh; W_xh]      V = [V_hh, V_hx]      tied: V's block is absent, V^T = W

A row of W belongs to an input and a row of V^T to an output, so each can be touched without the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

# Also the order in which `initialise` draws, and the keys of RAE.parameters_ and of gradients.
NAMES = ("W_xh", "W_hh", "b_h", "h0", "V_hh", "V_hx", "c_h", "c_x")

# Scale of the input and output weights of the orthogonal start: docs/design.md.
ORTHOGONAL_INPUT_SCALE = 0.3

# Draws between two chances for Ctrl-C: some 10 ms. The stream is the same however it is cut.
_DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Form:
    """What a model computes: its sizes and the choices that its mathematics depends on.

    Attributes
    ----------
    n_inputs, n_hidden : int
    objective : "stepwise" or "unfold"
    decoder : "linear" or "tanh"
    output : "linear" (squared error) or "softmax" (cross-entropy)
    tied : whether V is the transpose of W
    hidden_weight, reconstruct_h0 : of the stepwise objective's hidden term
    """

    n_inputs: int
    n_hidden: int
    objective: str = "stepwise"
    decoder: str = "linear"
    output: str = "linear"
    tied: bool = False
    hidden_weight: float = 1.0
    reconstruct_h0: bool = False


def size(form: Form) -> int:
    """Number of parameters."""
    H, K = form.n_hidden, form.n_hidden + form.n_inputs
    return K * H + 2 * H + (0 if form.tied else H * K) + K


def empty(form: Form, dtype: np.dtype[Any]) -> Floats:
    """Memory for theta that begins on a cache line: small weights are read, and updated, where they are.

    docs/performance.md, "The small rung".
    """
    count, line = size(form), 64
    memory = np.empty(count * dtype.itemsize + line, dtype=np.uint8)
    start = -memory.ctypes.data % line
    return memory[start:start + count * dtype.itemsize].view(dtype)


def stacked(theta: Floats, form: Form) -> tuple[Floats, ...]:
    """Views W (H+I, H), b_h (H,), h0 (H,), V (H, H+I), c (H+I,) of theta, as the kernels use them.

    V is a transposed view: of its block, or for tied parameters of W.
    """
    H, K = form.n_hidden, form.n_hidden + form.n_inputs
    end = K * H
    W = theta[:end].reshape(K, H)
    V = W.T if form.tied else theta[end + 2 * H:2 * end + 2 * H].reshape(K, H).T
    return W, theta[end:end + H], theta[end + H:end + 2 * H], V, theta[len(theta) - K:]


def views(theta: Floats, form: Form) -> dict[str, Floats]:
    """The eight named parameters as views into theta: writing to one writes to theta."""
    H = form.n_hidden
    W, b_h, h0, V, c = stacked(theta, form)
    return {"W_xh": W[H:], "W_hh": W[:H], "b_h": b_h, "h0": h0,
            "V_hh": V[:, :H], "V_hx": V[:, H:], "c_h": c[:H], "c_x": c[H:]}


def initialise(form: Form, scale: float, rng: np.random.Generator, dtype: np.dtype[Any]) -> Floats:
    """A new theta of normal draws times scale, every parameter included, biases and h0 too.

    This is the original program's initialisation (0.1 * randn for all eight). Draws are made in
    float64 in the order of NAMES, then cast, so that both dtypes start from the same numbers. Of tied
    parameters only W is drawn.
    """
    theta = empty(form, dtype)
    for name, view in views(theta, form).items():  # in the order of NAMES
        if form.tied and name in ("V_hh", "V_hx"):
            continue
        rows = view.reshape(view.shape[0], -1) if view.ndim == 1 else view
        at_once = max(1, _DRAWS_AT_ONCE // rows.shape[1])
        for start in range(0, len(rows), at_once):
            part = rows[start:start + at_once]
            part[...] = scale * rng.standard_normal(part.shape)
    return theta


def orthogonal(form: Form, rng: np.random.Generator, dtype: np.dtype[Any]) -> Floats:
    """A start that can carry long sequences: W_hh a random rotation, V_hh its inverse.

    Reading a step rotates the code and adds the input; decoding it rotates back. W_hh is uniform over
    the orthogonal matrices (QR of normal draws, signs fixed: Mezzadri 2007), V_hh = W_hh^T, W_xh and
    V_hx are normal draws times ORTHOGONAL_INPUT_SCALE, biases and h0 are 0. Draws in the order W_xh,
    W_hh, V_hx (of tied parameters no V_hx).
    """
    theta = empty(form, dtype)
    theta[:] = 0
    p = views(theta, form)
    p["W_xh"][...] = ORTHOGONAL_INPUT_SCALE * rng.standard_normal(p["W_xh"].shape)
    q, r = np.linalg.qr(rng.standard_normal(p["W_hh"].shape))
    p["W_hh"][...] = q * np.sign(np.diag(r))
    if not form.tied:
        p["V_hh"][...] = p["W_hh"].T
        p["V_hx"][...] = ORTHOGONAL_INPUT_SCALE * rng.standard_normal(p["V_hx"].shape)
    return theta


def relative_scales(theta: Floats, form: Form, code: float, output: float, offset: Floats,
                    n_steps: float) -> Floats:
    """The typical size of each parameter, over the number of steps: the units of `relative_rates`.

    Weights have the root mean square of their block; biases, which start at 0, that of what is added to them:
    root mean square of W_hh or V_hh times `code`, the size of codes (b_h, h0, c_h), or times `output`, the
    size of outputs (c_x). A feature far from 0 moves the code by its offset at every step of its weights, so
    these rows of W_xh are divided by `offset` (I,), its root mean square over the data's deviation, at least 1.
    A step of the recurrence is felt n_steps times, hence the division. Where all that is 0, the scale is
    1 / n_steps.
    """
    p = views(theta, form)
    rms = {name: float(np.sqrt(np.mean(np.square(p[name], dtype=np.float64)))) for name in
           ("W_xh", "W_hh", "V_hh", "V_hx")}
    rms |= {"b_h": rms["W_hh"] * code, "h0": rms["W_hh"] * code, "c_h": rms["V_hh"] * code,
            "c_x": rms["V_hh"] * output}
    scales = np.empty_like(theta)
    for name, view in views(scales, form).items():
        if not (form.tied and name in ("V_hh", "V_hx")):
            size = (rms[name] or 1.0) / n_steps
            view[...] = np.maximum(size / offset[:, None] if name == "W_xh" else size, np.finfo(theta.dtype).tiny)
    return scales
