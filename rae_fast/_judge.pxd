"""Loss and gradient of outputs in factors: see _judge.pyx."""

from rae_fast._batch cimport Source
from rae_fast._blas cimport real
from rae_fast._buckets cimport Bucket
from rae_fast._cell cimport CHUNK, Named, Plan, Split
from rae_fast._workspace cimport Workspace

cdef struct Judge:             # of one thread; (real *) behind void *
    void *h                    # (CHUNK, ld)
    void *image
    void *error
    void *pull
    void *scratch              # of sum_over_rows
    void *squares              # (d, ld)      where this part's sums go
    double weight[CHUNK]       # of each row's square, where that is not 1
    Py_ssize_t row             # the next state's place among the few that are kept

cdef inline double dot(Py_ssize_t ld, const real *x, const real *y) noexcept nogil:
    """Of whole cache lines: sixteen sums side by side."""
    cdef real[16] sums
    cdef Py_ssize_t i, k, step = 64 // sizeof(real)
    for k in range(step):
        sums[k] = 0
    if real is float:
        for i in range(0, ld, 16):
            for k in range(16):
                sums[k] += x[i + k] * y[i + k]
        for k in range(8):
            sums[k] += sums[k + 8]
    else:
        for i in range(0, ld, 8):
            for k in range(8):
                sums[k] += x[i + k] * y[i + k]
    return (((<double>sums[0] + sums[4]) + (<double>sums[1] + sums[5]))
            + ((<double>sums[2] + sums[6]) + (<double>sums[3] + sums[7])))


cdef double judge(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, bint latest_first,
                  const Source *source, const real *w, const real *h, Judge *j, bint accumulate, real *grad,
                  real *da) noexcept nogil
cdef int take_named(Workspace space, const Split *s, size_t item, Py_ssize_t most_rows, Py_ssize_t parts,
                    Named *named) except -1
cdef int take_judge(Workspace space, const Split *s, size_t item, Judge *judge) except -1
