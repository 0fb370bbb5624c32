"""The units in which a solver with relative rates works: docs/design.md, "Relative rates"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _codes
from rae_fast._batch import Batch
from rae_fast._form import Blocks, Form
from rae_fast.inputs import sample

Floats = NDArray[Any]

# Steps by which the units are divided at least: with the whole rate, training of sequences of few steps jumps about.
_FEWEST_STEPS = 8

# Blocks that have a unit for every row: the inputs', whose features may lie far from 0.
BY_ROW = ("W_xh",)


def units(theta: Floats, form: Form, batch: Batch, weights: Floats | None) -> tuple[Blocks, float]:
    """What a solver measures theta and the loss in: `scales`, and the loss of always giving back the mean (for softmax
    outputs one nat a step), both from a sample of the batch.
    """
    judged, w = sample(batch, weights)
    lengths = judged.lengths()
    rows = np.repeat(w, lengths)[:, None]

    def mean(values: Floats, weights: Floats, axis: int | None = None) -> Any:
        return np.average(values, axis=axis, weights=np.broadcast_to(weights, values.shape))

    n_steps = float(mean(lengths, w))
    codes = _codes.encode(theta.astype(np.float64), judged, form, True)
    deviation = float(np.sqrt(mean(np.square(judged.data - mean(judged.data, rows, 0)), rows)))
    unit = n_steps
    offset = np.ones(form.n_inputs)
    if form.output == "linear" and np.isfinite(deviation) and deviation > 0:
        unit *= form.n_inputs * deviation**2
        offset = np.maximum(1, np.sqrt(mean(np.square(judged.data), rows, 0)) / deviation)
    output = 1.0 if form.output == "softmax" else deviation
    code = float(np.sqrt(mean(codes**2, w[:, None])))
    found = scales(theta, form, code, output, offset, n_steps)
    return found, unit if np.finfo(float).tiny < unit < np.finfo(float).max else 1.0


def scales(theta: Floats, form: Form, code: float, output: float, offset: Floats, n_steps: float) -> Blocks:
    """The typical size of the numbers of each block, over the number of steps.

    Weights have the root mean square of their block; biases, which start at 0, that of what is added to them:
    root mean square of W_hh or V_hh times `code`, the size of codes (b_h, h0, c_h), or times `output`, the
    size of outputs (c_x). A feature far from 0 moves the code by its offset at every step of its weights, so
    these rows of W_xh are divided by `offset` (I,), its root mean square over the data's deviation, at least 1.
    A step of the recurrence is felt n_steps times, hence the division (by _FEWEST_STEPS at least). Where all that is 0,
    the scale is 1 / n_steps.
    """
    n_steps = max(n_steps, _FEWEST_STEPS)
    p = form.views(theta)
    rms: dict[str, float] = {name: float(np.sqrt(np.mean(np.square(p[name], dtype=np.float64))))
                             for name in ("W_xh", "W_hh", "V_hh", "V_hx", "W_hc", "V_ch") if name in p}
    rms |= {"b_h": rms["W_hh"] * code, "h0": rms["W_hh"] * code, "c_h": rms["V_hh"] * code,
            "c_x": rms["V_hh"] * output}
    if form.n_code:
        # b_c is added to what W_hc makes of a state; c_1 is a state, as c_h is.
        rms |= {"b_c": rms["W_hc"] * code, "c_1": rms["V_hh"] * code}
    found = Blocks(form, theta.dtype, by_row=BY_ROW)
    for name, view in found.views().items():
        if not (form.tied and name in ("V_hh", "V_hx")):
            size = (rms[name] or 1.0) / n_steps
            view[...] = np.maximum(size / offset[:, None] if name == "W_xh" else size, np.finfo(theta.dtype).tiny)
    return found
