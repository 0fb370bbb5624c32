"""The compiled drivers against the reference: the product of everything that could differ."""

import itertools
from functools import lru_cache

import numpy as np
import pytest
from problems import (
    EDGE,
    FORMS,
    MORE,
    encode,
    flat,
    form_id,
    form_of,
    gaps,
    gradient,
    labels_of,
    new_state,
    pairwise,
    problem,
    relative_error,
    scale_of,
    solved,
    solver_of,
    tolerance,
    train,
)

from rae_fast import _cell, _codes, _kernels, _objectives, _products, reference
from rae_fast._batch import Batch
from rae_fast._form import Blocks, Form
from rae_fast._record import Record
from rae_fast._training import Passes, Updates
from rae_fast.solvers import SOLVERS

DTYPES = [np.float32, np.float64]
FULL = list(itertools.product(EDGE, EDGE, EDGE, EDGE))
PAIRS = pairwise(*[EDGE + MORE] * 4)
EDGE_PAIRS = pairwise(*[EDGE] * 4)
STEP_PAIRS = pairwise(*[(1, 2, 9, 24)] * 4)


def compare(seed, dtype, sizes, ragged, missing=False, max_memory=2**30, **options):
    I, H, T, B = sizes
    form = form_of(I, H, **options)
    theta, data, offsets, weights, loss, grad = solved(form, T, B, ragged, seed, missing)
    theta, data, weights = (a.astype(dtype) for a in (theta, data, weights))
    found_loss, found_grad = gradient(theta, data, offsets, weights, form, max_memory,
                                      missing=gaps(data, seed) if missing else None)
    allowed = tolerance(dtype, I, H, T, B)
    where = f"(I, H, T, B) = {sizes}, ragged={ragged}, {_kernels.isa()}, {options}"
    assert abs(found_loss - loss) <= allowed * max(loss, 1e-3), where
    assert np.abs(found_grad - grad).max() <= allowed * max(np.abs(grad).max(), 1e-3), where


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_full_product_of_edge_sizes(isa, gemm, dtype, ragged, seed):
    for sizes in FULL:
        compare(seed, dtype, sizes, ragged)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_pairs_of_larger_sizes(isa, gemm, dtype, ragged, seed):
    for sizes in PAIRS:
        compare(seed, dtype, sizes, ragged)


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_of_large_models(isa, gemm, dtype, seed):
    """Panels beyond L2, sums over rows whose factors are copied block by block, weights that lie as they are."""
    for sizes in [(7, 260, 33, 9), (30, 531, 19, 17), (5, 257, 6, 1), (530, 310, 5, 1)]:
        for options in ({}, {"objective": "unfold", "decoder": "tanh"}, {"tied": True},
                        {"objective": "unfold", "n_code": 200}):
            compare(seed, dtype, sizes, True, **options)


@pytest.mark.parametrize("options", FORMS + [{"hidden_weight": 0.3}, {"hidden_weight": 0.0, "reconstruct_h0": True}],
                         ids=form_id)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_grad_of_every_form(isa, gemm, dtype, options, seed):
    for ragged in (False, True):
        for sizes in EDGE_PAIRS:
            compare(seed, dtype, sizes, ragged, **options)


