"""The units in which a solver with relative rates works: docs/design.md, "Relative rates"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _codes
from rae_fast._batch import Batch, SparseBatch
from rae_fast._form import Blocks, Form
from rae_fast.inputs import sample, sample_sparse

Floats = NDArray[Any]

# Steps by which the units are divided at least: with the whole rate, training of sequences of few steps jumps about.
_FEWEST_STEPS = 8

# Sparse rows of more features are not written out, and of more numbers no copy is made.
_MANY_FEATURES, _MANY_NUMBERS = 1 << 13, 1 << 22

# Roundings of the largest number within which data are constant; and codes that are no smaller than that, of states.
_CONSTANT, _LEAST_CODE = 16, 0.01

# Blocks that have a unit for every row: the inputs', whose features may lie far from 0.
BY_ROW = ("W_xh",)


def units(theta: Floats, form: Form, batch: Batch, weights: Floats | None) -> tuple[Blocks, float]:
    """What a solver measures theta and the loss in: `scales`, and the loss of always giving back the mean (for softmax
    outputs one nat a step), both from a sample of the batch.
    """
    if isinstance(batch, SparseBatch) and batch.n_features > _MANY_FEATURES:
        return _units_of_sparse(theta, form, batch, weights)
    judged, w = sample(batch, weights)
    lengths = judged.lengths()
    rows = np.repeat(w, lengths)[:, None]

    def mean(values: Floats, weights: Floats, axis: int | None = None) -> Any:
        return np.average(values, axis=axis, weights=np.broadcast_to(weights, values.shape))

    n_steps = float(mean(lengths, w))
    codes = _codes.encode(theta.astype(np.float64), judged, form, True)
    deviation = float(np.sqrt(mean(np.square(judged.data - mean(judged.data, rows, 0)), rows)))
    code = float(np.sqrt(mean(codes**2, w[:, None])))
    return _measured(theta, form, code, deviation, np.sqrt(mean(np.square(judged.data), rows, 0)), n_steps)


def _measured(theta: Floats, form: Form, code: float, deviation: float, size: Floats,
              n_steps: float) -> tuple[Blocks, float]:
    """Units of data with that deviation of elements and root mean squares (I,) of features."""
    offset = np.ones(form.n_inputs)
    if form.output == "linear" and np.isfinite(deviation) and deviation > 0:
        offset = np.maximum(1, size / deviation)
    found = scales(theta, form, code, 1.0 if form.categorical else deviation, offset, n_steps)
    # With labels the loss is measured in such a unit already.
    return found, 1.0 if form.n_classes else _loss_unit(form.n_inputs, form.output, n_steps, deviation)


def _loss_unit(n_inputs: int, output: str, n_steps: float, deviation: float) -> float:
    unit = n_steps
    if output == "linear" and np.isfinite(deviation) and deviation > 0:
        unit *= n_inputs * deviation**2
    return unit if np.finfo(float).tiny < unit < np.finfo(float).max else 1.0


def loss_units(output: str, n_hidden: int, batch: Batch) -> tuple[float, float]:
    """The loss of always giving back the mean of a sample of the batch, of categorical outputs one nat a step; and that
    of hidden terms, a number for each of a state's."""
    n_steps = float(batch.lengths().mean())
    hidden = n_steps * n_hidden
    if output != "linear":
        return n_steps, hidden
    if isinstance(batch, SparseBatch):
        sparse, _ = sample_sparse(batch, None)
        rows = sparse.matrix(np.float64)
        mean_squares, means = rows.multiply(rows).sum() / rows.shape[0], np.asarray(rows.mean(axis=0))
        variance = float(mean_squares - np.square(means).sum()) / batch.n_features
    else:
        rows = sample(batch, None)[0].data.astype(np.float64)
        scale = float(np.abs(rows).max()) or 1.0  # whose square may be no number
        rows = rows / scale
        variance = float(np.square(rows - rows.mean(axis=0)).mean())
        # Of data that are constant up to rounding: what would be lost by giving back 0.
        if variance <= (_CONSTANT * np.finfo(batch.dtype).eps) ** 2:
            variance = float(np.square(rows).mean())
        return _loss_unit(batch.n_features, output, n_steps, float(np.sqrt(variance)) * scale), hidden
    return _loss_unit(batch.n_features, output, n_steps, float(np.sqrt(max(0.0, variance)))), hidden


def _units_of_sparse(theta: Floats, form: Form, batch: SparseBatch, weights: Floats | None) -> tuple[Blocks, float]:
    """units, without the sample written out: by the means of the features and of their squares."""
    judged, w = sample_sparse(batch, weights)
    lengths = judged.lengths()
    rows_w = np.repeat(w, lengths)
    rows_w /= rows_w.sum()
    rows = judged.matrix(np.float64)
    squares = rows.multiply(rows).T @ rows_w
    # The mean over all elements of their squares less that of the squared means.
    deviation = float(np.sqrt(max(0.0, (squares.sum() - np.square(rows.T @ rows_w).sum()) / form.n_inputs)))
    codes = _codes.encode(theta, judged, form, True).astype(np.float64)
    code = float(np.sqrt(np.average(np.square(codes).mean(axis=1), weights=w)))
    return _measured(theta, form, code, deviation, np.sqrt(squares), float(np.average(lengths, weights=w)))


def _root_mean_square(x: Floats) -> float:
    if x.size < _MANY_NUMBERS:
        return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
    x = x.T if x.strides[0] < x.strides[1] else x
    some = range(0, len(x), 1 << 14)
    return float(np.sqrt(sum(float(np.square(x[a:a + (1 << 14)], dtype=np.float64).sum()) for a in some) / x.size))


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
    rms: dict[str, float] = {name: _root_mean_square(p[name])
                             for name in ("W_xh", "W_hh", "V_hh", "V_hx", "W_hc", "V_ch") if name in p}
    rms |= {"b_h": rms["W_hh"] * code, "h0": rms["W_hh"] * code, "c_h": rms["V_hh"] * code,
            "c_x": rms["V_hh"] * output}
    if form.n_code:
        # b_c is added to what W_hc makes of a state; c_1 is a state, as c_h is.
        rms |= {"b_c": rms["W_hc"] * code, "c_1": rms["V_hh"] * code}
    if form.n_classes:
        # W_hy starts at 0: scores of codes of that size are about 1, however many steps made them.
        least = _LEAST_CODE * (rms["W_hc"] if form.n_code else 1.0)
        rms |= {"W_hy": 1 / (max(code, least) or 1.0) / np.sqrt(form.code_size), "b_y": 1.0}
    found = Blocks(form, theta.dtype, by_row=BY_ROW)
    for name, view in found.views().items():
        if not (form.tied and name in ("V_hh", "V_hx")):
            size = (rms[name] or 1.0) / n_steps
            view[...] = np.maximum(size / offset[:, None] if name == "W_xh" else size, np.finfo(theta.dtype).tiny)
    return found
