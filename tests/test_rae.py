"""RAE: what its methods return, how it learns, how it is kept."""

import copy
import functools
import os
import pickle
import signal
import threading
import time
import zlib

import numpy as np
import pytest
from problems import PLAIN, ragged_lengths, solver_of

from rae_fast import RAE, NotFittedError, _objectives, parameters, reference
from rae_fast._form import Form
from rae_fast.solvers import SOLVERS

RNG = np.random.default_rng(0)
BY_UPDATE = [name for name in SOLVERS if name != "lbfgs"]
X3 = RNG.standard_normal((6, 5, 3))
RAGGED = [X3[i % 6, :n] for i, n in enumerate(ragged_lengths(5, 8))]


@pytest.fixture(params=["3-D", "list"])
def X(request):
    return X3 if request.param == "3-D" else RAGGED


def fitted(X, **params):
    return RAE(**{"n_hidden": 6, **PLAIN, "max_iter": 3, "random_state": 0, **params}).fit(X)


def flat(X):
    return np.concatenate(list(X)), np.cumsum([0] + [len(x) for x in X])


# ---- initial values ------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_values_come_in_the_documented_order(dtype):
    model = RAE(n_hidden=4, max_iter=0, init="normal", init_scale=0.3, random_state=7).fit(X3.astype(dtype))
    rng = np.random.default_rng(7)
    shapes = {"W_xh": (3, 4), "W_hh": (4, 4), "b_h": 4, "h0": 4, "V_hh": (4, 4), "V_hx": (4, 3), "c_h": 4,
              "c_x": 3}
    assert list(model.parameters_) == list(shapes)
    for name, shape in shapes.items():
        expected = (0.3 * rng.standard_normal(shape)).astype(dtype)
        np.testing.assert_array_equal(model.parameters_[name], expected)
    p = model.parameters_
    stacked = [np.vstack([p["W_hh"], p["W_xh"]]).ravel(), p["b_h"], p["h0"],
               np.hstack([p["V_hh"], p["V_hx"]]).T.ravel(), p["c_h"], p["c_x"]]
    np.testing.assert_array_equal(model.theta_, np.concatenate(stacked))
    assert model.loss_curve_ == [] and model.n_iter_ == 0


def test_initial_values_do_not_depend_on_how_the_draws_are_cut(monkeypatch):
    whole = fitted(X3, max_iter=0).theta_
    monkeypatch.setattr(parameters, "_DRAWS_AT_ONCE", 7)
    np.testing.assert_array_equal(fitted(X3, max_iter=0).theta_, whole)


def test_parameters_are_views():
    model = fitted(X3)
    model.parameters_["V_hx"][...] = 0
    model.parameters_["c_x"][:] = 5
    assert (model.reconstruct(X3) == 5).all()
    model.theta_[:] = 0
    assert all((view == 0).all() for view in model.parameters_.values())


@pytest.mark.parametrize("make", [
    lambda: 3, lambda: np.random.default_rng(3), lambda: np.random.SeedSequence(3),
    lambda: np.random.PCG64(3), lambda: np.random.RandomState(3), lambda: np.random.Generator(np.random.MT19937(3)),
])
def test_every_kind_of_random_state_is_reproducible(make):
    models = [RAE(n_hidden=4, max_iter=3, batch_size=2, random_state=make()).fit(X3) for _ in range(2)]
    np.testing.assert_array_equal(models[0].theta_, models[1].theta_)


def test_a_generator_advances():
    rng = np.random.default_rng(3)
    models = [RAE(n_hidden=4, max_iter=0, init="normal", random_state=rng).fit(X3) for _ in range(2)]
    assert (models[0].theta_ != models[1].theta_).all()


# ---- learning ------------------------------------------------------------------------------------

