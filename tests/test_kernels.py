"""The C kernels one by one: every instruction set x dtype x sizes around every vector width."""

import ctypes
import mmap

import numpy as np
import pytest
from problems import problem, solver_of
from scipy.special import log_softmax, softmax

from rae_fast import _blas, _codes, _kernels, _objectives
from rae_fast._batch import Batch
from rae_fast._form import Blocks, Form
from rae_fast._record import Record
from rae_fast._training import Passes, Updates

DTYPES = [np.float32, np.float64]
SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130, 1000]
EXTENDED = np.finfo(np.longdouble).eps < 1e-18
needs_extended = pytest.mark.skipif(not EXTENDED, reason="float64 is the widest type of this machine")

pytestmark = pytest.mark.usefixtures("isa")


def tanh(x):
    y = np.full_like(x, 7)
    _kernels.tanh(x, y)
    return y


def ulps(found, exact):
    """Errors in units of the last place of the exact values, which are of a wider type."""
    rounded = np.abs(exact).astype(found.dtype)
    return np.abs(found.astype(exact.dtype) - exact) / np.spacing(rounded).astype(exact.dtype)


def samples(dtype, n):
    """Both signs, every magnitude from the smallest subnormal to infinity, dense where it matters."""
    bits = np.linspace(0, np.array(np.inf, dtype).view(f"i{np.dtype(dtype).itemsize}"), n)
    wide = bits.astype(f"i{np.dtype(dtype).itemsize}").view(dtype)
    x = np.concatenate([wide[np.isfinite(wide)], np.linspace(0, 25, n, dtype=dtype),
                        dtype(0.625) * (1 + np.finfo(dtype).eps * np.arange(-50, 50, dtype=dtype))])
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=needs_extended)])
def test_tanh_is_within_two_ulps(dtype):
    x = samples(dtype, 400_000)
    exact = np.tanh(x.astype(np.float64 if dtype is np.float32 else np.longdouble))
    error = ulps(tanh(x), exact)
    assert error.max() <= 2, f"{error.max()} ULP at {x[error.argmax()]!r}"


