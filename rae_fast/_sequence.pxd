"""What the training loop needs of the passes: see _sequence.pyx."""

from rae_fast._blas cimport real
from rae_fast._blocks cimport Workspace
from rae_fast._kernels cimport rae_team
from rae_fast._pulse cimport Pulse

cdef struct Plan:
    Py_ssize_t I
    Py_ssize_t H
    Py_ssize_t K              # H + I
    Py_ssize_t H_full         # H up to a full vector, for the C kernels
    Py_ssize_t ld_h           # row distances in buffers: rows of H and of K numbers
    Py_ssize_t ld_k
    Py_ssize_t span_rows      # at most, except for a single step with more sequences
    Py_ssize_t block_rows     # at most, except for a single longer sequence
    Py_ssize_t block_members
    Py_ssize_t most_kept      # rows of hidden states kept at most; beyond, they are computed twice
    bint own                  # C kernels, or BLAS
    bint unfold               # the rest is parameters.Form
    bint tanh_decoder
    bint softmax
    bint tied
    double hidden_weight
    bint reconstruct_h0

cdef Plan make_plan(form, Py_ssize_t itemsize, bint keep, max_memory) except *
cdef Py_ssize_t theta_size(const Plan *plan) noexcept nogil
cdef int check_theta(const Plan *plan, Py_ssize_t size) except -1
cdef int check_data(const Plan *plan, Py_ssize_t rows, Py_ssize_t columns, const Py_ssize_t[::1] offsets) except -1


cdef class Gradient:
    cdef Plan plan
    cdef rae_team *team
    cdef Workspace heads, space
    cdef void *tasks           # (members) Task
    cdef void *shares          # (most_parts) Share
    cdef void *partial         # (most_parts - 1, size of theta) gradients of parts, real
    cdef void *weights         # Weights
    cdef void *lengths         # (batch) scratch of the sort
    cdef Py_ssize_t most_parts, members, size
    cdef int prepare(self, form, Py_ssize_t item, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch, max_memory,
                     Py_ssize_t n_jobs) except -1
    cdef Pulse *pulse(self) noexcept nogil

cdef int batch_gradient(Gradient work, const real *theta, const real *data, const Py_ssize_t *offsets, Py_ssize_t n,
                        Py_ssize_t *order, const real *weights, real *grad, double *loss) except -1 nogil