@pytest.mark.parametrize("params", [
    {}, {"batch_size": 2}, {"batch_size": 100}, {"batch_size": 4, "shuffle": False},
    {"hidden_weight": 0.3, "reconstruct_h0": True}, {"tol": 0.5, "n_iter_no_change": 2, "max_iter": 50},
])
def test_fit_is_the_reference_training(X, params):
    model = fitted(X, learning_rate=0.01, **params)
    data, offsets = flat(X)
    rng = np.random.default_rng(0)
    form = Form(3, 6, hidden_weight=model.hidden_weight, reconstruct_h0=model.reconstruct_h0)
    theta = parameters.initialise(form, 0.1, rng, np.dtype(float))
    curve = reference.train(theta, data, offsets, None, form, solver_of(learning_rate=0.01), [], None, 1.0,
                            min(params.get("batch_size", 32), len(X)), rng if model.shuffle else None, model.max_iter,
                            model.tol, model.n_iter_no_change)
    np.testing.assert_allclose(model.theta_, theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.loss_curve_, curve, rtol=1e-12)
    assert model.n_iter_ == len(curve)
    if params.get("max_iter") == 50:
        assert 2 < len(curve) < 50


def test_tol_zero_never_stops():
    model = fitted(X3, max_iter=300, tol=0, learning_rate=1e-12, n_iter_no_change=1)
    assert model.n_iter_ == 300
    assert fitted(X3, max_iter=300, tol=1e-4, learning_rate=1e-12, n_iter_no_change=5).n_iter_ == 6


def test_fit_starts_afresh():
    model = fitted(X3)
    theta = model.theta_.copy()
    model.fit(X3)
    np.testing.assert_array_equal(model.theta_, theta)
    assert len(model.loss_curve_) == 3
    model.fit(np.random.default_rng(2).standard_normal((2, 4, 5)).astype(np.float32))
    assert model.n_features_in_ == 5 and model.theta_.dtype == np.float32 and model.n_steps_ == 4


def test_partial_fit_makes_one_update(X):
    model = fitted(X, max_iter=0, learning_rate=0.01)
    theta = model.theta_.copy()
    loss, grad = model.loss_and_grad(X)
    steps = {name: model.parameters_[name] - 0.01 * g for name, g in grad.items()}
    assert model.partial_fit(X) is model
    for name, expected in steps.items():
        np.testing.assert_allclose(model.parameters_[name], expected, rtol=0, atol=1e-15)
    assert model.loss_curve_ == [loss] and model.n_iter_ == 1
    assert (model.theta_ != theta).any()


def test_partial_fit_starts_where_there_is_nothing():
    for init in ("normal", "orthogonal", "linear"):
        model = RAE(n_hidden=6, max_iter=0, init=init, decoder="linear", random_state=0).partial_fit(X3)
        again = RAE(n_hidden=6, max_iter=0, init=init, decoder="linear", random_state=0).fit(X3).partial_fit(X3)
        np.testing.assert_array_equal(model.theta_, again.theta_)


def test_partial_fit_goes_on_from_what_theta_holds():
    model = fitted(X3)
    model.theta_[:] = 0.25
    loss, _ = model.loss_and_grad(X3)
    assert model.partial_fit(X3).loss_curve_[-1] == loss


def test_partial_fit_refuses_another_n_hidden():
    model = fitted(X3).set_params(n_hidden=7)
    with pytest.raises(ValueError, match="n_hidden was changed from 6 to 7"):
        model.partial_fit(X3)
    assert model.transform(X3).shape == (6, 6)


def test_weights_are_the_weights_of_the_sum(X):
    model = fitted(X)
    w = np.random.default_rng(1).uniform(0, 1, len(X))
    w[1] = 0
    each = [model.loss_and_grad([x]) for x in X]
    loss, grad = model.loss_and_grad(X, sample_weight=w)
    assert loss == pytest.approx(sum(w_n * e for w_n, (e, _) in zip(w, each)), rel=1e-12)
    for name in grad:
        np.testing.assert_allclose(grad[name], sum(w_n * g[name] for w_n, (_, g) in zip(w, each)), atol=1e-12)
    mean, _ = model.loss_and_grad(X)
    assert mean == pytest.approx(np.mean([e for e, _ in each]), rel=1e-12)
    size = next(n for n in (3, 4) if len(X) % n == 0)  # so that every batch is of that size
    weighted = fitted(X, batch_size=size, shuffle=False).fit(X, sample_weight=np.full(len(X), 1 / size))
    np.testing.assert_allclose(weighted.theta_, fitted(X, batch_size=size, shuffle=False).theta_, atol=1e-14)


