"""Forward and backward passes of the sequence auto-encoder, and its training loop.

Shapes: N sequences of T_n steps with I features, H hidden units; all arrays row-major. `data`
holds the sequences one after the other, (sum T_n, I), sequence n in rows offsets[n]:offsets[n+1].
The mathematics and the order of theta: docs/design.md. NumPy twin: reference.py.

How the work is laid out. A *block* is a set of sequences, longest first, so that at every step
the sequences still running are its first active[t] ones: the rows of step t, packed one step after
the other, need no padding. A *span* is a run of steps of a block. Only h_{t-1} W_hh and
da_{t+1} W_hh^T run step by step; everything else is a product over all rows of a span, and a span
is small enough that its buffers stay in the cache. Between the forward and the backward sweep only
the hidden states are kept: the loss and G are made where the backward sweep uses them.

Everything between the Python functions at the end and the C kernels is nogil. Memory is taken
from a Workspace before any time loop starts. A Pulse asks Python for pending signals (Ctrl-C)
about every 50 ms of work, at the seams between steps and products.
"""

import os

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport INFINITY, M_PI, cos, isfinite, pow, sqrt
from libc.stdint cimport uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from rae_fast.solvers import STATE

from rae_fast._blas cimport gemm_rm, real
from rae_fast._kernels cimport (adadelta_update, adam_update, column_sums, cross_entropy, first_beyond,
                                momentum_update, residual, rmsprop_update, rprop_update, sgd_update,
                                small_gemm, sum_squares, tanh_, tanh_backward, transpose)

# ---- which product -----------------------------------------------------------------------------

# The C kernels take products with at most OWN_MAX_PRODUCT multiplications if the weights (W and V
# together) have at most OWN_MAX_BYTES; BLAS takes the rest: docs/performance.md, "own or BLAS".
cdef enum:
    OWN_MAX_BYTES = 524288
    OWN_MAX_PRODUCT = 2097152

cdef enum:
    AUTO = 0
    OWN = 1
    BLAS = 2

cdef int _choice = AUTO
_CHOICES = {"auto": AUTO, "own": OWN, "blas": BLAS}


def use_gemm(str choice):
    """Force the matrix products: 'own' C kernels, 'blas', or 'auto' by size. Returns the previous."""
    global _choice
    if choice not in _CHOICES:
        raise ValueError(f"the matrix products can be 'auto', 'own' or 'blas', not {choice!r}")
    previous = [name for name, value in _CHOICES.items() if value == _choice][0]
    _choice = _CHOICES[choice]
    return previous


if os.environ.get("RAE_FAST_GEMM"):
    try:
        use_gemm(os.environ["RAE_FAST_GEMM"])
    except ValueError as error:
        raise ImportError(f"RAE_FAST_GEMM: {error}") from None


