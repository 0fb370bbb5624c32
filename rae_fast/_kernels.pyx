"""The C kernels as Python sees them: the choice of the instruction set, and shims of single kernels.

RAE_FAST_ISA=base|avx2|avx512 forces a row of the dispatch table at import; without it the best
row that the CPU has is taken. Compiled code calls the kernels through _kernels.pxd; the shims are for tests,
benchmarks and dense.py.
"""

import os
from numbers import Integral

import numpy as np

from rae_fast._messages import shown

cdef extern from "team.h" nogil:
    rae_team *rae_team_start(size_t)
    void rae_team_end(rae_team *)
    size_t rae_team_members(const rae_team *)
    void rae_together(rae_team *, void (*)(void *, size_t, size_t) noexcept nogil, void *)


# ---- teams of threads ----------------------------------------------------------------------------

# More threads than parts of a batch (16) serve only single large products, and these hardly gain beyond.
cdef enum:
    MOST_THREADS = 64


cdef rae_team *start_team(size_t members) noexcept nogil:
    return rae_team_start(members)


cdef void end_team(rae_team *team) noexcept nogil:
    rae_team_end(team)


cdef size_t team_members(const rae_team *team) noexcept nogil:
    return rae_team_members(team)


cdef void together(rae_team *team, void (*job)(void *, size_t, size_t) noexcept nogil, void *argument) noexcept nogil:
    rae_together(team, job, argument)


def threads(n_jobs):
    """How many threads n_jobs stands for: None is 1, -1 every CPU that this process may use, -2 all but one, ..."""
    if n_jobs is None or (type(n_jobs) is int and n_jobs == 1):
        return 1
    if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise ValueError(f"n_jobs must be None, a number of threads, or negative (-1 for every CPU); got {shown(n_jobs)}")
    if int(n_jobs) > 0:
        return min(int(n_jobs), MOST_THREADS)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, usable + 1 + int(n_jobs)), MOST_THREADS)


# ---- instruction sets ----------------------------------------------------------------------------

in_use = rae_find_isa(NULL)


cdef Py_ssize_t find_solver(str name) except -1:
    """The number of a solver of csrc/solvers_body.h, the same in every table."""
    cdef Py_ssize_t i = 0
    while in_use.f64.solvers[i].name != NULL:
        if in_use.f64.solvers[i].name.decode() == name:
            return i
        i += 1
    raise ValueError(f"{name!r} is not one of the solvers that go update by update")


def known_isas():
    """Names of every instruction set in this build, best first."""
    return [RAE_ISAS[i].name.decode() for i in range(RAE_N_ISAS)]


def usable_isas():
    """Names of the instruction sets that this CPU can run, best first."""
    return [RAE_ISAS[i].name.decode() for i in range(RAE_N_ISAS) if RAE_ISAS[i].usable()]


def isa():
    """Name of the instruction set in use."""
    return in_use.name.decode()


def use_isa(str name):
    """Switch to another row of the table, for tests and benchmarks; not while kernels run."""
    global in_use
    cdef bytes encoded = name.encode()
    cdef const rae_isa *row = rae_find_isa(encoded)
    if row == NULL:
        raise ValueError(f"instruction set {name!r} is not usable here; "
                         f"this CPU has {', '.join(usable_isas())}")
    in_use = row


_forced = os.environ.get("RAE_FAST_ISA")
if _forced:
    try:
        use_isa(_forced)
    except ValueError:
        raise ImportError(f"RAE_FAST_ISA={_forced!r} is not usable: this build knows "
                          f"{', '.join(known_isas())} and this CPU can run "
                          f"{', '.join(usable_isas())}; choose one of these or unset it") from None


# ---- single kernels ------------------------------------------------------------------------------

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


def tanh_backward_(const real[::1] h, real[::1] d):
    """d *= 1 - h * h"""
    _same(h.shape[0], d.shape[0], "h and d")
    if h.shape[0]:
        tanh_backward(h.shape[0], &h[0], &d[0])


def residual_(const real[::1] w, const real[::1] c, const real[:, ::1] z, real[:, ::1] g, double u=1):
    """g becomes 2 w u^2 (g + c - z); returns sum_r w_r |u (g_r + c - z_r)|^2."""
    _same(g.shape[0], w.shape[0], "rows of g and w")
    _same(g.shape[0], z.shape[0], "rows of g and z")
    _same(g.shape[1], c.shape[0], "a row of g and c")
    if z.shape[1] < g.shape[1]:
        raise ValueError("z has fewer columns than g")
    if g.shape[0] == 0 or g.shape[1] == 0:
        return 0.0
    return residual(g.shape[0], g.shape[1], &w[0], &c[0], &z[0, 0], z.shape[1], u, &g[0, 0], g.shape[1])


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


def axpy_(double a, const real[::1] x, real[::1] y):
    """y += a * x"""
    _same(x.shape[0], y.shape[0], "x and y")
    if x.shape[0]:
        axpy(x.shape[0], a, &x[0], &y[0])


def first_beyond_(const real[::1] x, double limit):
    """Index of the first element that is NaN or beyond +-limit, len(x) if there is none."""
    cdef size_t found = 0
    if x.shape[0]:
        with nogil:
            found = first_beyond(x.shape[0], limit, &x[0])
    return found


def rows_within_(const real[:, ::1] x, double limit, size_t n):
    """Whether the first n columns of x lie within +-limit; NaN does not."""
    if <Py_ssize_t>n > x.shape[1]:
        raise ValueError(f"x has {x.shape[1]} columns, not {n}")
    return x.shape[0] == 0 or n == 0 or rows_within(x.shape[0], n, limit, &x[0, 0], x.shape[1])


