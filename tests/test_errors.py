"""Reconstruction errors where one needs them: of sequences, steps, features and elements."""

import numpy as np
import pytest

from rae_fast import RAE

RNG = np.random.default_rng(0)
EQUAL = RNG.standard_normal((5, 7, 3)).cumsum(axis=1)
RAGGED = [x[:n] for x, n in zip(EQUAL, (7, 1, 4, 2, 6))]
IDS = [RNG.integers(0, 6, n) for n in (4, 1, 3, 5)]


@pytest.mark.parametrize("X", [EQUAL, RAGGED, EQUAL[0]], ids=["equal", "ragged", "one"])
@pytest.mark.parametrize("options", [{}, {"n_code": 2, "patch_length": 3}], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_are_those_of_what_is_given_back(X, options, dtype):
    X = [x.astype(dtype) for x in X] if isinstance(X, list) else X.astype(dtype)
    model = RAE(4, max_iter=3, random_state=0, **options).fit(X)
    sequences = list(X) if isinstance(X, list) or X.ndim == 3 else [X]
    squares = [(back.astype(float) - x) ** 2 for back, x in zip(model.reconstruct(X), sequences)]
    rtol = 1e-4 if dtype is np.float32 else 1e-10
    expected = {
        ("sequence", "sum"): [s.sum() for s in squares], ("sequence", "mean"): [s.mean() for s in squares],
        ("step", "sum"): [s.sum(axis=1) for s in squares], ("step", "mean"): [s.mean(axis=1) for s in squares],
        ("feature", "sum"): [s.sum(axis=0) for s in squares], ("feature", "mean"): [s.mean(axis=0) for s in squares],
        ("element", "sum"): squares, ("element", "mean"): squares,
    }
    for (per, reduce), values in expected.items():
        found = model.reconstruction_error(X, per=per, reduce=reduce)
        assert isinstance(found, list) == (isinstance(X, list) and per in ("step", "element"))
        for one, value in zip(found, values, strict=True):
            assert np.shape(one) == np.shape(value) and np.asarray(one).dtype == np.float64
            np.testing.assert_allclose(one, value, rtol=rtol, atol=1e-12)
    np.testing.assert_array_equal(model.reconstruction_error(X), model.reconstruction_error(X, per="sequence"))


def test_of_symbols_errors_are_nats_of_steps():
    model = RAE(5, max_iter=3, random_state=0).fit(IDS)
    for X in (IDS, [np.eye(6)[x] for x in IDS]):
        steps = model.reconstruction_error(X, per="step")
        probabilities = model.reconstruct(IDS, symbols=False)
        for found, p, ids in zip(steps, probabilities, IDS, strict=True):
            np.testing.assert_allclose(found, -np.log(p[np.arange(len(ids)), ids]), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(model.reconstruction_error(X), [s.sum() for s in steps], rtol=1e-12)
        np.testing.assert_allclose(model.reconstruction_error(X, reduce="mean"), [s.mean() for s in steps], rtol=1e-12)
        for x, y in zip(model.reconstruction_error(X, per="step", reduce="mean"), steps):
            np.testing.assert_array_equal(x, y)
        for per in ("feature", "element"):
            with pytest.raises(ValueError, match="is for linear outputs"):
                model.reconstruction_error(X, per=per)
    with pytest.raises(ValueError, match="not a distribution"):
        model.reconstruction_error([np.ones((2, 6))], per="step")


@pytest.mark.parametrize("options", [{"per": "row"}, {"reduce": "max"}, {"per": None}, {"per": "step", "reduce": 1}])
def test_other_words_are_refused(options):
    with pytest.raises(ValueError, match="per must be 'sequence', 'step', 'feature' or 'element' and reduce"):
        RAE(2, max_iter=0).fit(EQUAL).reconstruction_error(EQUAL, **options)
