"""Matrix products and recurrences, by the C kernels or by BLAS.

Both read the same arrays. The C kernels want weights in panels, which set_factor makes once per update; BLAS packs
what it wants at every call. Which of the two: docs/performance.md, "Own or BLAS". RAE_FAST_GEMM=own|blas forces one.
The recurrences of a single sequence read large weights as they lie: "One sequence" there. RAE_FAST_WEIGHTS=panels|bare
forces either.
"""

import os

from libc.math cimport fabs
from libc.string cimport memcpy

from rae_fast._blas cimport gemm_rm
from rae_fast._kernels cimport (RAE_BARE, RAE_PANELS, RAE_ROWS, RAE_TURNED, axpy, backward_steps, forward_steps, in_use,
                                lanes, outer, pack, pack_transposed, packed_size, product, rae_operand, tanh_)
from rae_fast._pulse cimport beat

# Without AVX2 BLAS is faster where the weights (W and V together) are larger: "Own or BLAS".
cdef enum:
    OWN_MAX_BYTES = 524288

cdef enum:
    AUTO = 0
    OWN = 1
    BLAS = 2

cdef enum:
    PANELS = 1
    BARE = 2

cdef int _choice = AUTO
cdef int _weights = AUTO
_CHOICES = {"auto": AUTO, "own": OWN, "blas": BLAS}
_WEIGHTS = {"auto": AUTO, "panels": PANELS, "bare": BARE}


def use_gemm(str choice):
    """Force the matrix products: 'own' C kernels, 'blas', or 'auto' by size. Returns the previous."""
    global _choice
    if choice not in _CHOICES:
        raise ValueError(f"the matrix products can be 'auto', 'own' or 'blas', not {choice!r}")
    previous = [name for name, value in _CHOICES.items() if value == _choice][0]
    _choice = _CHOICES[choice]
    return previous


def use_weights(str choice):
    """How the C kernels read a single sequence's recurrent weights: copied into 'panels', 'bare' as they lie, or 'auto'
    by size. Returns the previous."""
    global _weights
    if choice not in _WEIGHTS:
        raise ValueError(f"the weights of a recurrence can be read 'auto', in 'panels' or 'bare', not {choice!r}")
    previous = [name for name, value in _WEIGHTS.items() if value == _weights][0]
    _weights = _WEIGHTS[choice]
    return previous


for _name, _use in (("RAE_FAST_GEMM", use_gemm), ("RAE_FAST_WEIGHTS", use_weights)):
    if os.environ.get(_name):
        try:
            _use(os.environ[_name])
        except ValueError as error:
            raise ImportError(f"{_name}: {error}") from None


