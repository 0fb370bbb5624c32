"""The compiled drivers against the reference: the product of everything that could differ."""

import itertools

import numpy as np
import pytest
from problems import EDGE, MORE, pairwise, problem, relative_error, solved, tolerance

from rae_fast import _kernels, _sequence, reference

DTYPES = [np.float32, np.float64]
FULL = list(itertools.product(EDGE, EDGE, EDGE, EDGE))
PAIRS = pairwise(*[EDGE + MORE] * 4)


def compare(dtype, sizes, ragged, hidden_weight, reconstruct_h0):
    I, H, T, B = sizes
    theta, data, offsets, weights, loss, grad = solved(I, H, T, B, ragged, hidden_weight, reconstruct_h0)
    theta, data, weights = (a.astype(dtype) for a in (theta, data, weights))
    found_grad = np.full_like(theta, np.nan)
    found_loss = _sequence.loss_and_grad(theta, data, offsets, weights, H, hidden_weight, reconstruct_h0,
                                         found_grad)
    allowed = tolerance(dtype, I, H, T, B)
    where = f"(I, H, T, B) = {sizes}, ragged={ragged}, {_kernels.isa()}"
    assert abs(found_loss - loss) <= allowed * loss, where
    assert relative_error(found_grad, grad) <= allowed, where


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_full_product_of_edge_sizes(isa, gemm, dtype, ragged):
    for sizes in FULL:
        compare(dtype, sizes, ragged, 1.0, False)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_pairs_of_larger_sizes(isa, gemm, dtype, ragged):
    for sizes in PAIRS:
        compare(dtype, sizes, ragged, 1.0, False)


