"""The short way of ready arrays and the long way of everything else give the same bits, and refuse the same input.

A list of sequences always goes the long way.
"""

import collections
import copy
import itertools
import os
import pickle
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from problems import FORMS, form_id

from rae_fast import RAE, _kernels, _quick, _sequence
from rae_fast.solvers import SOLVERS


def fitted(form, dtype, **params):
    """A model of that form, and two sequences for it."""
    rng = np.random.default_rng(0)
    X = rng.random((2, 6, 3)) + 0.1
    X /= X.sum(2, keepdims=True)
    params = {"init": "normal", "max_iter": 0, "random_state": 0} | form | params
    return RAE(5, **params).fit(X.astype(dtype)), X.astype(dtype)


def same(found, expected):
    np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS, ids=form_id)
def test_same_results(form, dtype):
    model, X = fitted(form, dtype)
    codes = model.transform(list(X))
    states, rows = np.stack(model.hidden_states(list(X))), np.stack(model.inverse_transform(codes, [6, 6]))
    loss, grads = model.loss_and_grad(list(X))
    assert _quick.states_of(model.theta_, X, model._form, True, 1) is not None  # this is the short way
    same(model.transform(X), codes)
    same(model.hidden_states(X), states)
    same(model.inverse_transform(codes), rows)
    same(model.inverse_transform(codes, 4), np.stack(model.inverse_transform(codes, [4, 4])))
    same(model.unroll(codes, 6), rows[:, ::-1])
    same(model.unroll(codes, 6, logits=True), np.stack(model.inverse_transform(codes, [6, 6], logits=True))[:, ::-1])
    found, named = model.loss_and_grad(X)
    assert found == loss and type(found) is type(loss)
    assert list(named) == list(grads)
    for name, grad in grads.items():
        same(named[name], grad)
        assert named[name].strides == grad.strides and named[name].flags.writeable
    same(model.transform(X[0]), model.transform([X[0]]))
    same(model.loss_and_grad(X[0])[1]["W_hh"], model.loss_and_grad([X[0]])[1]["W_hh"])
    state, out = np.full(5, 0.25, dtype), np.empty(5, dtype)
    after = model.step([state.tolist()], [X[0, 0].tolist()])[0]
    same(model.step(state, X[0, 0]), after)
    assert model.step(state, X[0, 0], out) is out
    same(out, after)
    assert model.step(state, X[0, 0], state) is state
    same(state, after)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relative_rates", [False, True])
@pytest.mark.parametrize("solver", [name for name in SOLVERS if name != "lbfgs"])
@pytest.mark.parametrize("form", FORMS[:3], ids=form_id)
def test_same_updates(form, solver, relative_rates, dtype):
    params = {"solver": solver, "relative_rates": relative_rates, "learning_rate": 0.01, "clip_norm": 5.0,
              "weight_decay": 1e-3}
    quick, X = fitted(form, dtype, **params)
    slow = copy.deepcopy(quick)
    for i in range(5):
        part = X if i % 2 else X[:1]
        quick.partial_fit(part)
        slow.partial_fit(list(part))
    assert "_updates" in quick.__dict__
    same(quick.theta_, slow.theta_)
    assert quick.loss_curve_ == slow.loss_curve_ and quick.n_updates_ == slow.n_updates_ == 5
    for name, array in slow.solver_state_.items():
        same(quick.solver_state_[name], array)


def short_way(model):
    """Whether partial_fit would take it now."""
    kept = model.__dict__.get("_updates")
    return kept is not None and kept.serves(model._form, model._settings(one_update=True), model.rate_scale_,
                                         model._loss_unit)


def test_whatever_is_set_is_seen_by_the_next_update():
    model, X = fitted(FORMS[0], "float64", solver="sgd", relative_rates=False, learning_rate=0.01)
    assert not short_way(model)
    model.partial_fit(X)
    assert short_way(model)
    before = model.theta_.copy()
    model.learning_rate = 1e-12
    assert not short_way(model)
    model.partial_fit(X)
    np.testing.assert_allclose(model.theta_, before, rtol=0, atol=1e-9)
    model.solver = "adam"
    model.partial_fit(X)
    assert model.n_updates_ == 1 and set(model.solver_state_) == set(SOLVERS["adam"].state)
    model.fit(X)
    assert not short_way(model)
    model.partial_fit(X)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert "_updates" not in twin.__dict__


