"""Updates, and passes of them over a batch: see _training.pyx."""

from rae_fast._cell cimport Named
from rae_fast._factored cimport OutputFactor
from rae_fast._form cimport Blocks, AnyForm, Layout, N_BLOCKS
from rae_fast._objective cimport Objective
from rae_fast._slots cimport Slots

cdef enum:
    MOST_NUMBERS = 8           # that a solver's C function takes

cdef struct Rule:              # how a model is updated: solvers.Solver
    Py_ssize_t solver          # its number in the kernels' table
    double numbers[MOST_NUMBERS]
    bint sums                  # theta may take the sums of a gradient at once
    bint squares               # the solver squares gradients
    bint adds                  # its step is the rate times the gradient
    int schedule
    double learning_rate
    double clip_norm
    double decay[N_BLOCKS]     # of each block
    bint decays                # whether any of these is not 0
    double unit                # of the loss
    double output_rate         # of plain gradient descent on outputs in factors
    bint scaled                # the solver works in units of its own
    double limit               # no element of the gradient may be beyond it
    double limit_scaled        # nor, in the solver's units, beyond this one
    double limit_step          # nor, in these units, of the step

cdef struct Stretch:           # of blocks one after the other, in theta, in gradients and in the solver's state
    Py_ssize_t theta
    Py_ssize_t grad
    Py_ssize_t state
    Py_ssize_t n

cdef struct Rows:              # where a gradient lies, and which rows of W_xh it is of
    const Layout *layout
    Py_ssize_t n               # of W_xh, where these have slots; else 0
    const Py_ssize_t *column
    const Slots *slots
    Named *named               # of outputs in factors

cdef class Updates:
    cdef readonly AnyForm form
    cdef readonly object solver
    cdef Blocks first, second, scale
    cdef bint single
    cdef Rule rule
    cdef Stretch stretches[N_BLOCKS]
    cdef Py_ssize_t n_stretches
    cdef readonly bint by_rows
    cdef bint factored
    cdef bint whole[N_BLOCKS]  # blocks that gradients have all of
    cdef int refresh(self) except -1
    cdef bint apply_to(self, const Rows *rows, OutputFactor outputs, void *theta, void *grad, void *step, double loss,
                       double rate, Py_ssize_t t, double unit) noexcept nogil
    cdef bint make(self, Objective objective, void *theta, Py_ssize_t *chosen, Py_ssize_t n, double rate, Py_ssize_t t,
                   double *loss) except -1 nogil
