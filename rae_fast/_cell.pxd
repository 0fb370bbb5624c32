"""The cell: sizes and choices of a call, weights as factors, rows in, rows out. See _cell.pyx."""

from rae_fast._batch cimport Source
from rae_fast._blas cimport real
from rae_fast._buckets cimport Bucket
from rae_fast._form cimport Form, Layout
from rae_fast._kernels cimport rae_team
from rae_fast._products cimport Factor
from rae_fast._slots cimport Slots
from rae_fast._workspace cimport Workspace

cdef enum:
    TEAM_MIN_HIDDEN = 192      # from here on a team shares the products of a single part or bucket
    TEAM_WORK = 20000000       # operations below which starting a team takes longer than it saves
    # With fewer sequences the first step is one more of the recurrence, from h0: a row of its own in the product of
    # the inputs would cost more.
    FEW_SEQUENCES = 8
    PRODUCT_LIMIT = 8000000000  # operations in one product, about 0.1 s: between them Ctrl-C is heard

cdef struct Split:             # W~ = V U, W~ (I, d) = [V_hx', c_x / bias]: _factored.pyx
    Py_ssize_t H
    Py_ssize_t d               # H + 1
    Py_ssize_t ld              # distance of rows, of float64
    Py_ssize_t ld_r            # and of theta's type
    double bias                # what stands after every state
    Factor U                   # in theta's type
    Factor U_T
    Factor Q

cdef enum:
    CHUNK = 128                # rows of states in one product with these

cdef struct Named:             # of a batch, whose outputs are in factors; (real *) behind void *
    Slots slots
    double *held               # (most, ld)   the rows of V that are named, all corrections made
    double *moved              # (most, ld)   what is added to them
    void *near                 # (most, ld_r) held, in theta's type
    Py_ssize_t rows            # of states in the batch
    Py_ssize_t few             # up to so many of them are kept, rather than their squares summed
    void *state                # (few, ld_r)  sqrt(w) [h, bias]
    void *image                # (few, ld_r)  sqrt(w) U [h, bias]
    void *turned               # (few, ld_r)  state U^-1, and with the new inverse
    void *system               # (few, few)
    Py_ssize_t *target         # (few)        the batch's row that each is to give back
    double *root               # (few)        sqrt(w)
    void *squares              # (parts, d, ld_r)  of each part: sum of w [h, bias] [h, bias]'
    Py_ssize_t parts           # of this batch
    const Source *source

cdef struct Plan:
    Py_ssize_t I
    Py_ssize_t H
    Py_ssize_t K              # H + I, what is decoded by products
    Py_ssize_t C              # size of a code; 0 where it is the last state
    Py_ssize_t H_full         # H up to a full vector, for the C kernels
    Py_ssize_t ld_h           # row distances in buffers: rows of H and of K numbers
    Py_ssize_t ld_k
    Py_ssize_t ld_c           # and of C
    Py_ssize_t ld_z           # and of targets: K, or of sparse rows H
    bint sparse               # rows are looked up, and not in the targets
    Py_ssize_t span_rows      # at most, except for a single step with more sequences
    Py_ssize_t bucket_rows    # at most, except for a single longer sequence
    Py_ssize_t bucket_sequences
    bint own                  # C kernels, or BLAS
    bint tanh_decoder
    bint softmax
    bint spherical
    double smoothing          # of all spherical outputs together
    bint tied
    double per_unit           # 1 over the unit of residuals: Objective.unit
    const Slots *slots        # where the gradient's rows of W_xh are, or NULL: where theta's are
    const Split *split        # outputs in factors (K is H then), or NULL
    const Named *named        # and their rows that a batch names
    const Layout *theta       # where the parameters are
    const Layout *grad        # and their gradients

cdef struct Encoder:           # weights of one theta
    Factor W_hh                # rows of W
    Factor W_xh
    Factor W_hh_T              # for gradients
    void *bias                 # (H_full)  b_h
    void *bias0                # (H_full)  b_h + h0 W_hh: what the first step adds to x W_xh

cdef inline const real *block(const real *memory, const Layout *layout, int name) noexcept nogil:
    """Where a block begins in memory that is laid out so."""
    return memory + layout.at[name].start

cdef inline real *block_to_write(real *memory, const Layout *layout, int name) noexcept nogil:
    return memory + layout.at[name].start

cdef Plan make_plan(Form form, Py_ssize_t itemsize, bint keep, bint sparse) noexcept  # for as long as the form lives
cdef bint lie_bare(const Plan *p, Py_ssize_t sequences, size_t item) noexcept nogil
cdef int take_encoder(Workspace space, const Plan *p, size_t item, bint gradient, Encoder *w) except -1
cdef void set_encoder(const Plan *p, const real *theta, Py_ssize_t sequences, bint gradient, Encoder *w) noexcept nogil
cdef void set_stacked(const Plan *p, const real *theta, int codes_block, int inputs_block, bint lying, Factor *codes,
                      Factor *inputs) noexcept nogil
cdef void set_turned(const real *matrix, Py_ssize_t n, Py_ssize_t H, bint lying, Factor *factor) noexcept nogil
cdef void padded_copy(const Plan *p, const real *x, real *y) noexcept nogil
cdef const real *packed_inputs(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1,
                               const Source *source, real *out) noexcept nogil
cdef void gather_inputs(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source,
                        real *out, Py_ssize_t ld) noexcept nogil
cdef void gather_latest(const Plan *p, const Bucket *bucket, Py_ssize_t k, const Source *source,
                        real *out) noexcept nogil
cdef void take_as_given(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, bint latest_first,
                        const Source *source, const real *g, Py_ssize_t ldg, const real *c, real *x,
                        Py_ssize_t ldx) noexcept nogil
cdef enum:
    LOOKED_UP_ROWS = 16        # sparse rows that are written out at once for the loss: what a logarithm takes

cdef inline Py_ssize_t first_of(const Source *source, Py_ssize_t row) noexcept nogil:
    """Where a sparse row's non-zeros begin."""
    return row if source.start == NULL else source.start[row]

cdef Py_ssize_t row_distance(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil
cdef void look_up(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source,
                  const real *W_xh, const real *bias_first, const real *bias, real *h) noexcept nogil
cdef void scatter(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source,
                  const real *da, double factor, real *W_xh) noexcept nogil
cdef double sparse_loss(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, bint latest_first,
                        const Source *source, const real *w, const real *c, real *written, real *g) noexcept nogil
cdef double output_loss(const Plan *p, Py_ssize_t rows, const real *w, const real *c, const real *x, Py_ssize_t ldx,
                        real *g, Py_ssize_t ldg) noexcept nogil
