"""What transform gives: last codes, means over steps, both, and in units of their own."""

import numpy as np
import pytest
from problems import everything
from sklearn.base import clone

from rae_fast import RAE, RAEClassifier, RAEDetector

RNG = np.random.default_rng(0)
X = [np.cumsum(RNG.standard_normal((4 + n % 5, 2)), axis=0) for n in range(30)]
X3 = np.array([x[:4] for x in X])
IDS = [RNG.integers(0, 5, 3 + n % 4) for n in range(30)]


def fitted(data=X, cls=RAE, y=None, **settings):
    return cls(**{"n_hidden": 6, "random_state": 0, "max_iter": 10} | settings).fit(data, y)


@pytest.mark.parametrize("options", [{}, {"n_code": 3}, {"patch_length": 2}], ids=str)
@pytest.mark.parametrize("data", [X, X3, IDS], ids=["list", "3-D", "ids"])
def test_means_are_those_of_the_codes_of_all_states(data, options):
    if data is IDS and "patch_length" in options:
        pytest.skip("ids have no patches")
    plain = fitted(data, **options)
    mean = np.array([plain.encode_states(h).mean(axis=0) for h in plain.hidden_states(data)])
    for pooling, parts in (("mean", [mean]), ("last+mean", [plain.transform(data), mean]),
                           ("mean+last", [mean, plain.transform(data)])):
        model = fitted(data, pooling=pooling, **options)
        codes = model.transform(data)
        np.testing.assert_allclose(codes, np.hstack(parts), rtol=1e-9, atol=1e-12)
        assert len(model.get_feature_names_out()) == codes.shape[1]
        if pooling != "mean":
            lengths = [3] * 30
            for a, b in zip(model.inverse_transform(codes, lengths),
                            plain.inverse_transform(plain.transform(data), lengths)):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("pooling", ["last", "last+mean", "mean"])
def test_codes_in_units_of_their_own(pooling, tmp_path):
    model, plain = fitted(standardize_codes=True, pooling=pooling), fitted(pooling=pooling)
    codes, raw = model.transform(X), plain.transform(X)
    np.testing.assert_allclose(codes, (raw - raw.mean(0)) / raw.std(0), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(codes.std(axis=0), 1)
    np.testing.assert_array_equal(model.theta_, plain.theta_)
    for a, b in zip(model.reconstruct(X), plain.reconstruct(X)):
        np.testing.assert_array_equal(a, b)
    if pooling == "mean":
        with pytest.raises(ValueError, match="cannot be unrolled"):
            model.inverse_transform(codes, 3)
    else:
        np.testing.assert_allclose(model.inverse_transform(codes, 3), plain.inverse_transform(raw, 3), rtol=1e-7,
                                   atol=1e-9)
        np.testing.assert_allclose(model.unroll(codes, 2), plain.unroll(raw, 2), rtol=1e-7, atol=1e-9)
    model.save(tmp_path / "model.st")
    again = RAE.load(tmp_path / "model.st")
    np.testing.assert_array_equal(again.transform(X), codes)
    np.testing.assert_equal(everything(again), everything(model))
    np.testing.assert_array_equal(clone(model).fit(X).transform(X), codes)
    np.testing.assert_array_equal(model.partial_fit(X).transform(X).shape, codes.shape)


@pytest.mark.parametrize("pooling", ["last", "last+mean", "mean"])
@pytest.mark.parametrize("options", [{}, {"n_code": 3}, {"dtype": "float32"}], ids=str)
def test_whitened_codes(pooling, options, tmp_path):
    data = [X[0] + RNG.standard_normal((4, 2)) for _ in range(80)]
    model, plain = (fitted(data, pooling=pooling, **options, whiten=whiten) for whiten in (True, False))
    codes, raw = model.transform(data), plain.transform(data)
    tolerance = 1e-2 if options.get("dtype") else 1e-6
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=tolerance)
    np.testing.assert_allclose(np.cov(codes.T, bias=True), np.eye(codes.shape[1]), atol=tolerance)
    assert codes.dtype == raw.dtype
    # The map is symmetric: codes are correlated with what they were, element by element.
    assert (np.diag(np.corrcoef(codes.T, raw.T)[:codes.shape[1], codes.shape[1]:]) > 0).all()
    if pooling != "mean":
        np.testing.assert_allclose(model.inverse_transform(codes, 3), plain.inverse_transform(raw, 3), rtol=1e-4,
                                   atol=tolerance)
    model.save(tmp_path / "model.st")
    again = RAE.load(tmp_path / "model.st")
    np.testing.assert_array_equal(again.transform(data), codes)
    np.testing.assert_equal(everything(again), everything(model))
    both = fitted(data, pooling=pooling, **options, whiten=True, standardize_codes=True)
    np.testing.assert_array_equal(both.transform(data), codes)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{}, {"n_hidden": 24}, {"pooling": "last+mean"}], ids=str)
