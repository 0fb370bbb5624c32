"""Files of detectors: what comes back scores as what was saved, and nothing else comes back."""

import json

import numpy as np
import pytest

from rae_fast import RAE, RAEDetector, StreamDetector, persistence

RNG = np.random.default_rng(0)
X = [np.cumsum(RNG.standard_normal((6 + n % 5, 2)), axis=0) for n in range(40)]
SERIES = np.column_stack([np.sin(0.3 * np.arange(400)), np.cos(0.3 * np.arange(400))])
HOLED = np.where(RNG.random(SERIES.shape) < 0.1, np.nan, SERIES)
FAST = {"max_iter": 3, "random_state": 0}


def detectors():
    yield RAEDetector(random_state=3), X
    yield RAEDetector(RAE(5, standardize="global", **FAST), score_by="distance", contamination=0.1, n_jobs=2), X
    yield RAEDetector(RAE(5, missing="ignore", **FAST)), [np.where(np.abs(x) < 0.1, np.nan, x) for x in X]
    small = RAE(5, n_code=2, dtype="float32", patch_length=2, **FAST)
    yield RAEDetector(small, random_state=np.random.default_rng(0)), X
    yield StreamDetector(RAE(5, objective="stepwise", **FAST), width=20), SERIES
    yield StreamDetector(RAE(5, objective="stepwise", missing="ignore", dtype="float32", **FAST)), HOLED


def score(detector, data):
    return detector.score_samples(data) if isinstance(detector, RAEDetector) else detector.score_steps(data)


@pytest.mark.parametrize("number", range(6))
def test_it_comes_back_as_it_was(number, tmp_path):
    detector, data = list(detectors())[number]
    detector.fit(data).offset_ -= 1
    detector.save(tmp_path / "d.st")
    again = type(detector).load(tmp_path / "d.st")
    np.testing.assert_array_equal(score(again, data), score(detector, data))
    assert again.offset_ == detector.offset_ and again.n_features_in_ == detector.n_features_in_
    params, before = again.get_params(deep=False), detector.get_params(deep=False)
    for name in params.keys() - {"model", "n_jobs", "random_state"}:
        assert params[name] == before[name]
    assert (params["model"] is None) == (before["model"] is None)
    assert params["random_state"] == (3 if number == 0 else None)
    if isinstance(detector, RAEDetector):
        np.testing.assert_array_equal(again.predict(data), detector.predict(data))
    else:
        np.testing.assert_array_equal([again.update(x) for x in data[:9]], [detector.update(x) for x in data[:9]])
    np.testing.assert_array_equal(score(again.fit(data), data), score(detector.fit(data), data))
    again.save(tmp_path / "d.st")  # which may be replaced
    np.testing.assert_array_equal(score(type(detector).load(tmp_path / "d.st"), data), score(detector, data))


def changed(folder, *, arrays=None, facts=None, metadata=None, detector=None):
    """The file of a detector with some of it changed."""
    path = folder / "d.st"
    RAEDetector(RAE(5, **FAST)).fit(X).save(path)
    before, said = persistence.read(path)
    own = json.loads(said["detector"])
    own["facts"] |= facts or {}
    said["detector"] = json.dumps(own | (detector or {}))
    after = {name: array for name, array in (before | (arrays or {})).items() if array is not None}
    persistence.write(path, after, {k: v for k, v in (said | (metadata or {})).items() if v is not None})
    return path


