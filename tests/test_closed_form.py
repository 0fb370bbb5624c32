"""init="linear": against the matrix Xi written out, and as a model by itself."""

import numpy as np
import pytest
from problems import ragged_lengths

from rae_fast import RAE, closed_form
from rae_fast.inputs import as_batch
from rae_fast.solvers import SOLVERS


def waves(lengths, I=3, seed=0):
    """Smooth sequences about a mean that is not 0: few directions hold most of their variance."""
    rng = np.random.default_rng(seed)
    return [2 + np.sin(rng.uniform(0.2, 0.5) * np.arange(T)[:, None] + rng.uniform(0, 6, I)) for T in lengths]


RAGGED = waves(ragged_lengths(9, 20))
EQUAL = np.array(waves([7] * 30))


def prefixes(batch, mu, w, n_lags):
    """Xi, row by row."""
    rows = []
    for n, (a, b) in enumerate(zip(batch.offsets[:-1], batch.offsets[1:])):
        x = batch.data[a:b] - mu
        for t in range(len(x)):
            row = np.zeros((n_lags, x.shape[1]))
            back = x[t::-1][:n_lags]
            row[:len(back)] = back
            rows.append(np.sqrt(w[n]) * row.ravel())
    return np.array(rows)


@pytest.mark.parametrize("X", [RAGGED, EQUAL, [EQUAL[0]], [EQUAL[0, :1]]], ids=["ragged", "equal", "one", "one step"])
@pytest.mark.parametrize("at_once", [1, 1 << 23])
def test_gram_and_operator_are_those_of_xi(X, at_once, monkeypatch):
    monkeypatch.setattr(closed_form, "_PIECE", at_once)
    batch = as_batch(X)
    rng = np.random.default_rng(1)
    w = rng.uniform(0.1, 1, batch.n_sequences)
    mu = rng.standard_normal(3)
    longest = int(np.diff(batch.offsets).max())
    xi = prefixes(batch, mu, w, longest)
    exact = xi.T @ xi
    np.testing.assert_allclose(closed_form.gram(batch, mu, np.sqrt(w)), exact, atol=1e-12 * np.abs(exact).max())
    for n_lags in {longest, max(1, longest - 2), 1}:
        for kept in (0, 1 << 25):
            monkeypatch.setattr(closed_form, "_KEPT_TRANSFORMS", kept)
            operator = closed_form._GramOperator(batch, mu, np.sqrt(w), n_lags)
            assert (operator.kept is None) == (kept == 0)
            assert sorted(np.concatenate(operator.pieces)) == list(range(batch.n_sequences))
            short = prefixes(batch, mu, w, n_lags)
            found = operator @ np.eye(n_lags * 3)
            np.testing.assert_allclose(found, short.T @ short, atol=1e-12 * np.abs(exact).max())


@pytest.mark.parametrize("way", ["dense", "rows", "lanczos on the gram matrix", "lanczos on convolutions"])
def test_every_way_to_the_singular_vectors_finds_the_same_space(way, monkeypatch):
    if way.startswith("lanczos"):
        monkeypatch.setattr(closed_form, "_DENSE_COLUMNS", 0)
        monkeypatch.setattr(closed_form, "_GRAM_COLUMNS", 0 if way.endswith("convolutions") else 4096)
        monkeypatch.setattr(closed_form, "_LANCZOS_TOLERANCE", 1e-12)
    X = waves([60], I=4) if way == "rows" else waves(ragged_lengths(60, 20), I=4)
    batch = as_batch(X)
    w = np.ones(len(X))
    values, U = closed_form._singular_vectors(batch, np.full(4, 2.0), w, 60, 5, np.random.default_rng(0))
    _, s, Vt = np.linalg.svd(prefixes(batch, np.full(4, 2.0), w, 60), full_matrices=False)
    np.testing.assert_allclose(values, s[:5] ** 2, rtol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(U * Vt[:5].T, axis=0)), 1, atol=1e-6)


def error(model, X):
    return model.reconstruction_error(X).sum()


