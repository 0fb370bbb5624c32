"""Channels in units of their own: in a model, in front of one, in files, streams and errors."""

import numpy as np
import pytest
from problems import everything
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from rae_fast import RAE, RAEClassifier, SequenceScaler

RNG = np.random.default_rng(0)
UNITS = np.array([1e3, 1.0, 1e-4])
OFFSET = np.array([-5e3, 0.0, 2.0])
PLAIN = [np.cumsum(RNG.standard_normal((4 + n % 5, 3)), axis=0) for n in range(30)]
X = [x * UNITS + OFFSET for x in PLAIN]
X3 = np.array([x[:4] for x in X])
Y = ["a", "b"] * 15


def fitted(data=X, cls=RAE, y=None, **settings):
    options = {"n_hidden": 6, "random_state": 0, "max_iter": 20, "standardize": "channel"} | settings
    return cls(**options).fit(data, y)


@pytest.mark.parametrize("options", [{}, {"n_code": 3}, {"patch_length": 2}, {"objective": "stepwise"}], ids=str)
@pytest.mark.parametrize("data", [X, X3], ids=["list", "3-D"])
def test_it_is_a_scaler_and_a_plain_model(options, data):
    scaler = SequenceScaler().fit(data)
    Z = scaler.transform(data)
    model, plain = fitted(data, **options), fitted(Z, **options, standardize="none")
    np.testing.assert_allclose(model.theta_, plain.theta_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.transform(data), plain.transform(Z), rtol=1e-9, atol=1e-12)
    back = scaler.inverse_transform(plain.reconstruct(Z))
    for a, b in zip(model.reconstruct(data), back):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    codes = model.transform(data)
    np.testing.assert_allclose(model.unroll(codes, 3), scaler.inverse_transform(plain.unroll(codes, 3)), rtol=1e-9)
    np.testing.assert_allclose(model.inverse_transform(codes, 4), scaler.inverse_transform(
        plain.inverse_transform(codes, 4)), rtol=1e-9)
    np.testing.assert_allclose(model.loss_and_grad(data)[0], plain.loss_and_grad(Z)[0], rtol=1e-9)
    for per in ("sequence", "step", "feature", "element"):
        for reduce in ("sum", "mean"):
            ours = model.reconstruction_error(data, per=per, reduce=reduce, units="model")
            for a, b in zip(ours, plain.reconstruction_error(Z, per=per, reduce=reduce)):
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    expected = [np.square(a - b).sum() for a, b in zip(model.reconstruct(data), data)]
    np.testing.assert_allclose(model.reconstruction_error(data), expected, rtol=1e-9)
    np.testing.assert_allclose(model.reconstruction_error(data, per="feature").sum(axis=1), expected, rtol=1e-9)
    assert model.score(data) == pytest.approx(-np.mean(expected), rel=1e-9)


def test_no_channel_is_lost_for_another_ones_units():
    """One of three channels times 1000: without it the others are noise to the model."""
    held = [x * UNITS + OFFSET for x in (np.cumsum(RNG.standard_normal((6, 3)), axis=0) for _ in range(20))]
    spread = np.concatenate(held).var(axis=0)

    def lost(model):
        errors = model.reconstruction_error(held, per="feature").sum(axis=0)
        return errors / sum(map(len, held)) / spread

    assert (lost(fitted(n_hidden=12, max_iter=100)) < 0.7).all()
    assert lost(fitted(n_hidden=12, max_iter=100, standardize="none"))[2] > 0.9


def test_global_is_one_scale():
    model = fitted(standardize="global")
    scale = model._learned.scaling.scale
    assert (scale == scale[0]).all() and scale[0] == pytest.approx(np.sqrt(np.concatenate(X).var(axis=0).mean()))


