"""Class scores of codes, and their loss. See _head.pyx."""

from libc.stdint cimport uint64_t

from rae_fast._blas cimport real
from rae_fast._form cimport AnyForm, Layout
from rae_fast._products cimport Factor
from rae_fast._workspace cimport Workspace

cdef struct Head:              # of one theta
    Py_ssize_t K               # classes; 0 without labels
    Py_ssize_t C               # numbers of a code
    Py_ssize_t ld              # distance of rows of scores
    Py_ssize_t ld_c            # and of codes, with dropout
    bint own
    bint squared               # 1/2 |p - target|^2 in place of the cross-entropy
    double dropout             # the part of a code that is not seen in an update
    uint64_t update            # its number, from 1; 0 outside of updates: all is seen
    Factor W_hy                # (C, K)
    Factor W_hy_T              # (K, C)

cdef struct Labelled:          # some codes that are judged; (real *) behind void *
    void *y                    # (rows, ld)   scores, then their gradient
    void *target               # (rows, K)
    void *w                    # (rows)
    uint64_t *key              # (rows)       of each code, whatever batch it is in; with dropout only, as are these:
    void *mask                 # (rows, ld_c) 1 / (1 - dropout), or 0
    void *seen                 # (rows, ld_c) codes times that
    void *back                 # (rows, ld_c) what flows back
    void *scratch              # of the sum over rows

cdef Head make_head(AnyForm form, Py_ssize_t code_size, bint own, bint squared, double dropout,
                    Py_ssize_t itemsize) noexcept
cdef int take_head(Workspace space, size_t item, Head *head) except -1
cdef void set_head(const Layout *layout, const real *theta, Head *head) noexcept nogil
cdef int take_labelled(Workspace space, const Head *head, Py_ssize_t rows, size_t item, Labelled *x) except -1
cdef void zero_head(const Head *head, const Layout *layout, real *grad) noexcept nogil
cdef double head_loss(const Head *head, const Labelled *x, const Layout *theta_at, const real *theta, Py_ssize_t rows,
                      const real *codes, Py_ssize_t ld_codes, real *dcodes, Py_ssize_t ld_dcodes,
                      const Layout *grad_at, real *grad) noexcept nogil
