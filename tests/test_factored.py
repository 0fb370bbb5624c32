"""Outputs in factors, and gradients by rows: the same model as the dense update makes, at any rate and in any order."""

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from problems import pairwise, scale_of, solver_of
from test_tokens import FORMS, SIZES, ids_batch, sparse_batch, written_out

from rae_fast import RAE, _factored, _objectives, _products, parameters, reference
from rae_fast._batch import SparseBatch
from rae_fast._factored import OutputFactor
from rae_fast._form import Blocks, Form
from rae_fast._record import Record
from rae_fast._training import Passes, Updates

UNTIED = [name for name in FORMS if "tied" not in name]
OUTPUTS = ["linear", "spherical"]


def distributions(batch):
    """Its rows, as distributions over some features."""
    if batch.is_ids:
        return batch
    values = np.abs(batch.values)
    rows = np.repeat(np.arange(batch.n_rows), np.diff(batch.starts))
    values /= np.bincount(rows, values, batch.n_rows).astype(values.dtype)[rows]
    return type(batch)(batch.columns, batch.offsets, batch.n_features, batch.dtype, True, values, batch.starts)


RNG = np.random.default_rng(0)
IDS = [RNG.integers(0, 60, n) for n in RNG.integers(1, 8, 40)]


def limits(most, at_once):
    """How far factors may grow, for those that are made within."""
    class Limits:
        def __enter__(self):
            self.before = _factored.use_limits(most, at_once)

        def __exit__(self, *_):
            _factored.use_limits(*self.before)

    return Limits()


class Pair:
    """One model updated by the dense update and by the factored one."""

    def __init__(self, form, dtype, rate, scaled=False, seed=0, solver="sgd", **settings):
        rng = np.random.default_rng(seed)
        self.form, self.single = form, dtype is np.float32
        theta = parameters.initialise(form, 0.3 / np.sqrt(form.n_hidden), rng, np.dtype(dtype))
        self.dense, self.factored = theta, theta.copy()
        scale, unit, bias = None, 1.0, 1.0
        if scaled:
            scale, unit = scale_of(form, dtype, 0.5, 1.5), 2.0
            bias = float(scale.views()["c_x"] / scale.views()["V_hx"])
        solver = solver_of(solver, rate, **settings)
        self.outputs = OutputFactor(form, self.single, bias)
        self.updates = [Updates(form, solver, [], scale, unit, self.single),
                        Updates(form, solver, [], scale, unit, self.single, True, rate)]
        self.records = Record(None), Record(None)

    def update(self, batch, weights, **options):
        """One update of both; the relative difference of their losses."""
        made = []
        for theta, updates, record, more in zip((self.dense, self.factored), self.updates, self.records,
                                                ({}, {"by_rows": True, "outputs": self.outputs})):
            objective = _objectives.objective_of(self.form, batch, weights, **options, **more)
            made.append(updates.once(theta, objective, record))
        assert made[0] == made[1]
        losses = [record.loss_curve[-1] for record in self.records]
        return abs(losses[0] - losses[1]) / max(losses[0], 1e-3)

    def difference(self):
        self.outputs.make_true(self.factored)
        return np.abs(self.dense - self.factored).max() / np.abs(self.dense).max()


def some_batch(make, V, lengths, dtype, rng):
    batch = make(V, lengths, dtype, rng)
    return batch, ((rng.random(len(lengths)) + 0.5) / len(lengths)).astype(dtype)


SETTINGS = {"plain": {}, "decay": {"weight_decay": 0.05}, "clip": {"clip_norm": 0.5}, "units": {"scaled": True},
            "all": {"scaled": True, "clip_norm": 0.1, "weight_decay": 0.05}}
OPTIONS = {"plain": {}, "threads": {"n_jobs": 3}, "spans": {"max_memory": 0}}


@pytest.mark.parametrize("output, name, size, kind, settings, dtype, options",
                         pairwise(OUTPUTS, UNTIED, list(SIZES), ["ids", "rows"], list(SETTINGS),
                                  ["float32", "float64"], list(OPTIONS)))