@pytest.mark.parametrize("options", [options for options in FORMS if options["output"] == "linear"], ids=form_id)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_missing_counts_in_no_loss(isa, gemm, dtype, options, seed):
    for sizes in EDGE_PAIRS[::2]:
        compare(seed, dtype, sizes, True, missing=True, **options)
    for sizes in EDGE_PAIRS[1::2]:
        compare(seed, dtype, sizes, False, missing=True, **options)
    compare(seed, dtype, (2, 5, 300, 3), True, missing=True, max_memory=0, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", FORMS, ids=form_id)
def test_a_part_of_several_buckets(dtype, options, seed):
    before = _cell.use_buckets(3)
    try:
        for ragged in (False, True):
            for sizes in [(1, 3, 1, 7), (3, 9, 4, 5), (9, 4, 6, 7), (2, 5, 3, 100)]:
                compare(seed, dtype, sizes, ragged, **options)
    finally:
        _cell.use_buckets(before)


@pytest.mark.parametrize("options", FORMS, ids=form_id)
@pytest.mark.parametrize("ragged", [False, True])
def test_gradient_by_directional_complex_step(isa, gemm, ragged, options, seed):
    for sizes in STEP_PAIRS:
        I, H, T, B = sizes
        form = form_of(I, H, **options)
        theta, data, offsets, weights = problem(form, T, B, ragged, (1, seed))
        theta, data, weights = (a.astype(np.float64) for a in (theta, data, weights))
        if form.categorical:
            data /= data.sum(axis=1, keepdims=True)
        direction = np.random.default_rng([2, seed]).standard_normal(len(theta))
        exact = complex_step(form, T, B, ragged, seed)
        _, grad = gradient(theta, data, offsets, weights, form)
        assert abs(grad @ direction - exact) < 1e-9 * max(abs(exact), 1e-6), sizes


@lru_cache(4096)
def complex_step(form, T, B, ragged, seed):
    theta, data, offsets, weights = (a.astype(np.float64) if a.dtype.kind == "f" else a
                                     for a in problem(form, T, B, ragged, (1, seed)))
    if form.categorical:
        data /= data.sum(axis=1, keepdims=True)
    direction = np.random.default_rng([2, seed]).standard_normal(len(theta))
    moved = theta + 1e-30j * direction
    return reference.loss(moved, data, offsets, weights, form, labels=labels_of(form, B)).imag / 1e-30


@lru_cache(4096)
def encoded(form, T, B, ragged, dtype, seed):
    """The problem and, from the reference, its hidden states; from their last ones as `dtype` rounds them, both orders
    of unrolled outputs and one more step."""
    theta, data, offsets, _ = problem(form, T, B, ragged, seed)
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
def test_encode_unroll_and_step(isa, gemm, dtype, ragged, decoder, tied, seed):
    for sizes in [*PAIRS, (5, 257, 6, 1)]:  # from 256 units on a single sequence reads W_hh as it lies
        I, H, T, B = sizes
        if T > 33:  # a linear unroll of random weights grows without bound
            continue
        form = Form(I, H, decoder=decoder, tied=tied)
        theta, data, offsets, expected, codes, outputs, after = encoded(form, T, B, ragged, dtype, seed)
        allowed = tolerance(dtype, I, H, T, 1)
        states = encode(theta, data, offsets, form)
        assert relative_error(states, expected) <= allowed, sizes
        np.testing.assert_array_equal(encode(theta, data, offsets, form, True), states[offsets[1:] - 1])
        if not ragged:
            in_array = _codes.encode(theta, Batch(data, offsets), form)
            np.testing.assert_array_equal(in_array, states.reshape(B, T, H))
        for chronological in (False, True):
            out = _codes.unroll(theta, codes, offsets, form, chronological)
            assert relative_error(out, outputs[chronological]) <= T * allowed, sizes
            if not ragged:
                in_array = _codes.unroll(theta, codes, T, form, chronological)
                np.testing.assert_array_equal(in_array, out.reshape(B, T, I))
        n = len(after)
        assert relative_error(_codes.step(theta, codes[:n], data[:n], form), after) <= allowed, sizes
        one = _codes.step(theta, codes[0].copy(), data[0].copy(), form, np.full(H, np.nan, dtype))
        assert one.shape == (H,) and relative_error(one, after[0]) <= allowed, sizes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_code", [1, 8, 33])
def test_codes_smaller_than_the_state(isa, gemm, dtype, n_code, seed):
    """Codes of states, which may be those of streams, and what unrolls from codes."""
    for I, H, T, B in [*EDGE_PAIRS, (3, 33, 5, 8), (2, 130, 4, 40), (5, 257, 6, 1)]:
        form = form_of(I, H, n_code=n_code, objective="unfold", decoder="tanh")
        theta, data, offsets, _ = problem(form, T, B, True, seed)
        states = np.random.default_rng(seed).uniform(-1, 1, (B, H)).astype(dtype)
        codes = reference.codes_of(theta.astype(float), states.astype(float), form)
        allowed = tolerance(dtype, I, H, T, 1)
        found = _codes.codes_of(theta.astype(dtype), states, form)
        assert found.dtype == dtype and relative_error(found, codes) <= allowed
        outputs = reference.unroll(theta.astype(float), codes, offsets, form, True)
        found = _codes.unroll(theta.astype(dtype), codes.astype(dtype), offsets, form, True)
        assert relative_error(found, outputs) <= T * allowed, (I, H, T, B)


@pytest.mark.parametrize("dtype", DTYPES)
def test_several_spans_and_buckets(gemm, dtype, seed):
    """Long and many enough that every buffer is used again: the seams must not show."""
    for sizes in [(600, 5, 900, 1), (3, 40, 700, 5), (1, 2, 3, 5000), (2, 130, 400, 9)]:
        for ragged in (False, True):
            compare(seed, dtype, sizes, ragged, reconstruct_h0=True)
            compare(seed, dtype, sizes, ragged, objective="unfold", decoder="tanh")
            compare(seed, dtype, sizes, ragged, decoder="tanh", tied=True, reconstruct_h0=True)
    I, H, T, B = 2, 3, 5, 1000
    form = Form(I, H)
    theta, data, offsets, _ = problem(form, T, B, True, seed)
    codes = encode(theta.astype(dtype), data.astype(dtype), offsets, form, True)
    expected = reference.hidden_states(theta.astype(float), data.astype(float), offsets, form, True)
    assert relative_error(codes, expected) <= tolerance(dtype, I, H, T, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 5, 40])
