"""RAEDetector: scikit-learn's outlier contract, and what its scores are made of."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.base import clone, is_outlier_detector
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from rae_fast import RAE, RAEDetector, SequenceScaler, detector

RNG = np.random.default_rng(0)


def waves(n, lengths=(40, 40), rng=RNG):
    found = []
    for _ in range(n):
        t = np.arange(rng.integers(lengths[0], lengths[1] + 1))[:, None]
        found.append(np.sin(0.4 * t + rng.uniform(0, 6) + [0, 1]) + 0.05 * rng.standard_normal((len(t), 2)))
    return found


NORMAL, NEW = waves(80), waves(40)
STRANGE = [np.where((np.arange(len(x)) // 8 == 2)[:, None], -x, x) for x in waves(40)]


def auc(model, normal=NEW, strange=STRANGE):
    return roc_auc_score(np.repeat([1, 0], [len(normal), len(strange)]), model.score_samples(normal + strange))


@pytest.mark.parametrize("settings", [{}, {"score_by": "error"}, {"n_jobs": 2},
                                      {"model": RAE(8, n_code=4, max_iter=30, random_state=0)}], ids=str)
def test_it_finds_what_is_strange(settings):
    model = RAEDetector(**{"random_state": 0} | settings)
    assert model.fit(NORMAL) is model and auc(model) > 0.97
    scores = model.score_samples(NEW + STRANGE)
    np.testing.assert_array_equal(model.decision_function(NEW + STRANGE), scores - model.offset_)
    np.testing.assert_array_equal(model.predict(NEW + STRANGE), np.where(scores < model.offset_, -1, 1))
    assert (model.predict(NORMAL) == 1).mean() > 0.95 and (model.predict(STRANGE) == -1).mean() > 0.7


def test_the_score_is_what_the_documentation_says():
    model = RAEDetector(random_state=0).fit(NORMAL)
    errors = [m.reconstruction_error(NORMAL, reduce="mean", units="model") for m in (model.model_,)][0]
    codes = model.model_.last_states(NORMAL)
    assert codes.shape == (80, 24) and model.model_.transform(NORMAL).shape == (80, 5)
    first = detector.Codes.of(codes[:9])  # too few to leave some out
    covariance, _ = ledoit_wolf(codes[:9])
    expected = np.einsum("ni,ij,nj->n", codes - codes[:9].mean(0), np.linalg.inv(covariance), codes - codes[:9].mean(0))
    np.testing.assert_allclose(first.squares(codes), expected, rtol=1e-6)
    squares = detector.Codes.of(codes).squares(codes)
    np.testing.assert_allclose(model.score_samples(NORMAL),
                               -(2 * errors / np.median(errors) + squares / np.median(squares)), rtol=1e-12)
    for score, part in (("error", errors), ("distance", squares)):
        np.testing.assert_allclose(RAEDetector(score_by=score, random_state=0).fit(NORMAL).score_samples(NORMAL),
                                   -part / np.median(part), rtol=1e-12)


def test_the_code_has_nine_tenths_of_the_variance():
    rng = np.random.default_rng(4)
    waves_of = [np.sin(np.pi * k * np.linspace(0, 1, 50))[:, None] for k in range(1, 21)]

    def of(k, lengths=(50,), scale=1.0):
        rows = [sum(w * a for w, a in zip(waves_of[:k], rng.standard_normal(k))) for _ in range(200)]
        return [scale * x[np.round(np.linspace(0, 49, rng.choice(lengths))).astype(int)] + 5 for x in rows]

    for k, expected in ((1, 5), (3, 5), (6, 6), (7, 7), (15, 8)):
        assert detector.code_size(of(k)) == detector.code_size(np.array(of(k), dtype=np.float32)) == expected
        assert abs(detector.code_size(of(k, (40, 50, 70), 1e-8)) - expected) <= 1
    mixed = of(7) + [1e3 * x for x in of(1)]
    assert detector.code_size(mixed, np.arange(400) < 200) >= 6 and detector.code_size(mixed) == 5
    assert RAEDetector(random_state=0).fit(of(6)).model_.n_code == 6
    for same in (np.zeros((5, 3, 2)), np.ones((1, 7, 1)), np.ones((3, 1, 1)), rng.standard_normal((2, 3, 40_000))):
        assert detector.code_size(same) == 5


def test_a_few_strange_ones_among_the_normal_do_little():
    mixed = NORMAL + STRANGE[:6]
    model = RAEDetector(contamination=6 / 86, random_state=0)
    found = model.fit_predict(mixed)
    assert (found == -1).sum() == 6 and (found[80:] == -1).sum() >= 5
    assert auc(model, NEW, STRANGE[6:]) > 0.95


def test_lengths_do_not_matter():
    normal, new = waves(80, (20, 120)), waves(60, (20, 120))
    model = RAEDetector(random_state=0).fit(normal)
    lengths, scores = np.array([len(x) for x in new]), model.score_samples(new)
    assert abs(np.corrcoef(lengths, scores)[0, 1]) < 0.5
    assert (model.predict(new) == 1).mean() > 0.9


@pytest.mark.parametrize("X", [np.zeros((12, 5, 2)), np.ones((12, 5, 2)), np.eye(3)[None].repeat(12, 0),
                               np.random.default_rng(0).standard_normal((2, 4, 1)), np.zeros((1, 4, 1))], ids=range(5))
def test_constant_and_few_sequences(X):
    model = RAEDetector(random_state=0).fit(X)
    assert np.isfinite(model.score_samples(X)).all() and np.isfinite(model.score_samples(X + 1)).all()
    assert (model.score_samples(X + 1) <= model.score_samples(X)).all()


def test_copies_pickles_weights_and_settings():
    model = RAEDetector(RAE(6, max_iter=3, random_state=0), contamination=0.2)
    copied = clone(model)
    assert copied.get_params()["model__n_hidden"] == 6 and is_outlier_detector(copied)
    copied.set_params(model__n_hidden=4)
    assert copied.fit(NORMAL).model_.n_hidden == 4 and model.model.n_hidden == 6
    again = pickle.loads(pickle.dumps(copied))
    np.testing.assert_array_equal(again.score_samples(NEW), copied.score_samples(NEW))
    assert (copied.predict(NORMAL) == -1).sum() == 16
    copied.offset_ = -np.inf
    assert (copied.predict(STRANGE) == 1).all()
    weights = np.repeat([1.0, 0.0], [40, 40])
    some = RAEDetector(RAE(6, max_iter=3, random_state=0)).fit(NORMAL, None, weights)
    np.testing.assert_allclose(some.score_samples(NEW), RAEDetector(RAE(6, max_iter=3, random_state=0)).fit(
        NORMAL, None, weights).score_samples(NEW))
    pipeline = make_pipeline(SequenceScaler(), RAEDetector(random_state=0)).fit(NORMAL)
    assert set(pipeline.predict(NEW)) <= {-1, 1}


def test_what_is_refused():
    for settings, message in (({"score_by": "sum"}, "score_by must be one of 'both'"),
                              ({"contamination": 0.7}, "contamination must"),
                              ({"contamination": 0}, "contamination must"),
                              ({"model": "RAE"}, "model must be None or an RAE"),
                              ({"random_state": -1}, "random_state must be")):
        with pytest.raises(ValueError, match=message):
            RAEDetector(**settings).fit(NORMAL)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        RAEDetector().predict(NEW)
    model = RAEDetector(random_state=0).fit(NORMAL)
    before = model.score_samples(NEW)
    with pytest.raises(ValueError):
        model.fit([np.full((3, 2), np.nan)])
    np.testing.assert_array_equal(model.score_samples(NEW), before)


class OfRows(RAEDetector):
    """The same, for which a matrix is so many sequences of one step, as scikit-learn's checks have it."""

    def fit(self, X, y=None, sample_weight=None):
        return super().fit(as_sequences(X), y, sample_weight)

    def score_samples(self, X):
        return super().score_samples(as_sequences(X))