def test_updates_are_the_dense_ones(output, name, size, kind, settings, dtype, options, isa, gemm, seed):
    make, dtype = ids_batch if kind == "ids" else sparse_batch, np.dtype(dtype).type
    V, H, lengths = SIZES[size]
    rng = np.random.default_rng([seed, V])
    form, rate = Form(V, H, output=output, **FORMS[name]), min(0.004, 0.1 / max(lengths))
    pair = Pair(form, dtype, rate, seed=seed, **SETTINGS[settings])
    worst = 0.0
    with limits(3, 20):  # corrections and folds within few updates
        for _ in range(12):
            batch, weights = some_batch(make, V, rng.permutation(lengths), dtype, rng)
            batch = batch if output == "linear" else distributions(batch)
            worst = max(worst, pair.update(batch, weights, **OPTIONS[options]))
    tolerance = 1e-11 if dtype is np.float64 else 2e-5
    assert max(worst, pair.difference()) < tolerance


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("V, H, form, make", [(8, 8, "unfold", ids_batch), (2000, 64, "unfold", ids_batch),
                                              (300, 24, "stepwise", sparse_batch), (60, 24, "code", ids_batch)])
def test_a_thousand_updates(V, H, form, make, output, dtype, tolerance):
    rng = np.random.default_rng(V)
    # Near 0 the loss of a spherical output is steep, as V is: at a larger rate rounding grows in the dense update too.
    pair = Pair(Form(V, H, output=output, **FORMS[form]), dtype, 0.01 if output == "linear" else 0.1 / V)
    worst = 0.0
    for _ in range(1000):
        batch, weights = some_batch(make, V, rng.integers(1, 8, 5), dtype, rng)
        worst = max(worst, pair.update(batch if output == "linear" else distributions(batch), weights))
    assert pair.outputs.n_corrections > 0 or output == "spherical"
    assert max(worst, pair.difference()) < tolerance


def factors_hold(pair):
    """How far U U^-1 is from the identity, and U'Q U from W'W."""
    U, U_inv, Q = pair.outputs.factors()
    p = pair.form.views(pair.dense)
    W = np.column_stack([p["V_hx"].T, p["c_x"] / pair.outputs.bias]).astype(np.float64)
    return np.abs(U @ U_inv - np.eye(len(U))).max(), np.abs(U.T @ Q @ U - W.T @ W).max() / np.abs(W.T @ W).max()


@pytest.mark.parametrize("most", [16, 64, 512, 8192])
def test_errors_are_those_of_rounding_times_the_square_of_the_limit(most):
    rng = np.random.default_rng(0)
    with limits(most, 1e6):
        pair = Pair(Form(50, 8, "unfold", "tanh"), np.float64, 0.02)
    for _ in range(1000):
        pair.update(*some_batch(ids_batch, 50, rng.integers(1, 8, 8), np.float64, rng))
    assert pair.outputs.n_corrections > 15
    assert pair.difference() < 10 * np.finfo(float).eps * most**2


def test_the_squares_kept_are_those_of_what_is_stored():
    """Q follows V as float32 rounds it, or it would drift."""
    pair = Pair(Form(30, 6, "unfold", "tanh"), np.float32, 1e-3)
    for _ in range(40):
        pair.update(*some_batch(ids_batch, 30, [3, 4], np.float32, RNG))
    assert pair.outputs.n_corrections == pair.outputs.n_folds == 0
    p = pair.form.views(pair.factored)  # V, for nothing was folded
    V = np.column_stack([p["V_hx"].T, p["c_x"]]).astype(np.float64)
    U, _, Q = pair.outputs.factors()
    assert not np.allclose(U, np.eye(7), atol=1e-3)
    np.testing.assert_allclose(Q, V.T @ V, rtol=0, atol=1e-13 * np.abs(Q).max())


@pytest.mark.parametrize("n", [pytest.param(10_000, id="ten thousand"),
                               pytest.param(100_000, id="a hundred thousand", marks=pytest.mark.slow)])