cdef inline Py_ssize_t own_limit(Py_ssize_t I, Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    """Multiplications up to which a product is left to the C kernels; 0 for none."""
    if _choice == AUTO:
        return OWN_MAX_PRODUCT if 2 * (H + I) * H * itemsize <= OWN_MAX_BYTES else 0
    return <Py_ssize_t>2 ** 62 if _choice == OWN else 0


# ---- interruption ------------------------------------------------------------------------------

cdef struct Pulse:
    double work        # operations since the clock was last read
    double time        # that reading
    double next_look   # when to look for signals again
    double deadline    # when the training loop returns to Python

cdef enum:
    LOOK_EVERY = 2000000  # operations between two readings of the clock: 20-200 us


cdef inline double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <double>t.tv_sec + 1e-9 * <double>t.tv_nsec


cdef extern from "fp_state.h" nogil:
    uint64_t rae_fp_state()
    void rae_set_fp_state(uint64_t state)
    uint64_t rae_flush_subnormals()
    const uint64_t RAE_FLUSH


cdef int check_signals() except -1 with gil:
    # A signal handler is Python code, which knows subnormal numbers.
    cdef uint64_t state = rae_fp_state()
    rae_set_fp_state(state & ~RAE_FLUSH)
    try:
        PyErr_CheckSignals()
    finally:
        rae_set_fp_state(state)
    return 0


cdef inline int beat(Pulse *pulse, double work) except -1 nogil:
    """Count work; now and then run Python's signal handlers, whose exception this then raises."""
    cdef double t
    pulse.work += work
    if pulse.work < LOOK_EVERY:
        return 0
    pulse.work = 0
    t = now()
    pulse.time = t
    if t > pulse.next_look:
        pulse.next_look = t + 0.05
        check_signals()
    return 0


cdef inline Pulse new_pulse(double seconds) noexcept nogil:
    cdef Pulse pulse
    cdef double t = now()
    pulse.work = 0
    pulse.time = t
    pulse.next_look = t + 0.05
    pulse.deadline = t + seconds
    return pulse


# ---- memory ------------------------------------------------------------------------------------

cdef class Workspace:
    """One piece of scratch memory, handed out in 64-byte aligned parts; one per call and thread.

    Workspace(0) only counts what is taken from it: the size that a second, real one needs.
    """
    cdef object memory
    cdef char *base
    cdef size_t size, used

    def __cinit__(self, size_t size):
        if size == 0:
            return
        self.memory = np.empty(size + 64, dtype=np.uint8)
        cdef unsigned char[::1] view = self.memory
        cdef size_t address = <size_t>&view[0]
        self.base = <char *>((address + 63) & ~<size_t>63)
        self.size = size

    cdef void *take(self, size_t count, size_t itemsize) except? NULL:
        cdef size_t start = self.used
        self.used += bytes_for(count, itemsize)
        if self.base == NULL:
            return NULL
        if self.used > self.size:
            raise AssertionError("the workspace was planned too small")
        return self.base + start


cdef inline size_t bytes_for(size_t count, size_t itemsize) noexcept nogil:
    return (count * itemsize + 64) // 64 * 64


# ---- blocks of sequences -----------------------------------------------------------------------

cdef struct Block:
    Py_ssize_t n           # sequences, longest first
    Py_ssize_t steps       # of the longest
    Py_ssize_t rows        # sum of all lengths
    Py_ssize_t *member     # (n) which sequence of the data
    Py_ssize_t *start      # (n) its first row in the data
    Py_ssize_t *active     # (steps) how many have more than t steps
    Py_ssize_t *first      # (steps + 1) packed row of step t, sequence 0


cdef struct LengthAt:
    Py_ssize_t length
    Py_ssize_t place


cdef int longer_first(const void *a, const void *b) noexcept nogil:
    cdef const LengthAt *x = <const LengthAt *>a
    cdef const LengthAt *y = <const LengthAt *>b
    if x.length != y.length:
        return 1 if x.length < y.length else -1
    return 1 if x.place > y.place else -1  # stable, hence reproducible


cdef void sort_by_length(Py_ssize_t n, Py_ssize_t *order, const Py_ssize_t *offsets,
                         LengthAt *scratch) noexcept nogil:
    """Reorder order[0:n] so that lengths fall; equal lengths keep their order."""
    cdef Py_ssize_t i, length, last = 0
    cdef bint sorted_already = True
    for i in range(n):
        length = offsets[order[i] + 1] - offsets[order[i]]
        scratch[i].length = length
        scratch[i].place = i
        sorted_already = sorted_already and (i == 0 or length <= last)
        last = length
    if sorted_already:
        return
    qsort(scratch, n, sizeof(LengthAt), longer_first)
    for i in range(n):
        scratch[i].place = order[scratch[i].place]
    for i in range(n):
        order[i] = scratch[i].place


cdef void fill_block(Block *block, Py_ssize_t n, const Py_ssize_t *order,
                     const Py_ssize_t *offsets) noexcept nogil:
    """The block of the sequences order[0:n], whose lengths must fall."""
    cdef Py_ssize_t i, t, length
    block.n = n
    block.steps = offsets[order[0] + 1] - offsets[order[0]]
    block.rows = 0
    for i in range(n):
        block.member[i] = order[i]
        block.start[i] = offsets[order[i]]
        block.rows += offsets[order[i] + 1] - offsets[order[i]]
    t = 0
    for i in range(n - 1, -1, -1):
        length = offsets[order[i] + 1] - offsets[order[i]]
        while t < length:
            block.active[t] = i + 1
            t += 1
    block.first[0] = 0
    for t in range(block.steps):
        block.first[t + 1] = block.first[t] + block.active[t]


cdef Py_ssize_t block_members(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets,
                              Py_ssize_t max_rows, Py_ssize_t max_n) noexcept nogil:
    """How many of the next n sequences make a block: up to max_rows rows, at least one sequence."""
    cdef Py_ssize_t i, rows = 0
    for i in range(n):
        rows += offsets[order[i] + 1] - offsets[order[i]]
        if i > 0 and (rows > max_rows or i >= max_n):
            return i
    return n


cdef inline Py_ssize_t span_end(const Block *block, Py_ssize_t t0, Py_ssize_t max_rows) noexcept nogil:
    """End of the span that starts at t0: up to max_rows rows, at least one step."""
    cdef Py_ssize_t t = t0 + 1
    while t < block.steps and block.first[t + 1] - block.first[t0] <= max_rows:
        t += 1
    return t


cdef inline Py_ssize_t span_start(const Block *block, Py_ssize_t t1, Py_ssize_t max_rows) noexcept nogil:
    cdef Py_ssize_t t = t1 - 1
    while t > 0 and block.first[t1] - block.first[t - 1] <= max_rows:
        t -= 1
    return t


cdef void gather(const Block *block, Py_ssize_t t0, Py_ssize_t t1, const real *data,
                 Py_ssize_t I, real *out, Py_ssize_t ld_out) noexcept nogil:
    """Rows of steps t0:t1 from the data into packed order."""
    cdef Py_ssize_t t, n
    for t in range(t0, t1):
        for n in range(block.active[t]):
            memcpy(out, data + (block.start[n] + t) * I, I * sizeof(real))
            out += ld_out


# ---- the plan of a call ------------------------------------------------------------------------

# A span's buffers, 2 (H + I) + H numbers a row, are to stay in the L2 cache beside the weights, but
# a product over fewer than SPAN_MIN_ROWS rows would pay too much for each pass over the weights.
cdef enum:
    SPAN_BYTES = 1048576
    SPAN_MIN_ROWS = 256
    BLOCK_BYTES = 268435456   # hidden states kept for one block
    ENCODE_SEQUENCES = 256    # a block that keeps no hidden states: more rows gain nothing
    PRODUCT_LIMIT = 8000000000  # operations in one product, about 0.1 s: between them Ctrl-C is heard

cdef struct Plan:
    Py_ssize_t I
    Py_ssize_t H
    Py_ssize_t span_rows      # at most, except for a single step with more sequences
    Py_ssize_t block_rows     # at most, except for a single longer sequence
    Py_ssize_t block_members
    Py_ssize_t own_limit      # C kernels instead of BLAS up to so many multiplications
    bint unfold               # the rest is parameters.Form
    bint tanh_decoder
    bint softmax
    bint tied
    double hidden_weight
    bint reconstruct_h0


cdef Plan make_plan(form, Py_ssize_t itemsize, bint keep) except *:
    """The plan of a call that keeps the hidden states of a block (gradients) or does not."""
    cdef Plan plan
    cdef Py_ssize_t I = form.n_inputs, H = form.n_hidden
    if I < 1 or H < 1:
        raise ValueError("n_inputs and n_hidden must be at least 1")
    plan.I = I
    plan.H = H
    plan.unfold = form.objective == "unfold"
    plan.tanh_decoder = form.decoder == "tanh"
    plan.softmax = form.output == "softmax"
    plan.tied = form.tied
    plan.hidden_weight = form.hidden_weight
    plan.reconstruct_h0 = form.reconstruct_h0
    plan.own_limit = own_limit(I, H, itemsize)
    cdef Py_ssize_t limit_rows = max(<Py_ssize_t>1, <Py_ssize_t>PRODUCT_LIMIT // (2 * (H + I) * H))
    plan.span_rows = max(<Py_ssize_t>SPAN_MIN_ROWS, SPAN_BYTES // ((3 * H + 2 * I) * itemsize))
    plan.span_rows = min(plan.span_rows, limit_rows)
    plan.block_rows = max(<Py_ssize_t>1, BLOCK_BYTES // (H * itemsize)) if keep else <Py_ssize_t>2 ** 62
    plan.block_members = min(limit_rows, <Py_ssize_t>2 ** 62 if keep else ENCODE_SEQUENCES)
    return plan


cdef struct Extent:
    Py_ssize_t steps      # longest sequence
    Py_ssize_t members    # most sequences in a block
    Py_ssize_t rows       # most rows in a block
    Py_ssize_t span_rows  # most rows in a span


cdef (Py_ssize_t, Py_ssize_t) longest_and_rows(const Py_ssize_t[::1] offsets, Py_ssize_t batch) except *:
    """The longest length, and the most rows that any `batch` of the sequences can have."""
    lengths = np.diff(offsets)
    longest = lengths.max()
    if lengths.min() == longest:
        return longest, longest * batch
    return longest, np.partition(lengths, len(lengths) - batch)[len(lengths) - batch:].sum()


cdef Extent measure(const Plan *plan, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch) noexcept nogil:
    """The most that any block of a batch can need."""
    cdef Extent extent
    extent.steps = longest
    extent.members = min(batch, plan.block_members)
    extent.rows = min(rows, max(plan.block_rows, longest))
    extent.span_rows = min(extent.rows, max(plan.span_rows, extent.members))
    return extent


cdef size_t block_bytes(const Extent *extent) noexcept nogil:
    return (2 * bytes_for(extent.members, sizeof(Py_ssize_t))
            + 2 * bytes_for(extent.steps + 1, sizeof(Py_ssize_t)))


cdef int take_block(Workspace space, const Extent *extent, Block *block) except -1:
    block.member = <Py_ssize_t *>space.take(extent.members, sizeof(Py_ssize_t))
    block.start = <Py_ssize_t *>space.take(extent.members, sizeof(Py_ssize_t))
    block.active = <Py_ssize_t *>space.take(extent.steps + 1, sizeof(Py_ssize_t))
    block.first = <Py_ssize_t *>space.take(extent.steps + 1, sizeof(Py_ssize_t))
    return 0


# ---- views into theta --------------------------------------------------------------------------
# theta = [ W (H+I, H) | b_h (H) | h0 (H) | V (H, H+I) | c_h (H) | c_x (I) ],  W = [W_hh; W_xh]
# Tied: V's block is absent; drivers then put W^T into scratch and add dV^T to dW.

cdef inline const real *W_xh_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + p.H * p.H

cdef inline const real *b_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + (p.H + p.I) * p.H

cdef inline const real *h0_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + (p.H + p.I) * p.H + p.H

cdef inline const real *V_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + (p.H + p.I) * p.H + 2 * p.H

cdef inline const real *c_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + (1 if p.tied else 2) * (p.H + p.I) * p.H + 2 * p.H

cdef inline Py_ssize_t theta_size(const Plan *p) noexcept nogil:
    return (1 if p.tied else 2) * (p.H + p.I) * p.H + 3 * p.H + p.I


cdef inline void product(const Plan *plan, bint transpose_a, Py_ssize_t m, Py_ssize_t n,
                         Py_ssize_t k, const real *A, Py_ssize_t lda, const real *B,
                         Py_ssize_t ldb, bint accumulate, real *C, Py_ssize_t ldc) noexcept nogil:
    """C (m,n) = op(A) (m,k) B (k,n), or C += ..."""
    if m * n * k <= plan.own_limit:
        small_gemm(m, n, k, A, 1 if transpose_a else lda, lda if transpose_a else 1, B, ldb,
                   accumulate, C, ldc)
    else:
        gemm_rm(transpose_a, False, m, n, k, A, lda, B, ldb, accumulate, C, ldc)


cdef inline void product_bt(const Plan *plan, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                            const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
                            const real *B_transposed, bint accumulate, real *C,
                            Py_ssize_t ldc) noexcept nogil:
    """C (m,n) = A (m,k) B^T, or C += ..., with B (n,k); own kernels read the transposed copy."""
    if m * n * k <= plan.own_limit:
        small_gemm(m, n, k, A, lda, 1, B_transposed, n, accumulate, C, ldc)
    else:
        gemm_rm(False, True, m, n, k, A, lda, B, ldb, accumulate, C, ldc)


# ---- encode ------------------------------------------------------------------------------------

cdef void first_input(const Plan *plan, const real *theta, real *bias0) noexcept nogil:
    """bias0 (H) = b_h + h0 W_hh: what every sequence's first step adds to x W_xh."""
    memcpy(bias0, b_of(theta, plan), plan.H * sizeof(real))
    product(plan, False, 1, plan.H, plan.H, h0_of(theta, plan), plan.H, theta, plan.H, True,
            bias0, plan.H)


cdef int encode_span(const Plan *plan, const real *theta, const Block *block, Py_ssize_t t0,
                     Py_ssize_t t1, const real *data, const real *bias0, const real *h_before,
                     real *x, real *h, Pulse *pulse) except -1 nogil:
    """Hidden states of steps t0:t1 into h (rows of the span, H).

    h_before (active[t0], H): the states of step t0 - 1, unused for t0 = 0. x: scratch, (rows, I).
    """
    cdef Py_ssize_t I = plan.I, H = plan.H, t, r, active
    cdef Py_ssize_t rows = block.first[t1] - block.first[t0]
    cdef const real *bias
    cdef real *h_t = h
    # A = 1 b' + X W_xh            (rows,H) = (rows,I)(I,H)
    for t in range(t0, t1):
        bias = bias0 if t == 0 else b_of(theta, plan)
        for r in range(block.active[t]):
            memcpy(h_t, bias, H * sizeof(real))
            h_t += H
    gather(block, t0, t1, data, I, x, I)
    product(plan, False, rows, H, I, x, I, W_xh_of(theta, plan), H, True, h, H)
    beat(pulse, 2.0 * rows * H * I)
    h_t = h
    for t in range(t0, t1):
        active = block.active[t]
        if t > 0:
            # A_t += H_{t-1} W_hh      (B,H) = (B,H)(H,H)
            product(plan, False, active, H, H, h_before, H, theta, H, True, h_t, H)
        tanh_(active * H, h_t, h_t)
        h_before = h_t
        h_t += active * H
        beat(pulse, 2.0 * active * H * H)
    return 0


# ---- decode, loss, gradient --------------------------------------------------------------------

cdef struct Buffers:           # of one gradient call; (real *) behind void *
    void *trace                # (rows of a block, H)   hidden states
    void *y                    # (rows of a block, H)   unfolded codes, unfold only
    void *z                    # (rows of a span, H+I)  targets [h_{t-1}, x_t]
    void *g                    # (rows of a span, H+I)  gradient of the decoder's linear parts
    void *da                   # (rows of a span, H)
    void *back                 # (rows of a span, H)    decoded codes, stepwise tanh decoder only
    void *pull                 # (rows of a span, H)    on the targets, stepwise tanh decoder only
    void *da_next              # (sequences, H)  da of the first step of the later span
    void *pull_next            # (sequences, H)  and its pull
    void *dcode                # (sequences, H)  gradient of the last codes, unfold only
    void *w                    # (sequences)
    void *w_hidden             # (rows of a span)
    void *w_input              # (rows of a span)
    void *bias0                # (H)
    void *sums                 # (H)
    void *zeros                # (H)
    void *W_hh_T               # (H, H), own kernels only
    void *V                    # (H, H+I), in theta or made of W
    void *V_T                  # (H+I, H), own kernels only
    void *dV                   # (H, H+I), in the gradient or added to dW
    void *scratch_V            # (H, H+I), tied only
    void *scratch_dV           # (H, H+I), tied only


cdef int take_buffers(Workspace space, const Plan *p, const Extent *e, size_t item,
                      Buffers *b) except -1:
    cdef bint bent = p.tanh_decoder and not p.unfold
    cdef Py_ssize_t H = p.H, K = p.H + p.I
    b.trace = space.take(e.rows * H, item)
    b.y = space.take(e.rows * H if p.unfold else 0, item)
    b.z = space.take(e.span_rows * K, item)
    b.g = space.take(e.span_rows * K, item)
    b.da = space.take(e.span_rows * H, item)
    b.back = space.take(e.span_rows * H if bent else 0, item)
    b.pull = space.take(e.span_rows * H if bent else 0, item)
    b.da_next = space.take(e.members * H, item)
    b.pull_next = space.take(e.members * H, item)
    b.dcode = space.take(e.members * H if p.unfold else 0, item)
    b.w = space.take(e.members, item)
    b.w_hidden = space.take(e.span_rows, item)
    b.w_input = space.take(e.span_rows, item)
    b.bias0 = space.take(H, item)
    b.sums = space.take(H, item)
    b.zeros = space.take(H, item)
    b.W_hh_T = space.take(H * H if p.own_limit else 0, item)
    b.V_T = space.take(H * K if p.own_limit and not p.tied else 0, item)
    b.scratch_V = space.take(H * K if p.tied else 0, item)
    b.scratch_dV = space.take(H * K if p.tied else 0, item)
    if space.base != NULL:
        memset(b.zeros, 0, H * item)
    return 0


cdef struct Task:              # all that a gradient call needs besides the arrays it is about
    Plan plan
    Block block
    Buffers buffers
    LengthAt *lengths          # scratch of the sort
    Pulse pulse


cdef Workspace begin_task(Task *task, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch, size_t item):
    """Plan and take the memory for gradients of up to `batch` sequences with up to `rows` rows."""
    cdef Extent extent = measure(&task.plan, longest, rows, batch)
    cdef Workspace space = Workspace(0)
    for _ in range(2):
        take_block(space, &extent, &task.block)
        take_buffers(space, &task.plan, &extent, item, &task.buffers)
        task.lengths = <LengthAt *>space.take(batch, sizeof(LengthAt))
        if space.base == NULL:
            space = Workspace(space.used)
        else:
            break
    return space


cdef void span_targets(const Plan *plan, const real *theta, const Block *block, Py_ssize_t t0, Py_ssize_t t1, const real *data,
                       const real *trace, const real *w, real *z, real *w_hidden,
                       real *w_input) noexcept nogil:
    """Z row = [h_{t-1}, x_t] and the two loss weights of every row of steps t0:t1."""
    cdef Py_ssize_t I = plan.I, H = plan.H, t, n
    cdef const real *h_before
    gather(block, t0, t1, data, I, z + H, H + I)
    for t in range(t0, t1):
        h_before = trace + block.first[t - 1] * H if t > 0 else h0_of(theta, plan)
        for n in range(block.active[t]):
            memcpy(z, h_before, H * sizeof(real))
            z += H + I
            if t > 0:
                h_before += H
            w_input[0] = w[n]
            w_hidden[0] = <real>(plan.hidden_weight * w[n]) if t > 0 or plan.reconstruct_h0 else 0
            w_input += 1
            w_hidden += 1


cdef inline double output_loss(const Plan *plan, Py_ssize_t rows, const real *w, const real *c,
                               const real *z, Py_ssize_t ldz, real *g, Py_ssize_t ldg) noexcept nogil:
    """Loss of the outputs g + c against z (rows, I), and its gradient into g."""
    if plan.softmax:
        return cross_entropy(rows, plan.I, w, c, z, ldz, g, ldg)
    return residual(rows, plan.I, w, c, z, ldz, g, ldg)


cdef inline void copy_rows(Py_ssize_t rows, Py_ssize_t n, const real *x, Py_ssize_t ldx, real *y,
                           Py_ssize_t ldy) noexcept nogil:
    cdef Py_ssize_t r
    for r in range(rows):
        memcpy(y + r * ldy, x + r * ldx, n * sizeof(real))


cdef int decode_span(Task *task, const real *theta, Py_ssize_t rows, const real *h, const real **pull,
                     Py_ssize_t *ld_pull, double *loss) except -1 nogil:
    """Stepwise: reconstruct the span's targets from h; loss, G, what flows into h, and the pull.

    z must hold the targets. dH goes to buffers.da; pull points to rows like those of h.
    """
    cdef const Plan *plan = &task.plan
    cdef const Buffers *buffers = &task.buffers
    cdef Py_ssize_t I = plan.I, H = plan.H, K = plan.H + plan.I, r
    cdef real *z = <real *>buffers.z
    cdef real *g = <real *>buffers.g
    cdef real *da = <real *>buffers.da
    cdef real *back = <real *>buffers.back
    cdef const real *V = <const real *>buffers.V
    cdef const real *c = c_of(theta, plan)
    if plan.tanh_decoder:
        # back = tanh(H V_hh + c_h); pull = 2 w (back - h_{t-1}); G_h = pull o (1 - back^2)
        for r in range(rows):
            memcpy(back + r * H, c, H * sizeof(real))
        product(plan, False, rows, H, H, h, H, V, K, True, back, H)
        product(plan, False, rows, I, H, h, H, V + H, K, False, g + H, K)
        tanh_(rows * H, back, back)
        copy_rows(rows, H, back, H, <real *>buffers.pull, H)
        loss[0] += residual(rows, H, <real *>buffers.w_hidden, <real *>buffers.zeros, z, K,
                            <real *>buffers.pull, H)
        copy_rows(rows, H, <real *>buffers.pull, H, da, H)
        tanh_backward(rows, H, back, <const real *>NULL, 0, da)
        copy_rows(rows, H, da, H, g, K)
        pull[0] = <const real *>buffers.pull
        ld_pull[0] = H
    else:
        # H V                          (rows,H+I) = (rows,H)(H,H+I)
        product(plan, False, rows, K, H, h, H, V, K, False, g, K)
        loss[0] += residual(rows, H, <real *>buffers.w_hidden, c, z, K, g, K)
        pull[0] = g
        ld_pull[0] = K
    loss[0] += output_loss(plan, rows, <real *>buffers.w_input, c + H, z + H, K, g + H, K)
    beat(&task.pulse, 2.0 * rows * H * K)
    # dH = G V'                        (rows,H) = (rows,H+I)(H+I,H)
    product_bt(plan, rows, H, K, g, K, V, K, <real *>buffers.V_T, False, da, H)
    beat(&task.pulse, 2.0 * rows * H * K)
    return 0


cdef int unfold_block(Task *task, const real *theta, const real *data, bint accumulate, real *dc,
                      double *loss) except -1 nogil:
    """Unroll the last codes of the block, add the loss, and go back to dcode, dV and dc.

    Step k decodes x_{T-k} (k from 0) from y_k; y_0 is the code, row first[k] + n belongs to sequence n.
    """
    cdef const Plan *plan = &task.plan
    cdef const Block *block = &task.block
    cdef const Buffers *buffers = &task.buffers
    cdef Py_ssize_t I = plan.I, H = plan.H, K = plan.H + plan.I, k, k0, k1, n, r, rows, later, length
    cdef real *y = <real *>buffers.y
    cdef real *z = <real *>buffers.z
    cdef real *g = <real *>buffers.g
    cdef real *da = <real *>buffers.da
    cdef real *w = <real *>buffers.w
    cdef real *w_input = <real *>buffers.w_input
    cdef real *y_k
    cdef real *da_k
    cdef const real *da_next = NULL
    cdef const real *V = <const real *>buffers.V
    cdef const real *V_T = <const real *>buffers.V_T
    cdef const real *c = c_of(theta, plan)

    for n in range(block.n):
        length = block_length(block, n)
        memcpy(y + n * H, <real *>buffers.trace + (block.first[length - 1] + n) * H, H * sizeof(real))
    for k in range(1, block.steps):
        # Y_k = decode(Y_{k-1} V_hh + c_h)     (B,H) = (B,H)(H,H)
        y_k = y + block.first[k] * H
        for n in range(block.active[k]):
            memcpy(y_k + n * H, c, H * sizeof(real))
        product(plan, False, block.active[k], H, H, y + block.first[k - 1] * H, H, V, K, True, y_k, H)
        if plan.tanh_decoder:
            tanh_(block.active[k] * H, y_k, y_k)
        beat(&task.pulse, 2.0 * block.active[k] * H * H)

    k1 = block.steps
    while k1 > 0:
        k0 = span_start(block, k1, plan.span_rows)
        rows = block.first[k1] - block.first[k0]
        y_k = y + block.first[k0] * H
        r = 0
        for k in range(k0, k1):
            for n in range(block.active[k]):
                memcpy(z + r * I, data + (block.start[n] + block_length(block, n) - 1 - k) * I, I * sizeof(real))
                w_input[r] = w[n]
                r += 1
        # X^ = Y V_hx + c_x, loss, G_x     (rows,I) = (rows,H)(H,I)
        product(plan, False, rows, I, H, y_k, H, V + H, K, False, g + H, K)
        loss[0] += output_loss(plan, rows, w_input, c + H, z, I, g + H, K)
        beat(&task.pulse, 2.0 * rows * H * I)
        # dY = G_x V_hx'                   (rows,H) = (rows,I)(I,H)
        product_bt(plan, rows, H, I, g + H, K, V + H, K, V_T + H * H if V_T != NULL else NULL, False, da, H)
        beat(&task.pulse, 2.0 * rows * H * I)
        for k in range(k1 - 1, k0 - 1, -1):
            later = block.active[k + 1] if k + 1 < block.steps else 0
            r = block.first[k] - block.first[k0]
            da_k = da + r * H
            # G_h row k: the gradient of y_{k+1}'s linear part, 0 where the sequence has ended
            copy_rows(later, H, da_next, H, g + r * K, K)
            for n in range(later, block.active[k]):
                memset(g + (r + n) * K, 0, H * sizeof(real))
            if later:
                # dY_k += dA_{k+1} V_hh'
                product_bt(plan, later, H, H, da_next, H, V, K, V_T, True, da_k, H)
            if plan.tanh_decoder and k > 0:
                tanh_backward(block.active[k], H, y + block.first[k] * H, <const real *>NULL, 0, da_k)
            da_next = da_k
            beat(&task.pulse, 2.0 * later * H * H)
        # dV (+)= Y' G                     (H,H+I) = (H,rows)(rows,H+I)
        product(plan, True, H, K, rows, y_k, H, g, K, accumulate, <real *>buffers.dV, K)
        column_sums(rows, K, g, K, accumulate, dc)
        beat(&task.pulse, 2.0 * rows * H * K)
        accumulate = True
        if k0 > 0:
            memcpy(buffers.da_next, da, block.active[k0] * H * sizeof(real))
            da_next = <real *>buffers.da_next
        k1 = k0
    memcpy(buffers.dcode, da, block.n * H * sizeof(real))
    return 0


cdef int block_gradient(Task *task, const real *theta, const real *data, bint accumulate,
                        real *grad, double *loss) except -1 nogil:
    """Add the block's loss; write its gradient to grad, or add it (accumulate)."""
    cdef const Plan *plan = &task.plan
    cdef const Block *block = &task.block
    cdef const Buffers *buffers = &task.buffers
    cdef Pulse *pulse = &task.pulse
    cdef Py_ssize_t I = plan.I, H = plan.H, K = plan.H + plan.I, t, t0, t1, rows, r, active, later
    cdef real *trace = <real *>buffers.trace
    cdef real *z = <real *>buffers.z
    cdef real *da = <real *>buffers.da
    cdef real *h
    cdef real *da_t
    cdef const real *pull = NULL          # of the rows of this span
    cdef const real *da_next = NULL
    cdef const real *pull_next = NULL     # of the rows of step t + 1
    cdef Py_ssize_t ld_pull = 0, ld_next = 0
    cdef real *dW = grad
    cdef real *db = <real *>b_of(<const real *>grad, plan)
    cdef real *dh0 = <real *>h0_of(<const real *>grad, plan)
    cdef real *dc = <real *>c_of(<const real *>grad, plan)
    cdef real *sums = <real *>buffers.sums

    # Forward, all hidden states kept.
    t0 = 0
    while t0 < block.steps:
        t1 = span_end(block, t0, plan.span_rows)
        encode_span(plan, theta, block, t0, t1, data, <real *>buffers.bias0,
                    trace + block.first[t0 - 1] * H if t0 > 0 else NULL, z,
                    trace + block.first[t0] * H, pulse)
        t0 = t1
    if plan.unfold:
        unfold_block(task, theta, data, accumulate, dc, loss)

    # Backward, span by span.
    t1 = block.steps
    while t1 > 0:
        t0 = span_start(block, t1, plan.span_rows)
        rows = block.first[t1] - block.first[t0]
        h = trace + block.first[t0] * H
        span_targets(plan, theta, block, t0, t1, data, trace, <real *>buffers.w, z,
                     <real *>buffers.w_hidden, <real *>buffers.w_input)
        if plan.unfold:
            memset(da, 0, rows * H * sizeof(real))
        else:
            decode_span(task, theta, rows, h, &pull, &ld_pull, loss)
        # dA_t = (dH_t + dA_{t+1} W_hh' - pull_{t+1}) o (1 - H_t^2)
        for t in range(t1 - 1, t0 - 1, -1):
            active = block.active[t]
            later = block.active[t + 1] if t + 1 < block.steps else 0
            r = block.first[t] - block.first[t0]
            da_t = da + r * H
            if plan.unfold and active > later:  # sequences that end here: the gradient of their codes
                memcpy(da_t + later * H, <real *>buffers.dcode + later * H, (active - later) * H * sizeof(real))
            if later:
                product_bt(plan, later, H, H, da_next, H, theta, H, <real *>buffers.W_hh_T, True,
                           da_t, H)
                tanh_backward(later, H, h + r * H, pull_next, ld_next, da_t)
            if active > later:
                tanh_backward(active - later, H, h + (r + later) * H, <const real *>NULL, 0,
                              da_t + later * H)
            da_next = da_t
            if pull != NULL:
                pull_next = pull + r * ld_pull
                ld_next = ld_pull
            beat(pulse, 2.0 * later * H * H)
        # dW (+)= Z' dA    dV (+)= H' G    db, dc: column sums
        product(plan, True, K, H, rows, z, K, da, H, accumulate, dW, H)
        beat(pulse, 2.0 * rows * H * K)
        column_sums(rows, H, da, H, accumulate, db)
        if not plan.unfold:
            product(plan, True, H, K, rows, h, H, <real *>buffers.g, K, accumulate, <real *>buffers.dV, K)
            beat(pulse, 2.0 * rows * H * K)
            column_sums(rows, K, <real *>buffers.g, K, accumulate, dc)
        accumulate = True
        if t0 > 0:
            # The buffers are about to be reused: keep what the step before t0 needs.
            memcpy(buffers.da_next, da, block.active[t0] * H * sizeof(real))
            da_next = <real *>buffers.da_next
            if pull != NULL:
                copy_rows(block.active[t0], H, pull, ld_pull, <real *>buffers.pull_next, H)
                pull_next = <real *>buffers.pull_next
                ld_next = H
        t1 = t0
    # dh0 += (sum_n da_1) W_hh' - sum_n pull_1; step 1 is still at the start of the span's buffers.
    column_sums(block.n, H, da, H, False, sums)
    product_bt(plan, 1, H, H, sums, H, theta, H, <real *>buffers.W_hh_T, True, dh0, H)
    if plan.reconstruct_h0 and not plan.unfold:
        column_sums(block.n, H, pull, ld_pull, False, sums)
        for t in range(H):
            dh0[t] -= sums[t]
    return 0


cdef int batch_gradient(Task *task, const real *theta, const real *data, const Py_ssize_t *offsets,
                        Py_ssize_t n, Py_ssize_t *order, const real *weights, real *grad,
                        double *loss) except -1 nogil:
    """Loss and gradient of sum_n w_n E(X_n) over the sequences order[0:n], which get sorted.

    weights: one per sequence of the data, NULL for 1 / n each.
    """
    cdef const Plan *plan = &task.plan
    cdef Block *block = &task.block
    cdef Buffers *buffers = &task.buffers
    cdef Py_ssize_t H = plan.H, K = plan.H + plan.I, done = 0, members, i
    cdef real *w = <real *>buffers.w
    if plan.tied:
        transpose(K, H, theta, H, <real *>buffers.scratch_V, K)
        buffers.V = buffers.scratch_V
        buffers.V_T = <void *>theta
        buffers.dV = buffers.scratch_dV
    else:
        buffers.V = <void *>V_of(theta, plan)
        buffers.dV = <void *>V_of(<const real *>grad, plan)
        if plan.own_limit:
            transpose(H, K, <const real *>buffers.V, K, <real *>buffers.V_T, H)
    if plan.own_limit:
        transpose(H, H, theta, H, <real *>buffers.W_hh_T, H)
    first_input(plan, theta, <real *>buffers.bias0)
    memset(<real *>h0_of(<const real *>grad, plan), 0, H * sizeof(real))
    loss[0] = 0
    sort_by_length(n, order, offsets, task.lengths)
    while done < n:
        members = block_members(n - done, order + done, offsets, plan.block_rows, plan.block_members)
        fill_block(block, members, order + done, offsets)
        for i in range(members):
            w[i] = weights[block.member[i]] if weights != NULL else <real>(1.0 / <double>n)
        block_gradient(task, theta, data, done > 0, grad, loss)
        done += members
    if plan.tied:
        # dW += dV', by way of the scratch that held V
        transpose(H, K, <const real *>buffers.dV, K, <real *>buffers.scratch_V, H)
        sgd_update(H * K, -1.0, <const real *>buffers.scratch_V, grad)
    return 0


# ---- unroll ------------------------------------------------------------------------------------

cdef int unroll_block(const Plan *plan, const real *theta, const real *V, const Block *block,
                      const real *codes, bint chronological, real *y, real *z, real *out, Pulse *pulse) except -1 nogil:
    """Unroll each member's code for its length: latest input first, or turned round.

    y (members, H) and z (members, H+I): scratch.
    """
    cdef Py_ssize_t I = plan.I, H = plan.H, K = plan.H + plan.I, k, n, active, row, length
    for n in range(block.n):
        memcpy(y + n * H, codes + block.member[n] * H, H * sizeof(real))
    for k in range(block.steps):
        active = block.active[k]
        # [y', x] = y V + c          (B,H+I) = (B,H)(H,H+I)
        for n in range(active):
            memcpy(z + n * K, c_of(theta, plan), K * sizeof(real))
        product(plan, False, active, K, H, y, H, V, K, True, z, K)
        for n in range(active):
            memcpy(y + n * H, z + n * K, H * sizeof(real))
            if chronological:
                length = block_length(block, n)
                row = block.start[n] + length - 1 - k
            else:
                row = block.start[n] + k
            memcpy(out + row * I, z + n * K + H, I * sizeof(real))
        if plan.tanh_decoder:
            tanh_(active * H, y, y)
        beat(pulse, 2.0 * active * H * K)
    return 0


cdef inline Py_ssize_t block_length(const Block *block, Py_ssize_t n) noexcept nogil:
    """Length of member n: the last step at which it is active, by bisection of the falling counts."""
    cdef Py_ssize_t low = 0, high = block.steps, middle
    while high - low > 1:
        middle = (low + high) // 2
        if block.active[middle] > n:
            low = middle
        else:
            high = middle
    return low + 1


# ---- Python's entry points ---------------------------------------------------------------------

cdef int check_theta(const Plan *plan, Py_ssize_t size) except -1:
    if size != theta_size(plan):
        raise ValueError(f"theta has {size} elements, but n_inputs={plan.I} and n_hidden={plan.H} "
                         f"need {theta_size(plan)}")
    return 0


cdef int check_data(const Plan *plan, Py_ssize_t rows, Py_ssize_t columns,
                    const Py_ssize_t[::1] offsets) except -1:
    if columns != plan.I or offsets.shape[0] < 2 or offsets[0] != 0 or offsets[offsets.shape[0] - 1] != rows:
        raise ValueError(f"data ({rows}, {columns}) does not fit its offsets or n_inputs={plan.I}")
    return 0


def hidden_states(const real[::1] theta not None, const real[:, ::1] data not None,
                  const Py_ssize_t[::1] offsets not None, form, real[:, ::1] out not None,
                  bint last_only=False):
    """h_t of every step into out (rows of data, H); with last_only the codes into out (N, H)."""
    cdef Plan plan = make_plan(form, sizeof(real), False)
    cdef Py_ssize_t N = offsets.shape[0] - 1, H = plan.H, done = 0, members, t, t0, t1, n
    cdef Py_ssize_t still, destination
    check_theta(&plan, theta.shape[0])
    check_data(&plan, data.shape[0], data.shape[1], offsets)
    if out.shape[0] != (N if last_only else data.shape[0]) or out.shape[1] != H:
        raise ValueError("out has the wrong shape")
    cdef (Py_ssize_t, Py_ssize_t) most = longest_and_rows(offsets, N)
    cdef Extent extent = measure(&plan, most[0], most[1], N)
    cdef Workspace space = Workspace(
        block_bytes(&extent) + bytes_for(N, sizeof(LengthAt))
        + bytes_for(extent.span_rows * plan.I, sizeof(real))
        + bytes_for(extent.span_rows * H, sizeof(real))
        + bytes_for(extent.members * H, sizeof(real)) + bytes_for(H, sizeof(real)))
    cdef Block block
    take_block(space, &extent, &block)
    cdef LengthAt *lengths = <LengthAt *>space.take(N, sizeof(LengthAt))
    cdef Py_ssize_t[::1] order = np.arange(N)
    cdef real *x = <real *>space.take(extent.span_rows * plan.I, sizeof(real))
    cdef real *h = <real *>space.take(extent.span_rows * H, sizeof(real))
    cdef real *h_before = <real *>space.take(extent.members * H, sizeof(real))
    cdef real *bias0 = <real *>space.take(H, sizeof(real))
    cdef real *h_t
    cdef Pulse pulse = new_pulse(0)
    with nogil:
        sort_by_length(N, &order[0], &offsets[0], lengths)
        first_input(&plan, &theta[0], bias0)
        while done < N:
            members = block_members(N - done, &order[done], &offsets[0], plan.block_rows,
                                    plan.block_members)
            fill_block(&block, members, &order[done], &offsets[0])
            t0 = 0
            while t0 < block.steps:
                t1 = span_end(&block, t0, plan.span_rows)
                encode_span(&plan, &theta[0], &block, t0, t1, &data[0, 0], bias0, h_before, x, h,
                            &pulse)
                h_t = h
                for t in range(t0, t1):
                    still = block.active[t + 1] if t + 1 < block.steps else 0
                    for n in range(still if last_only else 0, block.active[t]):
                        destination = block.member[n] if last_only else block.start[n] + t
                        memcpy(&out[destination, 0], h_t + n * H, H * sizeof(real))
                    if t + 1 == t1:
                        memcpy(h_before, h_t, still * H * sizeof(real))
                    h_t += block.active[t] * H
                t0 = t1
            done += members


def loss_and_grad(const real[::1] theta not None, const real[:, ::1] data not None,
                  const Py_ssize_t[::1] offsets not None, const real[::1] weights, form,
                  real[::1] grad not None):
    """Return sum_n w_n E(X_n) and write its gradient; weights None means 1 / N each."""
    cdef Py_ssize_t N = offsets.shape[0] - 1
    cdef Task task
    task.plan = make_plan(form, sizeof(real), True)
    check_theta(&task.plan, theta.shape[0])
    check_theta(&task.plan, grad.shape[0])
    check_data(&task.plan, data.shape[0], data.shape[1], offsets)
    if weights is not None and weights.shape[0] != N:
        raise ValueError("one weight per sequence is needed")
    cdef (Py_ssize_t, Py_ssize_t) most = longest_and_rows(offsets, N)
    cdef Workspace space = begin_task(&task, most[0], most[1], N, sizeof(real))
    task.pulse = new_pulse(0)
    cdef Py_ssize_t[::1] order = np.arange(N)
    cdef double loss = 0
    cdef const real *w = &weights[0] if weights is not None else NULL
    with nogil:
        batch_gradient(&task, &theta[0], &data[0, 0], &offsets[0], N, &order[0], w, &grad[0], &loss)
    return loss


def unroll(const real[::1] theta not None, const real[:, ::1] codes not None,
           const Py_ssize_t[::1] offsets not None, form, bint chronological,
           real[:, ::1] out not None):
    """Unroll code n into rows offsets[n]:offsets[n+1] of out, latest input first or chronological.

    With softmax output these are logits.
    """
    cdef Plan plan = make_plan(form, sizeof(real), False)
    cdef Py_ssize_t N = offsets.shape[0] - 1, done = 0, members
    check_theta(&plan, theta.shape[0])
    if codes.shape[0] != N or codes.shape[1] != plan.H or out.shape[0] != offsets[N] or out.shape[1] != plan.I:
        raise ValueError("codes and out do not fit the offsets")
    cdef (Py_ssize_t, Py_ssize_t) most = longest_and_rows(offsets, N)
    cdef Extent extent = measure(&plan, most[0], most[1], N)
    cdef Workspace space = Workspace(
        block_bytes(&extent) + bytes_for(N, sizeof(LengthAt))
        + bytes_for(extent.members * plan.H, sizeof(real))
        + bytes_for(extent.members * (plan.H + plan.I), sizeof(real))
        + bytes_for(plan.H * (plan.H + plan.I) if plan.tied else 0, sizeof(real)))
    cdef Block block
    take_block(space, &extent, &block)
    cdef LengthAt *lengths = <LengthAt *>space.take(N, sizeof(LengthAt))
    cdef real *y = <real *>space.take(extent.members * plan.H, sizeof(real))
    cdef real *z = <real *>space.take(extent.members * (plan.H + plan.I), sizeof(real))
    cdef const real *V = V_of(&theta[0], &plan)
    if plan.tied:
        V = <const real *>space.take(plan.H * (plan.H + plan.I), sizeof(real))
        transpose(plan.H + plan.I, plan.H, &theta[0], plan.H, <real *>V, plan.H + plan.I)
    cdef Py_ssize_t[::1] order = np.arange(N)
    cdef Pulse pulse = new_pulse(0)
    with nogil:
        sort_by_length(N, &order[0], &offsets[0], lengths)
        while done < N:
            members = block_members(N - done, &order[done], &offsets[0], plan.block_rows,
                                    plan.block_members)
            fill_block(&block, members, &order[done], &offsets[0])
            unroll_block(&plan, &theta[0], V, &block, &codes[0, 0], chronological, y, z, &out[0, 0],
                         &pulse)
            done += members


def step(const real[::1] theta not None, const real[:, ::1] state not None,
         const real[:, ::1] x not None, form, real[:, ::1] out not None):
    """out = tanh(x W_xh + state W_hh + b_h), one step of B streams; out must not overlap the inputs."""
    cdef Plan plan = make_plan(form, sizeof(real), False)
    cdef Py_ssize_t B = state.shape[0], H = plan.H, I = plan.I, r, first = 0, rows
    check_theta(&plan, theta.shape[0])
    if x.shape[0] != B or x.shape[1] != I or state.shape[1] != H or out.shape[0] != B or out.shape[1] != H:
        raise ValueError("state, x and out do not fit together")
    cdef Pulse pulse = new_pulse(0)
    cdef const real *bias = b_of(&theta[0], &plan)
    with nogil:
        while first < B:
            rows = min(B - first, plan.block_members)
            for r in range(first, first + rows):
                memcpy(&out[r, 0], bias, H * sizeof(real))
            product(&plan, False, rows, H, I, &x[first, 0], I, W_xh_of(&theta[0], &plan), H, True,
                    &out[first, 0], H)
            product(&plan, False, rows, H, H, &state[first, 0], H, &theta[0], H, True,
                    &out[first, 0], H)
            tanh_(rows * H, &out[first, 0], &out[first, 0])
            beat(&pulse, 2.0 * rows * H * (H + I))
            first += rows


# ---- training ----------------------------------------------------------------------------------

cdef extern from *:
    """
    /* numpy/random/bitgen.h: the documented interface of every NumPy bit generator. */
    typedef struct {
        void *state;
        uint64_t (*next_uint64)(void *);
        uint32_t (*next_uint32)(void *);
        double (*next_double)(void *);
        uint64_t (*next_raw)(void *);
    } rae_bitgen;
    """
    ctypedef struct rae_bitgen:
        void *state
        uint64_t (*next_uint64)(void *) noexcept nogil


cdef void shuffle(Py_ssize_t n, Py_ssize_t *order, rae_bitgen *bits) noexcept nogil:
    """A uniformly random order of 0..n-1 (Fisher-Yates; bounded draws by masking and rejection)."""
    cdef Py_ssize_t i, j
    cdef uint64_t mask
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        mask = <uint64_t>i
        mask |= mask >> 1
        mask |= mask >> 2
        mask |= mask >> 4
        mask |= mask >> 8
        mask |= mask >> 16
        mask |= mask >> 32
        j = <Py_ssize_t>(bits.next_uint64(bits.state) & mask)
        while j > i:
            j = <Py_ssize_t>(bits.next_uint64(bits.state) & mask)
        order[i], order[j] = order[j], order[i]


cdef enum:
    SGD = 0
    MOMENTUM = 1
    NESTEROV = 2
    RMSPROP = 3
    ADADELTA = 4
    ADAM = 5
    RPROP = 6

cdef enum:
    CONSTANT = 0
    COSINE = 1
    STEP = 2
    INVERSE = 3

_SOLVERS = {"sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "rmsprop": RMSPROP,
            "adadelta": ADADELTA, "adam": ADAM, "rprop": RPROP}
_SCHEDULES = {"constant": CONSTANT, "cosine": COSINE, "step": STEP, "inverse": INVERSE}


cdef struct Settings:          # solvers.Solver
    int name
    int schedule
    double learning_rate
    double momentum
    bint sutskever
    double rho
    double beta_1
    double beta_2
    double epsilon
    double clip_norm
    double weight_decay


cdef Settings settings_of(solver) except *:
    cdef Settings s
    if solver.name not in _SOLVERS:
        raise ValueError(f"{solver.name!r} is not one of the solvers that go update by update")
    s.name = _SOLVERS[solver.name]
    s.schedule = _SCHEDULES[solver.schedule]
    s.learning_rate = solver.learning_rate
    s.momentum = solver.momentum
    s.sutskever = solver.momentum_schedule == "sutskever"
    s.rho = solver.rho
    s.beta_1 = solver.beta_1
    s.beta_2 = solver.beta_2
    s.epsilon = solver.epsilon
    s.clip_norm = INFINITY if solver.clip_norm is None else solver.clip_norm
    s.weight_decay = solver.weight_decay
    return s


cdef double learning_rate_at(const Settings *s, double done) noexcept nogil:
    """The schedule; done is the fraction of the run's updates already made."""
    if s.schedule == COSINE:
        return s.learning_rate * (1 + cos(M_PI * done)) / 2
    if s.schedule == STEP:
        return s.learning_rate * (1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01)
    if s.schedule == INVERSE:
        return s.learning_rate / (1 + 10 * done)
    return s.learning_rate


cdef void update(const Settings *s, double rate, Py_ssize_t t, Py_ssize_t n, real *grad, real *first,
                 real *second, const real *scale, double unit, real *scratch, real *theta) noexcept nogil:
    """Update number t (from 1) of theta and of the state arrays; grad is overwritten if need be.

    scale (n) or NULL: the solver works on theta / scale, and on the loss over `unit`; scratch (n) then holds
    its step.
    """
    cdef double norm, mu
    cdef Py_ssize_t i
    cdef real *moving = theta
    if s.clip_norm < INFINITY:
        norm = sqrt(sum_squares(n, grad))
        if norm > s.clip_norm:
            for i in range(n):
                grad[i] = <real>(grad[i] * (s.clip_norm / norm))
    if s.weight_decay != 0:
        sgd_update(n, -s.weight_decay, theta, grad)
    if scale != NULL:
        moving = scratch
        for i in range(n):
            grad[i] *= <real>(scale[i] / unit)
            moving[i] = 0
    if s.name == SGD:
        sgd_update(n, rate, grad, moving)
    elif s.name == MOMENTUM or s.name == NESTEROV:
        mu = min(1 - 3.0 / (t + 4), s.momentum) if s.sutskever else s.momentum
        momentum_update(n, rate, mu, s.name == NESTEROV, grad, first, moving)
    elif s.name == RMSPROP:
        rmsprop_update(n, rate, s.rho, s.epsilon, grad, first, moving)
    elif s.name == ADADELTA:
        adadelta_update(n, rate, s.rho, s.epsilon, grad, first, second, moving)
    elif s.name == ADAM:
        adam_update(n, rate / (1 - pow(s.beta_1, t)), s.beta_1, s.beta_2, sqrt(1 - pow(s.beta_2, t)),
                    s.epsilon, grad, first, second, moving)
    else:
        rprop_update(n, grad, first, second, moving)
    if scale != NULL:
        for i in range(n):
            theta[i] += scale[i] * moving[i]


cdef class Training:
    """Where a run of train() stands: counters, the order of the pass, the stopping rule.

    status is 'running', 'finished' (max_iter passes), 'converged' (the stopping rule) or
    'non-finite' (the update after n_updates was not made).
    """
    cdef readonly Py_ssize_t n_updates, n_iter, batch_size
    cdef readonly str status
    cdef bint in_pass                  # the order of this pass is drawn
    cdef Py_ssize_t position           # sequences of this pass already used
    cdef Py_ssize_t[::1] order         # of the sequences in this pass
    cdef double pass_loss              # sum over the updates of this pass
    cdef double best                   # loss of the best pass
    cdef Py_ssize_t stalled            # passes in a row without enough improvement
    cdef Py_ssize_t longest, batch_rows

    def __init__(self, const Py_ssize_t[::1] offsets not None, Py_ssize_t batch_size):
        if not 1 <= batch_size < offsets.shape[0]:
            raise ValueError("batch_size must lie between 1 and the number of sequences")
        self.status = "running"
        self.best = float("inf")
        self.order = np.arange(offsets.shape[0] - 1)
        self.batch_size = batch_size
        self.longest, self.batch_rows = longest_and_rows(offsets, batch_size)

    def state(self):
        """All that `restore` needs to go on from here: counters, and a copy of the order of the pass."""
        return {"n_updates": self.n_updates, "n_iter": self.n_iter, "in_pass": bool(self.in_pass),
                "position": self.position, "pass_loss": self.pass_loss, "best": self.best,
                "stalled_passes": self.stalled, "order": np.array(self.order)}

    def restore(self, dict state not None):
        """Go on from a state() of a run over the same data; ValueError if it cannot be one."""
        N = self.order.shape[0]
        order = np.ascontiguousarray(state["order"], dtype=np.intp)
        position, n_iter, n_updates = int(state["position"]), int(state["n_iter"]), int(state["n_updates"])
        if order.shape != (N,) or not np.array_equal(np.sort(order), np.arange(N)):
            raise ValueError("the order of the pass is not one of these sequences")
        if min(n_iter, n_updates, int(state["stalled_passes"])) < 0 or not 0 <= position < N or position % self.batch_size:
            raise ValueError("the counters of the run cannot be right")
        self.order, self.position, self.n_iter, self.n_updates = order, position, n_iter, n_updates
        self.in_pass, self.stalled = bool(state["in_pass"]), int(state["stalled_passes"])
        self.pass_loss, self.best = float(state["pass_loss"]), float(state["best"])


cdef inline bint pass_converged(Training run, double loss, double tol, Py_ssize_t patience) noexcept nogil:
    """Whether this pass is the patience-th in a row that improves on the best by less than tol."""
    if run.n_iter > 1 and not run.best - loss >= tol * run.best:
        run.stalled += 1
    else:
        run.stalled = 0
    if loss < run.best:
        run.best = loss
    return tol > 0 and run.stalled >= patience


def train(real[::1] theta not None, const real[:, ::1] data not None,
          const Py_ssize_t[::1] offsets not None, const real[::1] weights, form,
          solver, list state not None, const real[::1] scale, double unit, Py_ssize_t t0, bit_generator,
          Py_ssize_t max_iter, double tol, Py_ssize_t n_iter_no_change, Training run not None, double[::1] losses not None,
          double seconds):
    """Make updates of theta and of the solver's state arrays for about `seconds`; write the loss of each pass.

    A pass's loss is the mean over its updates of the batch's loss before the update. The size of `losses`
    bounds the number of passes that end in a call; run.n_iter counts them. scale and unit:
    what the solver measures theta and the loss in (parameters.relative_scales), None for 1. bit_generator shuffles the sequences before each pass; None keeps their order. Call again with the same `run`
    until run.status is no longer 'running'. t0: updates that the state had seen before this run.
    """
    cdef Py_ssize_t N = offsets.shape[0] - 1, n, i, n_losses = 0, batch_size = run.batch_size
    cdef Task task
    task.plan = make_plan(form, sizeof(real), True)
    check_theta(&task.plan, theta.shape[0])
    check_data(&task.plan, data.shape[0], data.shape[1], offsets)
    if weights is not None and weights.shape[0] != N:
        raise ValueError("one weight per sequence is needed")
    if run.order.shape[0] != N or losses.shape[0] == 0:
        raise ValueError("run or losses do not fit the data")
    cdef Workspace space = begin_task(&task, run.longest, run.batch_rows, run.batch_size, sizeof(real))
    task.pulse = new_pulse(seconds)
    cdef Py_ssize_t size = theta_size(&task.plan)
    cdef real[::1] grad = np.empty(size, dtype=np.asarray(theta).dtype)
    cdef const real *w = &weights[0] if weights is not None else NULL
    cdef rae_bitgen *bits = NULL
    if bit_generator is not None:
        bits = <rae_bitgen *>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
    cdef Settings settings = settings_of(solver)
    cdef real[::1] first, second
    cdef real *first_ = NULL
    cdef real *second_ = NULL
    if len(state) != len(STATE[solver.name]) or any(len(array) != size for array in state):
        raise ValueError(f"solver {solver.name!r} keeps {len(STATE[solver.name])} arrays of {size} elements")
    if len(state) > 0:
        first = state[0]
        first_ = &first[0]
    if len(state) > 1:
        second = state[1]
        second_ = &second[0]
    cdef const real *scale_ = NULL
    cdef real[::1] scratch
    cdef real *scratch_ = NULL
    cdef double widest = 1
    if scale is not None:
        check_theta(&task.plan, scale.shape[0])
        scale_ = &scale[0]
        scratch = np.empty(size, dtype=np.asarray(theta).dtype)
        scratch_ = &scratch[0]
        widest = max(1.0, np.max(scale))
    # Within this limit neither rate * gradient overflows nor, where it is squared, its sum of squares. With a
    # scale the solver squares the gradient in its own units, which must leave room for the step's way back.
    cdef double most = np.finfo(np.asarray(theta).dtype).max / 2
    cdef bint solver_squares = settings.name > NESTEROV
    cdef double limit = most
    cdef double limit_scaled = (sqrt(most / size) if solver_squares else most) / max(settings.learning_rate, 1.0) / widest
    if settings.clip_norm < INFINITY or (solver_squares and scale_ == NULL):
        limit = sqrt(most / size)
    if scale_ == NULL:
        limit /= max(settings.learning_rate, 1.0)
    cdef double total = <double>max_iter * ((N + batch_size - 1) // batch_size)
    cdef double loss = 0
    cdef int status = 0
    cdef bint updated = False
    cdef uint64_t fp_state = rae_flush_subnormals()
    try:
        with nogil:
            while status == 0:
                if run.position == 0 and run.n_iter >= max_iter:
                    status = 1
                    break
                # At least one update a call, so that calls always get on.
                if n_losses == losses.shape[0] or (updated and task.pulse.time >= task.pulse.deadline):
                    break
                if not run.in_pass:  # drawn once, even if Ctrl-C comes before the pass's first update
                    if bits != NULL and N > 1:
                        shuffle(N, &run.order[0], bits)
                    run.pass_loss = 0
                    run.in_pass = True
                n = min(batch_size, N - run.position)
                batch_gradient(&task, &theta[0], &data[0, 0], &offsets[0], n,
                               &run.order[run.position], w, &grad[0], &loss)
                if not isfinite(loss) or first_beyond(size, limit, &grad[0]) < <size_t>size:
                    status = 3
                    break
                if scale_ != NULL:
                    for i in range(size):
                        scratch_[i] = <real>(grad[i] * (scale_[i] / unit))
                    if first_beyond(size, <real>limit_scaled, scratch_) < <size_t>size:
                        status = 3
                        break
                update(&settings, learning_rate_at(&settings, run.n_updates / total), t0 + run.n_updates + 1,
                       size, &grad[0], first_, second_, scale_, unit, scratch_, &theta[0])
                updated = True
                run.n_updates += 1
                run.pass_loss += loss
                run.position += n
                if run.position == N:
                    run.position = 0
                    run.in_pass = False
                    run.n_iter += 1
                    losses[n_losses] = run.pass_loss / ((N + batch_size - 1) // batch_size)
                    n_losses += 1
                    if pass_converged(run, losses[n_losses - 1], tol, n_iter_no_change):
                        status = 2
    finally:
        rae_set_fp_state(fp_state)
    run.status = ("running", "finished", "converged", "non-finite")[status]
