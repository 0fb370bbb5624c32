"""Missing numbers: they count in no loss and no gradient, are read by what is next to them, and come back filled in."""

import numpy as np
import pytest
from problems import everything
from sklearn.base import clone

from rae_fast import RAE, RAEClassifier, RAEDetector

RNG = np.random.default_rng(0)
WHOLE = [np.cumsum(RNG.standard_normal((5 + n % 4, 3)), axis=0) + [0, 5, -20] for n in range(40)]
Y = ["a", "b"] * 20


def holed(X, part=0.25, seed=0):
    """The same with NaN, some steps all of it."""
    rng = np.random.default_rng(seed)
    found = [x.copy() for x in X]
    for x in found:
        x[rng.random(x.shape) < part] = np.nan
        x[rng.random(len(x)) < 0.1] = np.nan
    return found


X = holed(WHOLE)
X3 = np.array([x[:5] for x in X])


def fitted(data=X, cls=RAE, y=None, **settings):
    return cls(**{"n_hidden": 6, "random_state": 0, "max_iter": 20, "missing": "ignore"} | settings).fit(data, y)


@pytest.mark.parametrize("options", [{}, {"n_code": 3}, {"objective": "stepwise"}, {"patch_length": 2},
                                     {"standardize": "channel"}, {"tied": True}, {"init": "normal"}], ids=str)