def test_whitening_makes_no_noise_large(options, dtype):
    rng = np.random.default_rng(0)
    waves = np.sin(0.3 * np.arange(20)[None, :, None] + rng.uniform(0, 6, (300, 1, 1)))
    model = fitted(waves[:200], **options, dtype=dtype, whiten=True, max_iter=30)
    codes = model.transform(waves[:200])
    assert codes.std(axis=0).max() < 1.1 and np.linalg.cond(model._learned.code_units.forward) < 1.01e3
    covariance = np.linalg.eigvalsh(np.cov(codes.T, bias=True))
    np.testing.assert_allclose(covariance[-2:], 1, rtol=1e-2)  # the directions that are there
    noisy = model.transform(waves[200:] + 0.05 * rng.standard_normal((100, 20, 1)))
    assert noisy.std(axis=0).max() < 50
    back = model.inverse_transform(codes, 20)
    np.testing.assert_allclose(back, fitted(waves[:200], **options, dtype=dtype, max_iter=30).reconstruct(waves[:200]),
                               atol=1e-3 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("options", [{"whiten": True}, {"standardize_codes": True}], ids=str)
def test_units_are_those_of_whole_sequences_and_of_states(options):
    rng = np.random.default_rng(0)
    long = [rng.standard_normal((n, 3)).cumsum(axis=0) for n in rng.integers(20, 42, 60)]
    model = fitted(long, n_hidden=5, objective="stepwise", stretch_length=5, standardize="channel", **options)
    codes = model.transform(long)
    np.testing.assert_allclose(codes.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(model.encode_states(model.last_states(long)), codes, rtol=1e-9, atol=1e-12)
    state = model.encode_states(model.last_states(long)[0])
    np.testing.assert_allclose(model.unroll(state[None], 4), model.unroll(codes[:1], 4), rtol=1e-7)
    both = fitted(pooling="last+mean", **options)
    plain = fitted()
    np.testing.assert_array_equal(both.encode_states(both.last_states(X)), plain.encode_states(plain.last_states(X)))
    with pytest.raises(FloatingPointError):
        fitted(n_code=3, solver="sgd", learning_rate=1e200, relative_rates=False, init="normal", max_iter=50, **options)


def test_whitening_leaves_alone_what_does_not_vary_and_knows_weights():
    one = fitted([x[:, :1] * 0 + n % 2 for n, x in enumerate(X3)], n_hidden=3, whiten=True)
    codes = one.transform([np.zeros((4, 1)), np.ones((4, 1))])
    np.testing.assert_allclose(np.linalg.norm(codes[0] - codes[1]), 2)  # one direction, with deviation 1
    assert np.isfinite(one.inverse_transform(codes, 4)).all()
    assert not fitted(np.zeros((5, 3, 2)), whiten=True).transform(np.zeros((5, 3, 2))).any()
    single = fitted(X3[0], whiten=True)
    np.testing.assert_allclose(single.transform(X3[0]), 0, atol=1e-12)
    weights = np.repeat([1.0, 0.0], 15)
    weighted = RAE(3, whiten=True, max_iter=3, random_state=0).fit(X, None, weights)
    np.testing.assert_allclose(np.cov(weighted.transform(X[:15]).T, bias=True), np.eye(3), atol=1e-6)


def test_constant_codes_and_other_estimators():
    constant = fitted(np.zeros((5, 3, 2)), standardize_codes=True)
    assert not constant.transform(np.zeros((5, 3, 2))).any()
    labelled = fitted(cls=RAEClassifier, y=["a", "b"] * 15, standardize_codes=True, pooling="last+mean")
    plain = fitted(cls=RAEClassifier, y=["a", "b"] * 15)
    np.testing.assert_array_equal(labelled.predict_proba(X), plain.predict_proba(X))
    assert labelled.transform(X).shape == (30, 12)
    options = {"max_iter": 3, "random_state": 0}
    scores = RAEDetector(RAE(6, standardize_codes=True, pooling="mean", **options)).fit(X).score_samples(X)
    np.testing.assert_array_equal(scores, RAEDetector(RAE(6, **options)).fit(X).score_samples(X))


def test_what_is_refused():
    with pytest.raises(ValueError, match="pooling must be one of 'last', 'mean'"):
        fitted(pooling="max")
    with pytest.raises(ValueError, match="standardize_codes must be True or False"):
        fitted(standardize_codes="yes")
    with pytest.raises(ValueError, match="call fit"):
        fitted().set_params(standardize_codes=True).transform(X)
    with pytest.raises(ValueError, match="pooling='mean' needs"):
        fitted(standardize_codes=True).set_params(pooling="mean").transform(X)
    with pytest.raises(ValueError, match="whiten=True with pooling='last' needs what fit finds"):
        fitted(standardize_codes=True).set_params(whiten=True).transform(X)
    with pytest.raises(ValueError, match="standardize_codes=True with pooling='last' needs"):
        fitted(whiten=True).set_params(whiten=False, standardize_codes=True).transform(X)
    with pytest.raises(ValueError, match="12"):
        fitted(pooling="last+mean").unroll(np.zeros((2, 6)), 3)


def test_units_are_there_whenever_a_model_is():
    seen = []
    model = RAE(6, standardize_codes=True, max_iter=3, random_state=0, report_every=1,
                callbacks=lambda m: seen.append(m.transform(X).std()) is not None and False)
    model.fit(X)
    assert len(seen) == 3 and np.isfinite(seen).all()
    broken = RAE(6, standardize_codes=True, max_iter=20, solver="sgd", learning_rate=1e300, relative_rates=False)
    with pytest.raises(FloatingPointError):
        broken.fit(X)
    np.testing.assert_allclose(broken.transform(X).std(axis=0), 1)
    assert RAE(6, standardize_codes=True, random_state=0).partial_fit(X).transform(X).shape == (30, 6)
    weights = np.repeat([1.0, 0.0], 15)
    codes = RAE(6, standardize_codes=True, max_iter=3, random_state=0).fit(X, None, weights).transform(X[:15])
    np.testing.assert_allclose(codes.std(axis=0), 1)
