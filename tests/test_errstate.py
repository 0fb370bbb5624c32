"""NumPy's error state and Python's warnings are the user's: neither changes what valid input gives."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from rae_fast import RAE

RNG = np.random.default_rng(0)
X3 = RNG.standard_normal((12, 6, 3))
RAGGED = [RNG.standard_normal((n, 3)) for n in (1, 4, 9, 2, 7, 7)]
DATA = {
    "float64": X3, "float32": X3.astype(np.float32), "list": RAGGED, "constant": np.full((4, 5, 3), 7.0),
    "zeros": np.zeros((4, 5, 3), np.float32), "small": X3 * 1e-12, "large": (X3 * 1e12).astype(np.float32),
    "one step": X3[:, :1], "one sequence": X3[0], "integers": np.arange(60).reshape(5, 4, 3), "far": X3 + 1e6,
    "squares overflow": X3 * 1e160, "subnormal": np.full((3, 4, 3), 5e-324),
}


def everything(X, params):
    """Every method, and what it gives."""
    found = []
    model = RAE(4, random_state=0, max_iter=3, **params)
    model.fit(X)
    found += [model.theta_.copy(), *model.loss_curve_, model.transform(X), model.reconstruction_error(X)]
    found += [*np.atleast_1d(np.concatenate([np.ravel(a) for a in model.hidden_states(X)]))[:50]]
    codes = model.transform(X)
    found += [model.unroll(codes, 4), np.ravel(model.inverse_transform(codes, [3] * len(codes)))]
    found += [np.concatenate([np.ravel(a) for a in model.reconstruct(X)]), model.loss_and_grad(X)[0]]
    if params.get("solver") != "lbfgs":
        found += [model.partial_fit(X, sample_weight=np.ones(len(codes))).theta_]
    return found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("params", [
    {}, {"objective": "stepwise", "decoder": "linear"}, {"solver": "lbfgs"}, {"early_stopping": True, "tied": True},
    {"init": "normal", "solver": "rmsprop", "relative_rates": False, "learning_rate": 1e-4}, {"init": "orthogonal"},
    {"init": "normal"},
], ids=str)
@pytest.mark.parametrize("name", DATA)
def test_raising_changes_nothing(name, params):
    X = DATA[name]
    if params.get("early_stopping") and (name == "one sequence"):
        pytest.skip("nothing to hold out")
    outcomes = []
    for state in ("ignore", "raise"):
        with np.errstate(all=state):
            try:
                outcomes.append(everything(X, params))
            except (ValueError, FloatingPointError) as error:
                outcomes.append(f"{type(error).__name__}: {error}")
    if isinstance(outcomes[0], str):
        assert outcomes[1] == outcomes[0] and "encountered" not in outcomes[1]
        return
    for plain, raising in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(plain, raising)


@pytest.mark.filterwarnings("error")
def test_softmax_files_and_streams(tmp_path):
    P = np.eye(5)[RNG.integers(0, 5, (20, 6))]
    with np.errstate(all="raise"):
        model = RAE(3, output="softmax", random_state=0, max_iter=30, checkpoint=tmp_path / "fit").fit(P)
        model.save(tmp_path / "model")
        state = model.initial_state(4)
        for x in P[0]:
            state = model.step(state, np.tile(x, (4, 1)))
        assert RAE.load(tmp_path / "model").fit(P).n_iter_ == 30
        np.testing.assert_array_equal(RAE(3, output="softmax", random_state=0, max_iter=30).fit(P).reconstruct(P),
                                      model.reconstruct(P))


def test_importing_with_warnings_as_errors():
    code = """
        import numpy as np
        np.seterr(all="raise")
        import rae_fast
        rae_fast.RAE(3, max_iter=2, random_state=0).fit(np.eye(4)).partial_fit(np.eye(4))
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], check=True)