def test_drift_stays_bounded_where_the_uncontrolled_form_diverges(n):
    rng = np.random.default_rng(0)
    form = Form(20, 4, "unfold", "tanh")
    pair = Pair(form, np.float64, 0.02)
    with limits(1e300, 1e300):
        uncontrolled = Pair(form, np.float64, 0.02)
    lost = None
    for i in range(n):
        batch, weights = some_batch(ids_batch, 20, [4, 2, 3], np.float64, rng)
        assert pair.update(batch, weights) < 1e-9
        if lost is None:
            try:
                if not uncontrolled.update(batch, weights) < 1e-3:
                    lost = i
            except AssertionError:  # one update could be made and the other could not
                lost = i
    assert lost is not None and lost < 2000
    inverse, squares = factors_hold(pair)
    assert inverse < 1e-9 and squares < 1e-9
    assert pair.difference() < 1e-9
    assert pair.outputs.n_corrections > n / 50


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
@pytest.mark.parametrize("lengths", [[2], [7] * 9])
def test_updates_by_which_a_factor_would_become_singular_are_made_dense(lengths, dtype, tolerance):
    """2 rate A has the eigenvalue 1 in some updates, and passes it in others; of few rows and of many."""
    rng = np.random.default_rng(0)
    with limits(64, 3):
        pair = Pair(Form(30, 6, "unfold", "tanh"), dtype, 0.4 / lengths[0])
    worst = max(pair.update(*some_batch(ids_batch, 30, lengths, dtype, rng)) for _ in range(50))
    assert pair.outputs.n_dense_updates > 0
    assert max(worst, pair.difference()) < tolerance


