"""Arrays that are ready as they are, and everything that is converted first: the same bits, the same refusals.

A list of sequences is always converted.
"""

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
from problems import UNLABELLED, form_id

from rae_fast import RAE, _batch, _kernels, _objectives, inputs
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
@pytest.mark.parametrize("form", UNLABELLED, ids=form_id)
def test_same_results(form, dtype):
    model, X = fitted(form, dtype)
    codes = model.transform(list(X))
    states, rows = np.stack(model.hidden_states(list(X))), np.stack(model.inverse_transform(codes, [6, 6]))
    loss, grads = model.loss_and_grad(list(X))
    assert _batch.ready(X, model.theta_, model._learned.form) is not None
    assert _batch.ready(list(X), model.theta_, model._learned.form) is None
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
@pytest.mark.parametrize("form", UNLABELLED[:3], ids=form_id)
def test_same_updates(form, solver, relative_rates, dtype):
    params = {"solver": solver, "relative_rates": relative_rates, "learning_rate": 0.01, "clip_norm": 5.0,
              "weight_decay": 1e-3}
    ready, X = fitted(form, dtype, **params)
    converted = copy.deepcopy(ready)
    for i in range(5):
        part = X if i % 2 else X[:1]
        ready.partial_fit(part)
        converted.partial_fit(list(part))
    same(ready.theta_, converted.theta_)
    assert ready.loss_curve_ == converted.loss_curve_ and ready.n_updates_ == converted.n_updates_ == 5
    for name, blocks in converted.solver_state_.items():
        for block, array in blocks.items():
            same(ready.solver_state_[name][block], array)


def test_what_is_ready_is_not_converted(monkeypatch):
    """Else the rest of this file compares a way with itself."""
    model, X = fitted(UNLABELLED[0], "float64", solver="sgd", relative_rates=False, learning_rate=0.01)
    codes, state, x = model.transform(X), np.zeros(5), X[0, 0].copy()
    model.partial_fit(X)

    def fail(*_, **__):
        raise AssertionError("converted")

    for name in ("as_batch", "as_matrix", "as_streams"):
        monkeypatch.setattr(inputs, name, fail)
    model.partial_fit(X).partial_fit(X[0])
    model.loss_and_grad(X), model.transform(X[0]), model.hidden_states(X), model.reconstruct(X)
    model.unroll(codes, 3), model.inverse_transform(codes, [2, 3])
    model.step(state, x), model.step(codes, X[:, 0].copy())
    for call in (lambda: model.transform(list(X)), lambda: model.partial_fit(X.astype("float32")),
                 lambda: model.unroll(codes.tolist(), 3), lambda: model.step(state.tolist(), x)):
        with pytest.raises(AssertionError, match="converted"):
            call()


def prepared(model):
    """Whether partial_fit would go on with the updates that it has prepared."""
    kept = model._kept
    return kept is not None and kept.learned is model._learned and kept.settings is model._settings()


def test_whatever_is_set_is_seen_by_the_next_update():
    model, X = fitted(UNLABELLED[0], "float64", solver="sgd", relative_rates=False, learning_rate=0.01)
    assert not prepared(model)
    model.partial_fit(X)
    assert prepared(model)
    before = model.theta_.copy()
    model.learning_rate = 1e-12
    assert not prepared(model)
    model.partial_fit(X)
    np.testing.assert_allclose(model.theta_, before, rtol=0, atol=1e-9)
    model.solver = "adam"
    model.partial_fit(X)
    assert model.n_updates_ == 1 and set(model.solver_state_) == set(SOLVERS["adam"].state)
    model.fit(X)
    assert not prepared(model)
    model.partial_fit(X)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin._kept is None and twin._checked is None


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
    softmax = next(form for form in UNLABELLED if form["output"] == "softmax")
    model, X = fitted(softmax, "float64")
    model.partial_fit(X).partial_fit(X)
    before, record = model.theta_.copy(), (model.n_updates_, list(model.loss_curve_))
    with pytest.raises(ValueError):
        harm(model, X)
    same(model.theta_, before)
    assert (model.n_updates_, model.loss_curve_) == record
    model.partial_fit(X)