def test_overflow_names_the_update_and_keeps_finite_parameters():
    model = RAE(n_hidden=6, **{**PLAIN, "learning_rate": 50.0, "max_iter": 1000, "tol": 0}, random_state=0)
    with pytest.raises(FloatingPointError, match=r"at update \d+\. .*learning_rate \(now 50.0\)"):
        model.fit(X3)
    assert np.isfinite(model.theta_).all()
    assert len(model.loss_curve_) == model.n_iter_ > 0
    theta = model.theta_.copy()
    with pytest.raises(FloatingPointError, match=f"at update {model.n_updates_ + 1}[.]"):
        model.partial_fit(X3)
    np.testing.assert_array_equal(model.theta_, theta)


def test_a_gradient_that_overflows_alone_is_caught():
    """|D|^2 still fits float32 here, the gradient's sum over steps does not."""
    X = np.full((1, 40, 1), 1e18, np.float32)
    model = RAE(n_hidden=1, **{**PLAIN, "max_iter": 0}, random_state=0).fit(X)
    model.theta_[:] = 0
    model.parameters_["b_h"][:] = 1
    model.parameters_["V_hx"][:] = 1e18
    model.set_params(learning_rate=1e30)
    theta = model.theta_.copy()
    assert np.isfinite(model.loss_and_grad(X)[0])
    with pytest.raises(FloatingPointError):
        model.partial_fit(X)
    np.testing.assert_array_equal(model.theta_, theta)


# Finite parameters whose next update is not, each for a reason of its own: the data, the rate, the parameters.
BEYOND = {
    "dA": ([[1e10]], 1e16, {"c_x": 0.9e10, "V_hx": 1e5}, {}),
    "X": ([[1e30, 1]], 1e-3, {"c_x": [1e30, 0], "V_hx": [[0, 1e10]]}, {}),
    "h0": ([[1]], 1e-3, {"h0": 1e30, "V_hx": 1e10}, {}),
    "residuals": ([[1]], 1e30, {"c_x": 1e10}, {}),
    "a sequence's weight": ([[1e-25]], 1e38, {"b_h": 30}, {"sample_weight": [1e30]}),
    "hidden_weight": ([[0], [0]], 1e31, {"b_h": 30, "c_h": 0.99}, {"hidden_weight": 1e10}),
    "softmax: the loss": ([[0, 1]], 1.0, {"c_x": [3e38, -3e38]}, {"output": "softmax"}),
    "softmax: G": ([[0.5, 0.5]] * 2, 1e30, {"b_h": 30, "c_h": 1e10}, {"output": "softmax"}),
    "softmax: unrolled codes": ([[1, 0]] * 10, 0.1, {"c_h": 1e38, "c_x": [0, 3]},
                                {"output": "softmax", "objective": "unfold"}),
    "unfold: G": ([[1], [1]], 1e30, {"b_h": 30, "V_hx": 1e10, "c_x": -1e10, "c_h": 1}, {"objective": "unfold"}),
    "unfold: unrolled codes": ([[100]] * 2, 0.1, {"c_h": 1e38}, {"objective": "unfold", "n_hidden": 4}),
}


@pytest.mark.parametrize("what", BEYOND)
def test_plain_sgd_refuses_what_would_not_stay_finite(isa, what):
    """It adds its sums to theta without a gradient to look at: whatever those are made of is bounded before."""
    X, rate, parameters, options = BEYOND[what]
    X = np.array([X], np.float32)
    options = dict(options)
    sample_weight = options.pop("sample_weight", None)
    start = np.full_like(X, 1 / X.shape[2]) if options.get("output") == "softmax" else np.ones_like(X)
    options = {"n_hidden": 1, **PLAIN, "learning_rate": rate, "max_iter": 0, "random_state": 0, **options}
    model = RAE(**options).fit(start)
    model.theta_[:] = 0
    for name, values in parameters.items():
        model.parameters_[name][...] = values
    before = model.theta_.copy()
    with pytest.raises(FloatingPointError):
        model.partial_fit(X, sample_weight=sample_weight)
    np.testing.assert_array_equal(model.theta_, before)