def column_sums_(const real[:, ::1] x, real[::1] out, bint accumulate=False, double factor=1):
    """out = factor * x.sum(axis=0), or out += ..."""
    _same(x.shape[1], out.shape[0], "a row of x and out")
    if x.shape[1]:
        column_sums(x.shape[0], x.shape[1], &x[0, 0] if x.shape[0] else NULL, x.shape[1],
                    factor, accumulate, &out[0])


def product_(const real[:, :] a, const real[:, :] b, real[:, ::1] c, init=None, layout="packed", size_t threads=1,
             bint poisoned=True):
    """c = init + a b with b in panels (layout "packed", or "transposed": from b's transpose), in "rows", or as it lies:
    "bare", or "turned" with b the transpose of an array in C order. These two may have fewer columns than c, which then
    are those of init, or 0.

    a may have any positive strides. init: None, an array like c, or one row for all. poisoned: whether memory for panels is
    NaN before it is written.
    """
    _same(a.shape[1], b.shape[0], "columns of a and rows of b")
    _same(a.shape[0], c.shape[0], "rows of a and of c")
    if layout not in ("bare", "turned") or b.shape[1] > c.shape[1]:
        _same(b.shape[1], c.shape[1], "columns of b and of c")
    cdef Py_ssize_t size = sizeof(real), m = c.shape[0], n = c.shape[1], k = a.shape[1], ld
    if m == 0 or n == 0:
        return
    dtype = np.float32 if size == 4 else np.float64
    cdef real[:, ::1] rows
    cdef real[::1] packed
    cdef const real[:, ::1] first
    cdef rae_operand operand
    cdef const real *init_ = NULL
    cdef size_t ld_init = 0
    if init is not None:
        first = np.atleast_2d(init)
        _same(first.shape[1], n, "columns of init and of c")
        init_, ld_init = &first[0, 0], n if first.shape[0] > 1 else 0
    if layout == "rows":
        ld = (n + lanes(size) - 1) // lanes(size) * lanes(size)
        rows = np.full((max(k, 1), ld), np.nan, dtype)
        np.asarray(rows)[:k, :n] = b
        operand = rae_operand(RAE_ROWS, &rows[0, 0], 0, 0, ld, 0)
    elif layout in ("bare", "turned"):
        a = np.ascontiguousarray(a)
        if b.shape[0 if layout == "turned" else 1] > 1 and b.strides[0 if layout == "turned" else 1] != size:
            raise ValueError("b does not lie as the layout says")
        operand = rae_operand(RAE_TURNED if layout == "turned" else RAE_BARE, NULL, 0, 0,
                              b.strides[1 if layout == "turned" else 0] // size, b.shape[1])
        if k > 0:
            operand.b = &b[0, 0]
    else:
        packed = np.empty(max(packed_size(k, n, size), 1), dtype)
        if poisoned:
            np.asarray(packed).fill(np.nan)
        operand = rae_operand(RAE_PANELS, &packed[0], 0, k, 0, 0)
        rows = np.ascontiguousarray(np.asarray(b).T if layout == "transposed" else b)
        if k == 0:
            pass
        elif layout == "transposed":
            pack_transposed(k, n, &rows[0, 0], k, &packed[0])
        else:
            pack(k, n, &rows[0, 0], n, &packed[0])
    cdef rae_team *team = start_team(threads)
    cdef const real *a_ = &a[0, 0] if k else NULL
    cdef size_t a_row = a.strides[0] // size, a_column = a.strides[1] // size
    with nogil:
        product(team, m, n, k, a_, a_row, a_column, &operand, init_, ld_init, &c[0, 0], n)
    end_team(team)


def outer_(const real[:, ::1] a, const real[:, ::1] b, real[:, ::1] c, bint accumulate=False, size_t threads=1,
           double factor=1):
    """c = factor a.T b, or c += ...; every row of b must be followed by what a vector reads."""
    _same(a.shape[0], b.shape[0], "rows of a and of b")
    _same(a.shape[1], c.shape[0], "columns of a and rows of c")
    if b.shape[1] < c.shape[1] or b.shape[1] % lanes(sizeof(real)):
        raise ValueError("rows of b must be at least as long as those of c, and full vectors")
    if a.shape[0] == 0 or c.shape[0] == 0 or c.shape[1] == 0:
        return
    cdef size_t each = sum_scratch(c.shape[0], c.shape[1], a.shape[0], sizeof(real))
    scratch = np.empty(threads * each + 1, np.float32 if sizeof(real) == 4 else np.float64)
    cdef real[::1] scratch_ = scratch
    cdef rae_team *team = start_team(threads)
    with nogil:
        outer(team, c.shape[0], c.shape[1], a.shape[0], &a[0, 0], a.shape[1], &b[0, 0], b.shape[1], factor, accumulate,
              &scratch_[0], &c[0, 0], c.shape[1])
    end_team(team)


def vector_lanes(dtype):
    """Elements of dtype in a vector of the instruction set in use."""
    return lanes(4 if dtype == "float32" else 8)


def peak_flops(dtype, size_t rounds):
    """Run the multiply-add peak loop and return how many floating-point operations it did."""
    if dtype == "float32":
        with nogil:
            in_use.f32.peak(rounds)
        return rounds * in_use.f32.peak_flops
    with nogil:
        in_use.f64.peak(rounds)
    return rounds * in_use.f64.peak_flops
