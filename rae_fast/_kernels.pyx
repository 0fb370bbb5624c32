"""The C kernels as Python sees them: the choice of the instruction set, and one shim per kernel.

RAE_FAST_ISA=base|avx2|avx512 forces a row of the dispatch table at import; without it the best
row that the CPU has is taken. The shims exist for tests and benchmarks; drivers call the C
functions through _kernels.pxd.
"""

import os

cdef const rae_isa *_active = rae_find_isa(NULL)


cdef const rae_isa *active_isa() noexcept nogil:
    return _active


def known_isas():
    """Names of every instruction set in this build, best first."""
    return [RAE_ISAS[i].name.decode() for i in range(RAE_N_ISAS)]


def usable_isas():
    """Names of the instruction sets that this CPU can run, best first."""
    return [RAE_ISAS[i].name.decode() for i in range(RAE_N_ISAS) if RAE_ISAS[i].usable()]


def isa():
    """Name of the instruction set in use."""
    return _active.name.decode()


def use_isa(str name):
    """Switch to another row of the table, for tests and benchmarks; not while kernels run."""
    global _active
    cdef bytes encoded = name.encode()
    cdef const rae_isa *row = rae_find_isa(encoded)
    if row == NULL:
        raise ValueError(f"instruction set {name!r} is not usable here; "
                         f"this CPU has {', '.join(usable_isas())}")
    _active = row


_forced = os.environ.get("RAE_FAST_ISA")
if _forced:
    try:
        use_isa(_forced)
    except ValueError:
        raise ImportError(f"RAE_FAST_ISA={_forced!r} is not usable: this build knows "
                          f"{', '.join(known_isas())} and this CPU can run "
                          f"{', '.join(usable_isas())}; choose one of these or unset it") from None


cdef int _same(Py_ssize_t n, Py_ssize_t m, str what) except -1:
    if n != m:
        raise ValueError(f"{what} have {n} and {m} elements")
    return 0


def tanh(const real[::1] x, real[::1] y):
    """y = tanh(x)"""
    _same(x.shape[0], y.shape[0], "x and y")
    if x.shape[0]:
        with nogil:
            tanh_(x.shape[0], &x[0], &y[0])


def tanh_backward_(const real[:, ::1] h, real[:, ::1] d, const real[:, ::1] g_next=None):
    """d = (d - g_next) * (1 - h * h), in place; the columns of g_next beyond those of d are skipped."""
    _same(h.shape[0], d.shape[0], "h and d")
    _same(h.shape[1], d.shape[1], "h and d")
    cdef const real *g = NULL
    cdef size_t ld_g = 0
    if g_next is not None and h.shape[0] and h.shape[1]:
        _same(h.shape[0], g_next.shape[0], "h and g_next")
        if g_next.shape[1] < h.shape[1]:
            raise ValueError("g_next has fewer columns than h")
        g, ld_g = &g_next[0, 0], g_next.shape[1]
    if h.shape[0] and h.shape[1]:
        with nogil:
            tanh_backward(h.shape[0], h.shape[1], &h[0, 0], g, ld_g, &d[0, 0])


def residual_(const real[::1] w, const real[::1] c, const real[:, ::1] z, real[:, ::1] g):
    """g becomes 2 w (g + c - z); returns sum_r w_r |g_r + c - z_r|^2."""
    _same(g.shape[0], w.shape[0], "rows of g and w")
    _same(g.shape[0], z.shape[0], "rows of g and z")
    _same(g.shape[1], c.shape[0], "a row of g and c")
    if z.shape[1] < g.shape[1]:
        raise ValueError("z has fewer columns than g")
    if g.shape[0] == 0 or g.shape[1] == 0:
        return 0.0
    return residual(g.shape[0], g.shape[1], &w[0], &c[0], &z[0, 0], z.shape[1], &g[0, 0], g.shape[1])


def cross_entropy_(const real[::1] w, const real[::1] c, const real[:, ::1] z, real[:, ::1] g):
    """g becomes w (softmax(g + c) - z); returns the cross-entropy of softmax(g + c) against z, times w."""
    _same(g.shape[0], w.shape[0], "rows of g and w")
    _same(g.shape[0], z.shape[0], "rows of g and z")
    _same(g.shape[1], c.shape[0], "a row of g and c")
    if z.shape[1] < g.shape[1]:
        raise ValueError("z has fewer columns than g")
    if g.shape[0] == 0 or g.shape[1] == 0:
        return 0.0
    return cross_entropy(g.shape[0], g.shape[1], &w[0], &c[0], &z[0, 0], z.shape[1], &g[0, 0], g.shape[1])


def sgd_update_(const real[::1] grad, real[::1] theta, double rate):
    """theta -= rate * grad"""
    _same(grad.shape[0], theta.shape[0], "grad and theta")
    if grad.shape[0]:
        sgd_update(grad.shape[0], rate, &grad[0], &theta[0])


def first_beyond_(const real[::1] x, double limit):
    """Index of the first element that is NaN or beyond +-limit, len(x) if there is none."""
    cdef size_t found = 0
    if x.shape[0]:
        with nogil:
            found = first_beyond(x.shape[0], limit, &x[0])
    return found


def column_sums_(const real[:, ::1] x, real[::1] out, bint accumulate=False):
    """out = x.sum(axis=0), or out += ..."""
    _same(x.shape[1], out.shape[0], "a row of x and out")
    if x.shape[1]:
        column_sums(x.shape[0], x.shape[1], &x[0, 0] if x.shape[0] else NULL, x.shape[1],
                    accumulate, &out[0])


def transpose_(const real[:, ::1] x, real[:, ::1] y):
    """y = x.T"""
    _same(x.shape[0], y.shape[1], "rows of x and columns of y")
    _same(x.shape[1], y.shape[0], "columns of x and rows of y")
    if x.shape[0] and x.shape[1]:
        transpose(x.shape[0], x.shape[1], &x[0, 0], x.shape[1], &y[0, 0], y.shape[1])


def small_gemm_(const real[:, :] a, const real[:, ::1] b, real[:, ::1] c, bint accumulate=False):
    """c = a b, or c += a b; a may have any positive strides (pass x.T to reach the transpose)."""
    _same(a.shape[1], b.shape[0], "columns of a and rows of b")
    _same(a.shape[0], c.shape[0], "rows of a and of c")
    _same(b.shape[1], c.shape[1], "columns of b and of c")
    if c.shape[0] == 0 or c.shape[1] == 0:
        return
    cdef Py_ssize_t size = sizeof(real)
    cdef const real *a_
    cdef const real *b_
    a_ = &a[0, 0] if a.shape[1] else NULL
    b_ = &b[0, 0] if a.shape[1] else NULL
    with nogil:
        small_gemm(c.shape[0], c.shape[1], a.shape[1], a_, a.strides[0] // size,
                   a.strides[1] // size, b_, b.shape[1], accumulate, &c[0, 0], c.shape[1])


def peak_flops(dtype, size_t rounds):
    """Run the multiply-add peak loop and return how many floating-point operations it did."""
    if dtype == "float32":
        with nogil:
            active_isa().f32.peak(rounds)
        return rounds * active_isa().f32.peak_flops
    with nogil:
        active_isa().f64.peak(rounds)
    return rounds * active_isa().f64.peak_flops
