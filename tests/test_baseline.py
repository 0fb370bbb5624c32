"""No default fit ends above the closed form, in reconstruction error on what it has learned from."""

import numpy as np
import pytest

from rae_fast import RAE


def table(T, n=90, I=12, seed=0):
    """A table of features of very different sizes, as (n, T, I): of one step PCA is hard to beat by rates of 0.3."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.standard_normal((n, T, I))) * np.logspace(0, 3, I)


def mean_error(model, X, weights=None):
    return np.average(model.reconstruction_error(X), weights=weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"n_hidden": 8, "n_code": 2}, {"solver": "sgd"}, {"decoder": "linear"},
                                     {"tied": True}, {"learning_rate": 3.0}, {"solver": "lbfgs", "max_iter": 2}],
                         ids=lambda options: " ".join(map(str, options.values())) or "defaults")
@pytest.mark.parametrize("T", [1, 2, 3])
def test_a_fit_ends_no_higher_than_the_closed_form(T, options, dtype):
    X = table(T).astype(dtype)
    options = {"n_hidden": 2, "max_iter": 15, "random_state": 0, **options}
    start, model = RAE(**{**options, "max_iter": 0}).fit(X), RAE(**options).fit(X)
    assert mean_error(model, X) <= mean_error(start, X)
    assert len(model.loss_curve_) == model.n_iter_ > 0 and model.n_updates_ > 0
    if model.solver != "lbfgs":
        model.partial_fit(X)  # goes on from there
    assert np.isfinite(model.theta_).all()


def test_the_closed_form_is_left_where_training_ends_above_it():
    X = table(1)
    start, model = RAE(2, max_iter=0, random_state=0).fit(X), RAE(2, max_iter=15, random_state=0).fit(X)
    np.testing.assert_array_equal(model.theta_, start.theta_)
    # Not for those who train with the textbook's rates, by another start, for another objective or another judge.
    for options in ({"relative_rates": False, "learning_rate": 1e-9}, {"init": "orthogonal"}, {"objective": "stepwise"},
                    {"early_stopping": True}):
        other = RAE(2, max_iter=2, random_state=0, **options).fit(X)
        assert (other.theta_ != start.theta_).any(), options


def test_it_is_judged_by_the_weights():
    X = np.concatenate([table(1), 3 * table(1, seed=1)])
    weights = np.repeat([1.0, 1e-3], 90)
    start, model = (RAE(2, max_iter=n, random_state=0).fit(X, sample_weight=weights) for n in (0, 15))
    assert mean_error(model, X, weights) <= mean_error(start, X, weights)


@pytest.mark.parametrize("T", [1, 4])
def test_a_resumed_fit_ends_at_the_same_parameters(T, tmp_path):
    X, path = table(T), tmp_path / "fit"

    def stop(model):
        if model.n_iter_ == 7:
            raise KeyboardInterrupt

    whole = RAE(2, max_iter=15, random_state=0).fit(X)
    fell_back = (whole.theta_ == RAE(2, max_iter=0, random_state=0).fit(X).theta_).all()
    assert fell_back == (T == 1)
    model = RAE(2, max_iter=15, random_state=np.random.default_rng(0), callbacks=stop, report_every=1, checkpoint=path)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    model = RAE(2, max_iter=15, random_state=None, report_every=1, checkpoint=path).fit(X, resume=True)
    np.testing.assert_array_equal(model.theta_, whole.theta_)
    assert model.loss_curve_ == whole.loss_curve_
    # The file of an ended fit is what it has left, and to resume that changes nothing.
    np.testing.assert_array_equal(RAE.load(path).theta_, whole.theta_)
    again = RAE(2, max_iter=15, random_state=None, report_every=1, checkpoint=path).fit(X, resume=True)
    np.testing.assert_array_equal(again.theta_, whole.theta_)
    np.testing.assert_array_equal(RAE.load(path).theta_, whole.theta_)


def test_what_a_callback_ends_goes_on_from_where_training_was(tmp_path):
    """The file of a fit that was stopped, and fell back, keeps what had been trained."""
    X, path = table(1), tmp_path / "fit"
    options = {"max_iter": 15, "random_state": 0, "report_every": 1, "checkpoint": path}
    stopped = RAE(2, callbacks=lambda model: model.n_iter_ == 7, **options).fit(X)
    assert stopped.n_iter_ == 7
    resumed = RAE(2, **options).fit(X, resume=True)
    whole = RAE(2, **{**options, "checkpoint": None}).fit(X)
    assert resumed.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(resumed.theta_, whole.theta_)


def test_an_error_that_is_no_number_is_nothing_to_end_above(tmp_path, monkeypatch):
    """Outputs of a closed form may overflow where numbers end; a checkpoint refuses NaN."""
    monkeypatch.setattr(RAE, "_errors", lambda self, learned, batch: np.full(batch.n_sequences, np.nan))
    X, path = table(2), tmp_path / "fit"
    model = RAE(2, max_iter=3, random_state=0, checkpoint=path).fit(X)
    again = RAE(2, max_iter=3, random_state=0, checkpoint=path).fit(X, resume=True)
    np.testing.assert_array_equal(again.theta_, model.theta_)
    assert len(model.loss_curve_) == 3
