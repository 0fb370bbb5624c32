"""init="linear": against the matrix Xi written out, and as a model by itself."""

import signal
import sys
import time

import numpy as np
import pytest
from problems import ragged_lengths

from rae_fast import RAE, closed_form, dense, reference
from rae_fast._form import Form
from rae_fast._progress import Progress
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


def of(batch, mu, w, n_lags, threads=1):
    return closed_form._Prefixes(batch, mu, np.sqrt(w), n_lags, threads)


@pytest.mark.parametrize("X", [RAGGED, EQUAL, [EQUAL[0]], [EQUAL[0, :1]]], ids=["ragged", "equal", "one", "one step"])
@pytest.mark.parametrize("at_once", [1, 1 << 23])
@pytest.mark.parametrize("threads", [1, 2])
def test_gram_and_products_are_those_of_xi(X, at_once, threads, monkeypatch):
    monkeypatch.setattr(closed_form, "_PIECE", at_once)
    rng = np.random.default_rng(1)
    X = [np.where(rng.random(x.shape) < 0.5, x, 0) for x in X]
    batch = as_batch(X)
    w = rng.uniform(0.1, 1, batch.n_sequences)
    mu = rng.standard_normal(3)
    longest = int(np.diff(batch.offsets).max())
    xi = prefixes(batch, mu, w, longest)
    exact = xi.T @ xi
    close = {"rtol": 0, "atol": 1e-12 * np.abs(exact).max()}
    np.testing.assert_allclose(of(batch, mu, w, longest, threads).gram(), exact, **close)
    np.testing.assert_allclose(of(batch, mu, w, longest).written_out(), xi, rtol=0, atol=1e-15)
    for n_lags in {longest, max(1, longest - 2), 1}:
        short = prefixes(batch, mu, w, n_lags)
        some = of(batch, mu, w, n_lags, threads)
        for kept in (0, 1 << 25):
            monkeypatch.setattr(closed_form, "_KEPT_TRANSFORMS", kept)
            some.times = closed_form._ByConvolution(some)
            assert (some.times.kept is None) == (kept == 0)
            assert sorted(np.concatenate(some.times.pieces)) == list(range(batch.n_sequences))
            np.testing.assert_allclose(some.gram_times(np.eye(n_lags * 3)), short.T @ short, **close)
        for sparse in (False, True):
            some.times = closed_form._BySteps(some, sparse)
            for some_rows in (np.eye(n_lags * 3), np.eye(n_lags * 3)[:1]):
                np.testing.assert_allclose(some.gram_times(some_rows), some_rows @ short.T @ short, **close)


def test_products_with_xi_are_made_the_cheaper_way():
    def way(X):
        batch = as_batch(X)
        prefixes = of(batch, np.zeros(batch.n_features), np.ones(batch.n_sequences), batch.longest)
        prefixes.choose()
        return type(prefixes.times).__name__, getattr(prefixes.times, "sparse", None) is not None

    rng = np.random.default_rng(0)
    assert way(rng.standard_normal((2, 5, 2000))) == ("_BySteps", False)
    assert way(rng.standard_normal((2, 5000, 2))) == ("_ByConvolution", False)
    assert way(np.eye(2000)[rng.integers(0, 2000, (5, 20))]) == ("_BySteps", True)
    assert way(np.eye(11)[rng.integers(0, 11, (2, 3000))]) == ("_ByConvolution", False)