@pytest.mark.parametrize("harm", [
    lambda m, X: m.partial_fit(np.full_like(X, np.nan)),
    lambda m, X: m.partial_fit(X[:, :, :2]),
    lambda m, X: m.partial_fit(X[:0]),
    lambda m, X: m.partial_fit(X[:, :0]),
    lambda m, X: m.partial_fit(X[0, 0]),
    lambda m, X: m.partial_fit(X * 2),        # no distributions
    lambda m, X: m.partial_fit(X - 1 / 3),
    lambda m, X: m.loss_and_grad(X * 2),
    lambda m, X: m.loss_and_grad(np.full_like(X, np.inf)),
    lambda m, X: m.transform(X[:, :, :2]),
    lambda m, X: m.hidden_states(np.full_like(X, np.nan)),
    lambda m, X: m.inverse_transform(np.full((1, 5), np.nan)),
    lambda m, X: m.inverse_transform(np.zeros((1, 4))),
    lambda m, X: m.inverse_transform(np.zeros((0, 5))),
    lambda m, X: m.unroll(np.zeros((1, 5)), 0),
    lambda m, X: m.step(np.zeros(5), np.zeros(2)),
    lambda m, X: m.step(np.zeros(5), np.zeros(3), np.zeros(4)),
    lambda m, X: m.step(np.zeros(5), np.full(3, np.nan)),
])
def test_bad_input_is_refused_by_a_model_that_is_ready(harm):
    softmax = next(form for form in FORMS if form["output"] == "softmax")
    model, X = fitted(softmax, "float64")
    model.partial_fit(X).partial_fit(X)
    before, record = model.theta_.copy(), (model.n_updates_, list(model.loss_curve_))
    with pytest.raises(ValueError):
        harm(model, X)
    same(model.theta_, before)
    assert (model.n_updates_, model.loss_curve_) == record
    model.partial_fit(X)


def test_an_update_that_would_overflow_is_not_made():
    model, X = fitted(FORMS[0], "float32", solver="sgd", relative_rates=False, learning_rate=1e-3)
    model.partial_fit(X)
    assert short_way(model)
    before = model.theta_.copy()
    with pytest.raises(FloatingPointError, match="at update 2"):
        model.partial_fit(X * np.float32(1e30))
    same(model.theta_, before)
    assert model.n_updates_ == 1 and len(model.loss_curve_) == 1


def test_parameters_and_states_that_are_not_ready():
    """Users may replace them: read-only ones are refused, others of another type are seen."""
    model, X = fitted(FORMS[0], "float64", solver="momentum", relative_rates=False, learning_rate=1e-3)
    model.partial_fit(X)
    theta = model.theta_.copy()
    theta.flags.writeable = False
    model.theta_ = theta
    assert model.transform(X).shape == (2, 5)
    with pytest.raises(ValueError, match="writeable"):
        model.partial_fit(X)
    model.theta_ = theta.astype(">f8")
    with pytest.raises(ValueError, match="theta_ must be"):
        model.transform(X)
    model.theta_ = theta[:-1].copy()
    with pytest.raises(ValueError, match="theta_ must be"):
        model.loss_and_grad(X)
    model.theta_ = theta.copy()
    name = next(iter(model.solver_state_))
    model.solver_state_[name] = model.solver_state_[name][:-1]
    with pytest.raises(ValueError, match="arrays of"):
        model.partial_fit(X)
    same(model.theta_, theta)


def test_a_scale_that_is_replaced_or_grows_is_seen():
    """What rates are relative to bounds how large a step may be."""
    model, X = fitted(FORMS[0], "float32", solver="adam", relative_rates=True, learning_rate=1e-3)
    model.partial_fit(X)
    assert short_way(model)
    model.rate_scale_ = model.rate_scale_ * np.float32(2)
    assert not short_way(model)
    model.partial_fit(X)
    slow = copy.deepcopy(model)
    model.rate_scale_ *= np.float32(4)
    slow.rate_scale_ *= np.float32(4)
    same(model.partial_fit(X).theta_, slow.partial_fit(list(X)).theta_)

    X = np.random.default_rng(0).standard_normal((3, 6, 4)).astype("float32")
    params = {"init": "normal", "max_iter": 0, "random_state": 0, "solver": "sgd", "learning_rate": 1.0}
    model = RAE(5, relative_rates=True, **params).fit(X)
    model.partial_fit(X)
    model.rate_scale_ *= np.float32(1e25)
    before = model.theta_.copy()
    for way in (X, list(X)):
        with pytest.raises(FloatingPointError):
            model.partial_fit(way)
        same(model.theta_, before)