@pytest.mark.slow
def test_tanh_of_every_float32():
    worst = 0.0
    for start in range(0, 1 << 32, 1 << 24):
        x = np.arange(start, start + (1 << 24), dtype=np.uint32).view(np.float32)
        y = tanh(x)
        assert (np.isnan(y) == np.isnan(x)).all()
        x, y = x[~np.isnan(x)], y[~np.isnan(x)]
        assert (np.signbit(y) == np.signbit(x)).all()
        worst = max(worst, ulps(y, np.tanh(x.astype(np.float64))).max(initial=0))
    assert worst <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_special_values(dtype):
    tiny, big = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    x = np.array([0.0, -0.0, np.inf, -np.inf, big, -big, 20, -20, tiny, -tiny, np.nan, -np.nan], dtype)
    y = tanh(x)
    np.testing.assert_array_equal(y[:10], np.array([0, -0.0, 1, -1, 1, -1, 1, -1, tiny, -tiny], dtype))
    np.testing.assert_array_equal(np.signbit(y[:10]), np.signbit(x[:10]))
    assert np.isnan(y[10:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_saturates_exactly_where_it_rounds_to_one(dtype):
    x = np.linspace(7, 25, 100_001, dtype=dtype)
    gap = 2 / (np.exp(2 * x.astype(np.longdouble)) + 1)  # 1 - tanh x
    assert (tanh(x)[gap < np.finfo(dtype).epsneg / 2 * 0.999] == 1).all()
    assert (tanh(x) <= 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_tanh_does_not_depend_on_the_place(dtype, n):
    x = np.linspace(-3, 3, n + 1, dtype=dtype)[1:]
    y = tanh(x)
    np.testing.assert_array_equal(y, [tanh(x[i:i + 1])[0] for i in range(n)])
    in_place = x.copy()
    _kernels.tanh(in_place, in_place)
    np.testing.assert_array_equal(in_place, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_tanh_backward(dtype, n, seed):
    rng = np.random.default_rng([n, seed])
    h, d = rng.uniform(-1, 1, (2, n)).astype(dtype)
    found = d.copy()
    _kernels.tanh_backward_(h, found)
    np.testing.assert_allclose(found, d * (1 - h * h), rtol=0, atol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("n", [n for n in SIZES if n])
@pytest.mark.parametrize("u", [1.0, 0.25])
def test_residual(dtype, n, extra, u, seed):
    rng = np.random.default_rng([n, extra, seed])
    g, z = rng.standard_normal((5, n)).astype(dtype), rng.standard_normal((5, n + extra)).astype(dtype)
    c, w = rng.standard_normal(n).astype(dtype), rng.uniform(0.1, 1, 5).astype(dtype)
    w[1] = 0
    z[1] = np.inf  # not looked at
    D = u * (g.astype(np.float64) + c - z[:, :n])
    D[1] = 0
    found = g.copy()
    loss = _kernels.residual_(w, c, z, found, u)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss, (w[:, None] * D * D).sum(), rtol=eps * (8 + n))
    np.testing.assert_allclose(found, 2 * w[:, None] * u * D, rtol=0, atol=16 * eps * np.abs(D).max())
    assert (found[1] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("n", [n for n in SIZES if n])
def test_cross_entropy(dtype, n, extra, seed):
    rng = np.random.default_rng([n, extra, seed])
    g = 3 * rng.standard_normal((5, n)).astype(dtype)
    x = np.zeros((5, n + extra), dtype)
    x[:, :n] = softmax(rng.standard_normal((5, n)), axis=1)
    x[2, :n] = np.eye(n)[n - 1]
    c, w = rng.standard_normal(n).astype(dtype), rng.uniform(0.1, 1, 5).astype(dtype)
    w[1] = 0
    x[1] = np.inf  # not looked at
    logits = g.astype(np.float64) + c
    target = np.where(w[:, None] > 0, x[:, :n], 0).astype(np.float64)
    found = g.copy()
    loss = _kernels.cross_entropy_(w, c, x, found)
    eps = np.finfo(dtype).eps
    expected = -(w[:, None] * target * log_softmax(logits, axis=1)).sum()
    np.testing.assert_allclose(loss, expected, rtol=eps * (16 + n), atol=16 * eps)
    np.testing.assert_allclose(found, w[:, None] * (softmax(logits, axis=1) - target), rtol=0, atol=32 * eps)
    assert (found[1] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_extremes(dtype):
    one, zero = np.ones(1, dtype), np.zeros(20, dtype)
    x = np.eye(20, dtype=dtype)[:1]
    big = np.sqrt(np.finfo(dtype).max) / 4
    for first in (big, -big, 0):
        g = np.zeros((1, 20), dtype)
        g[0, 0] = first
        loss = _kernels.cross_entropy_(one, zero, x, g)
        np.testing.assert_allclose(loss, {big: 0, -big: big + np.log(19), 0: np.log(20)}[first], rtol=1e-6, atol=1e-6)
        assert np.isfinite(g).all() and abs(g.sum()) < 1e-5
    for place in range(20):
        g = np.zeros((1, 20), dtype)
        g[0, place] = np.nan
        assert np.isnan(_kernels.cross_entropy_(one, zero, x, g)), place


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_axpy(dtype, n, seed):
    x, y = np.random.default_rng([n, seed]).standard_normal((2, n)).astype(dtype)
    found = y.copy()
    _kernels.axpy_(-0.25, x, found)
    np.testing.assert_allclose(found, y - dtype(0.25) * x, rtol=0, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [n for n in SIZES if n])
def test_first_beyond_finds_each_place(dtype, n):
    x = np.zeros(n, dtype)
    limit = float(np.finfo(dtype).max)
    assert _kernels.first_beyond_(x, limit) == n
    for place in range(n):
        for value in (np.nan, np.inf, -np.inf):
            x[place] = value
            assert _kernels.first_beyond_(x, limit) == place
        x[place] = np.finfo(dtype).max
        assert _kernels.first_beyond_(x, limit) == n
        assert _kernels.first_beyond_(x, 1.0) == place
        x[place] = -1
        assert _kernels.first_beyond_(x, 1.0) == n
        x[place] = 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_rows_within(dtype, n, seed):
    x = np.full((4, n + 3), np.nan, dtype)  # what follows a row must not matter
    x[:, :n] = np.random.default_rng([n, seed]).uniform(-1, 1, (4, n))
    assert _kernels.rows_within_(x, 1.0, n)
    for value in (1.5, -1.5, np.nan, np.inf, -np.inf):
        for place in {(0, 0), (3, n - 1), (2, n // 2)} if n else ():
            kept, x[place] = x[place], value
            assert not _kernels.rows_within_(x, 1.0, n)
            x[place] = kept


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_column_sums(dtype, n, seed):
    x = np.random.default_rng([n, seed]).standard_normal((5, n)).astype(dtype)
    out = np.full(n, 3, dtype)
    _kernels.column_sums_(x, out)
    np.testing.assert_allclose(out, x.sum(0), rtol=0, atol=20 * np.finfo(dtype).eps)
    _kernels.column_sums_(x, out, True)
    np.testing.assert_allclose(out, 2 * x.sum(0), rtol=0, atol=40 * np.finfo(dtype).eps)
    _kernels.column_sums_(x, out, True, factor=-2.0)
    np.testing.assert_allclose(out, 0, rtol=0, atol=80 * np.finfo(dtype).eps)


PRODUCT_SIZES = [1, 2, 3, 4, 5, 8, 12, 15, 16, 17, 24, 31, 47, 48, 63, 64, 65, 95, 127, 130]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "transposed", "rows", "bare", "turned"])
@pytest.mark.parametrize("n", PRODUCT_SIZES)
def test_product(dtype, layout, n, seed):
    """Every height and width of a tile, sums of every length modulo the chains, every kind of start."""
    rng = np.random.default_rng([n, seed])
    for m in (1, 2, 3, 4, 5, 7, 8, 9, 15):
        for k in (0, 1, 3, 4, 5, 7, 33):
            a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            c, row = rng.standard_normal((m, n)).astype(dtype), rng.standard_normal(n).astype(dtype)
            b = b.T.copy().T if layout == "turned" else b
            exact = a.astype(np.float64) @ b
            for init in (None, c, row):
                for a_ in (a, np.asfortranarray(a)):
                    found = np.full_like(c, np.nan)
                    _kernels.product_(a_, b, found, init, layout)
                    np.testing.assert_allclose(found, exact + (0 if init is None else init), rtol=0,
                                               atol=8 * (k + 1) * np.finfo(dtype).eps, err_msg=f"m={m} k={k}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "transposed", "bare", "turned"])
def test_product_of_long_sums(isa, dtype, layout, seed):
    """Around and beyond what a tile of dot products sums up at once, 384 (float64) and 768 (float32)."""
    rng = np.random.default_rng([0, seed])
    for k in (383, 384, 385, 767, 768, 771, 1600):
        for m, n in [(1, 5), (2, 4), (7, 9), (13, 3)]:
            a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            b = b.T.copy().T if layout == "turned" else b
            for init in (None, rng.standard_normal((m, n)).astype(dtype), rng.standard_normal(n).astype(dtype)):
                found = np.full((m, n), np.nan, dtype)
                _kernels.product_(a, b, found, init, layout)
                expected = a.astype(np.float64) @ b + (0 if init is None else init)
                np.testing.assert_allclose(found, expected, rtol=0, atol=8 * k * np.finfo(dtype).eps,
                                           err_msg=f"m={m} k={k}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["bare", "turned"])
def test_columns_beyond_an_operand_as_it_lies_are_those_of_init(isa, dtype, layout, seed):
    """Rows of a recurrence are padded to whole vectors."""
    rng = np.random.default_rng([0, seed])
    for n in (1, 7, 8, 9, 24, 33):
        a, b = rng.standard_normal((2, 5)).astype(dtype), rng.standard_normal((5, n)).astype(dtype)
        init = rng.standard_normal((2, n + 11)).astype(dtype)
        b = b.T.copy().T if layout == "turned" else b
        for start in (None, init):
            found = np.full_like(init, np.nan)
            _kernels.product_(a, b, found, start, layout)
            expected = np.zeros((2, n + 11)) if start is None else init.astype(np.float64)
            expected[:, :n] += a.astype(np.float64) @ b
            np.testing.assert_allclose(found, expected, rtol=0, atol=64 * np.finfo(dtype).eps, err_msg=f"n={n}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 24, 65, 130, 500])
def test_sums_over_rows(dtype, n, seed):
    """Small ones as they lie, large ones (700 rows of 130 and 500) copied block by block."""
    rng = np.random.default_rng([n, seed])
    lanes = _kernels.vector_lanes(np.dtype(dtype).name)
    for m in (1, 2, 5, 8, 19, 137):
        for k in (1, 3, 255, 257, 700):
            a = rng.standard_normal((k, m)).astype(dtype)
            b = np.full((k, -(-n // lanes) * lanes), np.nan, dtype)  # what follows a row must not matter
            b[:, :n] = rng.standard_normal((k, n))
            c = rng.standard_normal((m, n)).astype(dtype)
            exact = a.astype(np.float64).T @ b[:, :n]
            for accumulate in (False, True):
                for factor in (1.0, -0.75):
                    found = c.copy()
                    _kernels.outer_(a, b, found, accumulate, factor=factor)
                    np.testing.assert_allclose(found, factor * exact + (c if accumulate else 0), rtol=0,
                                               atol=8 * (k + 1) * np.finfo(dtype).eps, err_msg=f"m={m} k={k}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_a_team_changes_no_bit(dtype, threads, seed):
    rng = np.random.default_rng([threads, seed])
    for m, n, k in [(1, 130, 20), (9, 24, 5), (13, 301, 33), (64, 512, 300)]:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        alone, shared = np.empty((2, m, n), dtype)
        for layout in ("packed", "bare", "turned"):
            lying = b.T.copy().T if layout == "turned" else b
            _kernels.product_(a, lying, alone, layout=layout)
            _kernels.product_(a, lying, shared, layout=layout, threads=threads)
            np.testing.assert_array_equal(shared, alone)
        b = np.zeros((k, -(-n // 16) * 16), dtype)
        b[:] = rng.standard_normal(b.shape)
        _kernels.outer_(np.ascontiguousarray(a.T), b, alone)
        _kernels.outer_(np.ascontiguousarray(a.T), b, shared, threads=threads)
        np.testing.assert_array_equal(shared, alone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blas_wrapper_in_every_orientation(dtype, seed):
    rng = np.random.default_rng([0, seed])
    for m in (1, 2, 7):
        for n in (1, 3, 8):
            for k in (1, 2, 9):
                for ta in (False, True):
                    for tb in (False, True):
                        for accumulate in (False, True):
                            A = rng.standard_normal((k, m) if ta else (m, k)).astype(dtype)
                            B = rng.standard_normal((n, k) if tb else (k, n)).astype(dtype)
                            C = rng.standard_normal((m, n)).astype(dtype)
                            expected = (A.T if ta else A) @ (B.T if tb else B) + (C if accumulate else 0)
                            _blas.gemm(A, B, C, ta, tb, accumulate)
                            np.testing.assert_allclose(C, expected, rtol=0, atol=64 * np.finfo(dtype).eps,
                                                       err_msg=f"{m=} {n=} {k=} {ta=} {tb=} {accumulate=}")


def test_peak_counts_its_operations():
    for dtype in ("float32", "float64"):
        assert _kernels.peak_flops(dtype, 1000) == 2 * _kernels.peak_flops(dtype, 500) > 0


def before_a_guard_page(array):
    """A copy whose last byte is the last one before a page that may not be touched."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(address + size), ctypes.c_size_t(page), 0) == 0
    copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 8, 13, 24, 33, 65])
def test_no_kernel_reads_past_an_array(dtype, n):
    """A read past the end would kill the interpreter."""
    guard = before_a_guard_page
    ones, rows = np.ones(n, dtype), np.ones((3, n), dtype)
    x, y = guard(ones), guard(ones)
    _kernels.tanh(x, y)
    _kernels.axpy_(0.5, x, y)
    _kernels.first_beyond_(x, 2.0)
    _kernels.column_sums_(guard(rows), y)
    _kernels.tanh_backward_(x, guard(ones))
    _kernels.residual_(guard(ones[:1].repeat(3)), guard(ones), guard(rows), guard(rows))
    _kernels.cross_entropy_(guard(ones[:1].repeat(3)), guard(ones), guard(rows), guard(rows))
    for m in (1, 2, 3, 5, 8):
        a, b = np.ones((m, 5), dtype), np.ones((5, n), dtype)
        for layout in (guard(a), guard(a.T.copy()).T):
            _kernels.product_(layout, guard(b), guard(np.ones((m, n), dtype)), guard(ones))
            _kernels.product_(layout, guard(b.T.copy()).T, guard(np.ones((m, n), dtype)), layout="transposed")
            _kernels.product_(guard(a), guard(b), guard(np.ones((m, n), dtype)), guard(ones), layout="bare")
            _kernels.product_(guard(a), guard(b.T.copy()).T, guard(np.ones((m, n), dtype)), guard(ones),
                              layout="turned")
            lanes = _kernels.vector_lanes(np.dtype(dtype).name)
            rows = guard(np.ones((5, -(-n // lanes) * lanes), dtype))
            _kernels.outer_(guard(np.ones((5, m), dtype)), rows, guard(np.ones((m, n), dtype)), True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("objective", _objectives.NAMES)
def test_no_driver_reads_or_writes_past_a_user_s_array(isa, gemm, dtype, objective):
    """theta, data, weights, gradient, state, units and codes each end where the next page may not be touched."""
    for I, H, T, B in [(1, 1, 3, 2), (3, 5, 4, 9), (8, 24, 8, 1), (7, 31, 5, 17), (16, 48, 3, 8), (5, 130, 4, 3)]:
        for options in ({}, {"tied": True, "decoder": "tanh"}):
            form = Form(I, H, objective, **options)
            theta, data, offsets, weights = (before_a_guard_page(a.astype(dtype) if a.dtype.kind == "f" else a)
                                             for a in problem(form, T, B, ragged=True))
            grad, state = (Blocks(form, dtype, memory=before_a_guard_page(np.zeros_like(theta))) for _ in range(2))
            scale = Blocks(form, dtype, ["W_xh"])
            scale = Blocks(form, dtype, ["W_xh"], before_a_guard_page(scale.memory + 1))
            batch = Batch(data, offsets)
            whole = _objectives.objective_of(form, batch, weights)
            whole.loss_and_grad(theta, grad)
            codes = before_a_guard_page(_codes.encode(theta, Batch(data, offsets, True), form, True))
            _codes.encode(theta, Batch(data, offsets, True), form)
            _codes.unroll(theta, codes, offsets, form, True)
            _codes.step(theta, codes[:1], data[:1], form)
            for solver, kept, units in (("sgd", [], None), ("momentum", [state], scale)):
                updates = Updates(form, solver_of(solver), kept, units, 1.0, dtype is np.float32)
                Passes(_objectives.objective_of(form, batch, weights), updates, Record(), B, 2).run(theta, 2, 1e9)
            assert np.isfinite(theta).all()