@pytest.mark.parametrize("seed", range(5))
def test_the_original_experiment_recalls_all_eight(seed):
    """np.eye(8), 24 hidden units, N(0, 0.1), SGD 1e-4, the same order every time."""
    model = RAE(24, **{**PLAIN, "learning_rate": 1e-4, "max_iter": 19_999, "tol": 0}, random_state=seed).fit(np.eye(8))
    latest_first = model.unroll(model.transform(np.eye(8)), 8)[0]
    np.testing.assert_array_equal(latest_first.argmax(axis=1), np.arange(8)[::-1])


# ---- the model as a function -----------------------------------------------------------------------

def test_methods_agree_with_the_reference(X):
    model = fitted(X)
    data, offsets = flat(X)
    form = Form(3, 6)
    codes = model.transform(X)
    np.testing.assert_allclose(codes, reference.hidden_states(model.theta_, data, offsets, form, True), atol=1e-14)
    states = model.hidden_states(X)
    for n, x in enumerate(X):
        np.testing.assert_allclose(states[n], reference.encode_sequence(model.theta_, x, form)[1:], atol=1e-14)
    back = reference.unroll(model.theta_, codes, offsets, form, True)
    np.testing.assert_allclose(np.concatenate(list(model.reconstruct(X))), back, atol=1e-13)
    error = [((back[a:b] - data[a:b]) ** 2).sum() for a, b in zip(offsets[:-1], offsets[1:])]
    np.testing.assert_allclose(model.reconstruction_error(X), error, rtol=1e-12)
    assert model.score(X) == pytest.approx(-np.mean(error), rel=1e-12)
    loss, grad = reference.loss_and_grad(model.theta_, data, offsets, None, form)
    found, named = model.loss_and_grad(X)
    assert isinstance(found, float) and found == pytest.approx(loss, rel=1e-12)
    for name, expected in form.views(grad).items():
        np.testing.assert_allclose(named[name], expected, atol=1e-12)


def test_unroll_and_inverse_transform():
    model = fitted(X3)
    codes = model.transform(X3)
    latest_first = model.unroll(codes, 4)
    assert latest_first.shape == (6, 4, 3)
    np.testing.assert_array_equal(model.inverse_transform(codes, 4), latest_first[:, ::-1])
    np.testing.assert_array_equal(model.inverse_transform(codes), model.reconstruct(X3))
    several = model.inverse_transform(codes, [1, 2, 3, 4, 5, 6])
    assert isinstance(several, list)
    for n, found in enumerate(several):
        np.testing.assert_allclose(found, model.unroll(codes[n:n + 1], n + 1)[0, ::-1], atol=1e-14)


def test_inverse_transform_needs_lengths_after_a_ragged_fit():
    model = fitted(RAGGED)
    assert model.n_steps_ is None
    with pytest.raises(ValueError, match="pass lengths"):
        model.inverse_transform(model.transform(RAGGED))
    assert fitted([X3[0], X3[1]]).n_steps_ == 5
    model = fitted(X3).partial_fit(X3[:, :4])
    assert model.n_steps_ is None


def test_streams():
    model = fitted(X3)
    state = model.initial_state()
    np.testing.assert_array_equal(state, model.parameters_["h0"])
    state[:] = 9  # a copy
    states, one = model.initial_state(6), model.initial_state()
    for t in range(5):
        buffer = model.step(states, X3[:, t], out=states)
        assert buffer is states
        one = model.step(one, X3[0, t])
        np.testing.assert_allclose(one, states[0], atol=1e-14)
    np.testing.assert_allclose(states, model.transform(X3), atol=1e-14)
    assert one.shape == (6,) and model.initial_state(1).shape == (1, 6)


def test_one_sequence_does_not_depend_on_its_neighbours():
    model = fitted(RAGGED)
    together = model.transform(RAGGED)
    for n, x in enumerate(RAGGED):
        np.testing.assert_allclose(model.transform([x])[0], together[n], atol=1e-14)
        np.testing.assert_allclose(model.transform(x)[0], together[n], atol=1e-14)


def test_equal_lengths_as_a_list_are_the_array():
    for a, b in zip(fitted(X3, batch_size=4).loss_curve_, fitted(list(X3), batch_size=4).loss_curve_):
        assert a == b