@pytest.mark.parametrize("hidden_weight, reconstruct_h0", [(0.3, False), (0.3, True), (0.0, True)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_options(isa, gemm, dtype, hidden_weight, reconstruct_h0):
    for sizes in pairwise(*[EDGE] * 4):
        compare(dtype, sizes, True, hidden_weight, reconstruct_h0)


@pytest.mark.parametrize("ragged", [False, True])
def test_gradient_by_directional_complex_step(isa, gemm, ragged):
    for sizes in pairwise(*[EDGE + (24, 33)] * 4):
        I, H, T, B = sizes
        theta, data, offsets, weights = problem(I, H, T, B, ragged, seed=1)
        theta, data, weights = (a.astype(np.float64) for a in (theta, data, weights))
        direction = np.random.default_rng(2).standard_normal(len(theta))
        exact = reference.loss(theta + 1e-30j * direction, data, offsets, weights, H, 1.0, False).imag / 1e-30
        grad = np.empty_like(theta)
        _sequence.loss_and_grad(theta, data, offsets, weights, H, 1.0, False, grad)
        assert abs(grad @ direction - exact) < 1e-9 * abs(exact), sizes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ragged", [False, True])
def test_encode_unroll_and_step(isa, gemm, dtype, ragged):
    for sizes in PAIRS:
        I, H, T, B = sizes
        if T > 33:  # a linear unroll of random weights grows without bound
            continue
        theta, data, offsets, _ = problem(I, H, T, B, ragged)
        exact = theta.astype(np.float64), data.astype(np.float64)
        theta, data = theta.astype(dtype), data.astype(dtype)
        allowed = tolerance(dtype, I, H, T, 1)
        states = np.full((len(data), H), np.nan, dtype)
        _sequence.hidden_states(theta, data, offsets, H, states)
        assert relative_error(states, reference.hidden_states(*exact, offsets, H)) <= allowed, sizes
        codes = np.full((B, H), np.nan, dtype)
        _sequence.hidden_states(theta, data, offsets, H, codes, True)
        np.testing.assert_array_equal(codes, states[offsets[1:] - 1])
        for chronological in (False, True):
            out = np.full((len(data), I), np.nan, dtype)
            _sequence.unroll(theta, codes, offsets, I, chronological, out)
            expected = reference.unroll(exact[0], codes.astype(np.float64), offsets, I, chronological)
            assert relative_error(out, expected) <= T * allowed, sizes
        x = data[:B] if len(data) >= B else data
        h = np.full((len(x), H), np.nan, dtype)
        _sequence.step(theta, codes[:len(x)], x, h)
        expected = reference.step(exact[0], codes[:len(x)].astype(np.float64), x.astype(np.float64))
        assert relative_error(h, expected) <= allowed, sizes


@pytest.mark.parametrize("dtype", DTYPES)
def test_several_spans_and_blocks(gemm, dtype):
    """Long and many enough that every buffer is used again: the seams must not show."""
    for sizes in [(2, 5, 30_000, 1), (3, 40, 700, 5), (1, 2, 3, 5000), (2, 130, 400, 9)]:
        for ragged in (False, True):
            compare(dtype, sizes, ragged, 1.0, True)
    I, H, T, B = 2, 3, 5, 1000
    theta, data, offsets, _ = problem(I, H, T, B, True)
    codes = np.empty((B, H), dtype)
    _sequence.hidden_states(theta.astype(dtype), data.astype(dtype), offsets, H, codes, True)
    expected = reference.hidden_states(theta.astype(float), data.astype(float), offsets, H, True)
    assert relative_error(codes, expected) <= tolerance(dtype, I, H, T, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_train_matches_the_reference(isa, gemm, dtype, shuffled, weighted):
    """20 passes with short last batches, shuffled by the same draws: losses and parameters."""
    I, H, T, B, batch_size = 3, 5, 6, 7, 3
    theta, data, offsets, weights = problem(I, H, T, B, ragged=True)
    exact = theta.astype(np.float64)
    found = theta.astype(dtype)
    run = _sequence.Training(offsets, batch_size)
    losses = np.empty(20)
    _sequence.train(found, data.astype(dtype), offsets, weights.astype(dtype) if weighted else None, H, 1.0,
                    False, 1e-2, np.random.default_rng(5).bit_generator if shuffled else None, 20, 0.0, 10,
                    run, losses, 1e9)
    curve = reference.train(exact, data.astype(np.float64), offsets,
                            weights.astype(np.float64) if weighted else None, H, 1.0, False, 1e-2, batch_size,
                            np.random.default_rng(5) if shuffled else None, 20, 0.0, 10)
    assert (run.status, run.n_iter, run.n_updates) == ("finished", 20, 60)
    allowed = run.n_updates * tolerance(dtype, I, H, T, B)
    np.testing.assert_allclose(losses, curve, rtol=allowed)
    assert relative_error(found, exact) <= allowed


def test_a_run_cut_into_calls_gives_the_same_bits():
    theta, data, offsets, _ = problem(3, 5, 6, 7, ragged=True)

    def trained(seconds, most):
        found, run, rng = theta.copy(), _sequence.Training(offsets, 2), np.random.default_rng(1)
        curve = []
        while run.status == "running":
            losses, done = np.empty(most), run.n_iter
            _sequence.train(found, data, offsets, None, 5, 1.0, False, 1e-2, rng.bit_generator, 5000, 0.0, 1, run,
                            losses, seconds)
            curve.extend(losses[:run.n_iter - done])
        return found, curve

    whole, cut = trained(1e9, 5000), trained(0.0, 7)
    np.testing.assert_array_equal(whole[0], cut[0])
    np.testing.assert_array_equal(whole[1], cut[1])


def test_drivers_refuse_arrays_that_do_not_fit():
    theta, data, offsets, weights = problem(3, 5, 4, 2, ragged=False)
    grad = np.empty_like(theta)
    for bad in [(theta[:-1], weights, grad), (theta, weights[:-1], grad), (theta, weights, grad[:-1])]:
        with pytest.raises(ValueError):
            _sequence.loss_and_grad(bad[0], data, offsets, bad[1], 5, 1.0, False, bad[2])
    with pytest.raises(ValueError):
        _sequence.hidden_states(theta, data, offsets, 5, np.empty((3, 5), np.float32))
    with pytest.raises(ValueError):
        _sequence.unroll(theta, np.zeros((2, 5), np.float32), offsets, 3, True, np.empty((7, 3), np.float32))
    with pytest.raises(ValueError):
        _sequence.step(theta, np.zeros((2, 5), np.float32), data[:1], np.empty((2, 5), np.float32))
    with pytest.raises(ValueError):
        _sequence.Training(offsets, 3)
    with pytest.raises(ValueError):
        _sequence.use_gemm("mkl")