@pytest.mark.parametrize("change, message", [
    ({"metadata": {"format": "rae_fast.RAE"}}, "does not say that it is one"),
    ({"metadata": {"detector": None}}, "something is missing"), ({"metadata": {"detector": "[]"}}, "object"),
    ({"metadata": {"format_version": "9"}}, "format version"),
    ({"arrays": {"detector.mean": None}}, "arrays of its detector are missing"),
    ({"arrays": {"detector.mean": np.zeros(4)}}, "states of 5 numbers"),
    ({"arrays": {"detector.mean": np.zeros((5, 1))}}, "mean has 2 dimensions"),
    ({"arrays": {"detector.mean": np.full(5, np.nan)}}, "not finite"),
    ({"arrays": {"detector.mean": np.zeros(5, np.float32)}}, "float32"),
    ({"arrays": {"detector.other": np.zeros(5)}}, "which no RAE has"),
    ({"arrays": {"W_hh": np.zeros((2, 2))}}, "do not have the shapes"),
    ({"facts": {"offset": None}}, "offset is None"), ({"facts": {"offset": float("nan")}}, "offset is nan"),
    ({"facts": {"medians": [1.0]}}, "d"), ({"facts": {"medians": [1.0, -1.0]}}, "a median is -1.0"),
    ({"facts": {"medians": 3}}, "something is missing or of another kind"),
    ({"facts": {"score_by": "all"}}, "score_by is 'all'"), ({"detector": {"default": 1}}, "of another kind"),
    ({"detector": {"params": {"model": 3}}}, "something is missing or of another kind"),
    ({"detector": {"params": {"random_state": -1}}}, "random_state"),
    ({"detector": {"params": {"score_by": [1]}}}, "score_by must be"),
    ({"detector": {"params": {"contamination": {}}}}, "contamination"),
    ({"detector": {"facts": []}}, "of another kind"),
], ids=str)
def test_what_was_altered_is_refused_in_one_sentence(change, message, tmp_path):
    path = changed(tmp_path, **change)
    with pytest.raises(ValueError, match=message) as caught:
        RAEDetector.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [RAEDetector, StreamDetector])
def test_any_byte_may_be_wrong(kind, tmp_path):
    path = tmp_path / "d.st"
    if kind is RAEDetector:
        kind(RAE(3, **FAST)).fit(X).save(path)
    else:
        kind(RAE(3, objective="stepwise", missing="ignore", **FAST)).fit(HOLED).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        header = int.from_bytes(whole[:8], "little") + 8
        for at in rng.integers(0, header if rng.random() < 0.8 else len(whole), rng.integers(1, 4)):
            content[at] = rng.integers(32, 127)
        path.write_bytes(content[:rng.integers(len(whole))] if rng.random() < 0.1 else content)
        try:
            found = kind.load(path)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            assert score(found, X if kind is RAEDetector else HOLED[:20]) is not None
    with pytest.raises(ValueError, match="does not say that it is one"):
        path.write_bytes(whole)
        (StreamDetector if kind is RAEDetector else RAEDetector).load(path)


def test_offsets_that_never_alarm_and_settings_that_are_none(tmp_path):
    detector = RAEDetector(RAE(3, **FAST)).fit(X)
    detector.offset_ = -np.inf
    detector.save(tmp_path / "d.st")
    again = RAEDetector.load(tmp_path / "d.st")
    assert again.offset_ == -np.inf and (again.predict(X) == 1).all()
    stream = StreamDetector(RAE(3, objective="stepwise", **FAST)).fit(SERIES)
    for owner in (detector, stream):
        for value in (np.nan, None, "1"):
            with pytest.raises(ValueError, match="offset_ is"):
                owner.offset_ = value
    with pytest.raises(ValueError, match="score_by must be"):
        detector.set_params(score_by="nonsense").save(tmp_path / "e.st")
    with pytest.raises(ValueError, match="width must be"):
        stream.set_params(width=-1).save(tmp_path / "e.st")


def test_before_fit_and_a_detector_is_no_model(tmp_path):
    for cls in (RAEDetector, StreamDetector):
        with pytest.raises(ValueError, match="not fitted"):
            cls().save(tmp_path / "d.st")
    RAEDetector(RAE(3, **FAST)).fit(X).save(tmp_path / "d.st")
    with pytest.raises(ValueError, match="rae_fast.RAE"):
        RAE.load(tmp_path / "d.st")
