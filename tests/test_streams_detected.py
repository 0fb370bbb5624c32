"""Windows of a long series and back, and a detector that reads a stream step by step."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from rae_fast import RAE, StreamDetector, fold, windows

RNG = np.random.default_rng(0)
T = np.arange(1200)
X = np.stack([np.sin(0.3 * T), np.cos(0.3 * T)], axis=1) + 0.05 * RNG.standard_normal((1200, 2))


@pytest.mark.parametrize("n, width, stride", [(7, 3, 2), (8, 3, 2), (5, 5, 1), (5, 1, 1), (9, 4, 4), (10, 4, 4),
                                              (12, 3, 5)])
def test_windows_and_back(n, width, stride):
    x = RNG.standard_normal((n, 2))
    cut = windows(x, width, stride)
    at = [t for t in range(0, n - width + 1, stride)]
    at += [n - width] * (at[-1] != n - width)
    np.testing.assert_array_equal(cut, [x[t:t + width] for t in at])
    covered = np.zeros(n, dtype=bool)
    for t in at:
        covered[t:t + width] = True
    for reduce in ("mean", "max", "min"):
        back = fold(cut, n, width, stride, reduce)
        np.testing.assert_allclose(back[covered], x[covered], rtol=1e-12)
        assert np.isnan(back[~covered]).all() and covered.all() == (stride <= width)
        values = RNG.standard_normal(len(at))
        expected = [getattr(np, reduce)([v for v, t in zip(values, at) if t <= step < t + width] or [np.nan])
                    for step in range(n)]
        np.testing.assert_allclose(fold(values, n, width, stride, reduce), expected)
    np.testing.assert_array_equal(windows(x[:, 0], width, stride), cut[..., :1])
    cut[...] = 0
    assert x.any()


@pytest.mark.parametrize("call, message", [
    (lambda: windows(X, 0), "width must be an integer of at least 1"),
    (lambda: windows(X, 3, 1.5), "stride must be an integer"),
    (lambda: windows(X, 2000), "more than the 1200 steps"), (lambda: windows(X[None], 3), "3 dimensions"),
    (lambda: fold([1, 2], 7, 3, 2), "3 windows of 3 steps"),
    (lambda: fold([1, 2, 3], 7, 3, 2, "sum"), "reduce must be one of"),
    (lambda: StreamDetector(contamination=0).fit(X), "contamination must lie"),
    (lambda: StreamDetector(RAE()).fit(X), "objective=\"stepwise\""),
    (lambda: StreamDetector(random_state="x").fit(X), "random_state"),
    (lambda: StreamDetector().update(X[0]), "not fitted yet")])
def test_what_is_refused(call, message):
    with pytest.raises((ValueError, NotFittedError), match=message):
        call()


@pytest.fixture(scope="module")
def detector():
    return StreamDetector(random_state=0).fit(X)


def test_it_tells_what_is_strange_in_a_stream(detector):
    new = np.stack([np.sin(0.3 * (T + 7)), np.cos(0.3 * (T + 7))], axis=1) + 0.05 * RNG.standard_normal((1200, 2))
    strange = np.zeros(1200, dtype=bool)
    strange[100::100] = True
    new[strange] += [1.5, -1.5]
    scores = np.array([detector.update(x) for x in new])
    assert scores[strange].max() < np.quantile(scores[~strange], 0.05) and (scores[strange] < detector.offset_).all()
    assert (scores[~strange] < detector.offset_).mean() < 0.1
    np.testing.assert_allclose(detector.reset().score_steps(new), scores, rtol=1e-7, atol=1e-12)
    assert detector.state_ is None


def test_several_streams_and_copies(detector):
    detector.reset()
    several = np.array([detector.update(np.stack([X[t], X[t + 50], X[t + 9]])) for t in range(30)])
    for k, first in enumerate((0, 50, 9)):
        np.testing.assert_allclose(several[:, k], detector.score_steps(X[first:first + 30]), rtol=1e-7, atol=1e-12)
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.update(X[:3]), detector.update(X[:3]))
    with pytest.raises(ValueError):
        detector.update(X[:2])
    np.testing.assert_array_equal(again.state_, detector.state_)
    assert clone(detector).get_params() == detector.get_params()
    detector.reset().offset_ = 0.0
    assert detector.update(X[0]) < detector.offset_


def test_lists_of_series_and_models_of_ones_own():
    model = StreamDetector(RAE(5, objective="stepwise", max_iter=3, random_state=0), width=20)
    model.fit([X[:300], X[400:450], X[:9]])
    assert model.model_.n_hidden == 5 and model.score_steps(X[:9]).shape == (9,)
    single = StreamDetector(random_state=0).fit(X[:, 0])
    assert isinstance(single.update([0.1]), float)


def test_missing_numbers_in_a_stream():
    gaps = X.copy()
    gaps[::50, 0] = np.nan
    gaps[7] = np.nan
    model = RAE(8, objective="stepwise", standardize="channel", missing="ignore", max_iter=5, random_state=0)
    detector = StreamDetector(model).fit(gaps)
    scores = detector.score_steps(gaps)
    nothing = np.isnan(gaps).all(axis=1)
    assert np.isfinite(scores[~nothing]).all() and np.isnan(scores[nothing]).all() and nothing[7]
    assert detector.offset_ == np.quantile(scores[~nothing], 0.001)
    np.testing.assert_allclose([detector.update(x) for x in gaps[:60]], scores[:60], rtol=1e-7, atol=1e-12)
    nullable = pytest.importorskip("pandas").DataFrame(gaps).astype("Float64")
    np.testing.assert_array_equal(StreamDetector(model).fit(nullable).score_steps(nullable), scores)
    masked = np.ma.masked_invalid(gaps)
    for call in (lambda: StreamDetector(model).fit(masked), lambda: detector.score_steps(masked),
                 lambda: detector.update(masked[7]), lambda: windows(masked, 5),
                 lambda: detector.model_.step(detector.model_.initial_state(), masked[7]),
                 lambda: detector.model_.read_rows(masked)):
        with pytest.raises(ValueError, match="has masked values"):
            call()


@pytest.mark.parametrize("options", [{"whiten": True}, {"standardize_codes": True}, {"pooling": "last+mean"},
                                     {"pooling": "mean"}], ids=str)
def test_units_of_codes_are_nothing_to_a_stream(options):
    plain = {"n_hidden": 5, "objective": "stepwise", "max_iter": 3, "random_state": 0}
    scores = StreamDetector(RAE(**plain)).fit(X).score_steps(X)
    np.testing.assert_array_equal(StreamDetector(RAE(**plain, **options)).fit(X).score_steps(X), scores)


def test_names_of_columns_and_states_of_others():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["a", "b"])
    detector = StreamDetector(RAE(5, objective="stepwise", max_iter=3, random_state=0)).fit(frame)
    np.testing.assert_array_equal(detector.score_steps(frame), detector.score_steps(X))
    with pytest.raises(ValueError, match="feature names"):
        detector.score_steps(frame[["b", "a"]])
    detector.update(X[0])
    detector.state_[:] = 9
    assert np.abs(detector.state_).max() <= 1
    several = StreamDetector(RAE(5, objective="stepwise", max_iter=3, random_state=0)).fit(
        [X[:99, :1], X[:80, 1:]])
    assert several.model_.n_features_in_ == 1
    for vectors in (X[:50].tolist(), [X[:99, 0], X[:80, 1]]):
        with pytest.raises(ValueError, match="a list of vectors: pass np.asarray"):
            StreamDetector().fit(vectors)
    with pytest.raises(ValueError, match="patch_length=1"):
        StreamDetector(RAE(5, objective="stepwise", patch_length=3)).fit(X)
