"""Weight decay: one number for all parameters, or one for each of some blocks."""

import numpy as np
import pytest
from test_training import X3, settings

from rae_fast import RAE


@pytest.mark.parametrize("solver", ["sgd", "momentum", "adam", "lbfgs"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_weight_decay_for_each_block(solver, relative):
    options = settings(solver, max_iter=5, relative_rates=relative) | {"n_hidden": 4}
    names = RAE(**options | {"max_iter": 0}).fit(X3).parameters_
    one = RAE(**options, weight_decay=0.1).fit(X3)
    each = RAE(**options, weight_decay=dict.fromkeys(names, 0.1)).fit(X3)
    np.testing.assert_array_equal(each.theta_, one.theta_)
    none = RAE(**options).fit(X3)
    for decay in ({}, {"V_hx": 0.0}):
        np.testing.assert_array_equal(RAE(**options, weight_decay=decay).fit(X3).theta_, none.theta_)
    some = RAE(**options, weight_decay={"V_hx": 0.5, "b_h": 0.0}).fit(X3)
    assert np.abs(some.parameters_["V_hx"]).sum() < np.abs(none.parameters_["V_hx"]).sum()
    if solver == "sgd":  # the first update's difference is the decay's
        a, b = (RAE(**options | {"max_iter": 0}, weight_decay=decay).fit(X3).partial_fit(X3).parameters_
                for decay in (0.0, {"V_hx": 0.5}))
        assert all(np.allclose(a[name], b[name], rtol=1e-12, atol=1e-15) == (name != "V_hx") for name in a)


def test_a_weight_decay_by_rows_of_ids():
    ids = [np.array([1, 2, 1]), np.array([0, 3])]
    for solver in ("sgd", "adam"):
        options = {"n_hidden": 4, "n_features": 9, "solver": solver, "max_iter": 3, "random_state": 0,
                   "input_update": "rows"}
        names = RAE(**options).fit(ids).parameters_
        np.testing.assert_array_equal(RAE(**options, weight_decay=dict.fromkeys(names, 0.01)).fit(ids).theta_,
                                      RAE(**options, weight_decay=0.01).fit(ids).theta_)


def test_a_weight_decay_of_nothing_is_refused():
    with pytest.raises(ValueError, match="weight_decay has 'W_x', which names no block"):
        RAE(weight_decay={"W_x": 1.0}).fit(X3)
    with pytest.raises(ValueError, match=r"weight_decay\['W_xh'\] must be a finite number of at least 0"):
        RAE(weight_decay={"W_xh": -1.0}).fit(X3)