def test_sgd_with_and_without_a_gradient(isa, gemm, dtype, batch_size, seed):
    """Plain SGD adds its sums to theta at once; with a weight decay of next to nothing it makes a gradient first."""
    for sizes in [(3, 5, 6, 40), (8, 24, 8, 40), (2, 33, 12, 40), (5, 130, 7, 40)]:
        I, H, T, B = sizes
        for options in ({}, {"objective": "unfold"}, {"decoder": "tanh"}, {"output": "softmax"}, {"tied": True}):
            form = form_of(I, H, **options)
            theta, data, offsets, weights = problem(form, T, B, True, seed)
            found, other = (train(theta.astype(dtype), data.astype(dtype), offsets, weights.astype(dtype), form,
                                  solver_of(weight_decay=decay), None, 1.0, batch_size, None, 3)
                            for decay in (0.0, 1e-300 if dtype is np.float64 else 1e-38))
            allowed = 4 * found.record.n_updates * tolerance(dtype, I, H, T, batch_size)
            assert relative_error(found.theta, other.theta.astype(np.float64)) <= allowed, (sizes, options)
            np.testing.assert_allclose(found.losses, other.losses, rtol=allowed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd_keeps_small_updates(isa, dtype):
    """What each row adds may be lost beside theta; their sum must not be."""
    form, rows = Form(1, 2), 64
    theta = np.ones(form.size, dtype)
    data, offsets = np.ones((rows, 1), dtype), np.arange(rows + 1)
    _, grad = gradient(theta, data, offsets, None, form)
    rate = float(np.finfo(dtype).eps) * 8 / np.abs(grad).max()  # a few units in the last place for all rows together
    found = train(theta, data, offsets, None, form, solver_of(learning_rate=rate), None, 1.0, rows, None, 1).theta
    expected = (theta.astype(np.longdouble) - np.longdouble(rate) * grad).astype(dtype)
    assert np.abs(found - expected).max() <= 2 * np.finfo(dtype).eps


# Rates with which no seed's training diverges: what diverges multiplies roundings without bound.
RATES = {"adadelta": 0.1, "momentum": 1e-3, "nesterov": 1e-3}
RULES = [solver_of(name, RATES.get(name, 1e-2), epsilon=1e-3) for name in SOLVERS
           if name != "lbfgs"]  # which is scipy's: test_training.py
RULES += [solver_of("momentum", 1e-3, momentum=0.999, momentum_schedule="sutskever"),
          solver_of("adam", 1e-2, "cosine", clip_norm=0.5, weight_decay=0.1),
          solver_of("sgd", 1e-2, "step", clip_norm=2.0),
          solver_of("nesterov", 1e-3, "inverse", weight_decay=0.01)]


@pytest.mark.parametrize("solver", RULES, ids=lambda s: f"{s.name}-{s.schedule}-{s.momentum_schedule}")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("objective", _objectives.NAMES)
@pytest.mark.parametrize("scaled", [False, True])
def test_every_solver_matches_the_reference(isa, dtype, solver, objective, scaled, seed):
    I, H, T, B, batch_size = 3, 5, 6, 7, 3
    form = Form(I, H, objective)
    theta, data, offsets, _ = problem(form, T, B, True, seed)
    exact, exact_state = theta.astype(np.float64), new_state(solver, form.size)
    scale = scale_of(form, dtype) if scaled else None
    found = train(theta.astype(dtype), data.astype(dtype), offsets, None, form, solver, scale, 2.5, batch_size, None, 8)
    curve = reference.train(exact, data.astype(np.float64), offsets, None, form, solver, exact_state,
                            flat(scale.views(), form).astype(np.float64) if scaled else None, 2.5, batch_size, None, 8,
                            0.0, 10)
    assert found.record.n_updates == 24
    # The way into the solver's units and back rounds twice more in every update.
    allowed = (8 if scaled else 4) * 24 * tolerance(dtype, I, H, T, B)
    np.testing.assert_allclose(found.losses, curve, rtol=allowed)
    assert relative_error(found.theta, exact) <= allowed
    if solver.name != "rprop":  # whose state follows signs of gradients near 0
        for name, array, expected in zip(solver.kind.state, found.state, exact_state):
            assert relative_error(array, expected) <= allowed, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_of_one_sequence_between_larger_ones(isa, gemm, dtype, seed):
    """It may read its weights as they lie; those after it want their panels again, from the same memory."""
    I, H, T, B = 3, 21, 4, 5
    for options in FORMS:
        form = form_of(I, H, **options)
        theta, data, offsets, weights = problem(form, T, B, True, seed)
        exact, solver = theta.astype(np.float64), solver_of()
        found = train(theta.astype(dtype), data.astype(dtype), offsets, weights.astype(dtype), form, solver, None, 1.0,
                      2, None, 2)
        curve = reference.train(exact, data.astype(np.float64), offsets, weights.astype(np.float64), form, solver, [],
                                None, 1.0, 2, None, 2, 0.0, 10)
        allowed = 8 * found.record.n_updates * tolerance(dtype, I, H, T, B)
        np.testing.assert_allclose(found.losses, curve, rtol=allowed, err_msg=str(options))
        assert relative_error(found.theta, exact) <= allowed, options


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "lbfgs"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_solver_on_every_form(dtype, name, seed):
    """Solvers know no form; that tied ones have fewer blocks, and gradients in place, shows here."""
    I, H, T, B = 3, 5, 4, 5
    solver = solver_of(name, 1.0 if name == "adadelta" else 1e-3, epsilon=1e-3, clip_norm=1.0, weight_decay=0.01)
    for options in FORMS:
        form = form_of(I, H, **options)
        theta, data, offsets, weights = problem(form, T, B, True, seed)
        exact, scale = theta.astype(np.float64), scale_of(form, dtype, 0.5)
        found = train(theta.astype(dtype), data.astype(dtype), offsets, weights.astype(dtype), form, solver, scale, 0.5,
                      2, None, 2)
        curve = reference.train(exact, data.astype(np.float64), offsets, weights.astype(np.float64), form, solver,
                                new_state(solver, form.size), flat(scale.views(), form).astype(np.float64), 0.5, 2,
                                None, 2, 0.0, 10)
        allowed = 8 * found.record.n_updates * tolerance(dtype, I, H, T, B)
        np.testing.assert_allclose(found.losses, curve, rtol=allowed, err_msg=str(options))
        assert relative_error(found.theta, exact) <= allowed, options


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_train_matches_the_reference(isa, gemm, dtype, shuffled, weighted, seed):
    """20 passes with short last batches, shuffled by the same draws: losses and parameters."""
    I, H, T, B, batch_size = 3, 5, 6, 7, 3
    form = Form(I, H)
    theta, data, offsets, weights = problem(form, T, B, True, seed)
    exact = theta.astype(np.float64)
    found = train(theta.astype(dtype), data.astype(dtype), offsets, weights.astype(dtype) if weighted else None, form,
                  solver_of(learning_rate=1e-2), None, 1.0, batch_size,
                  np.random.default_rng(5).bit_generator if shuffled else None, 20)
    curve = reference.train(exact, data.astype(np.float64), offsets,
                            weights.astype(np.float64) if weighted else None, form,
                            solver_of(learning_rate=1e-2), [], None, 1.0, batch_size,
                            np.random.default_rng(5) if shuffled else None, 20, 0.0, 10)
    assert (found.passes.status, found.record.n_iter, found.record.n_updates) == ("finished", 20, 60)
    allowed = 60 * tolerance(dtype, I, H, T, B)
    np.testing.assert_allclose(found.losses, curve, rtol=allowed)
    assert relative_error(found.theta, exact) <= allowed


def test_a_run_cut_into_calls_gives_the_same_bits():
    form = Form(3, 5)
    theta, data, offsets, _ = problem(form, 6, 7, ragged=True)

    def trained(seconds, most):
        return train(theta, data, offsets, None, form, solver_of("adam"), None, 1.0, 2,
                     np.random.default_rng(1).bit_generator, 5000, 0.0, 1, seconds=seconds, most=most)

    whole, cut = trained(1e9, 5000), trained(0.0, 7)
    np.testing.assert_array_equal(whole.theta, cut.theta)
    assert whole.losses == cut.losses and len(cut.losses) == 5000


def test_drivers_refuse_arrays_that_do_not_fit():
    form = Form(3, 5)
    theta, data, offsets, weights = problem(form, 4, 2, ragged=False)
    batch = Batch(data, offsets)
    for bad in [(theta[:-1], data, weights), (theta, data, weights[:-1]), (theta, data[:-1], weights),
                (theta, np.ascontiguousarray(data[:, :2]), weights), (theta.astype(float), data, weights),
                (theta, data, weights.astype(float)), (theta[None], data, weights)]:
        with pytest.raises(ValueError):
            gradient(bad[0], bad[1], offsets, bad[2], form)
    objective = _objectives.objective_of(form, batch)
    for grad in (Blocks(form, float), Blocks(Form(3, 4), np.float32), Blocks(form, np.float32, by_row=["W_xh"])):
        with pytest.raises(ValueError):
            objective.loss_and_grad(theta, grad)
    with pytest.raises(ValueError):
        _codes.encode(theta, Batch(data.astype(float), offsets), form)
    with pytest.raises(ValueError):
        _codes.unroll(theta, np.zeros((2, 4), np.float32), offsets, form, True)
    with pytest.raises(ValueError):
        _codes.unroll(theta, np.zeros((3, 5), np.float32), offsets, form, True)
    assert _codes.step(theta, np.zeros((2, 5), np.float32), data[:1], form) is None
    updates = Updates(form, solver_of("adam"), [Blocks(form, np.float32)] * 2, None, 1.0, True)
    for bad in ([Blocks(form, np.float32)], [Blocks(form, float)] * 2, [Blocks(Form(3, 4), np.float32)] * 2):
        with pytest.raises(ValueError):
            Updates(form, solver_of("adam"), bad, None, 1.0, True)
    with pytest.raises(ValueError):
        updates.once(theta.astype(float), objective, Record())
    with pytest.raises(ValueError):
        Passes(objective, updates, Record(), 3, 1)
    for rows, bounds in [(data, [0, 4]), (data, [0, 0, 8]), (data, [1, 8]), (data[::2], [0, 4]), (data[:, ::2], [0, 8]),
                         (data.astype(int), offsets), (data.tolist(), offsets)]:
        with pytest.raises(ValueError):
            Batch(rows, bounds)
    with pytest.raises(ValueError):
        _products.use_gemm("mkl")