def test_exactly_singular():
    """One state, and a rate that is the inverse of its square: with 1 / 2 of |[h, 1]|^2 the factor would be 0 there."""
    form = Form(4, 3, "unfold", "tanh")
    theta = form.empty(np.float64)
    theta[:] = 0
    form.views(theta)["V_hx"][...] = np.arange(12.0).reshape(3, 4)
    batch = ids_batch(4, [1], np.float64, RNG)  # its state is 0, and [h, 1] has the length 1
    outputs, record = OutputFactor(form, False), Record(1)
    expected = theta.copy()
    for target, more, by_rows in ((expected, {}, ()), (theta, {"by_rows": True, "outputs": outputs}, (True, 0.5))):
        updates = Updates(form, solver_of("sgd", 0.5), [], None, 1.0, False, *by_rows)
        assert updates.once(target, _objectives.objective_of(form, batch, **more), record)
    outputs.make_true(theta)
    assert outputs.n_dense_updates == 1
    np.testing.assert_allclose(theta, expected, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_update_that_would_overflow_is_not_made(dtype):
    form = Form(30, 6, "unfold", "tanh")
    pair = Pair(form, dtype, float(np.finfo(dtype).max) / 100)
    batch, weights = some_batch(ids_batch, 30, [3, 4], dtype, RNG)
    before = pair.factored.copy()
    objective = _objectives.objective_of(form, batch, weights, by_rows=True, outputs=pair.outputs)
    for _ in range(3):
        if not pair.updates[1].once(pair.factored, objective, pair.records[1]):
            break
        pair.outputs.make_true(pair.factored)
        before = pair.factored.copy()
    else:
        pytest.fail("it was made")
    pair.outputs.make_true(pair.factored)
    np.testing.assert_array_equal(pair.factored, before)
    assert np.isfinite(before).all()


def test_rows_that_would_overflow_alone_are_not_moved():
    """Outputs of 0 send no gradient back: nothing but the rows themselves becomes too large."""
    form = Form(30, 6, "unfold", "tanh")
    theta = parameters.initialise(form, 0.3, np.random.default_rng(0), np.dtype(np.float32))
    form.views(theta)["V_hx"][...] = form.views(theta)["c_x"][...] = 0
    for lengths in ([2], [3, 4]):  # few states and many
        ids = ids_batch(30, lengths, np.float32, RNG)
        batch = type(ids)(ids.columns, ids.offsets, 30, np.float32, True, np.full(ids.n_rows, 1e35, np.float32))
        outputs, before = OutputFactor(form, True), theta.copy()
        for rate, made in ((1e-38, True), (3e3, False)):
            updates = Updates(form, solver_of("sgd", 1e-38), [], None, 1.0, True, True, rate)
            objective = _objectives.objective_of(form, batch, by_rows=True, outputs=outputs)
            assert updates.once(theta, objective, Record(None)) == made
        outputs.make_true(theta)
        np.testing.assert_allclose(theta, before, rtol=0, atol=0.1)
        theta[:] = before


@pytest.mark.parametrize("lengths", [[2], [3, 4]])
def test_weights_that_would_overflow_by_a_fold_alone_stay(lengths):
    """Rows of targets without non-zeros name nothing: all weights move by W A."""
    form = Form(30, 6, "unfold", "tanh")
    theta = parameters.initialise(form, 0.3, np.random.default_rng(0), np.dtype(np.float32))
    n = sum(lengths)
    batch = SparseBatch(np.zeros(0, int), np.cumsum([0, *lengths]), 30, np.float32, True, np.zeros(0, np.float32),
                        np.zeros(n + 1, int))
    outputs, before = OutputFactor(form, True), theta.copy()
    objective = _objectives.objective_of(form, batch, by_rows=True, outputs=outputs)
    for rate, made in ((1e-3, True), (3e38, False)):
        updates = Updates(form, solver_of("sgd", 1e-38), [], None, 1.0, True, True, rate)
        assert updates.once(theta, objective, Record(None)) == made
    outputs.make_true(theta)
    np.testing.assert_allclose(theta, before, rtol=0, atol=0.1)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_corrections_that_rows_have_missed_and_folds_in_their_place(most, monkeypatch):
    """Rows that are named now and then, with far more corrections than wait at a time."""
    rng = np.random.default_rng(most)
    with limits(1.0 + most, 1e4):
        pair = Pair(Form(400, 5, "unfold", "tanh"), np.float64, 0.1)
    for i in range(700):
        batch, weights = some_batch(ids_batch, 400 if i % 50 == 0 else 6, [3, 2], np.float64, rng)
        batch = type(batch)(batch.columns, batch.offsets, 400, np.float64, True)
        assert pair.update(batch, weights) < 1e-9
    assert pair.outputs.n_folds > 0 and pair.outputs.n_corrections > 256
    assert pair.difference() < 1e-10


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_a_batch_of_several_parts(dtype, tolerance):
    rng = np.random.default_rng(0)
    pair = Pair(Form(500, 20, "unfold", "tanh"), dtype, 1e-3)
    for _ in range(4):
        assert pair.update(*some_batch(ids_batch, 500, rng.integers(20, 60, 64), dtype, rng)) < tolerance
    assert pair.difference() < tolerance


def test_threads_change_no_bit():
    form = Form(500, 20, "unfold", "tanh")
    rng = np.random.default_rng(0)
    batch, weights = some_batch(ids_batch, 500, rng.integers(20, 60, 64), np.float32, rng)
    found = []
    for n_jobs in (1, 2, 3):
        theta = parameters.initialise(form, 0.1, np.random.default_rng(1), np.dtype(np.float32))
        outputs = OutputFactor(form, True)
        objective = _objectives.objective_of(form, batch, weights, 32, n_jobs=n_jobs, by_rows=True, outputs=outputs)
        Passes(objective, Updates(form, solver_of("sgd", 1e-3), [], None, 1.0, True, True, 1e-3), Record(), 32, 5,
               bit_generator=np.random.PCG64(0)).run(theta, 5, 1e9)
        outputs.make_true(theta)
        found.append(theta)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("n, m", [(1, 1), (5, 3), (16, 20), (17, 1), (50, 33), (129, 129)])
@pytest.mark.parametrize("own", [True, False])
def test_solutions(n, m, own):
    rng = np.random.default_rng(n)
    A = rng.standard_normal((n, n)) / (3 * np.sqrt(n))
    A = np.eye(n) + A @ A.T
    B = rng.standard_normal((n, m))
    expected = np.linalg.solve(A, B)
    assert _products.solve_(A.copy(), B, 1e-3, own)
    np.testing.assert_allclose(B, expected, rtol=0, atol=1e-12)
    A[n - 1] = A[:, n - 1] = 0
    assert not _products.solve_(A, np.ones((n, m)), 1e-3, own)


# ---- by rows ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("solver", ["adam", "momentum", "rmsprop", "adadelta", "nesterov", "rprop"])
@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.3, "weight_decay": 0.1}], ids=str)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype, output, make", [(np.float64, "softmax", ids_batch),
                                                 (np.float32, "linear", sparse_batch)])
