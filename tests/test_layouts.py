"""The warning about axes: given where shapes and numbers make another meaning likely, and nowhere else."""

import warnings

import numpy as np
import pytest

from rae_fast import RAE, RAEClassifier, RAEDetector, layouts

RNG = np.random.default_rng(0)
T = np.linspace(0, 6, 60)
SERIES = np.array([np.sin(T * RNG.uniform(0.8, 1.2) + RNG.uniform(0, 6)) for _ in range(40)])  # (N, T), as UCR has it
CHANNELS = np.stack([SERIES[:20], SERIES[20:]], axis=1)                                        # (N, channels, T)


def quick(**settings):
    return RAE(3, max_iter=1, random_state=0, **settings)


@pytest.mark.parametrize("X, words", [
    (SERIES, r"ONE sequence of 40 steps with 60 features.*pass X\[:, :, None\]"),
    (SERIES.astype(np.float32), "ONE sequence"), (np.round(SERIES, 1), "ONE sequence"),
    (CHANNELS, r"\(n_sequences, n_channels, n_steps\).*pass X.transpose\(0, 2, 1\)"),
    (SERIES[:, None], "n_channels"), (CHANNELS * 1e6 + 5e6, "n_channels")], ids=range(6))
def test_a_user_is_told(X, words):
    with pytest.warns(UserWarning, match=words) as caught:
        quick().fit(X)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match=words):
        quick().partial_fit(X)


def test_of_classifiers_and_detectors_too():
    for fit in (lambda: RAEClassifier(3, max_iter=1).fit(CHANNELS, ["a", "b"] * 10),
                lambda: RAEDetector(quick()).fit(CHANNELS)):
        with pytest.warns(UserWarning, match="n_channels"):
            fit()


ORDINARY = {
    "as it should be": SERIES[:, :, None], "channels last": CHANNELS.transpose(0, 2, 1),
    "a list": list(SERIES[:, :, None]),
    "a list of matrices": list(CHANNELS), "one sequence": CHANNELS[0].T, "one of many features": SERIES.T,
    "noise": RNG.standard_normal((40, 60)), "noise of steps": RNG.standard_normal((9, 5, 30)),
    "random walks": np.cumsum(RNG.standard_normal((300, 30)), axis=0), "one-hot rows": np.eye(40),
    "few columns": SERIES[:, :12], "integers": RNG.integers(0, 9, (9, 30, 2)), "few rows": SERIES[:3],
    "a spectrogram": np.abs(np.cumsum(np.cumsum(RNG.standard_normal((80, 30)), axis=0), axis=1)),
    "wide steps": RNG.standard_normal((10, 4, 50)),
    "more steps than features": np.cumsum(RNG.standard_normal((5, 40, 25)), 1),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_data_is_not_in_doubt(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().fit(ORDINARY[name])


def test_nothing_else_is_looked_at():
    for X in (None, "text", [1, 2], SERIES.astype(object), SERIES > 0, np.full((40, 60), np.nan), np.zeros((0, 60))):
        assert layouts.doubt(X) is None