def test_an_update_that_would_overflow_is_not_made():
    model, X = fitted(UNLABELLED[0], "float32", solver="sgd", relative_rates=False, learning_rate=1e-3)
    model.partial_fit(X)
    assert prepared(model)
    before = model.theta_.copy()
    with pytest.raises(FloatingPointError, match="at update 2"):
        model.partial_fit(X * np.float32(1e30))
    same(model.theta_, before)
    assert model.n_updates_ == 1 and len(model.loss_curve_) == 1


def test_parameters_and_states_that_are_not_ready():
    """Users may replace them: read-only ones are refused, others of another type are seen."""
    model, X = fitted(UNLABELLED[0], "float64", solver="momentum", relative_rates=False, learning_rate=1e-3)
    model.partial_fit(X)
    theta = model.theta_.copy()
    theta.flags.writeable = False
    model.theta_ = theta
    assert model.transform(X).shape == (2, 5)
    with pytest.raises(ValueError, match="writeable"):
        model.partial_fit(X)
    for wrong in (theta.astype(">f8"), theta[:-1].copy()):
        with pytest.raises(ValueError, match="theta_ must be"):
            model.theta_ = wrong
    model.theta_ = theta.copy()
    theta = model.theta_.copy()
    model.theta_ = theta.astype("float32")  # another type than the solver's state
    with pytest.raises(ValueError, match="element type"):
        model.partial_fit(X)
    assert model.transform(X).dtype == np.float32


def test_a_scale_that_grows_is_seen():
    """What rates are relative to bounds how large a step may be."""
    model, X = fitted(UNLABELLED[0], "float32", solver="adam", relative_rates=True, learning_rate=1e-3)
    model.partial_fit(X)
    assert prepared(model)
    other = copy.deepcopy(model)
    for one in (model, other):
        for value in one.rate_scale_.values():
            value *= np.float32(4)
    same(model.partial_fit(X).theta_, other.partial_fit(list(X)).theta_)

    X = np.random.default_rng(0).standard_normal((3, 6, 4)).astype("float32")
    params = {"init": "normal", "max_iter": 0, "random_state": 0, "solver": "sgd", "learning_rate": 1.0}
    model = RAE(5, relative_rates=True, **params).fit(X)
    model.partial_fit(X)
    for value in model.rate_scale_.values():
        value *= np.float32(1e25)
    before = model.theta_.copy()
    for way in (X, list(X)):
        with pytest.raises(FloatingPointError):
            model.partial_fit(way)
        same(model.theta_, before)


@pytest.mark.parametrize(("kept", "wanted"), list(itertools.permutations(_kernels.usable_isas(), 2)))
def test_memory_kept_by_other_kernels_is_not_used(kept, wanted):
    """Their vectors have another length."""
    model, X = fitted(UNLABELLED[0], "float32", solver="adam")
    now = _kernels.isa()
    try:
        _kernels.use_isa(wanted)
        model.loss_and_grad(X[:1])  # another shape, so that this one sets up its own
        expected = model.loss_and_grad(X)[1]
        _kernels.use_isa(kept)
        model.loss_and_grad(X)
        work = _objectives.spare_isa()
        _kernels.use_isa(wanted)
        for name, grad in model.loss_and_grad(X)[1].items():
            same(grad, expected[name])
        assert (work, _objectives.spare_isa()) == (kept, wanted)
    finally:
        _kernels.use_isa(now)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_lies_in_fresh_memory_changes_no_bit(dtype):
    """glibc fills new memory with bytes of our choice: huge numbers, NaN, tiny ones."""
    code = f"""
        import hashlib
        import numpy as np
        from rae_fast import RAE, _kernels, _objectives
        rng, found = np.random.default_rng(0), hashlib.sha256()
        for isa in _kernels.usable_isas():
            _kernels.use_isa(isa)
            for H in (4, 60, 64, 128):
                for objective in _objectives.NAMES:
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


def test_a_handler_may_replace_the_model_during_an_update():
    code = """
        import signal
        import numpy as np
        from rae_fast import RAE
        X = np.random.default_rng(0).standard_normal((40, 200, 100))
        params = dict(init="normal", max_iter=0, solver="adam", relative_rates=False, random_state=0)
        model = RAE(200, **params).fit(X[:1])
        model.partial_fit(X)
        calls = []
        def replace(*_):
            calls.append(1)
            model.__setstate__(RAE(200, **params).fit(X[:1]).__getstate__())
            model.theta_ = model.theta_.copy()
            signal.setitimer(signal.ITIMER_REAL, 0.01)  # not before this one has ended
        signal.signal(signal.SIGALRM, replace)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        for _ in range(5):
            model.partial_fit(X)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert calls and np.isfinite(model.theta_).all()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize("as_list", [False, True])
