"""Sequences that weigh nothing are as if absent; those that weigh little change little."""

import numpy as np
import pytest

from rae_fast import RAE

# Longer, and of numbers whose squares overflow.
ABSENT = [np.full((30, 3), 1e160), np.full((1, 3), -1e160)]
ONES, WITH_ABSENT = np.ones(30), np.r_[0.0, np.ones(30), 0.0]


@pytest.fixture
def X(seed):
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.standard_normal((int(n), 3)), axis=0) + 2 for n in rng.integers(3, 9, 30)]


@pytest.mark.parametrize("params", [
    {}, {"objective": "stepwise"}, {"tied": True}, {"early_stopping": True}, {"solver": "lbfgs"},
    {"init": "orthogonal"},
    {"init": "normal", "solver": "sgd", "relative_rates": False, "learning_rate": 1e-3},
])
def test_a_weight_of_0_is_absence(params, X):
    everything = [ABSENT[0], *X, ABSENT[1]]
    params = {"max_iter": 5, "random_state": 0, "batch_size": 8, **params}
    without = RAE(4, **params).fit(X, sample_weight=ONES)
    among = RAE(4, **params).fit(everything, sample_weight=WITH_ABSENT)
    np.testing.assert_array_equal(among.theta_, without.theta_)
    assert among.loss_curve_ == without.loss_curve_ and among.validation_scores_ == without.validation_scores_
    assert among.n_updates_ == without.n_updates_ and among.n_steps_ == without.n_steps_
    if params.get("solver") != "lbfgs":
        without.partial_fit(X, sample_weight=ONES)
        among.partial_fit(everything, sample_weight=WITH_ABSENT)
        np.testing.assert_array_equal(among.theta_, without.theta_)
    loss, grad = without.loss_and_grad(X, sample_weight=ONES)
    other_loss, other_grad = among.loss_and_grad(everything, sample_weight=WITH_ABSENT)
    assert loss == other_loss
    for name, array in grad.items():
        np.testing.assert_array_equal(other_grad[name], array)


def test_softmax_outputs_and_the_first_partial_fit(X):
    p = [np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in X]
    absent = [np.eye(3)[[0] * 40]]
    without = RAE(4, output="softmax", random_state=0).partial_fit(p, sample_weight=ONES)
    among = RAE(4, output="softmax", random_state=0).partial_fit(p + absent, sample_weight=np.r_[ONES, 0])
    np.testing.assert_array_equal(among.theta_, without.theta_)


def test_small_weights_weigh_little(X):
    """In the closed form, its scale, the units of rates and the training: the error on the others moves with them."""
    odd = [30 * x[:, ::-1] for x in X[:10]]
    for max_iter in (0, 30):
        params = {"max_iter": max_iter, "random_state": 0, "batch_size": 64}
        alone = RAE(4, **params).fit(X, sample_weight=ONES / 30).reconstruction_error(X).mean()
        off = []
        for weight in (1e-6, 1e-9, 1e-12):
            weights = np.r_[ONES, np.full(10, weight)] / 30
            error = RAE(4, **params).fit(X + odd, sample_weight=weights).reconstruction_error(X).mean()
            off.append(abs(error / alone - 1))
        assert off[0] < 0.1 and off[1] < 1e-3 and off[2] < 1e-5, off


def test_equal_weights_are_a_factor_of_the_objective_only(X):
    """The start and its units do not depend on the weights' size."""
    start = RAE(4, max_iter=0, random_state=0).fit(X)
    for weight in (1e-30, 1.0, 1e30):
        model = RAE(4, max_iter=0, random_state=0).fit(X, sample_weight=np.full(30, weight))
        np.testing.assert_allclose(model.theta_, start.theta_, rtol=1e-6, atol=1e-9)
        for name, scale in model.rate_scale_.items():
            np.testing.assert_allclose(scale, start.rate_scale_[name], rtol=1e-6)
