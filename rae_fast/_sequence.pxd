"""The schedule over time: what the objectives of sequences and _codes.pyx share. See _sequence.pyx."""

from rae_fast._batch cimport Source
from rae_fast._blas cimport real
from rae_fast._buckets cimport Bucket, LengthAt
from rae_fast._cell cimport Encoder, Plan
from rae_fast._form cimport AnyForm
from rae_fast._head cimport Head, Labelled
from rae_fast._judge cimport Judge
from rae_fast._kernels cimport rae_team
from rae_fast._objective cimport Descent, Objective
from rae_fast._pulse cimport Pulse
from rae_fast._workspace cimport Workspace

cdef struct Extent:            # the most that a bucket of a call can need
    Py_ssize_t steps           # of the longest sequence
    Py_ssize_t sequences
    Py_ssize_t rows
    Py_ssize_t span_rows
    Py_ssize_t spans
    bint recompute             # hidden states of a span are computed again when the backward sweep needs them

cdef struct Trace:             # states of every step, or of one span and those before the others
    void *rows                 # (rows of a bucket, ld_h), or with recompute of a span
    void *kept                 # (spans, sequences, ld_h) the states before every span, with recompute

cdef struct Buffers:           # of one thread of a gradient; (real *) behind void *
    Trace h
    void *z                    # (rows of a span, ld_z)    targets [h_{t-1}, x_t]; of sparse rows h_{t-1}
    void *written              # (LOOKED_UP_ROWS, I)       0 between calls; sparse rows only
    void *g                    # (rows of a span, ld_k)    gradient of the decoder's linear parts
    void *da                   # (rows of a span, ld_h)
    void *da_next              # (sequences, ld_h)  da of the first step of the later span
    void *w                    # (sequences) their weights
    void *w_row                # (rows of a span) the same for every row
    void *sums                 # (H)
    void *h0_sum               # (H) gradient of h0
    void *scratch              # of sum_over_rows, for every member of a team
    Labelled labelled          # codes of a bucket
    void *w_label              # (sequences) their weights
    Judge judge                # of outputs in factors

cdef struct Task:              # one thread's part of a gradient, besides the arrays it is about
    const Plan *plan
    const Encoder *encoder
    const Head *head
    const void *decoder        # the objective's own weights
    void *extra                # and its own buffers
    rae_team *team             # that shares every product, or NULL
    Descent *descent           # to be made in the same go, or NULL
    bint recompute
    Pulse pulse
    Bucket bucket
    Buffers buffers

ctypedef int (*bucket_f32)(Task *, const float *, const Source *, bint, float *, double *) noexcept nogil
ctypedef int (*bucket_f64)(Task *, const double *, const Source *, bint, double *, double *) noexcept nogil

cdef class SequenceObjective(Objective):
    cdef Plan plan
    cdef Encoder encoder
    cdef Head head
    cdef Task *tasks           # (members)
    cdef LengthAt *lengths     # (most) scratch of the sort
    cdef int traces            # how many states of every row are kept
    cdef size_t extra_bytes      # of the objective's own buffers
    cdef const void *decoder
    cdef bucket_f32 bucket_single
    cdef bucket_f64 bucket_double
    cdef int take_decoder(self, Workspace space) except -1
    cdef int take_extra(self, Workspace space, const Extent *e, Task *task) except -1
    cdef void set_decoder(self, const void *theta, Py_ssize_t sequences) noexcept nogil
    cdef Py_ssize_t least(self) noexcept nogil

cdef double root_of(double unit, bint categorical) noexcept nogil
cdef Extent measure(const Plan *plan, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch,
                    Py_ssize_t most_kept) noexcept nogil
cdef int take_trace(Workspace space, const Plan *p, const Extent *e, size_t item, Trace *trace) except -1
cdef int encode_span(const Plan *p, rae_team *team, Pulse *pulse, const Encoder *w, const real *theta,
                     const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source, const real *h_before,
                     real *x, real *h) except -1 nogil

cdef real *span_of(const Task *task, const real *rows, Py_ssize_t s) noexcept nogil
cdef const real *before_span(const Task *task, const real *rows, const real *kept, Py_ssize_t s) noexcept nogil
cdef void keep_last(const Task *task, const real *rows, real *kept, Py_ssize_t s) noexcept nogil
cdef int encode(Task *task, const real *theta, const Source *source, Py_ssize_t s) except -1 nogil
cdef void targets(const Task *task, const real *theta, const Source *source, Py_ssize_t s) noexcept nogil
cdef void keep_next(const Task *task, Py_ssize_t s, const real *da) noexcept nogil
cdef void h0_gradient(const Task *task, const real *da) noexcept nogil
cdef bint encoder_within(const Task *task, const Source *source, Py_ssize_t rows, const real *da,
                         double most) noexcept nogil
cdef bint residuals_within(Py_ssize_t sequences, const real *w, double factor, double loss, double most) noexcept nogil
cdef double label_errors(Task *task, const real *theta, const Source *source, const real *codes, Py_ssize_t ld,
                         real *dcodes, Py_ssize_t ld_dcodes, real *grad) noexcept nogil
cdef int add_encoder_gradient(Task *task, const Source *source, Py_ssize_t s, Py_ssize_t rows, const real *da,
                              double factor, bint accumulate, bint second, real *grad) except -1 nogil
cdef int add_decoder_gradient(Task *task, Py_ssize_t rows, const real *y, double factor, bint accumulate, bint second,
                              real *grad) except -1 nogil