def test_rows_that_a_batch_does_not_name_rest(solver, settings, scaled, dtype, output, make):
    """As torch.optim.SparseAdam has it: they and their state stay, and the count of updates goes on."""
    form = Form(15, 6, "unfold", "tanh", output)
    rng = np.random.default_rng(3)
    theta = parameters.initialise(form, 0.3, rng, np.dtype(dtype))
    expected = theta.astype(np.float64)
    method = solver_of(solver, 0.05, **settings)
    scale, unit = (scale_of(form, dtype), 2.0) if scaled else (None, 1.0)
    state = [Blocks(form, dtype) for _ in method.kind.state]
    for name, attribute in method.kind.starts_at:
        state[method.kind.state.index(name)].memory[:] = getattr(method, attribute)
    twin = [blocks.memory.astype(np.float64) for blocks in state]
    factors = None
    if scaled:
        factors = form.empty(np.float64)
        for name, view in form.views(factors).items():
            view[...] = scale.views()[name]
    updates, record = Updates(form, method, state, scale, unit, dtype is np.float32, True), Record(None)
    for t in range(1, 9):
        batch, weights = some_batch(make, 15, rng.integers(1, 4, 3), dtype, rng)
        rests = form.empty(np.float64)
        rests[:] = 0
        form.views(rests)["W_xh"][np.setdiff1d(np.arange(15), batch.columns)] = 1
        _, grad = reference.loss_and_grad(expected, batch.data.astype(np.float64), batch.offsets, weights, form)
        rows = rests == 0
        moving, kept = expected[rows], [x[rows] for x in twin]
        reference.update(method, 0.05, grad[rows], kept, None if factors is None else factors[rows], unit, t, moving)
        expected[rows] = moving
        for x, values in zip(twin, kept):
            x[rows] = values
        assert updates.once(theta, _objectives.objective_of(form, batch, weights, by_rows=True), record)
        tolerance = 1e-10 if dtype is np.float64 else 1e-3
        np.testing.assert_allclose(theta, expected, rtol=0, atol=tolerance)
        for x, blocks in zip(twin, state):
            np.testing.assert_allclose(blocks.memory, x, rtol=0, atol=tolerance * max(1, np.abs(x).max()))


def test_plain_descent_by_rows_decays_the_others_too():
    rng = np.random.default_rng(0)
    for scaled in (False, True):
        pair = Pair(Form(30, 5, "unfold", "tanh"), np.float64, 0.01, scaled=scaled, weight_decay=0.5)
        assert pair.update(*some_batch(ids_batch, 30, [3, 2], np.float64, rng)) < 1e-12
        assert pair.difference() < 1e-14


# ---- the estimator -----------------------------------------------------------------------------------

def model_of(output_update, **settings):
    settings = {"init": "normal", "init_scale": 0.3, "learning_rate": 0.05, "relative_rates": False, "max_iter": 5,
                "batch_size": 6, "n_features": 60, "output": "linear", "solver": "sgd", "random_state": 0} | settings
    return RAE(6, output_update=output_update, **settings)


@pytest.mark.parametrize("settings", [{}, {"relative_rates": True, "init": "linear", "learning_rate": 0.5},
                                      {"objective": "stepwise"}, {"n_code": 3, "max_iter": 3},
                                      {"weight_decay": 1e-2, "clip_norm": 1.0}, {"early_stopping": True, "tol": 1e-3},
                                      {"schedule": "constant", "shuffle": False}, {"n_jobs": 2},
                                      {"output": "spherical"}], ids=str)
