"""What a model minimises on a batch: see _objective.pyx."""

from rae_fast._batch cimport Batch
from rae_fast._blas cimport real
from rae_fast._cell cimport Named
from rae_fast._factored cimport OutputFactor
from rae_fast._form cimport Blocks, AnyForm, Layout
from rae_fast._kernels cimport rae_isa, rae_team
from rae_fast._pulse cimport Pulse
from rae_fast._workspace cimport Workspace

cdef struct Descent:           # an update by plain SGD in place of a gradient
    double rate
    double limit               # no element of the gradient may be beyond it
    bint made

cdef struct Part:             # one part of a batch
    Py_ssize_t first           # place of its first item in the order
    Py_ssize_t n
    void *grad                 # (size)
    double loss
    Py_ssize_t number
    bint failed                # by an exception of a signal handler, which is set

ctypedef int (*PartGradient)(void *job, Py_ssize_t member, Part *part) noexcept nogil

cdef class Objective:
    cdef readonly AnyForm form
    cdef readonly Batch batch
    cdef readonly object sample_weight
    cdef readonly double unit  # of the residuals of outputs
    cdef Py_ssize_t update     # the number of the update that the gradient is for, from 1; 0 for none
    cdef bint has_unit         # whether its loss is made of these alone
    cdef const void *weights   # one an item of the batch, or NULL
    cdef bint single           # the element type: float
    cdef bint sparse           # rows are
    cdef bint by_rows          # the gradient has slots for the rows of W_xh that a batch names, instead of all
    cdef Named named           # of the last gradient's batch, where it has slots
    cdef OutputFactor outputs  # the factors that output weights are kept in, or None
    cdef Py_ssize_t most_named  # non-zeros of a batch
    cdef size_t item           # its size
    cdef Layout layout         # of a gradient
    cdef rae_team *team
    cdef Py_ssize_t members, most_parts
    cdef Workspace heads, space
    cdef Part *parts         # (most_parts)
    cdef void *partial         # (most_parts - 1, size) gradients of parts
    cdef Py_ssize_t *order     # (most)
    cdef void *grad            # (size) for the training loop
    cdef void *step            # (size) for the training loop
    cdef Py_ssize_t longest, most_rows, most, n_jobs
    cdef object max_memory
    cdef const rae_isa *isa    # for which it is prepared
    cdef int gradient(self, const void *theta, Py_ssize_t *chosen, Py_ssize_t n, void *grad, Descent *descent,
                      double *loss) except -1 nogil
    cdef Pulse *pulse(self) noexcept nogil
    cdef int prepare(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows,
                     Py_ssize_t most, max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=*, bint by_rows=*,
                     OutputFactor outputs=*) except -1
    cdef bint fits(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows, Py_ssize_t most,
                   max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=*, bint by_rows=*,
                   OutputFactor outputs=*) except -1
    cdef int refresh(self) except -1
    cdef int take(self, Batch batch, sample_weight, double unit=*) except -1
    cdef int take_common(self, Workspace space) except -1

cdef Py_ssize_t part_count(Py_ssize_t n, Py_ssize_t rows, Py_ssize_t least) noexcept nogil
cdef Py_ssize_t cut_into_parts(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets, Py_ssize_t least,
                               Part *parts) noexcept nogil
cdef int gradient_of_parts(Objective objective, PartGradient function, void *job, Py_ssize_t n, void *grad,
                           double *loss) except -1 nogil
cdef Py_ssize_t rows_of_batches(Batch batch, Py_ssize_t most) except -1