@pytest.mark.parametrize(("kept", "wanted"), list(itertools.permutations(_kernels.usable_isas(), 2)))
def test_memory_kept_by_other_kernels_is_not_used(kept, wanted):
    """Their vectors have another length."""
    model, X = fitted(FORMS[0], "float32", solver="adam")
    now = _kernels.isa()
    try:
        _kernels.use_isa(wanted)
        model.loss_and_grad(X[:1])  # another shape, so that this one sets up its own
        expected = model.loss_and_grad(X)[1]
        _kernels.use_isa(kept)
        model.loss_and_grad(X)
        work = _sequence.spare_isa()
        _kernels.use_isa(wanted)
        for name, grad in model.loss_and_grad(X)[1].items():
            same(grad, expected[name])
        assert (work, _sequence.spare_isa()) == (kept, wanted)
    finally:
        _kernels.use_isa(now)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_lies_in_fresh_memory_changes_no_bit(dtype):
    """glibc fills new memory with bytes of our choice: huge numbers, NaN, tiny ones."""
    code = f"""
        import hashlib
        import numpy as np
        from rae_fast import RAE, _kernels
        rng, found = np.random.default_rng(0), hashlib.sha256()
        for isa in _kernels.usable_isas():
            _kernels.use_isa(isa)
            for H in (4, 60, 64, 128):
                for objective in ("stepwise", "unfold"):
                    X = rng.standard_normal((6, 15, 8)).astype("{dtype}")
                    model = RAE(H, objective=objective, init="normal", max_iter=3, random_state=0, solver="sgd",
                                relative_rates=False, learning_rate=1e-3, batch_size=6).fit(X)
                    model.partial_fit(X).partial_fit(X[:1])
                    for array in (model.theta_, model.transform(X), model.reconstruct(X)):
                        found.update(np.ascontiguousarray(array).tobytes())
        print(found.hexdigest())
    """
    results = {subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True,
                              env={**os.environ, "MALLOC_PERTURB_": str(byte)}).stdout for byte in (0, 1, 128, 200)}
    assert len(results) == 1


def test_a_handler_may_replace_the_solvers_state_during_an_update():
    code = """
        import signal
        import numpy as np
        from rae_fast import RAE
        X = np.random.default_rng(0).standard_normal((40, 200, 100))
        model = RAE(200, init="normal", max_iter=0, solver="adam", relative_rates=False, random_state=0).fit(X[:1])
        model.partial_fit(X)
        calls = []
        def replace(*_):
            calls.append(1)
            model.solver_state_.update({k: v.copy() for k, v in model.solver_state_.items()})
        signal.signal(signal.SIGALRM, replace)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        for _ in range(5):
            model.partial_fit(X)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert calls and model.n_updates_ == 6 and np.isfinite(model.theta_).all()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize("as_list", [False, True])
def test_an_exception_of_a_handler_leaves_theta_and_the_record_together(as_list):
    model, X = fitted(FORMS[0], "float64", solver="sgd", relative_rates=False, learning_rate=1e-6)
    X = list(np.tile(X, (4, 20, 1))) if as_list else np.tile(X, (4, 20, 1))
    model.partial_fit(X)
    raised = 0

    def stop(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, stop)
    try:
        for i in range(300):
            before, done = model.theta_.copy(), model.n_updates_
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (i % 30 + 1))
                model.partial_fit(X)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                raised += 1
            assert model.n_updates_ == len(model.loss_curve_) == model.n_iter_
            assert (model.n_updates_ > done) == (model.theta_ != before).any()
    except KeyboardInterrupt:
        pass  # it came between two updates
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert raised


def test_solver_state_in_another_kind_of_mapping():
    model, X = fitted(FORMS[0], "float64", solver="adam", relative_rates=False)
    twin = copy.deepcopy(model)
    for _ in range(3):
        model.solver_state_ = collections.OrderedDict(reversed(list(model.solver_state_.items())))
        same(model.partial_fit(X).theta_, twin.partial_fit(X).theta_)


def test_a_missing_record_is_noticed_before_the_update():
    for name in ("n_steps_", "loss_curve_", "n_iter_"):
        model, X = fitted(FORMS[0], "float64", solver="sgd", relative_rates=False)
        model.partial_fit(X)
        delattr(model, name)
        before = model.theta_.copy()
        with pytest.raises(AttributeError, match=name):
            model.partial_fit(X)
        same(model.theta_, before)