def test_an_exception_of_a_handler_leaves_theta_and_the_record_together(as_list):
    model, X = fitted(UNLABELLED[0], "float64", solver="sgd", relative_rates=False, learning_rate=1e-6)
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


def test_what_was_learned_cannot_lose_a_part():
    model, X = fitted(UNLABELLED[0], "float64", solver="sgd", relative_rates=False)
    for name in ("n_steps_", "loss_curve_", "n_iter_", "n_updates_", "solver_state_", "rate_scale_", "parameters_"):
        with pytest.raises(AttributeError):
            delattr(model, name)
        with pytest.raises(AttributeError):
            setattr(model, name, 0)
    with pytest.raises(AttributeError):
        del model.theta_
    model.partial_fit(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_hidden", [1, 5, 24, 33, 130])
def test_ready_and_converted_arrays_of_every_size(dtype, n_hidden):
    """What needs no conversion and what does give the same numbers."""
    rng = np.random.default_rng(n_hidden)
    X = rng.standard_normal((7, 3)).astype(dtype)
    model = RAE(n_hidden, max_iter=0, init="orthogonal", random_state=0).fit(X)
    code = model.transform(X)
    assert code.dtype == dtype and code.shape == (1, n_hidden) and code.flags.owndata
    X.flags.writeable = False
    for same in (X, [X], X[None], np.asfortranarray(X), X.astype(dtype).byteswap().view(X.dtype.newbyteorder())):
        np.testing.assert_array_equal(model.transform(same), code)
    state = model.initial_state()
    eps = 16 * np.finfo(dtype).eps
    for x in X:
        after = model.step(state, x)
        assert after.dtype == dtype and after.shape == (n_hidden,)
        np.testing.assert_array_equal(model.step(state, x, np.empty_like(state)), after)
        np.testing.assert_array_equal(model.step(state.tolist(), x.tolist()), after)
        np.testing.assert_allclose(model.step(np.tile(state, (40, 1)), np.tile(x, (40, 1)))[39], after, atol=eps)
        state = after
    np.testing.assert_allclose(state, code[0], atol=eps)


def test_what_is_not_ready_is_explained():
    X = np.ones((4, 3))
    model = RAE(5, max_iter=0, random_state=0).fit(X)
    bad = X.copy()
    bad[2, 1] = np.nan
    state = model.initial_state()
    for wrong, message in [(bad, "NaN at step 2"), (X[:, :2], "2 features"), (X[:0], "length zero"), (X[0], "1 dim"),
                           (X + 1j, "Complex"), (np.ma.masked_equal(X, 1), "masked")]:
        with pytest.raises(ValueError, match=message):
            model.transform(wrong)
    for s, x in [(state, bad[2]), (bad[2], X[0]), (state[:2], X[0]), (state, X[0, :2]), (state, X),
                 (np.full_like(state, np.inf), X[0])]:
        with pytest.raises(ValueError):
            model.step(s, x)
    with pytest.raises(ValueError, match="n_jobs"):
        model.set_params(n_jobs=0).transform(X)



def test_checked_hyper_parameters_are_never_stale():
    class Callback:
        __hash__ = None

        def __call__(self, model):
            return None

    X = np.eye(3)
    model = RAE(4, random_state=0, callbacks=Callback(), max_iter=1).fit(X).partial_fit(X)
    model.learning_rate = -1
    with pytest.raises(ValueError, match="learning_rate"):
        model.partial_fit(X)
    model.set_params(learning_rate=0.1).partial_fit(X)
    other = RAE(4, random_state=0, learning_rate=0.2).partial_fit(X)
    model.__setstate__(other.__getstate__())
    assert model._settings().learning_rate == 0.2
    assert "_checked" not in model.__getstate__()
    del model.learning_rate
    assert model.learning_rate == 0.3 and model._settings().learning_rate == 0.3  # as declared