def test_fits_are_the_dense_ones(settings):
    dense, factored = (model_of(how, **settings).fit(IDS) for how in ("dense", "factored"))
    written = model_of("dense", **settings).fit([np.eye(60)[x] for x in IDS])
    assert (dense.output_update_, factored.output_update_) == ("dense", "factored")
    for other in (dense, written):
        np.testing.assert_allclose(factored.theta_, other.theta_, rtol=0, atol=1e-12)
        np.testing.assert_allclose(factored.loss_curve_, other.loss_curve_, rtol=1e-11)


def test_weights_are_true_whenever_they_are_looked_at():
    dense, factored = model_of("dense"), model_of("factored")
    kept = None
    for i in range(60):
        part = [IDS[j] for j in RNG.integers(0, len(IDS), 4)]
        dense.partial_fit(part)
        factored.partial_fit(part)
        if i == 10:
            factored = pickle.loads(pickle.dumps(factored))
        if i == 20:
            factored = copy.deepcopy(factored)
        if i == 30:
            kept, block = factored.theta_, factored.parameters_["V_hx"][2:4]
        if kept is not None and i >= 30:  # also of what is left of a view when its owner has gone
            np.testing.assert_allclose(block, dense.parameters_["V_hx"][2:4], rtol=0, atol=1e-12)
        if i == 35:
            kept[:7] += 0.01
            block[0] += 0.01
            dense.theta_[:7] += 0.01
            dense.parameters_["V_hx"][2] += 0.01
        if i == 40:
            kept = True
        if i == 45:
            kept = block = None
        if i == 50:
            factored.theta_ = factored.theta_.copy()
        np.testing.assert_allclose(factored.transform(part), dense.transform(part), rtol=0, atol=1e-12)
        if i % 7 == 0:
            np.testing.assert_allclose(factored.reconstruct(part[0], symbols=False),
                                       dense.reconstruct(part[0], symbols=False), rtol=0, atol=1e-11)
            np.testing.assert_allclose(factored.loss_and_grad(part)[0], dense.loss_and_grad(part)[0], rtol=1e-11)
    np.testing.assert_allclose(factored.theta_, dense.theta_, rtol=0, atol=1e-12)
    assert factored.output_update_ == "factored"


def test_dense_rows_between_ids():
    dense, factored = (model_of(how, n_features=400, learning_rate=1e-3) for how in ("dense", "auto"))
    for _ in range(5):
        for X in (IDS[:6], [np.eye(400)[x] for x in IDS[:5]]):
            dense.partial_fit(X)
            factored.partial_fit(X)
            assert factored.output_update_ == ("factored" if X[0].ndim == 1 else "dense")
    np.testing.assert_allclose(factored.theta_, dense.theta_, rtol=0, atol=1e-12)


def test_files_and_checkpoints(tmp_path):
    model = model_of("factored").fit(IDS)
    model.save(tmp_path / "model")
    again = RAE.load(tmp_path / "model")
    assert again.output_update_ == "factored"
    np.testing.assert_array_equal(again.theta_, model.theta_)
    assert again.partial_fit(IDS[:4]).output_update_ == "factored"
    whole = model_of("factored", max_iter=8).fit(IDS)
    stopped = model_of("factored", max_iter=8, checkpoint=tmp_path / "checkpoint", report_every=1,
                       callbacks=lambda model: model.n_iter_ == 3).fit(IDS)
    assert stopped.n_iter_ == 3
    stopped.callbacks = None
    np.testing.assert_allclose(stopped.fit(IDS, resume=True).theta_, whole.theta_, rtol=0, atol=1e-13)


def test_which_update_is_chosen_and_shown(capsys):
    assert model_of("auto").fit(IDS).output_update_ == "dense"
    assert model_of("auto", n_features=5000, verbose=1).fit(IDS).output_update_ == "factored"
    assert "outputs in factors" in "".join(capsys.readouterr())
    for other in ({"solver": "adam"}, {"output": "softmax"}, {"tied": True}, {"output_update": "dense"}):
        model = model_of("auto", n_features=5000, max_iter=1).set_params(**other)
        assert model.fit(IDS).output_update_ == "dense", other


