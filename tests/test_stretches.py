"""Long sequences learned from in stretches: as so many sequences, with the weight of their own."""

import numpy as np
import pytest

from rae_fast import RAE, RAEClassifier

RNG = np.random.default_rng(0)
X = [np.cumsum(RNG.standard_normal((T, 2)), axis=0) / 10 for T in (53, 7, 20, 21)]
# Equal parts of at most 10 steps, the k-th of n parts of T beginning at k T // n.
PARTS = [X[0][a:b] for a, b in ((0, 8), (8, 17), (17, 26), (26, 35), (35, 44), (44, 53))] + [X[1]]
PARTS += [X[2][:10], X[2][10:], X[3][:7], X[3][7:14], X[3][14:]]


def fitted(data, weights=None, **settings):
    return RAE(**{"n_hidden": 5, "max_iter": 4, "random_state": 0, "batch_size": 3} | settings).fit(data, None, weights)


@pytest.mark.parametrize("options", [{}, {"objective": "stepwise"}, {"n_code": 2}, {"patch_length": 3},
                                     {"standardize": "channel"}, {"early_stopping": True}, {"solver": "lbfgs"},
                                     {"output": "softmax"}, {"missing": "ignore"}], ids=str)
def test_stretches_are_learned_from_as_sequences_are(options):
    whole, parts = X, PARTS
    if options.get("output") == "softmax":
        whole, parts = ([np.abs(x).argmax(axis=1) for x in data] for data in (X, PARTS))
    if options.get("missing"):
        whole, parts = ([np.where(np.abs(x) < 0.1, np.nan, x) for x in data] for data in (X, PARTS))
    a, b = fitted(whole, stretch_length=10, **options), fitted(parts, stretch_length=None, **options)
    np.testing.assert_array_equal(a.theta_, b.theta_)
    assert a.n_updates_ == b.n_updates_ and a.loss_curve_ == b.loss_curve_
    weights = np.array([1.0, 2.0, 0.0, 0.5])
    many = np.repeat(weights, [6, 1, 2, 3])
    a, b = (fitted(data, w, stretch_length=s, **options) for data, w, s in ((whole, weights, 10), (parts, many, None)))
    np.testing.assert_array_equal(a.theta_, b.theta_)


def test_longer_ones_alone_are_cut_and_lengths_are_those_of_the_data(tmp_path):
    np.testing.assert_array_equal(fitted(X, stretch_length=53).theta_, fitted(X, stretch_length=None).theta_)
    one = fitted(X[0], stretch_length=10)
    assert one.n_steps_ == 53 and one.inverse_transform(one.transform(X[0])).shape == (1, 53, 2)
    assert one.n_updates_ == 4 * 2
    settings = {"stretch_length": 10, "checkpoint": tmp_path / "fit.st", "callbacks": lambda model: model.n_iter_ == 2,
                "report_every": 1}
    fitted(X, **settings)
    again = RAE(5, max_iter=4, random_state=0, batch_size=3, stretch_length=10).fit(X, resume=tmp_path / "fit.st")
    np.testing.assert_array_equal(again.theta_, fitted(X, stretch_length=10).theta_)
    again.save(tmp_path / "model.st")
    assert RAE.load(tmp_path / "model.st").stretch_length == 10


def test_by_default_long_series_are_cut():
    series = np.sin(0.3 * np.arange(5_001))[:, None]
    for data, parts in ((series, 21), (series[1:], 1), ([series, series[:700]], 22)):
        model = RAE(3, objective="stepwise", batch_size=1, max_iter=2, random_state=0).fit(data)
        assert model.n_updates_ == 2 * parts
    long = np.sin(0.3 * np.arange(100_001))[:, None]
    for data, parts in ((long, 401), (long[1:], 1)):
        assert RAE(2, batch_size=1, max_iter=1, random_state=0, init="normal").fit(data).n_updates_ == parts
    # Its stretches come back, where one code of the whole would give back next to nothing.
    t = np.arange(110_000)
    wave = np.column_stack([np.sin(0.2 * t), np.cos(0.2 * t)])
    model = RAE(8, random_state=0, max_iter=3).fit(wave)
    assert model.reconstruction_error([wave[:200]], reduce="mean")[0] < 0.05


def test_labels_belong_to_whole_sequences_and_bad_lengths_are_refused():
    assert "stretch_length" not in RAEClassifier().get_params()
    for value in (0, -1, 2.5, "all", True):
        with pytest.raises(ValueError, match="stretch_length must be"):
            fitted(X, stretch_length=value)
