"""The compiled drivers against the reference: the product of everything that could differ."""

import itertools
from functools import cache

import numpy as np
import pytest
from problems import EDGE, FORMS, MORE, form_id, pairwise, problem, relative_error, solved, tolerance

from rae_fast import _codes, _kernels, _products, _sequence, _training, reference
from rae_fast.parameters import Form
from rae_fast.parameters import size as _size
from rae_fast.solvers import SOLVERS, Solver, new_state

DTYPES = [np.float32, np.float64]
FULL = list(itertools.product(EDGE, EDGE, EDGE, EDGE))
PAIRS = pairwise(*[EDGE + MORE] * 4)
EDGE_PAIRS = pairwise(*[EDGE] * 4)
STEP_PAIRS = pairwise(*[(1, 2, 9, 24)] * 4)


def compare(dtype, sizes, ragged, **options):
    I, H, T, B = sizes
    form = Form(I, H, **options)
    theta, data, offsets, weights, loss, grad = solved(form, T, B, ragged)
    theta, data, weights = (a.astype(dtype) for a in (theta, data, weights))
    found_grad = np.full_like(theta, np.nan)
    found_loss = _sequence.loss_and_grad(theta, data, offsets, weights, form, found_grad)
    allowed = tolerance(dtype, I, H, T, B)
    where = f"(I, H, T, B) = {sizes}, ragged={ragged}, {_kernels.isa()}, {options}"
    assert abs(found_loss - loss) <= allowed * max(loss, 1e-3), where
    assert np.abs(found_grad - grad).max() <= allowed * max(np.abs(grad).max(), 1e-3), where


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_full_product_of_edge_sizes(isa, gemm, dtype, ragged):
    for sizes in FULL:
        compare(dtype, sizes, ragged)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_pairs_of_larger_sizes(isa, gemm, dtype, ragged):
    for sizes in PAIRS:
        compare(dtype, sizes, ragged)


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_of_large_models(isa, gemm, dtype):
    """Panels beyond L2, sums over rows whose factors are copied block by block, weights that lie as they are."""
    for sizes in [(7, 260, 33, 9), (30, 531, 19, 17), (5, 257, 6, 1), (530, 310, 5, 1)]:
        for options in ({}, {"objective": "unfold", "decoder": "tanh"}, {"tied": True}):
            compare(dtype, sizes, True, **options)


@pytest.mark.parametrize("options", FORMS + [{"hidden_weight": 0.3}, {"hidden_weight": 0.0, "reconstruct_h0": True}],
                         ids=form_id)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_of_every_form(isa, gemm, dtype, options):
    for ragged in (False, True):
        for sizes in EDGE_PAIRS:
            compare(dtype, sizes, ragged, **options)


@pytest.mark.parametrize("options", FORMS, ids=form_id)
@pytest.mark.parametrize("ragged", [False, True])
def test_gradient_by_directional_complex_step(isa, gemm, ragged, options):
    for sizes in STEP_PAIRS:
        I, H, T, B = sizes
        form = Form(I, H, **options)
        theta, data, offsets, weights = problem(form, T, B, ragged, seed=1)
        theta, data, weights = (a.astype(np.float64) for a in (theta, data, weights))
        if form.output == "softmax":
            data /= data.sum(axis=1, keepdims=True)
        direction = np.random.default_rng(2).standard_normal(len(theta))
        exact = complex_step(form, T, B, ragged)
        grad = np.empty_like(theta)
        _sequence.loss_and_grad(theta, data, offsets, weights, form, grad)
        assert abs(grad @ direction - exact) < 1e-9 * max(abs(exact), 1e-6), sizes


@cache
def complex_step(form, T, B, ragged):
    theta, data, offsets, weights = (a.astype(np.float64) if a.dtype.kind == "f" else a
                                     for a in problem(form, T, B, ragged, seed=1))
    if form.output == "softmax":
        data /= data.sum(axis=1, keepdims=True)
    direction = np.random.default_rng(2).standard_normal(len(theta))
    return reference.loss(theta + 1e-30j * direction, data, offsets, weights, form).imag / 1e-30


