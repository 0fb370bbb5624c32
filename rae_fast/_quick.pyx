"""The shortest way from ready arrays to a code or to the next state of a stream.

One small sequence is encoded in half a microsecond; the checks that every input gets (sequences.py) take several times
that. Here is looked for what needs no conversion; for everything else, good or bad, the answer is None.
(A file of its own: NumPy's headers define I, which is the number of inputs everywhere else.)
"""

cimport numpy as cnp
from libc.float cimport DBL_MAX, FLT_MAX

from rae_fast._codes cimport encode_one, step_one
from rae_fast._kernels cimport first_beyond

cnp.import_array()


cdef bint ready(object x, int ndim, int kind) noexcept:
    """Whether x is a plain array of that many dimensions and that kind of float, all finite."""
    cdef cnp.ndarray array
    cdef size_t n
    if not cnp.PyArray_CheckExact(x):
        return False
    array = <cnp.ndarray>x
    if cnp.PyArray_NDIM(array) != ndim or cnp.PyArray_TYPE(array) != kind or not cnp.PyArray_ISCARRAY_RO(array):
        return False
    n = cnp.PyArray_SIZE(array)
    if kind == cnp.NPY_FLOAT:
        return first_beyond(n, FLT_MAX, <const float *>cnp.PyArray_DATA(array)) == n
    return first_beyond(n, DBL_MAX, <const double *>cnp.PyArray_DATA(array)) == n


def code_of(cnp.ndarray theta not None, X, form, Py_ssize_t n_jobs):
    """transform's result for one sequence X (T, I) that is ready as it is, else None; theta is that of the model."""
    cdef int kind = cnp.PyArray_TYPE(theta)
    cdef Py_ssize_t steps
    cdef cnp.npy_intp[2] shape
    cdef cnp.ndarray out
    if not ready(X, 2, kind):
        return None
    steps = cnp.PyArray_DIM(<cnp.ndarray>X, 0)
    if steps < 1 or cnp.PyArray_DIM(<cnp.ndarray>X, 1) != form.n_inputs:
        return None
    shape[0], shape[1] = 1, form.n_hidden
    out = cnp.PyArray_EMPTY(2, shape, kind, 0)
    encode_one(kind == cnp.NPY_FLOAT, cnp.PyArray_DATA(theta), cnp.PyArray_DATA(<cnp.ndarray>X), steps, form,
               cnp.PyArray_DATA(out), n_jobs)
    return out


def step_of(cnp.ndarray theta not None, state, x, form):
    """step's result for one stream whose state (H,) and input x (I,) are ready as they are, else None."""
    cdef int kind = cnp.PyArray_TYPE(theta)
    cdef cnp.npy_intp n_hidden = form.n_hidden
    cdef cnp.ndarray out
    if not ready(state, 1, kind) or not ready(x, 1, kind):
        return None
    if cnp.PyArray_DIM(<cnp.ndarray>state, 0) != n_hidden or cnp.PyArray_DIM(<cnp.ndarray>x, 0) != form.n_inputs:
        return None
    out = cnp.PyArray_EMPTY(1, &n_hidden, kind, 0)
    step_one(kind == cnp.NPY_FLOAT, cnp.PyArray_DATA(theta), cnp.PyArray_DATA(<cnp.ndarray>state),
             cnp.PyArray_DATA(<cnp.ndarray>x), form, cnp.PyArray_DATA(out))
    return out