@pytest.mark.parametrize("settings, X, message", [
    ({"output": "softmax"}, IDS, "a softmax needs every output"), ({"tied": True}, IDS, "tied=False"),
    ({"solver": "lbfgs"}, IDS, "update by update"), ({}, [np.eye(60)[x] for x in IDS], "X is dense"),
    ({"output_learning_rate": 0}, IDS, "output_learning_rate"),
    ({"output_update": "all"}, IDS, "output_update must be")])
def test_refusals(settings, X, message):
    model = model_of("factored").set_params(**settings)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert not hasattr(model, "theta_")


def test_beside_another_solver():
    """The output rows take plain descent by a rate of their own, on request."""
    settings = {"solver": "adam", "schedule": "constant", "learning_rate": 1e-3, "max_iter": 1, "batch_size": 40}
    model = model_of("factored", output_learning_rate=0.02, **settings).fit(IDS)
    start = model_of("dense", **{**settings, "max_iter": 0}).fit(IDS)
    grad = start.loss_and_grad(IDS)[1]
    for name in ("V_hx", "c_x"):
        np.testing.assert_allclose(model.parameters_[name], start.parameters_[name] - 0.02 * grad[name], atol=1e-14)
    adam = model_of("dense", **settings).fit(IDS)
    np.testing.assert_allclose(model.parameters_["W_hh"], adam.parameters_["W_hh"], atol=1e-14)
    assert not np.allclose(model.parameters_["V_hx"], adam.parameters_["V_hx"])


def test_errors_without_outputs_are_those_of_the_outputs():
    X = [scipy.sparse.random_array((n, 300), density=0.01, rng=RNG, format="csr") for n in (3, 5, 9)]
    for data, n_code, output in ((IDS, None, "linear"), (X, None, "linear"), (IDS, 3, "linear"),
                                 (IDS, 3, "spherical")):
        model = model_of("auto", n_features=300, n_code=n_code, learning_rate=1e-3, output=output,
                         decoder="linear" if n_code else "tanh").fit(data)
        written = [x.toarray() if scipy.sparse.issparse(x) else np.eye(300)[x] for x in data]
        np.testing.assert_allclose(model.reconstruction_error(data), model.reconstruction_error(written), rtol=1e-10)
        for mine, theirs in zip(model.reconstruction_error(data, per="step", reduce="mean"),
                                model.reconstruction_error(written, per="step", reduce="mean")):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10)


def test_of_several_threads_that_look_one_folds():
    model = model_of("factored", n_features=3000).partial_fit(IDS)
    expected = copy.deepcopy(model).reconstruction_error(IDS)
    for _ in range(10):
        model.partial_fit(IDS)
        outputs, before = model._learned.outputs, model._learned.outputs.n_folds
        barrier, found = threading.Barrier(3), []

        def look(barrier=barrier, found=found):
            barrier.wait()
            found.append(model.reconstruction_error(IDS))

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outputs.n_folds <= before + 1
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], expected)


def test_threads_that_look_while_another_learns():
    models = [model_of("factored", n_features=3000, learning_rate=1e-3) for _ in range(2)]
    over = threading.Event()

    def look():
        while not over.wait(1e-4):
            if hasattr(models[0], "theta_"):
                models[0].parameters_["V_hx"].sum()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for model in models:
            for _ in range(60):
                model.partial_fit(IDS)
    finally:
        over.set()
        thread.join()
    np.testing.assert_allclose(models[0].theta_, models[1].theta_, rtol=0, atol=1e-12)


def test_what_a_user_keeps_is_true_whatever_interrupts(monkeypatch):
    model, dense = (model_of(how).partial_fit(IDS) for how in ("factored", "dense"))
    mine = model.theta_.copy()
    model.theta_ = mine
    model.partial_fit(IDS)
    dense.partial_fit(IDS)
    np.testing.assert_allclose(mine, dense.theta_, rtol=0, atol=1e-12)
    kept = model.theta_
    monkeypatch.setattr(type(model), "_update_first", interrupted)
    monkeypatch.setattr(model, "learning_rate", 0.04)
    monkeypatch.setattr(dense, "learning_rate", 0.04)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(IDS)
    monkeypatch.undo()
    dense.learning_rate = 0.04
    dense.partial_fit(IDS)
    np.testing.assert_allclose(kept, dense.theta_, rtol=0, atol=1e-12)


