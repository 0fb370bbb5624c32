"""Matrix products and recurrences, by the C kernels or by BLAS: see _products.pyx."""

from rae_fast._blas cimport real
from rae_fast._workspace cimport Workspace
from rae_fast._kernels cimport rae_operand, rae_team
from rae_fast._pulse cimport Pulse

cdef struct Factor:        # a weight matrix (k, n) as the right factor of a product
    rae_operand packed     # for the C kernels: in panels, in `memory`, or where it is
    void *memory
    const void *raw        # for BLAS: the matrix, or (n, k) its transpose, row-major
    Py_ssize_t ld
    bint transposed
    bint own               # which of the two

cdef bint choose_own(Py_ssize_t I, Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil
cdef int take_factor(Workspace space, Py_ssize_t k, Py_ssize_t n, size_t itemsize, bint own, Factor *factor) except -1
cdef void set_factor(Factor *factor, Py_ssize_t k, Py_ssize_t n, const real *raw, Py_ssize_t ld,
                     bint transposed) noexcept nogil
cdef bint recurs_bare(Py_ssize_t sequences, Py_ssize_t H, size_t itemsize) noexcept nogil
cdef void set_bare(Factor *factor, Py_ssize_t n, const real *raw, Py_ssize_t ld, bint transposed) noexcept nogil
cdef Factor rows_of(const Factor *factor, Py_ssize_t first, const real *raw) noexcept nogil
cdef void multiply(rae_team *team, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real *A, Py_ssize_t lda,
                   const Factor *B, const real *init, Py_ssize_t ld_init, real *C, Py_ssize_t ldc) noexcept nogil
cdef void sum_over_rows(rae_team *team, bint own, Py_ssize_t m, Py_ssize_t n, Py_ssize_t rows, const real *A,
                        Py_ssize_t lda, const real *B, Py_ssize_t ldb, double factor, bint accumulate, real *scratch,
                        real *C, Py_ssize_t ldc) noexcept nogil
cdef bint solve(Py_ssize_t n, double least, real *A, Py_ssize_t lda, Py_ssize_t m, real *B, Py_ssize_t ldb,
                Factor *factor) noexcept nogil
cdef int forward(rae_team *team, Pulse *pulse, Py_ssize_t steps, const Py_ssize_t *active, Py_ssize_t H,
                 const real *before, Py_ssize_t ld_before, const Factor *W, const real *bias, bint squash, real *h,
                 Py_ssize_t ld) except -1 nogil
cdef int backward(rae_team *team, Pulse *pulse, Py_ssize_t steps, Py_ssize_t rows, const Py_ssize_t *active,
                  Py_ssize_t n_next, Py_ssize_t H, const real *d_next, const real *pull_next, Py_ssize_t ld_pull_next,
                  const Factor *W_T, const real *ending, const real *pull, Py_ssize_t ld_pull, const real *h, real *d,
                  Py_ssize_t ld) except -1 nogil
