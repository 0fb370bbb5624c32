"""One update after the other, for the training loop and for _quick.pyx: see _training.pyx."""

from rae_fast._blas cimport real
from rae_fast._sequence cimport Gradient, Plan

cdef enum:
    MOST_SETTINGS = 8

cdef struct Rule:              # how a model is updated: solvers.Solver
    Py_ssize_t solver          # its number in the kernels' table
    double settings[MOST_SETTINGS]  # its own
    int schedule
    double learning_rate
    double clip_norm
    double weight_decay
    double unit                # of the loss, see `update`
    double limit               # no element of the gradient may be beyond it
    double limit_scaled        # nor, in the units of the scale, beyond this one
    bint plain                 # theta may take the sums of a gradient at once

cdef int enter(dict model, double loss, n_steps) except -1
cdef Rule rule_of(const Plan *plan, solver, bint single, double widest, double unit) except *
cdef bint make_update(Gradient work, const Rule *rule, double rate, Py_ssize_t t, const real *data,
                      const Py_ssize_t *offsets, Py_ssize_t n, Py_ssize_t *order, const real *weights, real *first,
                      real *second, const real *scale, real *theta, double *loss) except -1 nogil