def as_sequences(X):
    if issparse(X) or np.asarray(X).ndim != 2:
        return X
    return np.asarray(X)[:, None]


OF_ROWS = {name: "a sparse matrix is one sequence" for name in (
    "check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_estimator_sparse_tag",
    "check_sample_weight_equivalence_on_sparse_data")}
OF_ROWS |= {
    "check_dataframe_column_names_consistency": "frames are sequences",
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn by the number of sequences",
    "check_dtype_object": "object arrays are refused: they are how ragged input goes wrong unnoticed",
    "check_fit2d_predict1d": "a vector of numbers is a sequence of ids",
}


def test_sklearn_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(OfRows(RAE(3, max_iter=5, random_state=0)), expected_failed_checks=OF_ROWS,
                                  on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed, failed
    assert sum(r["status"] == "passed" for r in results) >= 30


def test_it_keeps_what_it_was_fitted_with():
    model = RAEDetector(RAE(6, max_iter=3, random_state=0)).fit(NORMAL)
    before = model.score_samples(NEW)
    np.testing.assert_array_equal(model.set_params(score_by="error").score_samples(NEW), before)
    with pytest.raises(ValueError, match="offset_ is nan"):
        model.offset_ = np.nan
    assert RAEDetector(random_state=0).fit(NORMAL[:1]).predict(NORMAL[:1]).tolist() == [1]
    with pytest.raises(ValueError, match="contamination must be 'auto'"):
        RAEDetector(contamination="all").fit(NORMAL)


def test_of_a_sequence_without_a_number_nothing_is_said():
    rng = np.random.default_rng(0)
    G = rng.standard_normal((40, 10, 2))
    G[7] = np.nan
    model = RAEDetector(RAE(6, missing="ignore", max_iter=10, random_state=0)).fit(G)
    scores = model.score_samples(G)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [7] and model.predict(G)[7] == -1
    whole = RAEDetector(RAE(6, missing="ignore", max_iter=10, random_state=0)).fit(G, sample_weight=np.arange(40) != 7)
    np.testing.assert_allclose(whole.score_samples(G[:5]), scores[:5], rtol=0.5)
    with pytest.raises(ValueError, match="no number"):
        RAEDetector(RAE(6, missing="ignore")).fit(np.full((3, 4, 2), np.nan))


@pytest.mark.parametrize("model", [None, RAE(5, max_iter=3, standardize="global", random_state=0)],
                         ids=["default", "global"])
def test_where_all_are_alike_rounding_is_no_anomaly(model):
    rng = np.random.default_rng(0)
    for same in (np.full((20, 7, 2), [0.1, 0.3]), np.tile(rng.standard_normal((1, 7, 2)), (20, 1, 1)),
                 np.zeros((20, 7, 2)), 1e6 + np.zeros((20, 7, 2))):
        detector = RAEDetector(model, random_state=0).fit(same)
        for some in (same, same[:1], same[:3], list(same[:5]), same * (1 + 1e-15)):
            assert (detector.predict(some) == 1).all()
        assert (detector.predict(same[:2] + 1 + np.abs(same[:2])) == -1).all()


@pytest.mark.parametrize("weights", [["a"] * 30, [None] * 30, [1, 2], [-1.0] * 30, [[1], [2, 3]]], ids=str)
def test_bad_weights_are_refused_as_a_model_does(weights):
    with pytest.raises(ValueError, match="sample_weight"):
        RAEDetector().fit(NORMAL[:30], sample_weight=weights)


def test_states_far_off_are_left_out_of_the_covariance():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((2000, 5))
    mixed = np.concatenate([states, 1000 + rng.standard_normal((5, 5))])
    clean, found = detector.Codes.of(states), detector.Codes.of(mixed)
    np.testing.assert_allclose(found.mean, clean.mean, atol=1e-9)
    np.testing.assert_allclose(found.precision, clean.precision, atol=1e-6)
