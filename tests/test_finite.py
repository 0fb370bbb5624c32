"""An update is made whole, and leaves finite parameters, or it is not made."""

import numpy as np
import pytest
from problems import solver_of

from rae_fast import RAE
from rae_fast._form import Blocks, Form
from rae_fast._record import Record
from rae_fast._training import Updates
from rae_fast.solvers import SOLVERS

FORM = Form(3, 4)
BY_UPDATE = [name for name, kind in SOLVERS.items() if not kind.whole]
X = np.random.default_rng(0).standard_normal((6, 4, 3))


def extremes(dtype, size, rng):
    """Finite numbers of many sizes, up to some or up to the type's largest, both signs and zeros among them."""
    info = np.finfo(dtype)
    top = rng.choice([0.0, rng.uniform(0, info.maxexp), info.maxexp - 1e-3])
    values = np.exp2(rng.uniform(info.minexp, top, size)).astype(dtype) * rng.choice([-1, 1], size).astype(dtype)
    values[rng.random(size) < 0.1] = 0
    if rng.random() < 0.1:
        values[rng.integers(size)] = info.max
    return values


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", BY_UPDATE)
def test_no_update_leaves_what_is_not_finite(solver, dtype, scaled):
    """Whatever is in the parameters, the gradient, the solver's memory (which users may write to), and the settings."""
    rng, made = np.random.default_rng(0), 0
    for _ in range(300):
        numbers = {"learning_rate": float(np.exp2(rng.uniform(-30, 30))),
                   "epsilon": float(np.exp2(rng.uniform(-100, 3))),
                   "weight_decay": float(rng.choice([0, 1e-3, 1e30])), "clip_norm": rng.choice([None, 1e-3, 1e10])}
        kind = SOLVERS[solver]
        state = [Blocks(FORM, dtype, memory=extremes(dtype, FORM.size, rng)) for _ in kind.state]
        if rng.random() < 0.5:
            for blocks in state:
                blocks.memory[:] = np.abs(blocks.memory)
        units = Blocks(FORM, dtype, ("W_xh",)).memory
        units = np.maximum(np.abs(extremes(dtype, units.size, rng)), np.finfo(dtype).tiny)
        scale = Blocks(FORM, dtype, ("W_xh",), units) if scaled else None
        updates = Updates(FORM, solver_of(solver, **numbers), state, scale, 1.0, dtype == np.float32)
        theta = FORM.empty(dtype)
        theta[:] = extremes(dtype, FORM.size, rng)
        before = theta.copy()
        grad = Blocks(FORM, dtype, memory=extremes(dtype, FORM.size, rng))
        if updates.apply(theta, grad, 1.0, None, Record()):
            made += 1
            assert np.isfinite(theta).all()
        else:
            np.testing.assert_array_equal(theta, before)
    assert made > 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("objective", ["stepwise", "unfold"])
def test_plain_descent_leaves_finite_parameters(objective, dtype):
    """Sums that theta takes at once, at the edge of what the type holds."""
    big, refused, made = np.finfo(dtype).max, 0, 0
    for rate in np.geomspace(1e-3, float(big) / 2, 60):
        for size in (1.0, 1e3, 1e9):
            model = RAE(3, objective=objective, init="normal", init_scale=1.0, solver="sgd", relative_rates=False,
                        max_iter=0, random_state=0, learning_rate=float(rate)).fit((X * size).astype(dtype))
            model.parameters_["c_x"][:] = big
            before = model.theta_.copy()
            try:
                model.partial_fit((X * size).astype(dtype))
                made += 1
            except FloatingPointError:
                refused += 1
                np.testing.assert_array_equal(model.theta_, before)
            model.parameters_["c_x"][:] = 0
            try:
                model.partial_fit((X * size).astype(dtype))
                made += 1
            except FloatingPointError:
                refused += 1
            assert np.isfinite(model.theta_).all()
    assert made > 10 and refused > 10


@pytest.mark.parametrize("params, message", [
    ({"epsilon": 1e-40}, "epsilon=1e-40 is 0 in float32"), ({"weight_decay": 1e39}, "weight_decay=1e\\+39 is inf in"),
    ({"learning_rate": 1e-45}, "learning_rate=1e-45 is 0 in"), ({"clip_norm": 1e300}, "clip_norm=1e\\+300 is inf in"),
    ({"beta_2": 1 - 1e-9}, "beta_2=0.999999999 is 1 in"), ({"beta_1": 1 - 1e-9}, "beta_1=0.999999999 is 1 in"),
    ({"solver": "momentum", "momentum": 1 - 1e-9}, "momentum=0.999999999 is 1 in"),
    ({"solver": "rmsprop", "rho": 1 - 1e-9}, "rho=0.999999999 is 1 in"),
])
def test_hyperparameters_are_judged_in_the_type_of_the_model(params, message):
    single = RAE(3, max_iter=2, random_state=0, **params)
    for call in (single.fit, single.partial_fit):
        with pytest.raises(ValueError, match=message):
            call(X.astype(np.float32))
        assert not single.__sklearn_is_fitted__()
    RAE(3, max_iter=2, random_state=0, **params).fit(X).partial_fit(X)  # float64 has room for them
    fitted = RAE(3, max_iter=2, random_state=0).fit(X.astype(np.float32))
    theta = fitted.theta_.copy()
    with pytest.raises(ValueError, match=message):
        fitted.set_params(**params).partial_fit(X)
    np.testing.assert_array_equal(fitted.theta_, theta)
    assert list(fitted.solver_state_) == ["mean", "square"]


def test_what_a_solver_does_not_use_may_be_anything():
    RAE(3, max_iter=2, solver="sgd", epsilon=1e-40, beta_2=1 - 1e-9, learning_rate=1e-3).fit(X.astype(np.float32))


def test_memory_written_by_a_user_cannot_spoil_a_model():
    model = RAE(3, max_iter=2, random_state=0).fit(X)
    model.solver_state_["square"]["W_hh"][:] = -1
    theta = model.theta_.copy()
    with pytest.raises(FloatingPointError):
        model.partial_fit(X)
    np.testing.assert_array_equal(model.theta_, theta)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("solver", [name for name, kind in SOLVERS.items() if kind.adds])
def test_a_step_beside_the_largest_numbers(solver, rate, dtype):
    """A gradient of any size leaves every finite number finite, or is refused; small ones are not."""
    most, made = float(np.finfo(dtype).max), []
    for size in np.geomspace(1e-3, most / 2, 400):
        updates = Updates(FORM, solver_of(solver, rate), [], None, 1.0, dtype == np.float32)
        theta = np.full(FORM.size, most, dtype)
        made.append(updates.apply(theta, Blocks(FORM, dtype, memory=np.full(FORM.size, -size, dtype)), 1.0, None,
                                  Record()))
        assert np.isfinite(theta).all()
    assert made[0] and not made[-1] and made == sorted(made, reverse=True)
