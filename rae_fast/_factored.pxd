"""Output weights as a product, updated at a cost that does not grow with their rows: see _factored.pyx."""

from libc.stdint cimport uint32_t

from rae_fast._cell cimport Named, Split
from rae_fast._form cimport Form, Layout
from rae_fast._kernels cimport rae_isa
from rae_fast._products cimport Factor
from rae_fast._workspace cimport Workspace

cdef class OutputFactor:
    cdef readonly Form form
    cdef readonly bint single
    cdef readonly Py_ssize_t n_corrections, n_folds, n_dense_updates
    cdef readonly bint is_true             # whether theta holds the true weights
    cdef bint measured                     # whether Q is of theta
    cdef object lock                       # held while there are updates, and by who looks
    cdef bint busy
    cdef Split split
    cdef Workspace space, packs
    cdef const rae_isa *isa                # that packs are for
    cdef bint own
    cdef double most_excess, most_excess_at_once
    cdef double *U                         # (d, ld) all of these
    cdef double *U_inv
    cdef double *Q                         # V'V
    cdef double *UA                        # U sum_n w h h'
    cdef double *U_new
    cdef double *U_inv_new
    cdef double *T                         # scratch
    cdef double *T2
    cdef double *A
    cdef double *some                      # (CHUNK, ld)
    cdef void *rows                        # (2, CHUNK, ld_r) of theta's type
    cdef double *x                         # (2, ld)
    cdef double *direction                 # (MOST_CORRECTIONS, ld)
    cdef double *strength                  # (MOST_CORRECTIONS)
    cdef Py_ssize_t n_pending
    cdef bint by_folding                   # the update that is prepared is made so
    cdef Factor factor                     # of any matrix here, for one product
    cdef double *scratch                   # of sum_over_rows
    cdef Factor folding, folding_all
    cdef Factor near                       # of a matrix in theta's type
    cdef void *folded                      # (3, FOLDED_ROWS, ld_r) of theta's type
    cdef void *room                        # (4, d, ld_r)
    cdef void *scratch_r
    cdef object epochs
    cdef uint32_t *epoch                   # (I) corrections that a row has had
    cdef double *matrix(self) except? NULL
    cdef void start_afresh(self) noexcept nogil
    cdef int take_packs(self) except -1
    cdef int ready(self, const void *theta) except -1
    cdef int begin(self, const void *theta) except -1
    cdef int end(self) except -1
    cdef void times(self, Py_ssize_t n, const double *A, const double *B, double *out) noexcept nogil
    cdef void add_products(self, Py_ssize_t rows, const double *A, const double *B, double factor,
                           double *out) noexcept nogil
    cdef void catch_up(self, Py_ssize_t epoch, double *row) noexcept nogil
    cdef void correct(self, Named *named) noexcept nogil
    cdef double excess(self, const double *matrix) noexcept nogil
    cdef void fold(self, void *theta, const double *last) noexcept nogil
    cdef void load(self, const void *theta, Named *named) noexcept nogil
    cdef void sum_up(self, Named *named) noexcept nogil
    cdef double squared_gradient(self, Named *named, const void *grad, const Layout *layout) noexcept nogil
    cdef void read_C(self, const void *grad, const Layout *layout, Py_ssize_t first, Py_ssize_t n) noexcept nogil
    cdef bint prepare(self, Named *named, const void *grad, const Layout *layout, double rate, double keep,
                      double keep_bias) noexcept nogil
    cdef void set_moved(self, Named *named, const void *grad, const Layout *layout, double rate,
                        const double *inverse) noexcept nogil
    cdef void commit(self, void *theta, Named *named, const void *grad, const Layout *layout, double rate) noexcept nogil
    cdef void set_by_states(self, Named *named, const void *by, double *out) noexcept nogil
    cdef void fold_held(self, void *theta, Named *named, const double *last) noexcept nogil
    cdef void invert(self) noexcept nogil

