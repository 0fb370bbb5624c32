"""No message echoes an argument of unbounded length, and each names what was passed."""

import functools

import numpy as np
import pytest

from rae_fast import RAE, _kernels, hyperparameters
from rae_fast._messages import shown

F = np.arange(12.0).reshape(4, 3) / 10


class Hostile:
    """A value that cannot be shown, or without end, or on many lines."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        if self.text is None:
            raise LookupError("no text")
        return self.text


HUGE = ["z" * 10**6, ["z" * 10**6] * 100, {"k" * 10**6: list(range(10**5))}, 10**5000, Hostile("line\n" * 10**5),
        Hostile(None), np.zeros((300, 300)), b"z" * 10**6, tuple([[[[[0] * 100] * 100]]])]


@pytest.mark.parametrize("value", HUGE, ids=lambda value: type(value).__name__)
def test_what_is_shown_is_bounded_and_on_one_line(value):
    assert len(shown(value)) <= 300 and "\n" not in shown(value)


def test_what_is_short_is_shown_whole():
    for value in (0.5, "adam", None, [1, 2.5], (1,), {"a": 1}, True, float("nan"), -3, 2**70):
        assert shown(value) == repr(value)


@pytest.fixture(scope="module")
def model():
    return RAE(3, max_iter=1, random_state=0).fit(np.array([F, F + 1]))


def sentence(call):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert len(text) < 700 and "\n" not in text, text[:1000]
    return text


@pytest.mark.parametrize("value", HUGE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", list(hyperparameters.declarations(RAE)))
def test_hyperparameters(name, value):
    try:
        hyperparameters.declarations(RAE)[name].check(name, value)
    except ValueError:
        assert sentence(lambda: RAE(**{"n_hidden": 3, name: value}).fit(F)).startswith(name)


@pytest.mark.parametrize("value", HUGE, ids=lambda value: type(value).__name__)
def test_arguments(value, model, tmp_path):
    codes = np.ones((2, 3))
    assert sentence(lambda: model.unroll(codes, value)).startswith("n_steps")
    assert sentence(lambda: model.inverse_transform(codes, value)).startswith("lengths")
    assert sentence(lambda: model.initial_state(value)).startswith("n")
    sentence(lambda: model.step(codes[0], F[0], out=value))
    sentence(lambda: RAE(3).fit([F, F], sample_weight=value))
    sentence(lambda: model.set_params(**{shown(value) + "x" * 10**6: 1}))
    sentence(lambda: _kernels.threads(value) if not isinstance(value, int) else _kernels.threads("x" * 10**6))
    if not isinstance(value, (str, bytes)) or len(value) > 5000:
        sentence(lambda: RAE.load(value))
        sentence(lambda: model.save(value))
        sentence(lambda: RAE(3).fit(F, resume=value))
    if not isinstance(value, np.ndarray):
        sentence(lambda: model.transform(value))
        sentence(lambda: model.unroll(value, 3))


def test_weights_are_named_as_they_were_passed():
    single = F.astype(np.float32)
    text = sentence(lambda: RAE(3).fit([single, single], sample_weight=[1, 1e300]))
    assert text == "sample_weight[1] is 1e+300, inf as float32; weights must be finite"
    text = sentence(lambda: RAE(3).fit([F, F], sample_weight=[np.inf, 1]))
    assert text == "sample_weight[0] is inf; weights must be finite"


def test_more_streams_than_an_array_can_hold(model):
    for n in (2**63, 10**30, 2**61):
        assert "more than an array can hold" in sentence(functools.partial(model.initial_state, n))


def test_a_file_s_loss_curve_is_bounded(tmp_path, monkeypatch):
    """A model may make updates for ever."""
    monkeypatch.setattr("rae_fast.model_file.MOST_LOSSES", 5)
    model = RAE(3, max_iter=0, random_state=0).fit(F)
    for _ in range(9):
        model.partial_fit(F)
    model.save(tmp_path / "model")
    again = RAE.load(tmp_path / "model")
    assert len(model.loss_curve_) == 9 and again.loss_curve_ == model.loss_curve_[-5:]
    assert again.n_iter_ == again.n_updates_ == 9
    np.testing.assert_array_equal(again.partial_fit(F).theta_, model.partial_fit(F).theta_)
    fit = RAE(3, max_iter=20, random_state=0, checkpoint=tmp_path / "fit").fit(F)
    assert RAE.load(tmp_path / "fit").loss_curve_ == fit.loss_curve_ and len(fit.loss_curve_) == 20
