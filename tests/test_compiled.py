"""Compiled classes called directly, with what the estimators never pass: an error, and no memory but their own."""

import copy
import pickle

import numpy as np
import pytest
from problems import solver_of

from rae_fast import RAE, _codes, _objectives
from rae_fast._batch import Batch
from rae_fast._form import Blocks, Form
from rae_fast._objective import Objective
from rae_fast._record import Record
from rae_fast._training import Passes, Updates
from rae_fast.solvers import SOLVERS

I, H = 3, 4
FORM = Form(I, H)
X = np.random.default_rng(0).standard_normal((6, 5, I))


def batch_of(X=X):
    return Batch(X.reshape(-1, I).copy(), np.arange(0, X.size // I + 1, X.shape[1]))


def theta_of(seed=0):
    theta = FORM.empty(np.float64)
    theta[:] = np.random.default_rng(seed).standard_normal(FORM.size) * 0.3
    return theta


def updates_of(name="sgd", scale=None, **numbers):
    solver = solver_of(name=name, **numbers)
    return Updates(FORM, solver, [Blocks(FORM, np.float64) for _ in solver.kind.state], scale, 1.0, False)


@pytest.mark.parametrize("offsets, message", [
    (None, "integers"), ([0, 1.5, 3], "integers"), ([0, 2], "does not fit"), ([1, 3], "does not fit"),
    ([0, 2, 2, 3], "sequence 1 has no steps"), ([0, 4, 3], "no steps"), ([0], "does not fit"),
    ([[0, 3]], "does not fit"),
])
def test_batches_refuse_offsets(offsets, message):
    with pytest.raises(ValueError, match=message):
        Batch(np.zeros((3, 2)), offsets)


@pytest.mark.parametrize("data", [np.zeros((3, 0)), np.zeros((3, 2), int), np.zeros((2, 3)).T, [[0.0]], None])
def test_batches_refuse_data(data):
    with pytest.raises(ValueError, match="data must"):
        Batch(data, [0, 3])


def test_a_batch_is_its_own_and_can_be_copied():
    offsets = np.array([0, 2, 5])
    batch = Batch(np.arange(10.0).reshape(5, 2), offsets, True)
    offsets[1] = 10**9
    with pytest.raises(ValueError, match="read-only"):
        batch.offsets[1] = 10**9
    for again in (copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        np.testing.assert_array_equal(again.data, batch.data)
        assert again.offsets.tolist() == [0, 2, 5] and again.is_list
    empty = Batch.__new__(Batch)
    assert empty.surely_distributions() and empty.first_not_finite() == -1
    with pytest.raises(ValueError, match="of 0 sequences"):
        _objectives.objective_of(FORM, empty)


@pytest.mark.parametrize("arguments", [{"batch_size": -1}, {"batch_size": 7}, {"n_jobs": 0}, {"n_jobs": -5},
                                       {"max_memory": -1}])
def test_objectives_refuse_sizes(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        _objectives.objective_of(FORM, batch_of(), **arguments)


@pytest.mark.parametrize("choice", ["objective", "decoder", "output"])
def test_unknown_choices(choice):
    with pytest.raises(ValueError, match=f"{choice}.*'other'"):
        _objectives.objective_of(Form(I, H, **{choice: "other"}), batch_of())


def test_objectives_without_a_batch():
    empty, given_back = Objective(), _objectives.borrow(FORM, batch_of(), None, 2**30, 1)
    with pytest.raises(ValueError, match="objective_of"):
        empty.new_gradient()
    _objectives.give_back(given_back)
    for objective in (empty, given_back):
        with pytest.raises(ValueError, match="no batch"):
            objective.loss_and_grad(theta_of(), Blocks(FORM, np.float64))
        with pytest.raises(ValueError):
            updates_of().once(theta_of(), objective, Record())


def test_a_gradient_needs_memory_that_can_be_written():
    memory = np.frombuffer(bytes(FORM.size * 8))
    for refuses in (lambda grad: _objectives.objective_of(FORM, batch_of()).loss_and_grad(theta_of(), grad),
                    lambda grad: updates_of().apply(theta_of(), grad, 1.0, None, Record())):
        with pytest.raises(ValueError, match="read-only"):
            refuses(Blocks(FORM, np.float64, memory=memory))
    assert not memory.any()


def test_an_objective_with_too_little_memory_is_refused():
    objective = _objectives.objective_of(FORM, batch_of(), batch_size=2)
    theta = theta_of()
    for refuses in (lambda: updates_of().once(theta, objective, Record()),
                    lambda: Passes(objective, updates_of(), Record(), 3, 1),
                    lambda: objective.loss_and_grad(theta, objective.new_gradient())):
        with pytest.raises(ValueError):
            refuses()
    np.testing.assert_array_equal(theta, theta_of())


@pytest.mark.parametrize("lengths", [0, -5, np.array([0, 3, 1]), np.array([0, -3, 5]), np.array([5, 6, 7]),
                                     np.array([0, 3]), np.array([0, 2, 2])])
def test_unrolling_refuses_lengths(lengths):
    for n in (2, 20):
        with pytest.raises(ValueError, match="step|fit"):
            _codes.unroll(theta_of(), np.zeros((n, H)), lengths, FORM, True)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("solver", [name for name, kind in SOLVERS.items() if not kind.whole])
def test_a_gradient_applied_is_an_update(solver, scaled):
    """Computing a gradient and applying it are two calls; a gradient may come from elsewhere."""
    scale = Blocks(FORM, np.float64, ("W_xh",), np.full(FORM.n_inputs + 7, 0.5)) if scaled else None
    once, apart = updates_of(solver, scale, clip_norm=1.0), updates_of(solver, scale, clip_norm=1.0)
    theta, other = theta_of(), theta_of()
    objective, record, other_record = _objectives.objective_of(FORM, batch_of()), Record(5), Record(5)
    for _ in range(3):
        assert once.once(theta, objective, record)
        grad = objective.new_gradient()
        loss = objective.loss_and_grad(other, grad)
        assert apart.apply(other, grad, loss, objective.batch.common_length, other_record)
    np.testing.assert_array_equal(theta, other)
    assert record.loss_curve == other_record.loss_curve and record.n_updates == other_record.n_updates == 3
    before = other.copy()
    grad.memory[0] = np.inf
    assert not apart.apply(other, grad, 1.0, 5, other_record) and not apart.apply(other, grad, np.nan, 5, other_record)
    np.testing.assert_array_equal(other, before)
    assert other_record.n_updates == 3


def test_a_copy_learns_by_itself():
    model = RAE(H, max_iter=3, random_state=0).fit(X)
    theta, curve = model.theta_.copy(), list(model.loss_curve_)
    for again in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.theta_.ctypes.data % 64 == 0
        again.partial_fit(X).set_params(solver="sgd", learning_rate=1e-3).partial_fit(X)
        again.theta_ = np.zeros_like(theta)
        np.testing.assert_array_equal(model.theta_, theta)
        assert model.loss_curve_ == curve and model.n_updates_ == 3