@pytest.mark.parametrize("way", ["whole", "rows", "blocks of the gram matrix", "by convolutions", "step by step"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_way_to_the_singular_vectors_finds_the_same_space(way, threads, monkeypatch):
    if way not in ("whole", "rows"):
        monkeypatch.setattr(closed_form, "_DENSE_COLUMNS", 0)
        monkeypatch.setattr(closed_form, "_GRAM_COLUMNS", 4096 if "gram" in way else 0)
        monkeypatch.setattr(closed_form, "_TOLERANCE", 1e-12)
        monkeypatch.setattr(dense, "_CYCLES", 100)
        monkeypatch.setattr(closed_form, "_MULTIPLIED", 0 if way == "step by step" else 1e9)
    X = waves([60], I=4) if way == "rows" else waves(ragged_lengths(60, 20), I=4)
    batch = as_batch(X)
    some = of(batch, np.full(4, 2.0), np.ones(len(X)), batch.longest, threads)
    values, U = closed_form._singular_vectors(some, 5, np.random.default_rng(0), Progress("", 0, False))
    _, s, Vt = np.linalg.svd(prefixes(batch, np.full(4, 2.0), np.ones(len(X)), batch.longest), full_matrices=False)
    np.testing.assert_allclose(values, s[:5] ** 2, rtol=1e-7)
    np.testing.assert_allclose(np.abs(np.sum(U * Vt[:5], axis=1)), 1, atol=1e-6)


def test_wide_one_hot_data_are_looked_up(capsys, monkeypatch):
    """Work follows the numbers that are not 0 and the vectors looked for, and shows under verbose."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    V, T, N, H = 5000, 20, 250, 24
    rng = np.random.default_rng(0)
    ids = rng.zipf(1.3, (N, T)) % V
    X = np.zeros((N, T, V), dtype=np.float32)
    np.put_along_axis(X, ids[..., None], 1, axis=2)
    before = time.process_time()
    model = RAE(H, max_iter=0, random_state=0, verbose=1).fit(X)
    spent = time.process_time() - before
    shown = capsys.readouterr().err
    assert "closed form: product" in shown
    assert spent < 60  # about 3 s: in the data's own width it took minutes
    variance = N * T * (1 - np.square(X.mean(axis=(0, 1), dtype=np.float64)).sum())
    assert error(model, X) < 0.97 * variance
    some = of(as_batch(X), X.mean(axis=(0, 1), dtype=np.float64), np.ones(N), min(T, closed_form._MOST_COLUMNS // V))
    some.choose()
    assert some.times.sparse.nnz == N * T


def test_ctrl_c_ends_a_closed_form():
    """Between two products, of which there are many."""
    prefixes = of(as_batch(np.random.default_rng(0).standard_normal((3, 5000, 1))), np.zeros(1), np.ones(3), 5000)
    calls = []

    def interrupted(vectors):
        calls.append(len(vectors))
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return vectors

    prefixes.gram_times = interrupted
    with pytest.raises(KeyboardInterrupt):
        closed_form._singular_vectors(prefixes, 4, np.random.default_rng(0), Progress("", 0, False))
    assert len(calls) == 2


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


def pca_error(X, n, weights):
    rows = X.reshape(len(X), -1) - np.average(X.reshape(len(X), -1), axis=0, weights=weights)
    V = np.linalg.svd(rows * np.sqrt(weights)[:, None], full_matrices=False)[2][:n]
    return weights @ ((rows - rows @ V.T @ V) ** 2).sum(axis=1)


@pytest.mark.parametrize("decoder", ["linear", "tanh"])
@pytest.mark.parametrize("n_code", [1, 3, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_small_code_is_pca_where_the_state_holds_the_sequence(decoder, n_code, dtype):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((60, 5, 4)).cumsum(axis=1) + [0, 1, -2, 5]).astype(dtype)
    weights = rng.uniform(0.2, 1, 60)
    model = RAE(20, n_code=n_code, decoder=decoder, max_iter=0, random_state=0).fit(X, sample_weight=weights)
    assert model.transform(X).shape == (60, n_code)
    found = weights @ model.reconstruction_error(X)
    assert pca_error(X.astype(float), n_code, weights) * 0.9999 <= found <= 1.01 * pca_error(X, n_code, weights)
    small = RAE(n_code, max_iter=0, random_state=0).fit(X, sample_weight=weights)
    assert found < weights @ small.reconstruction_error(X)


@pytest.mark.parametrize("n_code", [1, 2, 4])
def test_a_small_code_is_the_best_of_states_that_do_not_hold_everything(n_code):
    """Of all linear maps through so few numbers, in what unrolls: weights, lengths and the decoder count."""
    form = Form(3, 5, "unfold", n_code=n_code)
    rng = np.random.default_rng(0)
    batch, w = as_batch(RAGGED), rng.uniform(0.1, 1, len(RAGGED))
    theta = np.zeros(form.size)
    p = form.views(theta)
    for name in ("W_xh", "W_hh", "V_hh", "V_hx", "b_h"):
        p[name][...] = 0.4 * rng.standard_normal(p[name].shape)
    closed_form._set_code_maps(theta, form, closed_form._moments(theta, form, batch, w, 1.0, 1), 1)
    small = theta.copy()
    for name in ("W_xh", "b_h"):
        form.views(small)[name][...] *= 2.0**-16
    states = reference.hidden_states(small, batch.data, batch.offsets, form, True) * 2.0**16
    mean = np.average(states, axis=0, weights=w)
    np.testing.assert_allclose(p["c_1"], mean, rtol=1e-3)
    C = (w[:, None] * (states - mean)).T @ (states - mean) / w.sum()
    G = np.zeros((5, 5))
    for w_n, T in zip(w, batch.lengths()):
        for k in range(T):
            A = np.linalg.matrix_power(p["V_hh"], k) @ p["V_hx"]
            G += w_n * A @ A.T / w.sum()
    lost = np.eye(5) - p["W_hc"] @ p["V_ch"]
    values = np.sort(np.linalg.eigvals(C @ G).real)
    np.testing.assert_allclose(np.trace(lost.T @ C @ lost @ G), values[:5 - n_code].sum(), rtol=1e-3)
    codes = states @ p["W_hc"] + p["b_c"]
    assert np.abs(w @ codes).max() < 1e-3 * w.sum()
    np.testing.assert_allclose(w @ (codes**2).mean(axis=1) / w.sum(), 1, rtol=5e-3)


def test_a_small_code_of_ragged_sequences_and_of_few_states():
    """Better than a state of the code's size, and not worse than what the states hold."""
    for X in (RAGGED, EQUAL):
        errors = [error(RAE(n, n_code=code, max_iter=0, random_state=0).fit(X), X)
                  for n, code in ((12, None), (12, 12), (12, 3), (3, None))]
        assert errors[1] < 1.06 * errors[0]
        assert errors[0] < errors[2] < errors[3]


@pytest.mark.parametrize("n_code", [1, 3, 6])
def test_a_small_code_regresses_sequences_on_states_that_do_not_hold_them(n_code):
    """Of equal lengths no other maps through so few numbers give back more, by the linear decoder."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 12, 1)).cumsum(axis=1)
    w = rng.uniform(0.2, 1, len(X))
    model = RAE(6, n_code=n_code, decoder="linear", max_iter=0, random_state=0).fit(X, sample_weight=w)
    p = model.parameters_
    A = np.hstack([np.linalg.matrix_power(p["V_hh"], k) @ p["V_hx"] for k in range(12)])
    h = model.hidden_states(X)[:, -1]
    h, rows = (a - np.average(a, axis=0, weights=w) for a in (h, X.reshape(len(X), -1)[:, ::-1]))

    def lost(K):
        return w @ ((rows - h @ K @ A) ** 2).sum(axis=1)

    found = lost(p["W_hc"] @ p["V_ch"])
    root = np.sqrt(w)[:, None]
    regressed = root * h @ np.linalg.lstsq(root * h, root * rows, rcond=None)[0] @ np.linalg.pinv(A) @ A
    exact = np.linalg.svd(regressed)[1][n_code:] @ np.linalg.svd(regressed)[1][n_code:] + (
        (root * rows - regressed) ** 2).sum()
    assert exact * 0.999 < found < 1.01 * exact
    # And it is not what the components of the states give.
    values, P = np.linalg.eigh((root * h @ A).T @ (root * h @ A))
    P = P[:, -n_code:]
    assert found < (0.99 if n_code > 3 else 1) * (w @ ((rows - h @ A @ P @ P.T) ** 2).sum(axis=1))


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
    operator = closed_form._ByConvolution(of(as_batch(X), np.zeros(1), np.ones(20_001), 5000))
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
                               np.full((2, 3, 2), -1e100), np.full((1, 3, 1), np.ldexp(0.1, -530))],
                         ids=["zeros", "one number", "tiny", "large", "with a mean that rounds"])
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


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"solver": "sgd", "learning_rate": 1.0},
                                     {"solver": "rprop"}, {"decoder": "linear"}, {"n_hidden": 24}, {"max_iter": 0},
                                     {"n_code": 2}],
                         ids=lambda options: " ".join(map(str, options.values())) or "defaults")
@pytest.mark.parametrize("dtype, exponents", [(np.float32, (-90, -70, -1, 70)),
                                              (np.float64, (-500, -300, 1, 300, 500))])
def test_a_power_of_two_changes_no_bit(dtype, exponents, options):
    """Gravitational-wave strain, 1e-21, or 1e-150: theta_, losses and errors are those of the data in other units."""
    X = (EQUAL - 2).astype(dtype)

    def fitted(k):
        model = RAE(**{"n_hidden": 6, "max_iter": 5, "random_state": 0, "batch_size": 8, **options}).fit(np.ldexp(X, k))
        p = {name: view.copy() for name, view in model.parameters_.items()}
        for name, sign in (("W_xh", 1), ("V_hx", -1), ("c_x", -1)):
            p[name] = np.ldexp(p[name], sign * k)
        return p, np.ldexp(model.loss_curve_, -2 * k), model

    p, losses, model = fitted(0)
    assert options.get("max_iter") == 0 or losses[-1] < losses[0]
    for k in exponents:
        other, other_losses, there = fitted(k)
        for name in p:
            np.testing.assert_array_equal(other[name], p[name], err_msg=f"{name} at 2^{k}")
        np.testing.assert_array_equal(other_losses, losses)
        np.testing.assert_array_equal(there.transform(np.ldexp(X, k)), model.transform(X))
        loss, grad = model.loss_and_grad(X)
        there_loss, there_grad = there.loss_and_grad(np.ldexp(X, k))
        assert np.ldexp(there_loss, -2 * k) == loss and np.isfinite(loss)
        if abs(k) < np.finfo(dtype).maxexp / 4:  # elsewhere gradients in units of the data are no numbers of the type
            np.testing.assert_array_equal(np.ldexp(there_grad["c_x"], -k), grad["c_x"])
            np.testing.assert_array_equal(np.ldexp(there_grad["W_hh"], -2 * k), grad["W_hh"])


@pytest.mark.parametrize("dtype, factors", [(np.float32, (1e-30, 1e-21, 1e27)), (np.float64, (1e-150, 1e-21, 1e150))])
def test_any_other_factor_changes_no_more_than_rounding(dtype, factors):
    X = (EQUAL - 2).astype(dtype)
    codes = RAE(6, max_iter=2, random_state=0).fit(X).transform(X)
    for factor in factors:
        model = RAE(6, max_iter=2, random_state=0).fit(X * dtype(factor))
        np.testing.assert_allclose(model.transform(X * dtype(factor)), codes, atol=2e4 * np.finfo(dtype).eps)
        once = np.array(model.loss_curve_)
        model.partial_fit(X * dtype(factor))
        assert 0 < model.loss_curve_[-1] < 2 * once[0]


@pytest.mark.parametrize("X, options, way", [
    (np.float64(1e-170) * (EQUAL - 2), {}, "up"), (np.float64(1e170) * (EQUAL - 2), {}, "down"),
    (np.float32(1e-36) * (EQUAL - 2).astype(np.float32), {}, "up"),
    (np.float32(1e36) * (EQUAL - 2).astype(np.float32), {}, "down"),
    (np.float32(1e-30) * (EQUAL - 2).astype(np.float32), {"objective": "stepwise"}, "up"),
    (np.float32(1e30) * (EQUAL - 2).astype(np.float32), {"objective": "stepwise"}, "down"),
    (np.float32(1e-30) * (EQUAL - 2).astype(np.float32), {"clip_norm": 1.0}, "up"),
], ids=[0, 1, 2, 3, 4, 5, 6])
def test_data_out_of_range_are_to_be_scaled_the_right_way(X, options, way):
    right = rf"scale (it|X|the data) {way}\b"
    with np.errstate(all="ignore"), pytest.raises((ValueError, FloatingPointError), match=right):
        RAE(6, max_iter=5, random_state=0, **options).fit(X)


def test_weights_that_overflow_are_named():
    X = (EQUAL - 2).astype(np.float32)
    with pytest.raises(FloatingPointError, match="sample_weight .* by its mean") as caught:
        RAE(6, max_iter=5, random_state=0).fit(X, sample_weight=np.full(len(X), 1e37))
    assert "scale the data" not in str(caught.value)
    assert RAE(6, max_iter=5, random_state=0).fit(X, sample_weight=np.full(len(X), 1e3)).n_iter_ == 5


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
    np.testing.assert_allclose(scales["W_hh"], np.sqrt(np.mean(p["W_hh"] ** 2)) / 8)
    offset = np.sqrt(np.mean(EQUAL**2, axis=(0, 1))) / EQUAL.std()
    np.testing.assert_allclose(scales["W_xh"][:, 0] * offset, np.sqrt(np.mean(p["W_xh"] ** 2)) / 8, rtol=0.05)
    assert RAE(6, max_iter=0, relative_rates=False).fit(EQUAL).rate_scale_ is None
    model = RAE(6, n_code=2, max_iter=0, init=init, tied=tied, random_state=0).fit(EQUAL)
    scales, p = model.rate_scale_, model.parameters_
    size = {name: np.sqrt(np.mean(p[name] ** 2)) for name in ("W_hh", "W_hc", "V_ch")}
    assert scales["c_1"] == scales["c_h"]
    np.testing.assert_allclose([scales["W_hc"] / size["W_hc"], scales["V_ch"] / size["V_ch"]], 1 / 8)
    np.testing.assert_allclose(scales["b_c"] / scales["b_h"], size["W_hc"] / size["W_hh"])


@pytest.mark.slow
def test_a_hundred_thousand_sequences_start_in_two_gigabytes():
    """In 3 s as well (docs/performance.md), which is not for a test to decide."""
    import resource

    X = np.random.default_rng(0).standard_normal((100_000, 50, 16), dtype=np.float32).cumsum(axis=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    RAE(32, max_iter=0, random_state=0).fit(X)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2e9 - X.nbytes


def test_training_goes_below_the_pca_that_a_small_code_starts_as():
    """On digits never seen; after a few passes by a tenth."""
    X = pytest.importorskip("sklearn.datasets").load_digits().images
    learned, unseen = X[::2], X[1::2]
    model = RAE(64, n_code=8, max_iter=80, random_state=0).fit(learned)
    rows, mean = learned.reshape(len(learned), -1), learned.mean(axis=0).ravel()
    V = np.linalg.svd(rows - mean, full_matrices=False)[2][:8]
    rows = unseen.reshape(len(unseen), -1) - mean
    assert error(model, unseen) < 0.93 * ((rows - rows @ V.T @ V) ** 2).sum()
