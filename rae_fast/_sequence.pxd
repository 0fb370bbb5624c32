"""What the training loop and _codes.pyx need of the passes: see _sequence.pyx."""

from rae_fast._blas cimport real
from rae_fast._blocks cimport Block, Workspace
from rae_fast._kernels cimport rae_isa, rae_team
from rae_fast._products cimport Factor
from rae_fast._pulse cimport Pulse

cdef enum:
    TEAM_MIN_HIDDEN = 192      # from here on a team shares the products of a single part or block
    TEAM_WORK = 20000000       # operations below which starting a team takes longer than it saves

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

cdef struct Weights:           # of one theta; which are set: see the setters
    Factor W_hh                # rows of W
    Factor W_xh
    Factor W_hh_T
    Factor V                   # (H, H+I), or
    Factor V_hh                # (H, H)
    Factor V_hx                # (H, I)
    Factor V_hh_T              # rows of V'
    Factor V_hx_T
    void *bias                 # (H_full)  b_h
    void *bias0                # (H_full)  b_h + h0 W_hh: what the first step adds to x W_xh
    void *c_h                  # (H_full)
    void *zeros                # (H)

cdef struct Descent:           # an update by plain SGD in place of a gradient
    double rate
    double limit               # no element of the gradient may be beyond it
    bint made

cdef struct Extent:            # the most that a block of a call can need
    Py_ssize_t steps           # of the longest sequence
    Py_ssize_t members         # sequences
    Py_ssize_t rows
    Py_ssize_t span_rows
    Py_ssize_t spans
    bint recompute             # hidden states of a span are computed again when the backward sweep needs them

cdef Plan make_plan(form, Py_ssize_t itemsize, bint keep, max_memory) except *
cdef Py_ssize_t theta_size(const Plan *plan) noexcept nogil
cdef int check_theta(const Plan *plan, Py_ssize_t size) except -1
cdef int check_data(const Plan *plan, Py_ssize_t rows, Py_ssize_t columns, const Py_ssize_t[::1] offsets) except -1
cdef void count(Py_ssize_t n, Py_ssize_t *order) noexcept nogil
cdef Extent measure(const Plan *plan, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch) noexcept nogil
cdef int take_weights(Workspace space, const Plan *p, size_t item, bint gradient, Weights *w) except -1
cdef void set_encoder(const Plan *p, const real *theta, Py_ssize_t sequences, Weights *w) noexcept nogil
cdef void set_unroller(const Plan *p, const real *theta, Weights *w) noexcept nogil
cdef int encode_span(const Plan *p, rae_team *team, Pulse *pulse, const Weights *w, const real *theta,
                     const Block *block, Py_ssize_t t0, Py_ssize_t t1, const real *data, const real *h_before,
                     real *x, real *h) except -1 nogil


cdef class Gradient:
    cdef Plan plan
    cdef rae_team *team
    cdef Workspace heads, space
    cdef void *tasks           # (members) Task
    cdef void *shares          # (most_parts) Share
    cdef void *grad            # (size of theta) for the training loop, real
    cdef void *partial         # (most_parts - 1, size of theta) gradients of parts, real
    cdef void *weights         # Weights
    cdef void *lengths         # (batch) scratch of the sort
    cdef void *step            # (size of theta) for the training loop, real
    cdef Py_ssize_t *order     # (batch)
    cdef Py_ssize_t most_parts, members, size
    cdef object form, max_memory
    cdef Py_ssize_t item, longest, rows, batch, n_jobs
    cdef const rae_isa *isa
    cdef bint fits(self, form, Py_ssize_t item, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch, max_memory,
                   Py_ssize_t n_jobs) except -1
    cdef int prepare(self, form, Py_ssize_t item, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch, max_memory,
                     Py_ssize_t n_jobs) except -1
    cdef Pulse *pulse(self) noexcept nogil

cpdef Py_ssize_t worthwhile(Py_ssize_t n_jobs, form, Py_ssize_t rows) except -1
cdef Gradient borrow(form, Py_ssize_t item, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch, max_memory,
                     Py_ssize_t n_jobs)
cdef void give_back(Gradient work)

cdef int batch_gradient(Gradient work, const real *theta, const real *data, const Py_ssize_t *offsets, Py_ssize_t n,
                        Py_ssize_t *order, const real *weights, real *grad, Descent *descent,
                        double *loss) except -1 nogil