@cache
def encoded(form, T, B, ragged, dtype):
    """The problem and, from the reference, its hidden states; from their last ones as `dtype` rounds them, both orders
    of unrolled outputs and one more step."""
    theta, data, offsets, _ = problem(form, T, B, ragged)
    exact = theta.astype(np.float64), data.astype(np.float64)
    states = reference.hidden_states(*exact, offsets, form)
    codes = states[offsets[1:] - 1].astype(dtype)
    outputs = [reference.unroll(exact[0], codes.astype(np.float64), offsets, form, chronological)
               for chronological in (False, True)]
    x = data[:B]
    after = reference.step(exact[0], codes[:len(x)].astype(np.float64), x.astype(np.float64), form)
    return theta.astype(dtype), data.astype(dtype), offsets, states, codes, outputs, after


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("decoder, tied", [("linear", False), ("tanh", False), ("linear", True), ("tanh", True)])
def test_encode_unroll_and_step(isa, gemm, dtype, ragged, decoder, tied):
    for sizes in [*PAIRS, (5, 257, 6, 1)]:  # from 256 units on a single sequence reads W_hh as it lies
        I, H, T, B = sizes
        if T > 33:  # a linear unroll of random weights grows without bound
            continue
        form = Form(I, H, decoder=decoder, tied=tied)
        theta, data, offsets, expected, codes, outputs, after = encoded(form, T, B, ragged, dtype)
        allowed = tolerance(dtype, I, H, T, 1)
        states = np.full((len(data), H), np.nan, dtype)
        _codes.hidden_states(theta, data, offsets, form, states)
        assert relative_error(states, expected) <= allowed, sizes
        last = np.full((B, H), np.nan, dtype)
        _codes.hidden_states(theta, data, offsets, form, last, True)
        np.testing.assert_array_equal(last, states[offsets[1:] - 1])
        for chronological in (False, True):
            out = np.full((len(data), I), np.nan, dtype)
            _codes.unroll(theta, codes, offsets, form, chronological, out)
            assert relative_error(out, outputs[chronological]) <= T * allowed, sizes
        h = np.full(after.shape, np.nan, dtype)
        _codes.step(theta, codes[:len(h)], data[:len(h)], form, h)
        assert relative_error(h, after) <= allowed, sizes


@pytest.mark.parametrize("dtype", DTYPES)
def test_several_spans_and_blocks(gemm, dtype):
    """Long and many enough that every buffer is used again: the seams must not show."""
    for sizes in [(600, 5, 900, 1), (3, 40, 700, 5), (1, 2, 3, 5000), (2, 130, 400, 9)]:
        for ragged in (False, True):
            compare(dtype, sizes, ragged, reconstruct_h0=True)
            compare(dtype, sizes, ragged, objective="unfold", decoder="tanh")
            compare(dtype, sizes, ragged, decoder="tanh", tied=True, reconstruct_h0=True)
    I, H, T, B = 2, 3, 5, 1000
    form = Form(I, H)
    theta, data, offsets, _ = problem(form, T, B, True)
    codes = np.empty((B, H), dtype)
    _codes.hidden_states(theta.astype(dtype), data.astype(dtype), offsets, form, codes, True)
    expected = reference.hidden_states(theta.astype(float), data.astype(float), offsets, form, True)
    assert relative_error(codes, expected) <= tolerance(dtype, I, H, T, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 5, 40])