def interrupted(model, kept, objective):
    """Ctrl-C that is heard right after an update."""
    kept.updates.once(kept.learned.memory, objective, kept.learned.record)
    raise KeyboardInterrupt


def test_memory_of_a_large_batch_is_that_of_its_features():
    X = RNG.integers(0, 700, (3000, 20))
    model = model_of("factored", n_features=700, dtype="float32").partial_fit(X[:2])
    tracemalloc.start()
    model.partial_fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e7  # 3000 x 20 slots of 13 numbers of 8 bytes, held and moved for each part, would be more


@pytest.mark.parametrize("scale", [1e20, 1e-22])
def test_data_far_from_1_are_left_to_the_dense_update(scale):
    X = [(scipy.sparse.random_array((5, 400), density=0.02, rng=RNG, format="csr") * scale).astype(np.float32)
         for _ in range(6)]
    model = RAE(6, solver="sgd", max_iter=3, random_state=0)
    assert model.fit(X).output_update_ == "dense" and np.isfinite(model.theta_).all()
    with pytest.raises(ValueError, match="data near 1"):
        model.set_params(output_update="factored").fit(X)


def test_an_update_that_was_not_made_is_none():
    model = model_of("dense").partial_fit(IDS)
    model.set_params(output_update="factored", learning_rate=1e300)
    with pytest.raises(FloatingPointError):
        model.partial_fit(IDS)
    assert model.output_update_ == "dense"


def test_memory_that_is_asked_for(monkeypatch):
    """In factors nothing but theta is as long as the vocabulary."""
    from rae_fast import sizes
    size = RAE(6, n_features=5000, output="linear", max_iter=0).fit(IDS).theta_.nbytes
    monkeypatch.setattr(sizes.os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 2 * size)
    assert model_of("auto", n_features=5000).fit(IDS).output_update_ == "factored"
    with pytest.raises(ValueError, match="this machine has"):
        model_of("dense", n_features=5000).fit(IDS)


def test_hostile_calls():
    form = Form(10, 3, "unfold", "tanh")
    for bad in (Form(10, 3, "unfold", "tanh", "softmax"), Form(10, 3, "unfold", "tanh", tied=True)):
        with pytest.raises(ValueError, match="only outputs without softmax"):
            OutputFactor(bad, False)
    for bias in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match="bias"):
            OutputFactor(form, False, bias)
    outputs, batch = OutputFactor(form, False), ids_batch(10, [3], np.float64, RNG)
    with pytest.raises(TypeError):
        pickle.dumps(outputs)
    with pytest.raises(ValueError):
        outputs.make_true(np.zeros(3))
    with pytest.raises(ValueError):
        outputs.make_true(form.empty(np.float32))
    for arguments in ({"outputs": outputs}, {"by_rows": True, "outputs": OutputFactor(form, True)},
                      {"by_rows": True, "outputs": OutputFactor(Form(10, 4), False)}):
        with pytest.raises(ValueError, match="factors"):
            _objectives.objective_of(form, batch, **arguments)
    with pytest.raises(ValueError, match="sparse rows"):
        _objectives.objective_of(form, written_out(batch), by_rows=True)
    with pytest.raises(ValueError, match="by rows"):
        Updates(form, solver_of(), [], None, 1.0, False, False, 0.1)
    plain = Updates(form, solver_of(), [], None, 1.0, False)
    by_rows = _objectives.objective_of(form, batch, by_rows=True)
    with pytest.raises(ValueError, match="another form"):
        plain.once(np.zeros(form.size), by_rows, Record(None))
    with pytest.raises(ValueError):
        by_rows.loss_and_grad(np.zeros(form.size), by_rows.new_gradient())
    with pytest.raises(ValueError, match="by rows"):
        updates = Updates(form, solver_of(), [], None, 1.0, False, True)
        updates.apply(np.zeros(form.size), Blocks(form, np.float64), 1.0, 3, Record(None))