@pytest.mark.parametrize("data", [X, X3], ids=["list", "3-D"])
def test_loss_gradient_and_errors_know_no_missing_number(options, data):
    model = fitted(data, **options)
    loss, grad = model.loss_and_grad(data)
    rng = np.random.default_rng(1)
    for name, view in model.parameters_.items():
        at = np.unravel_index(rng.integers(view.size), view.shape)
        before = view[at]
        view[at] = before + 1e-6
        above = model.loss_and_grad(data)[0]
        view[at] = before - 1e-6
        below = model.loss_and_grad(data)[0]
        view[at] = before
        assert grad[name][at] == pytest.approx((above - below) / 2e-6, rel=2e-4, abs=1e-6), name
    back = model.reconstruct(data)
    expected = [np.where(np.isnan(x), 0, np.square(x - y)) for x, y in zip(data, back)]
    for a, b in zip(model.reconstruction_error(data, per="element"), expected):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    for a, b in zip(model.reconstruction_error(data, per="step"), expected):
        np.testing.assert_allclose(a, b.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(model.reconstruction_error(data), [e.sum() for e in expected], rtol=1e-9)
    for a, e, x in zip(model.reconstruction_error(data, reduce="mean"), expected, data):
        assert a == pytest.approx(e.sum() / (~np.isnan(x)).sum(), rel=1e-9)
    for a, e, x in zip(model.reconstruction_error(data, per="feature", reduce="mean"), expected, data):
        np.testing.assert_allclose(a, e.sum(axis=0) / np.maximum((~np.isnan(x)).sum(axis=0), 1), rtol=1e-9)
    for a, e, x in zip(model.reconstruction_error(data, per="step", reduce="mean"), expected, data):
        np.testing.assert_allclose(a, e.sum(axis=1) / np.maximum((~np.isnan(x)).sum(axis=1), 1), rtol=1e-9)
    if not options:
        assert loss == pytest.approx(np.mean([e.sum() for e in expected]), rel=1e-9)


def made_probable(data):
    """What NaN is read as, written out: the mean, drawn to the nearest numbers seen on both sides."""
    means = np.nanmean(np.concatenate(data), axis=0)
    pairs = [(x[1:] - means, x[:-1] - means) for x in data]
    upper = np.nansum(np.concatenate([a * b for a, b in pairs]), axis=0)
    lower = np.nansum(np.concatenate([np.where(np.isnan(a * b), np.nan, a**2 + b**2) / 2 for a, b in pairs]), axis=0)
    r = np.clip(upper / lower, 0, 1 - 1e-6)
    found = [x.copy() for x in data]
    for x, y in zip(data, found):
        for t, i in np.argwhere(np.isnan(x)):
            before = [(s, x[s, i]) for s in range(t - 1, -1, -1) if not np.isnan(x[s, i])][:1]
            after = [(s, x[s, i]) for s in range(t + 1, len(x)) if not np.isnan(x[s, i])][:1]
            # The expectation of a number given others, by the covariance r^distance of all of them.
            at = np.array([s for s, _ in before + after])
            if len(at) == 0:
                y[t, i] = means[i]
                continue
            values = np.array([v for _, v in before + after]) - means[i]
            own = r[i] ** np.abs(at - t)
            y[t, i] = means[i] + own @ np.linalg.solve(r[i] ** np.abs(at[:, None] - at), values)
    return found, means, r


@pytest.mark.parametrize("data", [X, list(X3)], ids=["unequal", "equal"])
@pytest.mark.parametrize("standardize", ["none", "channel", "global"])
def test_missing_numbers_are_read_as_what_their_neighbours_make_probable(standardize, data):
    model = fitted(data, standardize=standardize)
    filled, means, r = made_probable(data)
    np.testing.assert_allclose(model._learned.gaps.correlation, r, rtol=1e-9)
    np.testing.assert_allclose(model.transform(data), model.transform(filled), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.transform([data[7]])[0], model.transform(data)[7], rtol=1e-9, atol=1e-12)
    state = model.initial_state()
    for x in data[3]:
        state = model.step(state, x)
    of_means = [np.where(np.isnan(x), means, x) for x in data]
    np.testing.assert_allclose(state, model.transform(of_means)[3], rtol=1e-9, atol=1e-12)
    if standardize == "channel":
        rows = np.concatenate(filled)
        np.testing.assert_allclose(model._learned.scaling.mean, means)
        np.testing.assert_allclose(model._learned.scaling.scale, np.nanstd(np.concatenate(data), axis=0))
        np.testing.assert_allclose(model.read_rows(rows), (rows - means) / model._learned.scaling.scale)


def test_channels_without_memory_are_read_as_means_and_smooth_ones_as_lines():
    rng = np.random.default_rng(3)
    X = np.stack([rng.standard_normal((40, 50)) + 7, np.arange(40 * 50.0).reshape(40, 50), np.full((40, 50), 3.0),
                  np.tile([1.0, -1.0], (40, 25))], axis=2)
    X[:, 20:23] = np.nan
    X[3, :, 2] = np.nan
    gaps = fitted(X)._learned.gaps
    assert gaps.correlation[0] < 0.1 and gaps.correlation[1] > 0.999 and gaps.correlation[2:].tolist() == [0, 0]
    read = gaps.read(fitted(X)._read(X, fitted(X)._learned)).data.reshape(40, 50, 4)
    np.testing.assert_allclose(read[0, 21], [7, 21, 3, 0], atol=0.2)
    np.testing.assert_allclose(read[3, :, 2], 3)
    huge = fitted(1e145 * X, max_iter=0)._learned.gaps
    np.testing.assert_allclose(huge.correlation, gaps.correlation)


def test_rows_of_nothing_at_the_end_are_padding_on_request():
    longest = max(map(len, X))
    padded = np.full((len(X), longest, 3), np.nan)
    for row, x in zip(padded, X):
        row[:len(x)] = x
    some = [x[:1 + np.flatnonzero(~np.isnan(x).all(axis=1))[-1]] for x in X]
    plain, model = fitted(some), fitted(padded, missing="padding")
    np.testing.assert_array_equal(model.theta_, plain.theta_)
    np.testing.assert_array_equal(model.transform(padded), plain.transform(some))
    for name in ("reconstruct", "hidden_states"):
        for a, b in zip(getattr(model, name)(padded), getattr(plain, name)(some), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.reconstruction_error(padded), plain.reconstruction_error(some))
    for per in ("step", "element"):
        for a, b in zip(model.reconstruction_error(padded, per=per), plain.reconstruction_error(some, per=per)):
            np.testing.assert_array_equal(a, b)
    assert model.score(padded) == plain.score(some) and model.n_steps_ is None
    whole = np.array([x[:5] for x in WHOLE])
    for data in (whole, list(whole)):  # a list whether or not there is padding
        assert isinstance(model.reconstruct(data), list)
        np.testing.assert_array_equal(model.reconstruct(data)[3], plain.reconstruct(list(whole))[3])
    one = fitted(padded[1], missing="padding")
    assert one.reconstruct(padded[1])[0].shape == some[1].shape
    labelled = fitted(padded, RAEClassifier, Y, missing="padding")
    assert labelled.predict(padded).tolist() == labelled.predict(some).tolist()
    with pytest.raises(ValueError, match="sequence 2 is nothing but NaN"):
        model.transform([X[0], X[1], np.full((4, 3), np.nan)])
    with pytest.raises(ValueError, match="missing='padding'"):
        RAE().fit(np.where(np.arange(5)[:, None] > 2, np.nan, whole))


def test_what_a_missing_number_would_be_makes_no_difference():
    other = [np.where(np.isnan(x), np.nan, x) for x in X]
    np.testing.assert_array_equal(fitted().theta_, fitted(other).theta_)
    assert fitted().theta_.tobytes() != fitted(holed(WHOLE, seed=5)).theta_.tobytes()


def test_without_gaps_no_bit_changes():
    for options in ({}, {"standardize": "channel"}, {"n_code": 2, "patch_length": 2}):
        model, plain = fitted(WHOLE, **options), fitted(WHOLE, missing="error", **options)
        np.testing.assert_array_equal(model.theta_, plain.theta_)
        np.testing.assert_array_equal(model.transform(WHOLE), plain.transform(WHOLE))
        np.testing.assert_array_equal(model.reconstruction_error(WHOLE), plain.reconstruction_error(WHOLE))


def test_it_fills_in_better_than_the_mean():
    rng = np.random.default_rng(2)
    t = np.arange(30)[:, None]
    whole = [np.hstack([np.sin(0.4 * t + p), np.cos(0.4 * t + p)]) + 0.05 * rng.standard_normal((30, 2))
             for p in rng.uniform(0, 6, 60)]
    gone = holed(whole)
    model = fitted(gone, n_hidden=12, max_iter=100)
    where = np.isnan(np.concatenate(gone))
    truth = np.concatenate(whole)[where]
    ours = np.square(np.concatenate(model.reconstruct(gone))[where] - truth).mean()
    assert ours < 0.3 * truth.var()


def test_files_classifiers_detectors_and_going_on(tmp_path):
    for model in (fitted(standardize="channel"), fitted(cls=RAEClassifier, y=Y), fitted(n_code=2, patch_length=3),
                  fitted(missing="padding")):
        y = None if isinstance(model, RAE) else Y
        model.save(tmp_path / "model.st")
        again = type(model).load(tmp_path / "model.st")
        np.testing.assert_equal(everything(again), everything(model))
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        np.testing.assert_array_equal(again.partial_fit(X, y).theta_, model.partial_fit(X, y).theta_)
        np.testing.assert_array_equal(clone(model).fit(X, y).theta_, clone(model).fit(X, y).theta_)
    scores = RAEDetector(RAE(6, missing="ignore", max_iter=5, random_state=0)).fit(X).score_samples(X)
    assert np.isfinite(scores).all()
    settings = {"n_hidden": 4, "random_state": 0, "max_iter": 6, "checkpoint": tmp_path / "fit.st", "missing": "ignore"}
    RAE(**settings).fit(X)
    zeros = [np.where(np.isnan(x), 0.0, x) for x in X]
    with pytest.raises(ValueError, match="other data|same"):
        RAE(**settings).fit(zeros, resume=True)
    early = fitted(early_stopping=True, max_iter=5)
    assert len(early.validation_scores_) == early.n_iter_
    weights = np.repeat([1.0, 0.0], 20)
    weighted = RAE(4, missing="ignore", max_iter=0, random_state=0).fit(X, None, weights)
    np.testing.assert_allclose(weighted._learned.gaps.mean, np.nanmean(np.concatenate(X[:20]), axis=0))
    np.testing.assert_allclose(weighted._learned.gaps.correlation, made_probable(X[:20])[2])


EMPTY = [np.column_stack([x[:, :2], np.full(len(x), np.nan)]) for x in WHOLE]


@pytest.mark.parametrize("call, message", [
    (lambda: RAE().fit(X), "NaN"), (lambda: fitted(EMPTY), "feature 2 has no number in the sequences"),
    (lambda: fitted([np.where(np.isnan(x), np.inf, x) for x in X]), "inf"),
    (lambda: fitted([[1, 2], [0]]), "for linear outputs"),
    (lambda: fitted(np.eye(3), output="softmax"), "for linear outputs"),
    (lambda: RAE(missing="drop").fit(X), "missing must be"),
    (lambda: fitted().set_params(missing="error").partial_fit(WHOLE), "missing was changed"),
    (lambda: fitted(WHOLE, missing="error").transform(X), "NaN")])
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_float32_and_single_sequences():
    model = fitted([x.astype(np.float32) for x in X])
    assert model.theta_.dtype == np.float32 and np.isfinite(model.reconstruct(X3.astype(np.float32))).all()
    one = fitted(X[0])
    assert one.reconstruct(X[0]).shape == (1, len(X[0]), 3)


def test_weights_of_sequences_are_those_of_their_pairs_and_large_numbers_do_not_overflow():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 1)).cumsum(axis=0), rng.standard_normal((30, 1))
    a[3] = np.nan

    def gaps(data, w=None):
        return RAE(3, missing="ignore", max_iter=0, random_state=0).fit(data, sample_weight=w)._learned.gaps

    for name in ("mean", "correlation"):
        np.testing.assert_allclose(getattr(gaps([a, b], [3.0, 1.0]), name), getattr(gaps([a, a, a, b]), name))
    huge = np.linspace(1e307, 1.1e308, 20)[:, None]
    model = RAE(3, missing="ignore", max_iter=0, random_state=0, init="normal").fit(huge)
    np.testing.assert_allclose(model._learned.gaps.mean, 6e307)