def test_sgd_with_and_without_a_gradient(isa, gemm, dtype, batch_size):
    """Plain SGD adds its sums to theta at once; with a weight decay of next to nothing it makes a gradient first."""
    for sizes in [(3, 5, 6, 40), (8, 24, 8, 40), (2, 33, 12, 40), (5, 130, 7, 40)]:
        I, H, T, B = sizes
        for options in ({}, {"objective": "unfold"}, {"decoder": "tanh"}, {"output": "softmax"}, {"tied": True}):
            form = Form(I, H, **options)
            theta, data, offsets, weights = problem(form, T, B, ragged=True)
            results = []
            for decay in (0.0, 1e-300 if dtype is np.float64 else 1e-38):
                found, run = theta.astype(dtype), _training.Training(offsets, batch_size)
                losses = np.empty(3)
                _training.train(found, data.astype(dtype), offsets, weights.astype(dtype), form,
                                Solver("sgd", 1e-3, weight_decay=decay), [], None, 1.0, 0, None, 3, 0.0, 10, run,
                                losses, 1e9)
                results.append((found, losses))
            allowed = 4 * run.n_updates * tolerance(dtype, I, H, T, batch_size)
            assert relative_error(results[0][0], results[1][0].astype(np.float64)) <= allowed, (sizes, options)
            np.testing.assert_allclose(results[0][1], results[1][1], rtol=allowed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd_keeps_small_updates(isa, dtype):
    """What each row adds may be lost beside theta; their sum must not be."""
    form, rows = Form(1, 2), 64
    theta = np.ones(_size(form), dtype)
    data, offsets = np.ones((rows, 1), dtype), np.arange(rows + 1)
    grad = np.empty_like(theta)
    _sequence.loss_and_grad(theta, data, offsets, None, form, grad)
    rate = float(np.finfo(dtype).eps) * 8 / np.abs(grad).max()  # a few units in the last place for all rows together
    run = _training.Training(offsets, rows)
    found = theta.copy()
    _training.train(found, data, offsets, None, form, Solver("sgd", rate), [], None, 1.0, 0, None, 1, 0.0, 1, run,
                    np.empty(1), 1e9)
    expected = (theta.astype(np.longdouble) - np.longdouble(rate) * grad).astype(dtype)
    assert np.abs(found - expected).max() <= 2 * np.finfo(dtype).eps


RULES = [Solver(name=name, learning_rate=1.0 if name == "adadelta" else 1e-2, epsilon=1e-3) for name in SOLVERS
           if name != "lbfgs"]  # which is scipy's: test_training.py
RULES += [Solver("momentum", 1e-3, momentum=0.999, momentum_schedule="sutskever"),
            Solver("adam", 1e-2, "cosine", clip_norm=0.5, weight_decay=0.1), Solver("sgd", 1e-2, "step", clip_norm=2.0),
            Solver("nesterov", 1e-2, "inverse", weight_decay=0.01)]


@pytest.mark.parametrize("solver", RULES, ids=lambda s: f"{s.name}-{s.schedule}-{s.momentum_schedule}")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("objective", ["stepwise", "unfold"])
@pytest.mark.parametrize("scaled", [False, True])
def test_every_solver_matches_the_reference(isa, dtype, solver, objective, scaled):
    I, H, T, B, batch_size = 3, 5, 6, 7, 3
    form = Form(I, H, objective)
    theta, data, offsets, _ = problem(form, T, B, ragged=True)
    exact, found = theta.astype(np.float64), theta.astype(dtype)
    scale = np.random.default_rng(4).uniform(0.1, 2, len(theta)).astype(np.float32) if scaled else None
    state = new_state(solver, len(theta), np.dtype(dtype))
    exact_state = new_state(solver, len(theta), np.dtype(np.float64))
    run, losses = _training.Training(offsets, batch_size), np.empty(8)
    _training.train(found, data.astype(dtype), offsets, None, form, solver, list(state.values()),
                    scale.astype(dtype) if scaled else None, 2.5, 0, None, 8, 0.0, 10, run, losses, 1e9)
    curve = reference.train(exact, data.astype(np.float64), offsets, None, form, solver, list(exact_state.values()),
                            scale.astype(np.float64) if scaled else None, 2.5, batch_size, None, 8, 0.0, 10)
    assert run.n_updates == 24
    # The way into the solver's units and back rounds twice more in every update.
    allowed = (8 if scaled else 4) * run.n_updates * tolerance(dtype, I, H, T, B)
    np.testing.assert_allclose(losses, curve, rtol=allowed)
    assert relative_error(found, exact) <= allowed
    if solver.name != "rprop":  # whose state follows signs of gradients near 0
        for name, array in state.items():
            assert relative_error(array, exact_state[name]) <= allowed, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_of_one_sequence_between_larger_ones(isa, gemm, dtype):
    """It may read its weights as they lie; those after it want their panels again, from the same memory."""
    I, H, T, B = 3, 21, 4, 5
    for options in FORMS:
        form = Form(I, H, **options)
        theta, data, offsets, weights = problem(form, T, B, ragged=True)
        exact, found = theta.astype(np.float64), theta.astype(dtype)
        run, losses = _training.Training(offsets, 2), np.empty(2)
        solver = Solver("sgd", 1e-3)
        _training.train(found, data.astype(dtype), offsets, weights.astype(dtype), form, solver, [], None, 1.0, 0, None,
                        2, 0.0, 10, run, losses, 1e9)
        curve = reference.train(exact, data.astype(np.float64), offsets, weights.astype(np.float64), form, solver, [],
                                None, 1.0, 2, None, 2, 0.0, 10)
        allowed = 8 * run.n_updates * tolerance(dtype, I, H, T, B)
        np.testing.assert_allclose(losses, curve, rtol=allowed, err_msg=str(options))
        assert relative_error(found, exact) <= allowed, options


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "lbfgs"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_solver_on_every_form(dtype, name):
    """Flat vectors know no form; that tied ones are shorter, and gradients in place, shows here."""
    I, H, T, B = 3, 5, 4, 5
    solver = Solver(name, 1.0 if name == "adadelta" else 1e-3, epsilon=1e-3, clip_norm=1.0, weight_decay=0.01)
    for options in FORMS:
        form = Form(I, H, **options)
        theta, data, offsets, weights = problem(form, T, B, ragged=True)
        exact, found = theta.astype(np.float64), theta.astype(dtype)
        scale = np.linspace(0.5, 2, len(theta)).astype(np.float32)
        state = list(new_state(solver, len(theta), np.dtype(dtype)).values())
        exact_state = list(new_state(solver, len(theta), np.dtype(np.float64)).values())
        run, losses = _training.Training(offsets, 2), np.empty(2)
        _training.train(found, data.astype(dtype), offsets, weights.astype(dtype), form, solver, state,
                        scale.astype(dtype), 0.5, 0, None, 2, 0.0, 10, run, losses, 1e9)
        curve = reference.train(exact, data.astype(np.float64), offsets, weights.astype(np.float64), form, solver,
                                exact_state, scale.astype(np.float64), 0.5, 2, None, 2, 0.0, 10)
        allowed = 8 * run.n_updates * tolerance(dtype, I, H, T, B)
        np.testing.assert_allclose(losses, curve, rtol=allowed, err_msg=str(options))
        assert relative_error(found, exact) <= allowed, options


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_train_matches_the_reference(isa, gemm, dtype, shuffled, weighted):
    """20 passes with short last batches, shuffled by the same draws: losses and parameters."""
    I, H, T, B, batch_size = 3, 5, 6, 7, 3
    form = Form(I, H)
    theta, data, offsets, weights = problem(form, T, B, ragged=True)
    exact = theta.astype(np.float64)
    found = theta.astype(dtype)
    run = _training.Training(offsets, batch_size)
    losses = np.empty(20)
    _training.train(found, data.astype(dtype), offsets, weights.astype(dtype) if weighted else None, form,
                    Solver(learning_rate=1e-2), [], None, 1.0, 0,
                    np.random.default_rng(5).bit_generator if shuffled else None, 20, 0.0, 10, run, losses, 1e9)
    curve = reference.train(exact, data.astype(np.float64), offsets,
                            weights.astype(np.float64) if weighted else None, form,
                            Solver(learning_rate=1e-2), [], None, 1.0, batch_size,
                            np.random.default_rng(5) if shuffled else None, 20, 0.0, 10)
    assert (run.status, run.n_iter, run.n_updates) == ("finished", 20, 60)
    allowed = run.n_updates * tolerance(dtype, I, H, T, B)
    np.testing.assert_allclose(losses, curve, rtol=allowed)
    assert relative_error(found, exact) <= allowed


def test_a_run_cut_into_calls_gives_the_same_bits():
    form = Form(3, 5)
    theta, data, offsets, _ = problem(form, 6, 7, ragged=True)

    def trained(seconds, most):
        found, run, rng = theta.copy(), _training.Training(offsets, 2), np.random.default_rng(1)
        curve, state = [], new_state(Solver("adam"), len(theta), theta.dtype)
        while run.status == "running":
            losses, done = np.empty(most), run.n_iter
            _training.train(found, data, offsets, None, form, Solver("adam"), list(state.values()), None, 1.0, 0,
                            rng.bit_generator, 5000, 0.0, 1, run, losses, seconds)
            curve.extend(losses[:run.n_iter - done])
        return found, curve

    whole, cut = trained(1e9, 5000), trained(0.0, 7)
    np.testing.assert_array_equal(whole[0], cut[0])
    np.testing.assert_array_equal(whole[1], cut[1])


def test_drivers_refuse_arrays_that_do_not_fit():
    form = Form(3, 5)
    theta, data, offsets, weights = problem(form, 4, 2, ragged=False)
    grad = np.empty_like(theta)
    for bad in [(theta[:-1], data, weights, grad), (theta, data, weights[:-1], grad), (theta, data, weights, grad[:-1]),
                (theta, data[:-1], weights, grad), (theta, np.ascontiguousarray(data[:, :2]), weights, grad)]:
        with pytest.raises(ValueError):
            _sequence.loss_and_grad(bad[0], bad[1], offsets, bad[2], form, bad[3])
    with pytest.raises(ValueError):
        _codes.hidden_states(theta, data, offsets, form, np.empty((3, 5), np.float32))
    with pytest.raises(ValueError):
        _codes.unroll(theta, np.zeros((2, 5), np.float32), offsets, form, True, np.empty((7, 3), np.float32))
    with pytest.raises(ValueError):
        _codes.step(theta, np.zeros((2, 5), np.float32), data[:1], form, np.empty((2, 5), np.float32))
    with pytest.raises(ValueError):
        _training.Training(offsets, 3)
    with pytest.raises(ValueError):
        _products.use_gemm("mkl")