def test_streams_read_in_the_same_units():
    for options in ({}, {"patch_length": 2}):
        model = fitted(**options)
        state = model.initial_state(2)
        k = options.get("patch_length", 1)
        for t in range(0, 4, k):
            x = X3[:2, t] if k == 1 else X3[:2, t:t + k]
            state = model.step(state, x)
        np.testing.assert_allclose(state, model.transform(X3[:2]), rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_and_almost_constant_channels_do_not_explode(dtype):
    data = np.random.default_rng(1).standard_normal((20, 6, 4)).astype(dtype)
    data[..., 1] = 7
    data[..., 2] = 1e6 + np.finfo(dtype).eps * 1e6 * RNG.integers(0, 2, (20, 6))
    data[..., 3] = 0
    model = fitted(data)
    assert model._learned.scaling.scale[[1, 2, 3]].tolist() == [1, 1, 1]
    other = data.copy()
    other[..., 1:] += 1
    assert np.isfinite(model.reconstruction_error(other)).all()
    np.testing.assert_allclose(model.reconstruct(data)[..., 1], 7, rtol=1e-3)


def test_files_copies_weights_and_going_on(tmp_path):
    for model in (fitted(), fitted(cls=RAEClassifier, y=Y), fitted(n_code=2, patch_length=2)):
        model.save(tmp_path / "model.st")
        again = type(model).load(tmp_path / "model.st")
        np.testing.assert_equal(everything(again), everything(model))
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        for a, b in zip(again.reconstruct(X), model.reconstruct(X)):
            np.testing.assert_array_equal(a, b)
        y = None if isinstance(model, RAE) else Y
        np.testing.assert_array_equal(again.partial_fit(X, y).theta_, model.partial_fit(X, y).theta_)
        np.testing.assert_array_equal(clone(model).fit(X, y).transform(X), clone(model).fit(X, y).transform(X))
    w = np.repeat([0.0, 1.0], 15)
    weighted = RAE(4, standardize="channel", random_state=0, max_iter=0).fit(X, None, w)
    np.testing.assert_allclose(weighted._learned.scaling.mean,
                               np.concatenate(X[15:]).mean(0), rtol=1e-12)
    with pytest.raises(ValueError, match="standardize was changed from 'channel' to 'none'"):
        fitted().set_params(standardize="none").partial_fit(X)


def test_an_interrupted_fit_goes_on(tmp_path):
    settings = {"n_hidden": 5, "random_state": 0, "max_iter": 6, "checkpoint": tmp_path / "fit.st", "report_every": 1,
                "standardize": "channel"}
    whole = RAE(**settings).fit(X)
    (tmp_path / "fit.st").unlink()
    model = RAE(**settings, callbacks=lambda m: m.n_iter_ == 3).fit(X)
    assert model.n_iter_ == 3
    early = fitted(early_stopping=True, max_iter=8, n_code=2)
    assert len(early.validation_scores_) == early.n_iter_
    assert whole.n_iter_ == 6


@pytest.mark.parametrize("call, message", [
    (lambda: RAE(standardize="row").fit(X), "standardize must be one of"),
    (lambda: RAE(standardize="channel").fit([[1, 2, 0], [2, 1]]), "is for linear outputs of rows of numbers"),
    (lambda: RAE(standardize="channel", output="softmax").fit(np.eye(3)), "is for linear outputs of rows of numbers"),
    (lambda: RAE(standardize="channel").fit([x * 1e300 for x in X]), "too large to be standardised"),
    (lambda: fitted().reconstruction_error(X, units="mm"), "units must be 'data' or 'model'; got 'mm'"),
    (lambda: SequenceScaler("none").fit(X), "standardize must be 'channel' or 'global'"),
    (lambda: SequenceScaler().fit([[1, 2], [3]]), "holds token ids"),
    (lambda: SequenceScaler().transform(X), "not fitted yet"),
    (lambda: SequenceScaler().fit(X).transform([np.zeros((3, 2))]), "2 features"),
])
def test_what_is_refused(call, message):
    with pytest.raises(Exception, match=message):
        call()


def test_in_a_pipeline():
    pipeline = make_pipeline(SequenceScaler(), RAE(5, max_iter=5, random_state=0))
    assert pipeline.fit_transform(X).shape == (30, 5)
    np.testing.assert_array_equal(clone(pipeline).fit(X).transform(X), pipeline.transform(X))


@pytest.mark.parametrize("kind", ["channel", "global"])
def test_the_scaler_lets_missing_numbers_pass(kind):
    rng = np.random.default_rng(5)
    whole = [rng.standard_normal((n, 3)) * [1, 10, 0] + [0, 5, 7] for n in (4, 9, 6)]
    gone = [np.where(rng.random(x.shape) < 0.3, np.nan, x) for x in whole]
    scaler = SequenceScaler(kind)
    found = scaler.fit_transform(gone)
    rows = np.concatenate(gone)
    np.testing.assert_allclose(scaler.mean_, np.nanmean(rows, axis=0))
    deviation = np.nanstd(rows, axis=0)
    expected = np.where(deviation > 1e-9, deviation, 1) if kind == "channel" else np.sqrt((deviation**2).mean())
    np.testing.assert_allclose(scaler.scale_, np.broadcast_to(expected, 3))
    for x, z, back in zip(gone, found, scaler.inverse_transform(found)):
        np.testing.assert_allclose(z, (x - scaler.mean_) / scaler.scale_)
        np.testing.assert_allclose(back, x)
    padded = np.where(np.arange(6)[:, None] < 4, np.arange(18.0).reshape(6, 3), np.nan)[None]
    assert np.isnan(scaler.transform(padded)[0, 4:]).all() and np.isfinite(scaler.transform(padded)[0, :4]).all()
    assert np.isnan(padded[0, 4:]).all() and padded[0, 0].tolist() == [0, 1, 2]  # what was passed is as it was
    with pytest.raises(ValueError, match="feature 1 has no number"):
        scaler.fit([np.where([False, True, False], np.nan, x) for x in whole])
    pipeline = make_pipeline(SequenceScaler(), RAE(4, missing="ignore", max_iter=3, random_state=0)).fit(gone)
    assert np.isfinite(pipeline.transform(gone)).all()
    large = 1e155 + 1e150 * rng.standard_normal((1, 100, 1))
    large[0, 3] = np.nan
    np.testing.assert_allclose(SequenceScaler().fit(large).scale_, np.nanstd(large / 1e150) * 1e150)
