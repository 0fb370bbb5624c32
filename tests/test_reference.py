"""The specification itself: against the definition in one line, and by the complex step."""

import numpy as np
import pytest
from problems import FORMS, form_id, form_of, gaps, labels_of, problem
from scipy.special import log_softmax

from rae_fast import reference
from rae_fast._form import Form

OPTIONS = [(1.0, False), (0.3, False), (0.3, True), (0.0, True)]


@pytest.mark.parametrize("options", FORMS + [{"hidden_weight": 0.0, "reconstruct_h0": True}], ids=form_id)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 5, 4, 3), (2, 7, 9, 2)])
@pytest.mark.parametrize("ragged", [False, True])
def test_gradient_by_complex_step(sizes, ragged, options, seed):
    I, H, T, B = sizes
    form = form_of(I, H, **options)
    theta, data, offsets, weights = (a.astype(float) if a.dtype.kind == "f" else a
                                     for a in problem(form, T, B, ragged, seed))
    if form.categorical:
        data /= data.sum(axis=1, keepdims=True)
    missing = gaps(data, seed) if form.output == "linear" and tuple(sizes) == (3, 5, 4, 3) else None
    labels = labels_of(form, B)
    _, grad = reference.loss_and_grad(theta, data, offsets, weights, form, missing, labels)
    exact = np.empty_like(grad)
    for i in range(len(theta)):
        moved = theta.astype(complex)
        moved[i] += 1e-30j
        exact[i] = reference.loss(moved, data, offsets, weights, form, missing, labels).imag / 1e-30
    np.testing.assert_allclose(grad, exact, rtol=0, atol=1e-12 * max(np.abs(grad).max(), 1e-3))


@pytest.mark.parametrize("hidden_weight, reconstruct_h0", OPTIONS)
def test_loss_is_the_definition(hidden_weight, reconstruct_h0, seed):
    I, H, T = 3, 5, 6
    form = Form(I, H, hidden_weight=hidden_weight, reconstruct_h0=reconstruct_h0)
    theta, data, offsets, _ = problem(form, T, 1, False, seed)
    p = form.views(theta.astype(float))
    h, expected = p["h0"], 0.0
    for t, x in enumerate(data):
        before, h = h, np.tanh(h @ p["W_hh"] + x @ p["W_xh"] + p["b_h"])
        expected += np.sum((h @ p["V_hx"] + p["c_x"] - x) ** 2)
        if t > 0 or reconstruct_h0:
            expected += hidden_weight * np.sum((h @ p["V_hh"] + p["c_h"] - before) ** 2)
    found = reference.loss(theta.astype(float), data.astype(float), offsets, None, form)
    assert found == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("decoder", ["linear", "tanh"])
def test_unroll_goes_back_through_time(decoder, seed):
    form = Form(3, 5, decoder=decoder)
    theta, data, offsets, _ = problem(form, 4, 1, False, seed)
    p = form.views(theta)
    code = reference.hidden_states(theta, data, offsets, form, last_only=True)
    first = code @ p["V_hx"] + p["c_x"]
    before = code @ p["V_hh"] + p["c_h"]
    second = (np.tanh(before) if decoder == "tanh" else before) @ p["V_hx"] + p["c_x"]
    latest_first = reference.unroll(theta, code, offsets, form, False)
    np.testing.assert_allclose(latest_first[:2], np.concatenate([first, second]), rtol=1e-5)
    np.testing.assert_array_equal(reference.unroll(theta, code, offsets, form, True), latest_first[::-1])


@pytest.mark.parametrize("tied", [False, True])
def test_unfold_loss_is_the_error_of_the_unrolled_sequence(tied, seed):
    form = Form(3, 5, objective="unfold", tied=tied)
    theta, data, offsets, _ = problem(form, 4, 3, True, seed)
    back = reference.unroll(theta, reference.hidden_states(theta, data, offsets, form, True), offsets, form, True)
    expected = ((back - data) ** 2).sum() / 3
    assert reference.loss(theta, data, offsets, None, form) == pytest.approx(expected, rel=1e-5)
    p = form.views(theta)
    assert not tied or (p["V_hx"] == p["W_xh"].T).all() and (p["V_hh"] == p["W_hh"].T).all()


def test_softmax_loss_is_the_cross_entropy(seed):
    form = Form(4, 5, objective="unfold", output="softmax")
    theta, data, offsets, _ = problem(form, 6, 1, False, seed)
    logits = reference.unroll(theta, reference.hidden_states(theta, data, offsets, form, True), offsets, form, True)
    expected = -(data * log_softmax(logits, axis=1)).sum()
    assert reference.loss(theta, data, offsets, None, form) == pytest.approx(expected, rel=1e-5)
    huge = np.array([[1e4, -1e4, 0.0]])
    np.testing.assert_array_equal(reference.softmax(huge), [[1, 0, 0]])