cdef bint choose_own(Py_ssize_t I, Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    """Whether the C kernels do the products of such a model."""
    if _choice != AUTO:
        return _choice == OWN
    return in_use.f32.lanes > 4 or 2 * (H + I) * H * itemsize <= OWN_MAX_BYTES


# ---- weights -----------------------------------------------------------------------------------

cdef int take_factor(Workspace space, Py_ssize_t k, Py_ssize_t n, size_t itemsize, bint own, Factor *factor) except -1:
    """Memory for the panels of a (k, n) matrix, if the C kernels are to use it."""
    factor.own = own
    factor.memory = space.take(packed_size(k, n, itemsize) if own else 0, itemsize)
    return 0


# Matrices of whole vectors that L1 holds beside the rest are read where they are.
cdef enum:
    IN_PLACE_BYTES = 16384


cdef void set_factor(Factor *factor, Py_ssize_t k, Py_ssize_t n, const real *raw, Py_ssize_t ld,
                     bint transposed) noexcept nogil:
    """The factor becomes the matrix raw (k, n), or the transpose of raw (n, k)."""
    factor.raw = raw
    factor.ld = ld
    factor.transposed = transposed
    if not factor.own:
        return
    factor.packed = rae_operand(RAE_PANELS, factor.memory, 0, k, 0, 0)
    if not transposed and n % lanes(sizeof(real)) == 0 and k * ld * sizeof(real) <= IN_PLACE_BYTES:
        factor.packed = rae_operand(RAE_ROWS, raw, 0, 0, ld, 0)
    elif transposed:
        pack_transposed(k, n, raw, ld, <real *>factor.memory)
    else:
        pack(k, n, raw, ld, <real *>factor.memory)


# A recurrent matrix of that size is read as it lies where its steps have a single row: to copy it costs more than
# panels gain from what then lies beyond the nearest caches. docs/performance.md, "One sequence".
cdef enum:
    BARE_BYTES = 262144


cdef bint recurs_bare(Py_ssize_t sequences, Py_ssize_t H, size_t itemsize) noexcept nogil:
    """Whether a recurrence of so many sequences reads its weights (H, H) as they lie."""
    if _weights != AUTO:
        return _weights == BARE and sequences == 1
    return sequences == 1 and H * H * itemsize >= BARE_BYTES


cdef void set_bare(Factor *factor, Py_ssize_t n, const real *raw, Py_ssize_t ld, bint transposed) noexcept nogil:
    """The factor becomes the matrix raw with n columns, or the transpose of raw with n rows, as it lies."""
    factor.raw, factor.ld, factor.transposed = raw, ld, transposed
    factor.packed = rae_operand(RAE_TURNED if transposed else RAE_BARE, raw, 0, 0, ld, n)


cdef Factor rows_of(const Factor *factor, Py_ssize_t first, const real *raw) noexcept nogil:
    """The factor without its first rows; raw is its matrix."""
    cdef Factor some = factor[0]
    some.packed.row += first
    some.raw = raw + first * (1 if factor.transposed else factor.ld)
    return some


# ---- products ----------------------------------------------------------------------------------

cdef void multiply(rae_team *team, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real *A, Py_ssize_t lda,
                   const Factor *B, const real *init, Py_ssize_t ld_init, real *C, Py_ssize_t ldc) noexcept nogil:
    """C (m,n) = init + A (m,k) B (k,n); init: NULL for 0, C itself, or rows ld_init apart (0: one for all)."""
    cdef Py_ssize_t r
    if B.own:
        product(team, m, n, k, A, lda, 1, &B.packed, init, ld_init, C, ldc)
        return
    if init != NULL and init != C:
        for r in range(m):
            memcpy(C + r * ldc, init + r * ld_init, n * sizeof(real))
    gemm_rm(False, B.transposed, m, n, k, A, lda, <const real *>B.raw, B.ld, 1, init != NULL, C, ldc)


cdef void sum_over_rows(rae_team *team, bint own, Py_ssize_t m, Py_ssize_t n, Py_ssize_t rows, const real *A,
                        Py_ssize_t lda, const real *B, Py_ssize_t ldb, double factor, bint accumulate, real *scratch,
                        real *C, Py_ssize_t ldc) noexcept nogil:
    """C (m,n) = factor A' B, or C += ..., for A (rows,m) and B (rows,n)."""
    if own:
        outer(team, m, n, rows, A, lda, B, ldb, factor, accumulate, scratch, C, ldc)
    else:
        gemm_rm(True, False, m, n, rows, A, lda, B, ldb, factor, accumulate, C, ldc)


# ---- solutions -----------------------------------------------------------------------------------

# Rows that are eliminated one by one; of more of them, products do most of the work.
cdef enum:
    SOLVED_ROWS = 16


cdef bint eliminate(Py_ssize_t n, double least, real *A, Py_ssize_t lda, Py_ssize_t a, real *A_right, Py_ssize_t m,
                    real *B, Py_ssize_t ldb) noexcept nogil:
    """[A_right, B] <- A^-1 [A_right, B] for A (n,n), A_right (n,a) and B (n,m) by Gauss's elimination without pivoting;
    False where a pivot is smaller than least."""
    cdef Py_ssize_t i, k
    cdef real factor
    for k in range(n):
        if not fabs(A[k * lda + k]) >= least:
            return False
        for i in range(k + 1, n):
            factor = -A[i * lda + k] / A[k * lda + k]
            axpy(n - k - 1, factor, <const real *>A + k * lda + k + 1, A + i * lda + k + 1)
            axpy(a, factor, <const real *>A_right + k * lda, A_right + i * lda)
            axpy(m, factor, <const real *>B + k * ldb, B + i * ldb)
    for k in range(n - 1, -1, -1):
        for i in range(k + 1, n):
            axpy(a, -A[k * lda + i], <const real *>A_right + i * lda, A_right + k * lda)
            axpy(m, -A[k * lda + i], <const real *>B + i * ldb, B + k * ldb)
        factor = 1 / A[k * lda + k]
        for i in range(a):
            A_right[k * lda + i] *= factor
        for i in range(m):
            B[k * ldb + i] *= factor
    return True


cdef void negate(Py_ssize_t rows, Py_ssize_t n, real *x, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t r, i
    for r in range(rows):
        for i in range(n):
            x[r * ld + i] = -x[r * ld + i]


cdef bint solve(Py_ssize_t n, double least, real *A, Py_ssize_t lda, Py_ssize_t m, real *B, Py_ssize_t ldb,
                Factor *factor) noexcept nogil:
    """B (n,m) <- A^-1 B; A (n,n), symmetric and not far from the identity, is overwritten. factor: memory of one of
    max(n, m) rows and columns.

    False where without pivoting a pivot is smaller than least. LAPACK's threads take longer than they save at these sizes,
    and the time of others: docs/performance.md, "Outputs in factors".
    """
    cdef Py_ssize_t k = 0, some, rest
    while k < n:
        some = min(n - k, <Py_ssize_t>SOLVED_ROWS)
        rest = n - k - some
        if not eliminate(some, least, A + k * lda + k, lda, rest, A + k * lda + k + some, m, B + k * ldb, ldb):
            return False
        if rest:
            negate(rest, some, A + (k + some) * lda + k, lda)
            set_factor(factor, some, m, <const real *>B + k * ldb, ldb, False)
            multiply(NULL, rest, m, some, <const real *>A + (k + some) * lda + k, lda, factor,
                     <const real *>B + (k + some) * ldb, ldb, B + (k + some) * ldb, ldb)
            set_factor(factor, some, rest, <const real *>A + k * lda + k + some, lda, False)
            multiply(NULL, rest, rest, some, <const real *>A + (k + some) * lda + k, lda, factor,
                     <const real *>A + (k + some) * (lda + 1), lda, A + (k + some) * (lda + 1), lda)
        k += some
    while k > 0:
        some = (k - 1) % SOLVED_ROWS + 1
        k -= some
        rest = n - k - some
        if rest:
            negate(some, rest, A + k * lda + k + some, lda)
            set_factor(factor, rest, m, <const real *>B + (k + some) * ldb, ldb, False)
            multiply(NULL, some, m, rest, <const real *>A + k * lda + k + some, lda, factor, <const real *>B + k * ldb,
                     ldb, B + k * ldb, ldb)
    return True


def solve_(double[:, ::1] A not None, double[:, ::1] B not None, double least=0, bint own=True):
    """B <- A^-1 B; whether that was possible; for tests."""
    cdef Py_ssize_t n = A.shape[0], m = B.shape[1], most = max(n, m)
    cdef Factor factor
    cdef Workspace space = Workspace(packed_size(most, most, sizeof(double)) * sizeof(double) + 128)
    if A.shape[1] != n or B.shape[0] != n or n < 1 or m < 1:
        raise ValueError("A (n,n) and B (n,m) do not fit together")
    take_factor(space, most, most, sizeof(double), own, &factor)
    with nogil:
        own = solve(n, least, &A[0, 0], n, m, &B[0, 0], m, &factor)
    return own


# ---- recurrences -------------------------------------------------------------------------------

cdef int forward(rae_team *team, Pulse *pulse, Py_ssize_t steps, const Py_ssize_t *active, Py_ssize_t H,
                 const real *before, Py_ssize_t ld_before, const Factor *W, const real *bias, bint squash, real *h,
                 Py_ssize_t ld) except -1 nogil:
    """h_t = f(h_{t-1} W + what h_t holds, or bias): rae_kernels.h, forward_steps."""
    cdef Py_ssize_t t, r, rows = 0
    for t in range(steps):
        rows += active[t]
    if W.own:
        forward_steps(team, steps, active, H, before, ld_before, &W.packed, bias, squash, h, ld)
        beat(pulse, 2.0 * rows * H * H)
        return 0
    for t in range(steps):
        if before != NULL:
            for r in range(active[t]):  # BLAS has no row distance of 0
                if bias != NULL:
                    memcpy(h + r * ld, bias, H * sizeof(real))
                if ld_before == 0:
                    gemm_rm(False, W.transposed, 1, H, H, before, H, <const real *>W.raw, W.ld, 1, True, h + r * ld, ld)
            if ld_before:
                gemm_rm(False, W.transposed, active[t], H, H, before, ld_before, <const real *>W.raw, W.ld, 1, True, h,
                        ld)
        if squash:
            tanh_(active[t] * ld, h, h)
        before = h
        ld_before = ld
        h += active[t] * ld
        beat(pulse, 2.0 * active[t] * H * H)
    return 0


cdef int backward(rae_team *team, Pulse *pulse, Py_ssize_t steps, Py_ssize_t rows, const Py_ssize_t *active,
                  Py_ssize_t n_next, Py_ssize_t H, const real *d_next, const real *pull_next, Py_ssize_t ld_pull_next,
                  const Factor *W_T, const real *ending, const real *pull, Py_ssize_t ld_pull, const real *h, real *d,
                  Py_ssize_t ld) except -1 nogil:
    """d_t = (what d_t holds + d_{t+1} W' - pull_{t+1}) o (1 - h_t^2): rae_kernels.h, backward_steps."""
    cdef Py_ssize_t t, r, i, row = rows, later = n_next
    cdef real *d_r
    if W_T.own:
        backward_steps(team, steps, rows, active, n_next, H, d_next, pull_next, ld_pull_next, &W_T.packed, ending,
                       pull, ld_pull, h, d, ld)
        beat(pulse, 2.0 * rows * H * H)
        return 0
    for t in range(steps - 1, -1, -1):
        row -= active[t]
        if ending != NULL:
            for r in range(later, active[t]):
                memcpy(d + (row + r) * ld, ending + r * ld, H * sizeof(real))
        if later:
            gemm_rm(False, W_T.transposed, later, H, H, d_next, ld, <const real *>W_T.raw, W_T.ld, 1, ending == NULL,
                    d + row * ld, ld)
        for r in range(active[t]):
            d_r = d + (row + r) * ld
            if pull_next != NULL and r < later:
                for i in range(H):
                    d_r[i] -= pull_next[r * ld_pull_next + i]
            if h != NULL:
                for i in range(H):
                    d_r[i] *= 1 - h[(row + r) * ld + i] * h[(row + r) * ld + i]
        d_next = d + row * ld
        later = active[t]
        if pull != NULL:
            pull_next = pull + row * ld_pull
            ld_pull_next = ld_pull
        beat(pulse, 2.0 * later * H * H)
    return 0