def test_not_fitted():
    for call, args in [("transform", (X3,)), ("hidden_states", (X3,)), ("unroll", (np.zeros((1, 24)), 2)),
                       ("inverse_transform", (np.zeros((1, 24)),)), ("reconstruct", (X3,)), ("score", (X3,)),
                       ("reconstruction_error", (X3,)), ("loss_and_grad", (X3,)), ("initial_state", ()),
                       ("step", (np.zeros(24), np.zeros(3))), ("get_feature_names_out", ())]:
        with pytest.raises((NotFittedError, ValueError), match="not fitted"):
            getattr(RAE(), call)(*args)
    with pytest.raises((AttributeError, ValueError), match="not fitted"):
        _ = RAE().parameters_


# ---- keeping it ---------------------------------------------------------------------------------------

KEEPERS = {
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "old pickle": lambda m: pickle.loads(pickle.dumps(m, protocol=2)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("keep", KEEPERS)
def test_copies_are_whole_and_learn_on(X, keep):
    model = fitted(X)
    copied = KEEPERS[keep](model)
    assert not np.shares_memory(copied.theta_, model.theta_)
    assert copied.get_params() == model.get_params()
    np.testing.assert_array_equal(copied.transform(X), model.transform(X))
    copied.parameters_["b_h"][0] += 1
    assert np.shares_memory(copied.parameters_["b_h"], copied.theta_)
    before = copied.theta_.copy()
    copied.partial_fit(X)
    assert (copied.theta_ != before).any()
    assert len(copied.loss_curve_) == len(model.loss_curve_) + 1


def test_a_pickle_of_another_format_is_refused():
    state = fitted(X3).__getstate__()
    for wrong in (99, None):
        with pytest.raises(ValueError, match="format"):
            RAE().__setstate__({**state, "_state_format": wrong})


def test_get_and_set_params():
    model = RAE(n_hidden=8, tol=0)
    assert repr(model) == "RAE(n_hidden=8, tol=0)"
    assert model.get_params()["n_hidden"] == 8 and len(model.get_params()) == 49
    assert model.set_params(tol=0.5, verbose=1) is model and model.tol == 0.5
    with pytest.raises(ValueError, match="no parameter 'hidden'; did you mean n_hidden.* get_params"):
        model.set_params(tol=1, hidden=3)
    assert model.tol == 0.5
    with pytest.raises(TypeError):
        RAE(24, "stepwise")


def test_verbose_shows_progress_with_and_without_tqdm(capsys, monkeypatch):
    fitted(X3, verbose=1)
    import sys

    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    capsys.readouterr()
    fitted(X3, verbose=1)
    assert "pass 3 of 3, done" in capsys.readouterr().err
    fitted(X3)
    assert capsys.readouterr().err == ""


# ---- Ctrl-C ------------------------------------------------------------------------------------------

def interrupted(call, after=0.3):
    """Run call, send SIGINT, and return how long the interpreter took to hear it."""
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, send)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        return time.monotonic() - sent[0]
    finally:
        timer.cancel()
        timer.join()


@pytest.mark.parametrize("shape, n_hidden", [((1, 8, 8), 24), ((64, 100, 128), 256), ((1, 300_000, 4), 64),
                                             ((2000, 20, 8), 16)])
def test_ctrl_c_leaves_a_usable_model(shape, n_hidden):
    """It is heard within 0.3 s (docs/performance.md); here the bound only tells it from never."""
    X = np.random.default_rng(0).standard_normal(shape)
    model = RAE(n_hidden, **{**PLAIN, "max_iter": 10**9, "tol": 0, "learning_rate": 1e-7}, random_state=0)
    assert interrupted(lambda: model.fit(X)) < 5
    assert np.isfinite(model.theta_).all()
    assert len(model.loss_curve_) == model.n_iter_
    assert model.transform(X[:1, :5]).shape == (1, n_hidden)
    model.partial_fit(X[:1, :5])


def test_ctrl_c_in_one_long_gradient_keeps_the_parameters():
    X = np.random.default_rng(0).standard_normal((1, 1_000_000, 2))
    model = RAE(64, **{**PLAIN, "max_iter": 0}, random_state=0).fit(X[:, :5])
    theta = model.theta_.copy()
    assert interrupted(lambda: [model.partial_fit(X) for _ in range(100)], 0.1) < 5
    assert np.isfinite(model.theta_).all() and model.theta_.shape == theta.shape


@pytest.mark.parametrize("objective", _objectives.NAMES)
def test_ctrl_c_never_leaves_half_an_update(objective):
    """Plain SGD of one span writes into theta sum by sum: whenever Ctrl-C comes, all of them or none are there."""
    X = np.random.default_rng(0).standard_normal((1, 100, 50)).astype(np.float32)
    params = {**PLAIN, "objective": objective, "max_iter": 10**9, "tol": 0, "learning_rate": 1e-4, "random_state": 0,
              "init_scale": 0.02}
    found, expected = [], {}
    for after in np.linspace(0.06, 0.3, 12):
        model = RAE(600, **params)
        assert interrupted(functools.partial(model.fit, X), after) < 5
        if model.__sklearn_is_fitted__():  # on a busy machine it may come before there is a model
            found.append((model.n_updates_, zlib.crc32(model.theta_)))

    def record(model):
        expected[model.n_updates_] = zlib.crc32(model.theta_)

    record(RAE(600, **{**params, "max_iter": 0}).fit(X))
    RAE(600, **{**params, "max_iter": max(n for n, _ in found)}, callbacks=record, report_every=1).fit(X)
    assert found == [(n, expected[n]) for n, _ in found]


# ---- objectives and outputs ------------------------------------------------------------------------------

def distributions(X):
    return [reference.softmax(x) for x in X] if isinstance(X, list) else reference.softmax(X)


@pytest.mark.parametrize("objective", _objectives.NAMES)
@pytest.mark.parametrize("decoder", ["linear", "tanh"])
@pytest.mark.parametrize("output", ["linear", "softmax"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_code", [None, 2])
def test_every_form_learns_and_reports_its_own_loss(X, objective, decoder, output, tied, n_code):
    if n_code and objective != "unfold":
        with pytest.raises(ValueError, match="n_code is for objective='unfold'"):
            fitted(X, objective=objective, n_code=n_code)
        return
    X = distributions(X) if output == "softmax" else X
    model = fitted(X, objective=objective, decoder=decoder, output=output, tied=tied, max_iter=60, tol=0,
                   learning_rate=0.02, n_code=n_code)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    data, offsets = flat(X)
    form = Form(3, 6, objective, decoder, output, tied, n_code=n_code)
    assert model.theta_.size == form.size
    assert model.loss_and_grad(X)[0] == pytest.approx(reference.loss(model.theta_, data, offsets, None, form))
    logits = reference.unroll(model.theta_, model.transform(X), offsets, form, True)
    np.testing.assert_allclose(np.concatenate(list(model.reconstruct(X, logits=True))), logits, atol=1e-12)
    shown = reference.softmax(logits) if output == "softmax" else logits
    np.testing.assert_allclose(np.concatenate(list(model.reconstruct(X))), shown, atol=1e-12)
    if objective == "unfold":
        assert model.loss_and_grad(X)[0] == pytest.approx(-model.score(X))
    codes = model.transform(X)
    np.testing.assert_array_equal(model.unroll(codes, 4)[:, ::-1], model.inverse_transform(codes, 4))
    if output == "softmax":
        np.testing.assert_allclose(model.unroll(codes, 4).sum(axis=2), 1)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.reconstruct(X)[0], model.reconstruct(X)[0])


def test_softmax_needs_distributions():
    good = reference.softmax(X3)
    for value in (0.5, -0.1):
        X = good.copy()
        X[2, 3, 1] = value
        model = fitted(good, output="softmax")
        for call in (RAE(output="softmax").fit, model.partial_fit, model.loss_and_grad, model.score):
            with pytest.raises(ValueError, match="step 3 of sequence 2 is not a distribution"):
                call(X)
        model.transform(X)
    fitted(good.astype(np.float32), output="softmax")
    fitted(np.eye(3), output="softmax")


def test_softmax_does_not_overflow():
    model = fitted(np.eye(3), output="softmax", max_iter=0)
    model.parameters_["c_x"][:] = [1e5, -1e5, 0]
    assert np.isfinite(model.loss_and_grad(np.eye(3))[0]) and np.isfinite(model.score(np.eye(3)))
    np.testing.assert_allclose(model.reconstruct(np.eye(3))[0], [[1, 0, 0]] * 3)


def test_partial_fit_refuses_another_form():
    model = fitted(X3)
    for change in ({"tied": True}, {"decoder": "tanh"}, {"output": "softmax"}):
        with pytest.raises(ValueError, match="was changed from"):
            copy.deepcopy(model).set_params(**change).partial_fit(X3)
    model.set_params(objective="unfold").partial_fit(X3)


# ---- solvers ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("solver", BY_UPDATE)
@pytest.mark.parametrize("keep", KEEPERS)
def test_a_copy_goes_on_with_the_same_bits(X, solver, keep):
    model = RAE(n_hidden=6, **{**PLAIN, "solver": solver, "learning_rate": 0.01}, random_state=0)
    for _ in range(3):
        model.partial_fit(X)
    assert list(model.solver_state_) == list(SOLVERS[solver].state) and model.n_updates_ == 3
    copied = KEEPERS[keep](model)
    for _ in range(3):
        model.partial_fit(X)
        copied.partial_fit(X)
    np.testing.assert_array_equal(copied.theta_, model.theta_)
    assert copied.n_updates_ == 6


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("objective", _objectives.NAMES)
def test_every_solver_learns(X, solver, objective):
    rate = {"adadelta": 1.0, "sgd": 0.02, "momentum": 2e-3, "nesterov": 2e-3}.get(solver, 0.01)
    model = fitted(X, solver=solver, objective=objective, learning_rate=rate, max_iter=200, tol=0,
                   epsilon=1e-6 if solver == "adadelta" else 1e-8)
    assert model.loss_curve_[-1] < 0.9 * model.loss_curve_[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("params", [{"solver": solver} for solver in BY_UPDATE] + [{"clip_norm": 1.0}], ids=str)
def test_a_gradient_too_large_to_square_changes_nothing(params, dtype):
    large = 2.0 ** (np.finfo(dtype).maxexp // 2 - 4)  # 40 of its squares fit, the gradient's square does not
    X = np.full((1, 40, 1), large, dtype)
    model = RAE(n_hidden=1, **{**PLAIN, "max_iter": 0, **params}, random_state=0).fit(X)
    model.theta_[:] = 0
    model.parameters_["b_h"][:] = 1
    theta = model.theta_.copy()
    squared = params["solver"] not in ("sgd", "momentum", "nesterov") if "solver" in params else True
    if squared:
        with pytest.raises(FloatingPointError):
            model.partial_fit(X)
        np.testing.assert_array_equal(model.theta_, theta)
    else:
        model.partial_fit(X)
    assert np.isfinite(model.theta_).all()
    assert all(np.isfinite(array).all() for blocks in model.solver_state_.values() for array in blocks.values())


def test_partial_fit_is_fit_with_one_batch():
    batch = fitted(X3, solver="adam", batch_size=6, shuffle=False, max_iter=5)
    steps = RAE(n_hidden=6, **{**PLAIN, "solver": "adam"}, random_state=0)
    for _ in range(5):
        steps.partial_fit(X3)
    np.testing.assert_array_equal(steps.theta_, batch.theta_)


def test_a_changed_solver_starts_with_a_new_state():
    model = fitted(X3, solver="adam").set_params(solver="momentum").partial_fit(X3)
    assert list(model.solver_state_) == ["velocity"] and model.n_updates_ == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("solver", [name for name in BY_UPDATE if SOLVERS[name].state])
def test_solver_state_and_units_are_live_views(solver, tied, dtype):
    """Writing into them changes the model; they have the names of the parameters, and their shapes."""
    X = X3.astype(dtype)
    model = fitted(X, solver=solver, tied=tied, relative_rates=True, learning_rate=1.0 if solver == "adadelta" else 0.1)
    shapes = {name: view.shape for name, view in model.parameters_.items()}
    for blocks in model.solver_state_.values():
        assert {name: view.shape for name, view in blocks.items()} == shapes
    twin = copy.deepcopy(model)
    state, scale = model.solver_state_, model.rate_scale_
    model.partial_fit(X)
    assert all((blocks["W_hh"] != twin.solver_state_[name]["W_hh"]).any() for name, blocks in state.items())
    model = copy.deepcopy(twin)
    for blocks in model.solver_state_.values():
        blocks["W_xh"][1, 2] += 0.5
    assert (model.partial_fit(X).theta_ != copy.deepcopy(twin).partial_fit(X).theta_).any()
    for name, value in scale.items():
        assert value.dtype == dtype and value.shape == ((3, 1) if name == "W_xh" else ())
        other = copy.deepcopy(twin)
        other.rate_scale_[name][...] *= 0.5
        moved = {key: view.copy() for key, view in other.partial_fit(X).parameters_.items()}
        same = {key: view.copy() for key, view in copy.deepcopy(twin).partial_fit(X).parameters_.items()}
        assert (moved[name] != same[name]).any()
        untouched = "b_h" if name != "b_h" else "h0"
        np.testing.assert_array_equal(moved[untouched], same[untouched])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_orthogonal_start(tied, dtype):
    model = fitted(X3.astype(dtype), init="orthogonal", max_iter=0, tied=tied)
    p = model.parameters_
    np.testing.assert_allclose(p["W_hh"] @ p["W_hh"].T, np.eye(6), atol=10 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(p["V_hh"], p["W_hh"].T)
    assert not any(p[name].any() for name in ("b_h", "h0", "c_h", "c_x"))
    assert 0.1 < p["W_xh"].std() < 0.6 and 0.1 < p["V_hx"].std() < 0.6
    assert (fitted(X3, init="orthogonal", max_iter=0, tied=tied, random_state=1).theta_ != model.theta_).any()


def test_permutations_of_eight_symbols_come_back_whole():
    """The task on which the original recalled 3 of 8: here all 8, on a sample of the orders."""
    rng = np.random.default_rng(0)
    X = np.eye(8, dtype=np.float32)[rng.permuted(np.tile(np.arange(8), (25_600, 1)), axis=1)]
    model = RAE(24, output="softmax", batch_size=256, max_iter=10, random_state=0).fit(X)
    seen = X[:2000]
    right = (model.reconstruct(seen).argmax(axis=2) == seen.argmax(axis=2)).all(axis=1)
    assert right.mean() > 0.99


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd_refuses_what_would_overflow_anywhere(dtype):
    """Also where a gradient is never made: h0's, through W_hh, and V's, through the unrolled codes."""
    big = np.finfo(dtype).max
    plain = {**PLAIN, "learning_rate": 0.1, "max_iter": 0, "random_state": 0}
    for objective in _objectives.NAMES:
        model = RAE(4, **{**plain, "objective": objective}).fit(np.ones((1, 1), dtype))
        p = model.parameters_
        p["W_hh"][:], p["h0"][:], p["b_h"][:], p["V_hx"][:], p["W_xh"][:] = big / 2, 0, 0, 30, 0.01
        before = model.theta_.copy()
        with pytest.raises(FloatingPointError):
            model.partial_fit(np.ones((1, 1), dtype))
        np.testing.assert_array_equal(model.theta_, before)
    X = np.full((2, 1), 100, dtype)
    model = RAE(4, **{**plain, "objective": "unfold"}).fit(X)
    p = model.parameters_
    p["V_hh"][:], p["V_hx"][:], p["c_h"][:] = 0, 0, big / 3
    before = model.theta_.copy()
    with pytest.raises(FloatingPointError):
        model.partial_fit(X)
    np.testing.assert_array_equal(model.theta_, before)


def test_n_code_is_judged_with_n_hidden(X):
    for n_code, message in ((7, "n_code=7 must not be larger than n_hidden=6"), (0, "n_code must be"), (2.5, "n_code")):
        with pytest.raises(ValueError, match=message):
            fitted(X, objective="unfold", n_code=n_code)
    model = fitted(X, objective="unfold", n_code=2)
    model.n_code = 3
    with pytest.raises(ValueError, match="n_code was changed from 2 to 3 after the model was fitted"):
        model.partial_fit(X)


def test_streams_have_codes_at_any_time(X):
    model = fitted(X, objective="unfold", n_code=2)
    states = np.stack([model.hidden_states([x])[0][-1] for x in X])
    np.testing.assert_allclose(model.encode_states(states), model.transform(X), rtol=1e-12)
    assert model.encode_states(states[0].tolist()).shape == (2,)
    with pytest.raises(ValueError, match="states"):
        model.encode_states(np.zeros((2, 5)))
    without = fitted(X)
    np.testing.assert_array_equal(without.encode_states(states), states)