@pytest.mark.parametrize("X", [RAGGED, EQUAL], ids=["ragged", "equal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_linear_model(X, dtype):
    """The parameters are the formulas', and reconstruction is that of the linear recursion."""
    X = [x.astype(dtype) for x in X] if isinstance(X, list) else X.astype(dtype)
    model = RAE(6, max_iter=0, decoder="linear", random_state=0).fit(X)
    batch = as_batch(X)
    mu, I = batch.data.mean(axis=0), 3
    longest = int(np.diff(batch.offsets).max())
    U = np.linalg.svd(prefixes(batch, mu, np.ones(batch.n_sequences), longest), full_matrices=False)[2][:6].T
    W_hh, W_xh = U[:-I].T @ U[I:], U[:I]
    p = model.parameters_
    scale = np.linalg.norm(p["W_xh"]) / np.linalg.norm(W_xh)
    tolerance = 1e-3 if dtype == np.float32 else 1e-8
    np.testing.assert_allclose(p["V_hx"] * scale, p["W_xh"].T / scale, rtol=0, atol=tolerance)
    np.testing.assert_allclose(p["V_hh"], p["W_hh"].T, rtol=0, atol=0)
    # Singular vectors have no sign: compare what does not depend on it.
    np.testing.assert_allclose(np.abs(p["W_hh"]), np.abs(W_hh), atol=tolerance)
    np.testing.assert_allclose(p["W_xh"] @ p["W_hh"] @ p["V_hx"], W_xh @ W_hh @ W_xh.T, atol=tolerance)
    np.testing.assert_allclose(p["c_x"], mu, rtol=1e-6)
    total = 0.0
    for x in X:
        code = np.zeros(6)
        for row in x.astype(float) - mu:
            code = row @ W_xh + code @ W_hh
        for row in x[::-1]:
            total += ((code @ W_xh.T + mu - row) ** 2).sum()
            code = code @ W_hh.T
    variance = np.square(batch.data - mu).sum()
    assert 0.9 * total <= error(model, X) <= 1.05 * total + 1e-4 * variance + 1e-6


def test_the_recurrence_the_wrong_way_round_is_much_worse():
    model = RAE(6, max_iter=0, decoder="linear", random_state=0).fit(EQUAL)
    right = error(model, EQUAL)
    p = model.parameters_
    p["W_hh"][...], p["V_hh"][...] = p["W_hh"].T.copy(), p["V_hh"].T.copy()
    assert error(model, EQUAL) > 2 * right


@pytest.mark.parametrize("output", ["linear", "softmax"])
@pytest.mark.parametrize("decoder", ["linear", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_text_of_the_post_is_recalled_with_no_update(output, decoder, dtype):
    eye = np.eye(8, dtype=dtype)
    model = RAE(24, max_iter=0, output=output, decoder=decoder, random_state=0).fit(eye)
    np.testing.assert_array_equal(model.reconstruct(eye)[0].argmax(axis=1), np.arange(8))
    assert model.n_updates_ == 0


def test_softmax_starts_near_the_distribution_it_is_given():
    X = np.eye(4)[np.random.default_rng(2).integers(0, 4, (200, 6))]
    for n_hidden in (2, 8, 24):
        model = RAE(n_hidden, max_iter=0, output="softmax", random_state=0).fit(X)
        assert model.reconstruction_error(X).mean() < 6 * np.log(4)


@pytest.mark.parametrize("decoder", ["linear", "tanh"])
def test_tied_models_get_the_best_scale_there_is(decoder):
    X = 0.2 * (EQUAL - 2)
    model = RAE(6, max_iter=0, tied=True, decoder=decoder, random_state=0).fit(X)
    found = error(model, X)
    assert found < np.square(X - X.mean(axis=(0, 1))).sum()
    theta = model.theta_.copy()
    for factor in (0.25, 4):
        model.theta_[:] = theta
        for name in ("W_xh", "b_h"):
            model.parameters_[name][...] *= factor
        assert error(model, X) > found


def test_few_long_sequences_among_many_short_ones_start_quickly():
    """The transforms' sizes follow each sequence's length: 25,000 numbers, not 20,001 x 5000."""
    rng = np.random.default_rng(3)
    X = [*rng.standard_normal((20_000, 1, 1)), rng.standard_normal((5000, 1))]
    operator = closed_form._GramOperator(as_batch(X), np.zeros(1), np.ones(20_001), 5000)
    assert operator.kept is not None and sum(x.size for x in operator.kept) < 100_000
    assert np.isfinite(RAE(3, max_iter=0, random_state=0).fit(X).theta_).all()


@pytest.mark.parametrize("tied", [False, True])
def test_units_beyond_the_rank_are_padded_with_small_noise(tied):
    X = EQUAL[:2, :3]  # 2 sequences x 3 steps: rank 6 at most, of 9 columns
    model = RAE(12, max_iter=0, tied=tied, decoder="linear", random_state=0).fit(X)
    W_hh, W_xh = model.parameters_["W_hh"], model.parameters_["W_xh"]
    assert (W_hh[6:] != 0).all() and (W_hh[:, 6:] != 0).all() and (W_xh[:, 6:] != 0).all()
    assert np.abs(W_hh[6:]).max() < 0.02 and np.abs(W_xh[:, 6:]).max() < 0.02 * np.abs(W_xh).max()
    if not tied:
        assert error(model, X) < 1e-3 * np.square(X - X.mean(axis=(0, 1))).sum()
    other = RAE(12, max_iter=0, tied=tied, decoder="linear", random_state=1).fit(X)
    assert (other.theta_ != model.theta_).any()


@pytest.mark.parametrize("X", [np.zeros((3, 4, 2)), np.full((1, 1, 1), 5.0), np.full((3, 4, 2), 1e-300),
                               np.full((2, 3, 2), -1e100)], ids=["zeros", "one number", "tiny", "large"])
@pytest.mark.parametrize("max_iter", [0, 3])
def test_constant_data_are_given_back(X, max_iter):
    model = RAE(5, max_iter=max_iter, random_state=0).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), X, rtol=1e-6, atol=1e-12)


def test_data_too_large_to_square_are_refused():
    for dtype, value in ((np.float64, 1e200), (np.float64, 1e308)):
        X = np.full((3, 4, 2), value, dtype)
        X[0] = -value
        with pytest.raises(ValueError, match="scale it down"):
            RAE(5).fit(X)


def test_weights_are_those_of_the_mean_and_of_the_rows():
    X = np.concatenate([EQUAL, waves([7] * 30, seed=1)])
    weights = np.repeat([1.0, 0.0], 30)
    some = RAE(6, max_iter=0, random_state=0).fit(X, sample_weight=weights)
    np.testing.assert_allclose(some.parameters_["c_x"], EQUAL.mean(axis=(0, 1)), rtol=1e-12)
    alone = RAE(6, max_iter=0, random_state=0).fit(EQUAL)
    np.testing.assert_allclose(np.abs(some.parameters_["W_hh"]), np.abs(alone.parameters_["W_hh"]), atol=1e-9)


def test_long_sequences_with_many_columns():
    """Beyond the Gram matrix: by convolutions, and with a window of lags beyond _MOST_COLUMNS."""
    X = np.array(waves([5000], I=2))
    model = RAE(8, max_iter=0, decoder="linear", random_state=0).fit(X)
    assert np.isfinite(model.theta_).all()
    assert error(model, X) < 0.5 * np.square(X - 2).sum()
    wide = RAE(3, max_iter=0, random_state=0).fit(np.random.default_rng(0).standard_normal((4, 3, 40_000)))
    assert wide.parameters_["W_xh"].shape == (40_000, 3)


def test_relative_scales_follow_the_units_of_data_and_code():
    """Data in other units give the same training in those units, with every solver."""
    for solver in SOLVERS:
        rate = {"adadelta": 1.0, "sgd": 1.0, "momentum": 0.1, "nesterov": 0.1, "rprop": 0.01}.get(solver, 0.3)
        unit = RAE(6, solver=solver, max_iter=20, random_state=0, learning_rate=rate).fit(EQUAL)
        for factor in (2.0**20, 2.0**-20):
            other = RAE(6, solver=solver, max_iter=20, random_state=0, learning_rate=rate).fit(factor * EQUAL)
            np.testing.assert_allclose(np.array(other.loss_curve_) / factor**2, unit.loss_curve_, rtol=1e-6)
            np.testing.assert_allclose(other.transform(factor * EQUAL), unit.transform(EQUAL), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset, factor", [(1000, 1), (-1e5, 100), (0, 1e8), (0, 1e-12), (1e-9, 1e-12)])
def test_the_default_fit_improves_on_its_start_in_any_units(dtype, offset, factor):
    if dtype == np.float32 and abs(offset) > 1e4 * factor:
        offset /= 100  # leaves float32 digits enough to see the data
    X = (factor * (EQUAL - 2) + offset).astype(dtype)
    start = RAE(3, max_iter=0, random_state=0).fit(X)
    assert error(RAE(3, max_iter=100, random_state=0).fit(X), X) < 0.9 * error(start, X)


@pytest.mark.parametrize("init", ["normal", "orthogonal", "linear"])
@pytest.mark.parametrize("tied", [False, True])
def test_relative_scales_are_positive_and_one_a_block(init, tied):
    model = RAE(6, max_iter=0, init=init, tied=tied, random_state=0).fit(EQUAL)
    scales, p = model.rate_scale_, model.parameters_
    assert set(scales) == set(p) - ({"V_hh", "V_hx"} if tied else set())
    assert all((value > 0).all() for value in scales.values())
    np.testing.assert_allclose(scales["W_hh"], np.sqrt(np.mean(p["W_hh"] ** 2)) / 7)
    offset = np.sqrt(np.mean(EQUAL**2, axis=(0, 1))) / EQUAL.std()
    np.testing.assert_allclose(scales["W_xh"][:, 0] * offset, np.sqrt(np.mean(p["W_xh"] ** 2)) / 7, rtol=0.05)
    assert RAE(6, max_iter=0, relative_rates=False).fit(EQUAL).rate_scale_ is None


@pytest.mark.slow
def test_a_hundred_thousand_sequences_start_in_two_gigabytes():
    """In 3 s as well (docs/performance.md), which is not for a test to decide."""
    import resource

    X = np.random.default_rng(0).standard_normal((100_000, 50, 16), dtype=np.float32).cumsum(axis=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    RAE(32, max_iter=0, random_state=0).fit(X)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2e9 - X.nbytes
