"""The specification itself: against the definition in one line, and by the complex step."""

import numpy as np
import pytest
from problems import problem

from rae_fast import parameters, reference

OPTIONS = [(1.0, False), (0.3, False), (0.3, True), (0.0, True)]


@pytest.mark.parametrize("hidden_weight, reconstruct_h0", OPTIONS)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 5, 4, 3), (2, 7, 9, 2)])
@pytest.mark.parametrize("ragged", [False, True])
def test_gradient_by_complex_step(sizes, ragged, hidden_weight, reconstruct_h0):
    I, H, T, B = sizes
    theta, data, offsets, weights = (a.astype(float) if a.dtype.kind == "f" else a
                                     for a in problem(I, H, T, B, ragged))
    args = (data, offsets, weights, H, hidden_weight, reconstruct_h0)
    _, grad = reference.loss_and_grad(theta, *args)
    for i in range(len(theta)):
        moved = theta.astype(complex)
        moved[i] += 1e-30j
        exact = reference.loss(moved, *args).imag / 1e-30
        assert abs(grad[i] - exact) <= 1e-12 * np.abs(grad).max()


@pytest.mark.parametrize("hidden_weight, reconstruct_h0", OPTIONS)
def test_loss_is_the_definition(hidden_weight, reconstruct_h0):
    I, H, T = 3, 5, 6
    theta, data, offsets, _ = problem(I, H, T, 1, False)
    p = parameters.views(theta.astype(float), I, H)
    h, expected = p["h0"], 0.0
    for t, x in enumerate(data):
        before, h = h, np.tanh(h @ p["W_hh"] + x @ p["W_xh"] + p["b_h"])
        expected += np.sum((h @ p["V_hx"] + p["c_x"] - x) ** 2)
        if t > 0 or reconstruct_h0:
            expected += hidden_weight * np.sum((h @ p["V_hh"] + p["c_h"] - before) ** 2)
    found = reference.loss(theta.astype(float), data.astype(float), offsets, None, H, hidden_weight,
                           reconstruct_h0)
    assert found == pytest.approx(expected, rel=1e-13)


def test_unroll_goes_back_through_time():
    theta, data, offsets, _ = problem(3, 5, 4, 1, False)
    p = parameters.views(theta, 3, 5)
    code = reference.hidden_states(theta, data, offsets, 5, last_only=True)
    first = code @ p["V_hx"] + p["c_x"]
    second = (code @ p["V_hh"] + p["c_h"]) @ p["V_hx"] + p["c_x"]
    latest_first = reference.unroll(theta, code, offsets, 3, False)
    np.testing.assert_allclose(latest_first[:2], np.concatenate([first, second]), rtol=1e-5)
    np.testing.assert_array_equal(reference.unroll(theta, code, offsets, 3, True), latest_first[::-1])
