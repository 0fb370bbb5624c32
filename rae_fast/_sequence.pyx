"""Loss and gradient of the sequence auto-encoder.

Shapes: N sequences of T_n steps with I features, H hidden units; all arrays row-major. `data`
holds the sequences one after the other, (sum T_n, I), sequence n in rows offsets[n]:offsets[n+1].
The mathematics and the order of theta: docs/design.md. NumPy twin: reference.py.

How the work is laid out. A batch is cut into *parts* by its shape alone; a team of threads shares them, and their
gradients are added up in order, so the number of threads changes no bit. A part is one *block* of sequences after the
other (_blocks.pyx), a block one *span* of steps after the other. Only h_{t-1} W_hh and da_{t+1} W_hh' run step by step;
everything else is a product over all rows of a span, and a span is small enough that its buffers stay in the cache.
Between the forward and the backward sweep only the hidden states are kept (where they would be too many, those between
two spans): the loss and G are made where the backward sweep uses them.

Everything between the Python functions at the end and the C kernels is nogil. Memory is taken from a Workspace before
any time loop starts. Rows in buffers are padded to whole vectors, which are 0 where the C kernels write them.
"""

from libc.math cimport isfinite, sqrt
from libc.string cimport memcpy, memset

from rae_fast._blocks cimport (Block, LengthAt, block_members, cut_into_spans, fill_block, longest_and_rows,
                               sort_by_length, take_block)
from rae_fast._kernels cimport (axpy, column_sums, copy_rows, cross_entropy, end_team, gather, in_use, lanes, residual,
                                rows_within, start_team, sum_scratch, tanh_, tanh_backward, team_members,
                                together)
from rae_fast._products cimport (backward, choose_own, forward, multiply, recurs_bare, rows_of, set_bare, set_factor,
                                 sum_over_rows, take_factor)
from rae_fast._pulse cimport beat, new_pulse

# ---- the plan of a call ------------------------------------------------------------------------

# A span's buffers, 2 (H + I) + H numbers a row, are to stay in the L2 cache beside the weights, but
# a product over fewer than SPAN_MIN_ROWS rows would pay too much for each pass over the weights.
cdef enum:
    SPAN_BYTES = 1048576
    SPAN_MIN_ROWS = 256
    BLOCK_BYTES = 268435456   # hidden states kept for one block of several sequences
    ENCODE_SEQUENCES = 256    # a block that keeps no hidden states: more rows gain nothing
    PRODUCT_LIMIT = 8000000000  # operations in one product, about 0.1 s: between them Ctrl-C is heard

# A part of a batch: enough rows that adding up the parts' gradients costs little, and enough sequences that each
# reading of W_hh, from L2 or from beyond it, serves several. docs/performance.md, "Threads".
cdef enum:
    MOST_PARTS = 16
    PART_ROWS = 400
    PART_SEQUENCES = 8
    PART_SEQUENCES_LARGE = 32
    LARGE_BYTES = 524288      # of W_hh


cdef Py_ssize_t row_distance(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n up to whole cache lines; from 8 on an odd number of them, lest a column of a matrix meet in one cache set."""
    cdef Py_ssize_t lines = (n * itemsize + 63) // 64
    if lines >= 8:
        lines |= 1
    return lines * 64 // itemsize


cdef Plan make_plan(form, Py_ssize_t itemsize, bint keep, max_memory) except *:
    """The plan of a call that keeps the hidden states of a block (gradients) or does not."""
    cdef Plan plan
    cdef Py_ssize_t I = form.n_inputs, H = form.n_hidden, most = max_memory
    if I < 1 or H < 1:
        raise ValueError("n_inputs and n_hidden must be at least 1")
    plan.I = I
    plan.H = H
    plan.K = I + H
    plan.own = choose_own(I, H, itemsize)
    plan.H_full = (H + lanes(itemsize) - 1) // lanes(itemsize) * lanes(itemsize) if plan.own else H
    plan.ld_h = row_distance(H, itemsize)
    plan.ld_k = row_distance(H + I, itemsize)
    plan.unfold = form.objective == "unfold"
    plan.tanh_decoder = form.decoder == "tanh"
    plan.softmax = form.output == "softmax"
    plan.tied = form.tied
    plan.hidden_weight = form.hidden_weight
    plan.reconstruct_h0 = form.reconstruct_h0
    cdef Py_ssize_t limit_rows = max(<Py_ssize_t>1, <Py_ssize_t>PRODUCT_LIMIT // (2 * (H + I) * H))
    plan.span_rows = max(<Py_ssize_t>SPAN_MIN_ROWS, SPAN_BYTES // ((3 * H + 2 * I) * itemsize))
    plan.span_rows = min(plan.span_rows, limit_rows)
    plan.most_kept = most // ((2 if plan.unfold else 1) * plan.ld_h * itemsize)
    plan.block_rows = max(<Py_ssize_t>1, BLOCK_BYTES // (H * itemsize)) if keep else <Py_ssize_t>2 ** 62
    plan.block_members = min(limit_rows, <Py_ssize_t>2 ** 62 if keep else ENCODE_SEQUENCES)
    return plan


cdef Py_ssize_t part_count(const Plan *plan, Py_ssize_t n, Py_ssize_t rows, size_t item) noexcept nogil:
    """Into how many parts a batch of n sequences with so many rows is cut."""
    cdef Py_ssize_t least = PART_SEQUENCES if plan.H * plan.H * item <= LARGE_BYTES else PART_SEQUENCES_LARGE
    return max(<Py_ssize_t>1, min(min(n // least, rows // PART_ROWS), <Py_ssize_t>MOST_PARTS))


# ---- views into theta --------------------------------------------------------------------------
# theta = [ W (H+I, H) | b_h (H) | h0 (H) | V' (H+I, H) | c_h (H) | c_x (I) ],  W = [W_hh; W_xh],  V = [V_hh, V_hx]
# Tied: V's block is absent, V' = W.

cdef inline const real *b_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + p.K * p.H

cdef inline const real *h0_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + p.K * p.H + p.H

cdef inline const real *V_of(const real *theta, const Plan *p) noexcept nogil:
    """V', (H+I, H)"""
    return theta if p.tied else theta + p.K * p.H + 2 * p.H

cdef inline const real *c_of(const real *theta, const Plan *p) noexcept nogil:
    return theta + (1 if p.tied else 2) * p.K * p.H + 2 * p.H

cdef Py_ssize_t theta_size(const Plan *p) noexcept nogil:
    return (1 if p.tied else 2) * p.K * p.H + 3 * p.H + p.I


# ---- the weights as factors --------------------------------------------------------------------

cdef inline bint halves(const Plan *p) noexcept nogil:
    """Whether codes and inputs are decoded apart, not in one product with V."""
    return p.unfold or p.tanh_decoder


cdef int take_weights(Workspace space, const Plan *p, size_t item, bint gradient, Weights *w) except -1:
    cdef bint free = gradient and not p.tied, own = p.own
    take_factor(space, p.K, p.H, item, own, &w.W_hh)
    take_factor(space, p.H, p.H if gradient else 0, item, own, &w.W_hh_T)
    take_factor(space, p.H, p.K if gradient and not halves(p) else 0, item, own, &w.V)
    take_factor(space, p.H, p.H if free and halves(p) else 0, item, own, &w.V_hh)
    take_factor(space, p.H, p.I if gradient and halves(p) else 0, item, own, &w.V_hx)
    take_factor(space, p.K, p.H if free else 0, item, own, &w.V_hh_T)
    w.bias = space.take(p.H_full, item)
    w.bias0 = space.take(p.H_full, item)
    w.c_h = space.take(p.H_full, item)
    w.zeros = space.take(p.H, item)
    return 0


cdef void padded_copy(const Plan *p, const real *x, real *y) noexcept nogil:
    memcpy(y, x, p.H * sizeof(real))
    memset(y + p.H, 0, (p.H_full - p.H) * sizeof(real))


# With fewer sequences the first step is one more of the recurrence, from h0: a row of its own in the product of the
# inputs would cost more.
cdef enum:
    FEW_SEQUENCES = 8


cdef bint lie_bare(const Plan *p, Py_ssize_t sequences, size_t item) noexcept nogil:
    """Whether the recurrences use their weights as they lie; tied ones serve in other products too."""
    return p.own and not p.tied and recurs_bare(sequences, p.H, item)


cdef void set_stacked(const Plan *p, const real *matrix, bint lying, Factor *codes, Factor *inputs) noexcept nogil:
    """W or V' (H+I, H) in one piece; or the rows of codes as they lie, and those of inputs in the memory of both."""
    if lying:
        set_bare(codes, p.H, matrix, p.H, False)
        inputs[0] = codes[0]
        set_factor(inputs, p.I, p.H, matrix + p.H * p.H, p.H, False)
    else:
        set_factor(codes, p.K, p.H, matrix, p.H, False)
        inputs[0] = rows_of(codes, p.H, matrix)


cdef void set_turned(const real *matrix, Py_ssize_t n, Py_ssize_t H, bint lying, Factor *factor) noexcept nogil:
    """The transpose of n rows of W or V': as it lies, or in panels."""
    if lying:
        set_bare(factor, n, matrix, H, True)
    else:
        set_factor(factor, H, n, matrix, H, True)


cdef void set_encoder(const Plan *p, const real *theta, Py_ssize_t sequences, Weights *w) noexcept nogil:
    """What encoding blocks of up to so many sequences needs."""
    set_stacked(p, theta, lie_bare(p, sequences, sizeof(real)), &w.W_hh, &w.W_xh)
    padded_copy(p, b_of(theta, p), <real *>w.bias)
    if sequences < FEW_SEQUENCES:
        return
    multiply(NULL, 1, p.H_full, p.H, h0_of(theta, p), p.H, &w.W_hh, <real *>w.bias, 0, <real *>w.bias0, p.H_full)


cdef void set_unroller(const Plan *p, const real *theta, Weights *w) noexcept nogil:
    """V in one piece."""
    set_turned(V_of(theta, p), p.K, p.H, False, &w.V)


cdef void set_decoder(const Plan *p, const real *theta, Py_ssize_t sequences, Weights *w) noexcept nogil:
    """What gradients need besides."""
    cdef const real *V = V_of(theta, p)
    cdef bint lying = lie_bare(p, sequences, sizeof(real))
    set_turned(theta, p.H, p.H, lying, &w.W_hh_T)
    if p.tied:
        w.V_hh_T = w.W_hh
        w.V_hx_T = w.W_xh
        w.V_hh = w.W_hh_T
    else:
        # Only unfolding is a recurrence through V'; else its product has many rows.
        set_stacked(p, V, lying and p.unfold, &w.V_hh_T, &w.V_hx_T)
        if halves(p):
            set_turned(V, p.H, p.H, lying, &w.V_hh)
    if halves(p):
        set_turned(V + p.H * p.H, p.I, p.H, lying, &w.V_hx)
    else:
        set_turned(V, p.K, p.H, lying, &w.V)
    padded_copy(p, c_of(theta, p), <real *>w.c_h)
    memset(w.zeros, 0, p.H * sizeof(real))


# ---- encode ------------------------------------------------------------------------------------

cdef const real *packed_inputs(const Plan *p, const Block *block, Py_ssize_t t0, Py_ssize_t t1, const real *data,
                               real *out) noexcept nogil:
    """Inputs of steps t0:t1 in packed order, (rows, I): copied to `out`, unless they are so in the data."""
    cdef Py_ssize_t t, row = 0
    if block.n == 1:
        return data + (block.start[0] + t0) * p.I
    for t in range(t0, t1):
        gather(block.active[t], p.I, data + t * p.I, block.start, out + row * p.I, p.I)
        row += block.active[t]
    return out


cdef int encode_span(const Plan *p, rae_team *team, Pulse *pulse, const Weights *w, const real *theta,
                     const Block *block, Py_ssize_t t0, Py_ssize_t t1, const real *data, const real *h_before,
                     real *x, real *h) except -1 nogil:
    """Hidden states of steps t0:t1 into h (rows of the span, ld_h).

    h_before (active[t0], ld_h): the states of step t0 - 1, unused for t0 = 0. x: scratch, (rows, I).
    """
    cdef Py_ssize_t rows = block.first[t1] - block.first[t0], apart = 0, ld_before = p.ld_h
    cdef const real *inputs = packed_inputs(p, block, t0, t1, data, x)
    if t0 == 0 and block.n < FEW_SEQUENCES:
        h_before = h0_of(theta, p)
        ld_before = 0
    elif t0 == 0:
        h_before = NULL
        apart = block.n
        multiply(team, apart, p.H_full, p.I, inputs, p.I, &w.W_xh, <const real *>w.bias0, 0, h, p.ld_h)
    # A = 1 b' + X W_xh            (rows,H) = (rows,I)(I,H)
    if rows > apart:
        multiply(team, rows - apart, p.H_full, p.I, inputs + apart * p.I, p.I, &w.W_xh, <const real *>w.bias, 0,
                 h + apart * p.ld_h, p.ld_h)
    beat(pulse, 2.0 * rows * p.H * p.I)
    # H_t = tanh(A_t + H_{t-1} W_hh)
    forward(team, pulse, t1 - t0, block.active + t0, p.H, h_before, ld_before, &w.W_hh, <const real *>NULL, True, h,
            p.ld_h)
    return 0


# ---- decode, loss, gradient --------------------------------------------------------------------

cdef struct Buffers:           # of one thread of a gradient call; (real *) behind void *
    void *trace                # (rows of a block, ld_h)   hidden states; of a span, if `kept` holds the rest
    void *y                    # the same for the unfolded codes, unfold only
    void *kept                 # (spans, members, ld_h)    the states before every span
    void *y_kept
    void *z                    # (rows of a span, ld_k)    targets [h_{t-1}, x_t]
    void *g                    # (rows of a span, ld_k)    gradient of the decoder's linear parts
    void *da                   # (rows of a span, ld_h)
    void *back                 # (rows of a span, ld_h)    decoded codes, stepwise tanh decoder only
    void *pull                 # (rows of a span, ld_h)    on the targets, stepwise tanh decoder only
    void *da_next              # (sequences, ld_h)  da of the first step of the later span
    void *pull_next            # (sequences, ld_h)  and its pull
    void *dcode                # (sequences, ld_h)  gradient of the last codes, unfold only
    void *codes                # (sequences, ld_h)  the last codes, unfold only
    void *w                    # (sequences)
    void *w_hidden             # (rows of a span)
    void *w_input              # (rows of a span)
    void *sums                 # (H)
    void *h0_sum               # (H)
    void *scratch              # of sum_over_rows, for every member of a team


cdef Extent measure(const Plan *plan, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch) noexcept nogil:
    cdef Extent extent
    extent.steps = longest
    extent.members = min(batch, plan.block_members)
    extent.rows = min(rows, max(plan.block_rows, longest))
    extent.span_rows = min(extent.rows, max(plan.span_rows, extent.members))
    extent.recompute = extent.rows > max(plan.most_kept, extent.span_rows)
    extent.spans = 0
    if extent.recompute:
        # Two spans in a row have more than span_rows rows, or one has a single step.
        extent.spans = min(longest, 2 * (extent.rows // plan.span_rows + 1))
    return extent


cdef int take_buffers(Workspace space, const Plan *p, const Extent *e, size_t item, Py_ssize_t team,
                      Buffers *b) except -1:
    cdef bint bent = p.tanh_decoder and not p.unfold
    cdef Py_ssize_t traced = e.span_rows if e.recompute else e.rows
    b.trace = space.take(traced * p.ld_h, item)
    b.y = space.take(traced * p.ld_h if p.unfold else 0, item)
    b.kept = space.take(e.spans * e.members * p.ld_h, item)
    b.y_kept = space.take(e.spans * e.members * p.ld_h if p.unfold else 0, item)
    b.z = space.take(e.span_rows * p.ld_k, item)
    b.g = space.take(e.span_rows * p.ld_k, item)
    b.da = space.take(e.span_rows * p.ld_h, item)
    b.back = space.take(e.span_rows * p.ld_h if bent else 0, item)
    b.pull = space.take(e.span_rows * p.ld_h if bent else 0, item)
    b.da_next = space.take(e.members * p.ld_h, item)
    b.pull_next = space.take(e.members * p.ld_h, item)
    b.dcode = space.take(e.members * p.ld_h if p.unfold else 0, item)
    b.codes = space.take(e.members * p.ld_h if p.unfold else 0, item)
    b.w = space.take(e.members, item)
    b.w_hidden = space.take(e.span_rows, item)
    b.w_input = space.take(e.span_rows, item)
    b.sums = space.take(p.H, item)
    b.h0_sum = space.take(p.H, item)
    b.scratch = space.take(team * sum_scratch(p.K, p.K, e.span_rows, item) if p.own else 0, item)
    if space.base != NULL:
        # Products write vectors beyond a row's end only where they start at its start: the rest stays 0.
        memset(b.z, 0, e.span_rows * p.ld_k * item)
        memset(b.g, 0, e.span_rows * p.ld_k * item)
        memset(b.da, 0, e.span_rows * p.ld_h * item)
        memset(b.pull_next, 0, e.members * p.ld_h * item)
        if bent:
            memset(b.pull, 0, e.span_rows * p.ld_h * item)
    return 0


cdef struct Task:              # one thread's part of a gradient call, besides the arrays it is about
    const Plan *plan
    const Weights *weights
    rae_team *team             # that shares every product, or NULL
    Descent *descent           # to be made in the same go, or NULL
    bint recompute
    Pulse pulse
    Block block
    Buffers buffers


cdef inline Py_ssize_t active_at(const Block *block, Py_ssize_t t) noexcept nogil:
    return block.active[t] if t < block.steps else 0


cdef inline real *of_span(const Task *task, const real *all_rows, Py_ssize_t s) noexcept nogil:
    """Where the rows of span s of a trace are."""
    if task.recompute:
        return <real *>all_rows
    return <real *>all_rows + task.block.first[task.block.span[s]] * task.plan.ld_h


cdef inline const real *before_span(const Task *task, const real *all_rows, const real *kept,
                                    Py_ssize_t s) noexcept nogil:
    """The rows of the step before span s."""
    if s == 0:
        return NULL
    if task.recompute:
        return kept + s * task.block.n * task.plan.ld_h
    return all_rows + task.block.first[task.block.span[s] - 1] * task.plan.ld_h


cdef void keep_last(Task *task, const real *all_rows, real *kept, Py_ssize_t s) noexcept nogil:
    """What `before_span` of the next span will need, before span s is overwritten."""
    cdef const Block *block = &task.block
    cdef Py_ssize_t ld = task.plan.ld_h, t1 = block.span[s + 1]
    if task.recompute and t1 < block.steps:
        memcpy(kept + (s + 1) * block.n * ld, all_rows + (block.first[t1 - 1] - block.first[block.span[s]]) * ld,
               block.active[t1] * ld * sizeof(real))


cdef int encode_block_span(Task *task, const real *theta, const real *data, Py_ssize_t s) except -1 nogil:
    cdef const Buffers *b = &task.buffers
    cdef const Block *block = &task.block
    encode_span(task.plan, task.team, &task.pulse, task.weights, theta, block, block.span[s], block.span[s + 1], data,
                before_span(task, <const real *>b.trace, <const real *>b.kept, s), <real *>b.z,
                of_span(task, <const real *>b.trace, s))
    return 0


cdef void span_targets(Task *task, const real *theta, const real *data, Py_ssize_t s) noexcept nogil:
    """Rows [h_{t-1}, x_t] of z, and the two loss weights of every row of span s."""
    cdef const Plan *p = task.plan
    cdef const Block *block = &task.block
    cdef const Buffers *b = &task.buffers
    cdef Py_ssize_t t, t0 = block.span[s], t1 = block.span[s + 1], end, n, r = 0
    cdef const real *w = <const real *>b.w
    cdef const real *h = of_span(task, <const real *>b.trace, s)
    cdef real *z = <real *>b.z
    cdef real *w_input = <real *>b.w_input
    cdef real *w_hidden = <real *>b.w_hidden
    # h_{t-1}: as long as no sequence ends, the states before several steps lie one after the other.
    if t0 == 0:
        copy_rows(block.active[0], p.H, h0_of(theta, p), 0, z, p.ld_k)
    else:
        copy_rows(block.active[t0], p.H, before_span(task, <const real *>b.trace, <const real *>b.kept, s), p.ld_h, z,
                  p.ld_k)
    t = t0 + 1
    while t < t1:
        end = t + 1
        while end < t1 and block.active[end - 2] == block.active[end - 1]:
            end += 1
        copy_rows(block.first[end] - block.first[t], p.H, h + (block.first[t - 1] - block.first[t0]) * p.ld_h, p.ld_h,
                  z + (block.first[t] - block.first[t0]) * p.ld_k, p.ld_k)
        t = end
    if block.n == 1:
        copy_rows(t1 - t0, p.I, data + (block.start[0] + t0) * p.I, p.I, z + p.H, p.ld_k)
    for t in range(t0, t1):
        if block.n > 1:
            gather(block.active[t], p.I, data + t * p.I, block.start, z + r * p.ld_k + p.H, p.ld_k)
        for n in range(block.active[t]):
            w_input[r] = w[n]
            w_hidden[r] = <real>(p.hidden_weight * w[n]) if t > 0 or p.reconstruct_h0 else 0
            r += 1


cdef inline double output_loss(const Plan *plan, Py_ssize_t rows, const real *w, const real *c,
                               const real *z, Py_ssize_t ldz, real *g, Py_ssize_t ldg) noexcept nogil:
    """Loss of the outputs g + c against z (rows, I), and its gradient into g."""
    if plan.softmax:
        return cross_entropy(rows, plan.I, w, c, z, ldz, g, ldg)
    return residual(rows, plan.I, w, c, z, ldz, g, ldg)


cdef int decode_span(Task *task, const real *theta, Py_ssize_t rows, const real *h, double *loss) except -1 nogil:
    """Stepwise: reconstruct the span's targets z from h; loss, G, the pull, and into da what flows into h."""
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef const Weights *w = task.weights
    cdef Py_ssize_t r, H = p.H, ld = p.ld_h
    cdef const real *z = <const real *>b.z
    cdef real *g = <real *>b.g
    cdef real *back = <real *>b.back
    cdef real *pull = <real *>b.pull
    cdef const real *c = c_of(theta, p)
    if p.tanh_decoder:
        # back = tanh(H V_hh + c_h); pull = 2 w (back - h_{t-1}); G_h = pull o (1 - back^2)
        multiply(task.team, rows, p.H_full, H, h, ld, &w.V_hh, <const real *>w.c_h, 0, back, ld)
        multiply(task.team, rows, p.I, H, h, ld, &w.V_hx, <const real *>NULL, 0, g + H, p.ld_k)
        for r in range(rows):
            tanh_(H, back + r * ld, back + r * ld)
        copy_rows(rows, H, back, ld, pull, ld)
        loss[0] += residual(rows, H, <const real *>b.w_hidden, <const real *>w.zeros, z, p.ld_k, pull, ld)
        copy_rows(rows, H, pull, ld, g, p.ld_k)
        for r in range(rows):
            tanh_backward(H, back + r * ld, g + r * p.ld_k)
    else:
        # H V                          (rows,H+I) = (rows,H)(H,H+I)
        multiply(task.team, rows, p.K, H, h, ld, &w.V, <const real *>NULL, 0, g, p.ld_k)
        loss[0] += residual(rows, H, <const real *>b.w_hidden, c, z, p.ld_k, g, p.ld_k)
    loss[0] += output_loss(p, rows, <const real *>b.w_input, c + H, z + H, p.ld_k, g + H, p.ld_k)
    beat(&task.pulse, 2.0 * rows * H * p.K)
    # dH = G V'                        (rows,H) = (rows,H+I)(H+I,H)
    multiply(task.team, rows, p.H_full, p.K, g, p.ld_k, &w.V_hh_T, <const real *>NULL, 0, <real *>b.da, ld)
    beat(&task.pulse, 2.0 * rows * H * p.K)
    return 0


cdef int add_decoder_gradient(Task *task, Py_ssize_t rows, const real *y, double factor, bint accumulate,
                              bint tied_to_sum, real *grad) except -1 nogil:
    """dV' (+)= G' Y, dc (+)= column sums of G, times factor; tied: dW (+)= G' Y."""
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef const real *g = <const real *>b.g
    sum_over_rows(task.team, p.own, p.K, p.H, rows, g, p.ld_k, y, p.ld_h, factor, tied_to_sum if p.tied else accumulate,
                  <real *>b.scratch, <real *>V_of(<const real *>grad, p), p.H)
    column_sums(rows, p.K, g, p.ld_k, factor, accumulate, <real *>c_of(<const real *>grad, p))
    if task.descent == NULL:  # else theta may be half updated
        beat(&task.pulse, 2.0 * rows * p.H * p.K)
    return 0


cdef int add_encoder_gradient(Task *task, Py_ssize_t rows, const real *da, double factor, bint accumulate,
                              real *grad) except -1 nogil:
    """dW (+)= Z' dA, db (+)= column sums of dA, times factor."""
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    # A tied dW already holds the unfolded decoder's.
    sum_over_rows(task.team, p.own, p.K, p.H, rows, <const real *>b.z, p.ld_k, da, p.ld_h, factor,
                  accumulate or (p.tied and p.unfold), <real *>b.scratch, grad, p.H)
    column_sums(rows, p.H, da, p.ld_h, factor, accumulate, <real *>b_of(<const real *>grad, p))
    if task.descent == NULL:
        beat(&task.pulse, 2.0 * rows * p.H * p.K)
    return 0


# Beyond this weight a residual could be large in the gradient though its square is too small for a number.
cdef enum:
    MOST_WEIGHT = 1000000000000000


cdef bint residuals_within(const Plan *p, Py_ssize_t sequences, const real *w, double loss, double most) noexcept nogil:
    """Whether the gradient g = 2 w d of every residual d lies within most, for w d^2 is one of the loss's terms."""
    cdef double widest = 0
    cdef Py_ssize_t n
    for n in range(sequences):
        widest = max(widest, <double>w[n])
    widest *= max(1.0, p.hidden_weight)
    return widest <= MOST_WEIGHT and 4.4 * widest * loss <= most * most  # 4, and a tenth for the loss's rounding


cdef bint may_descend(const Task *task, Py_ssize_t rows, const real *da, const real *y, double loss) noexcept nogil:
    """Whether no element of the gradient can be beyond the limit.

    Each but h0's, which is in h0_sum, is a sum over the rows of products of two numbers of z, da, g and y (the
    unrolled codes, NULL for stepwise). Of these h and a tanh decoder's y lie within 1 and need no look.
    """
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef const real *z = <const real *>b.z
    cdef const real *g = <const real *>b.g
    cdef double most = sqrt(task.descent.limit / rows)
    if not (isfinite(loss) and most > 1 and rows_within(1, p.H, most, z, p.ld_k)
            and rows_within(rows, p.I, most, z + p.H, p.ld_k) and rows_within(rows, p.H, most, da, p.ld_h)
            and rows_within(1, p.H, task.descent.limit, <const real *>b.h0_sum, p.H)):
        return False
    if p.softmax:
        return (rows_within(rows, p.K, most, g, p.ld_k)
                and (y == NULL or p.tanh_decoder or rows_within(rows, p.H, most, y, p.ld_h)))
    if y != NULL and not (rows_within(rows, p.H, most, g, p.ld_k)
                          and (p.tanh_decoder or rows_within(rows, p.H, most, y, p.ld_h))):
        return False
    return residuals_within(p, task.block.n, <const real *>b.w, loss, most)


cdef int unroll_span(Task *task, const real *c_h, Py_ssize_t s) except -1 nogil:
    """Codes y_k = decode(y_{k-1} V_hh + c_h) of span s; y_0 are the last codes."""
    cdef const Plan *p = task.plan
    cdef const Block *block = &task.block
    cdef const Buffers *b = &task.buffers
    cdef Py_ssize_t k0 = block.span[s], k1 = block.span[s + 1]
    cdef const real *before = before_span(task, <const real *>b.y, <const real *>b.y_kept, s)
    cdef real *y = of_span(task, <const real *>b.y, s)
    if k0 == 0:
        memcpy(y, b.codes, block.n * p.ld_h * sizeof(real))
        before = y
        y += block.n * p.ld_h
        k0 = 1
    forward(task.team, &task.pulse, k1 - k0, block.active + k0, p.H, before, p.ld_h, &task.weights.V_hh,
            c_h, p.tanh_decoder, y, p.ld_h)
    return 0


cdef int unfold_block(Task *task, const real *theta, const real *data, bint accumulate, real *grad,
                      double *loss) except -1 nogil:
    """Unroll the last codes of the block, add the loss, and go back to dcode, dV and dc.

    Step k decodes x_{T-k} (k from 0) from y_k; y_0 is the code. Row first[k] + n belongs to sequence n.
    """
    cdef const Plan *p = task.plan
    cdef const Block *block = &task.block
    cdef const Buffers *b = &task.buffers
    cdef const Weights *w = task.weights
    cdef Py_ssize_t I = p.I, H = p.H, ld = p.ld_h, s, k, k0, k1, n, r, rows, from_1, later
    cdef real *z = <real *>b.z
    cdef real *g = <real *>b.g
    cdef real *da = <real *>b.da
    cdef real *w_input = <real *>b.w_input
    cdef real *da_next = <real *>b.da_next
    cdef const real *source
    cdef real *y
    cdef const real *c = c_of(theta, p)

    for s in range(block.spans):
        unroll_span(task, <const real *>w.c_h, s)
        keep_last(task, <const real *>b.y, <real *>b.y_kept, s)
    for s in range(block.spans - 1, -1, -1):
        k0, k1 = block.span[s], block.span[s + 1]
        rows = block.first[k1] - block.first[k0]
        y = of_span(task, <const real *>b.y, s)
        if task.recompute and s < block.spans - 1:
            unroll_span(task, <const real *>w.c_h, s)
        r = 0
        for k in range(k0, k1):
            gather(block.active[k], I, data - k * I, block.last, z + r * I, I)
            memcpy(w_input + r, b.w, block.active[k] * sizeof(real))
            r += block.active[k]
        # X^ = Y V_hx + c_x, loss, G_x     (rows,I) = (rows,H)(H,I)
        multiply(task.team, rows, I, H, y, ld, &w.V_hx, <const real *>NULL, 0, g + H, p.ld_k)
        loss[0] += output_loss(p, rows, <const real *>w_input, c + H, <const real *>z, I, g + H, p.ld_k)
        beat(&task.pulse, 2.0 * rows * H * I)
        # dY = G_x V_hx'                   (rows,H) = (rows,I)(I,H)
        multiply(task.team, rows, p.H_full, I, <const real *>g + H, p.ld_k, &w.V_hx_T, <const real *>NULL, 0, da, ld)
        beat(&task.pulse, 2.0 * rows * H * I)
        # dY_k = (dY_k + dY_{k+1} V_hh') o (1 - y_k^2); the code y_0 is no tanh of the decoder
        from_1 = block.n if k0 == 0 else 0
        backward(task.team, &task.pulse, k1 - max(k0, <Py_ssize_t>1), rows - from_1, block.active + max(k0, <Py_ssize_t>1),
                 active_at(block, k1), H, <const real *>da_next, <const real *>NULL, 0, &w.V_hh_T, <const real *>NULL,
                 <const real *>NULL, 0, <const real *>y + from_1 * ld if p.tanh_decoder else NULL, da + from_1 * ld, ld)
        if k0 == 0:
            backward(task.team, &task.pulse, 1, block.n, block.active, active_at(block, 1), H,
                     <const real *>(da + block.n * ld if k1 > 1 else da_next), <const real *>NULL, 0, &w.V_hh_T,
                     <const real *>NULL, <const real *>NULL, 0, <const real *>NULL, da, ld)
        # G_h of row (k, n) is the gradient of y_{k+1}'s linear part, 0 where the sequence has ended
        for k in range(k0, k1):
            later = active_at(block, k + 1)
            r = block.first[k] - block.first[k0]
            source = da + (block.first[k + 1] - block.first[k0]) * ld if k + 1 < k1 else da_next
            copy_rows(later, H, source, ld, g + r * p.ld_k, p.ld_k)
            for n in range(later, block.active[k]):
                memset(g + (r + n) * p.ld_k, 0, H * sizeof(real))
        if task.descent == NULL:
            add_decoder_gradient(task, rows, <const real *>y, 1, accumulate, accumulate, grad)
        accumulate = True
        if k0 > 0:
            memcpy(da_next, da, block.active[k0] * ld * sizeof(real))
    memcpy(b.dcode, da, block.n * ld * sizeof(real))
    return 0


cdef void h0_gradient(Task *task, const real *da, const real *pull, Py_ssize_t ld_pull) noexcept nogil:
    """h0_sum = (sum_n da_1) W_hh' - sum_n pull_1; step 1 is at the start of the span's buffers."""
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef Py_ssize_t H = p.H, n = task.block.n
    cdef real *sums = <real *>b.sums
    column_sums(n, H, da, p.ld_h, 1, False, sums)
    multiply(NULL, 1, H, H, <const real *>sums, H, &task.weights.W_hh_T, <const real *>NULL, 0, <real *>b.h0_sum, H)
    if p.reconstruct_h0 and not p.unfold:
        column_sums(n, H, pull, ld_pull, 1, False, sums)
        axpy(H, -1.0, <const real *>sums, <real *>b.h0_sum)


cdef int block_gradient(Task *task, const real *theta, const real *data, bint accumulate, real *grad,
                        double *loss) except -1 nogil:
    """Add the block's loss; write its gradient to grad, or add it (accumulate)."""
    cdef const Plan *p = task.plan
    cdef Block *block = &task.block
    cdef const Buffers *b = &task.buffers
    cdef const Weights *w = task.weights
    cdef Py_ssize_t H = p.H, ld = p.ld_h, s, t0, t1, n, rows, ld_pull = 0
    cdef real *h = NULL
    cdef real *da = <real *>b.da
    cdef const real *pull = NULL
    cdef const real *pull_next = NULL
    cdef double factor = 1
    if not p.unfold:
        pull = <const real *>(b.pull if p.tanh_decoder else b.g)
        pull_next = <const real *>b.pull_next
        ld_pull = ld if p.tanh_decoder else p.ld_k
    cut_into_spans(block, p.span_rows)

    for s in range(block.spans):
        t0, t1 = block.span[s], block.span[s + 1]
        encode_block_span(task, theta, data, s)
        keep_last(task, <const real *>b.trace, <real *>b.kept, s)
        if p.unfold:
            h = of_span(task, <const real *>b.trace, s)
            for n in range(active_at(block, t1), block.active[t0]):
                memcpy(<real *>b.codes + n * ld, h + (block.first[block.length[n] - 1] - block.first[t0] + n) * ld,
                       ld * sizeof(real))
    if p.unfold:
        unfold_block(task, theta, data, accumulate, grad, loss)

    for s in range(block.spans - 1, -1, -1):
        t0, t1 = block.span[s], block.span[s + 1]
        rows = block.first[t1] - block.first[t0]
        if task.recompute and s < block.spans - 1:
            encode_block_span(task, theta, data, s)
        h = of_span(task, <const real *>b.trace, s)
        span_targets(task, theta, data, s)
        if not p.unfold:
            decode_span(task, theta, rows, <const real *>h, loss)
        # dA_t = (dH_t + dA_{t+1} W_hh' - pull_{t+1}) o (1 - H_t^2)
        backward(task.team, &task.pulse, t1 - t0, rows, block.active + t0, active_at(block, t1), H,
                 <const real *>b.da_next, pull_next, ld, &w.W_hh_T,
                 <const real *>b.dcode if p.unfold else <const real *>NULL, pull, ld_pull, <const real *>h, da, ld)
        if t0 == 0:
            h0_gradient(task, <const real *>da, pull, ld_pull)
        if task.descent != NULL and may_descend(task, rows, <const real *>da,
                                                <const real *>b.y if p.unfold else <const real *>NULL, loss[0]):
            # theta -= rate (its gradient): the same sums, times -rate, into theta itself.
            task.descent.made = True
            factor = -task.descent.rate
            accumulate = True
            grad = <real *>theta
        add_encoder_gradient(task, rows, <const real *>da, factor, accumulate, grad)
        if not p.unfold:
            add_decoder_gradient(task, rows, <const real *>h, factor, accumulate, True, grad)
        elif task.descent != NULL:
            add_decoder_gradient(task, rows, <const real *>b.y, factor, accumulate, accumulate, grad)
        accumulate = True
        if t0 > 0:
            # The buffers are about to be reused: keep what the step before t0 needs.
            memcpy(b.da_next, da, block.active[t0] * ld * sizeof(real))
            if pull != NULL:
                copy_rows(block.active[t0], H, pull, ld_pull, <real *>b.pull_next, ld)
    axpy(H, factor, <const real *>b.h0_sum, <real *>h0_of(<const real *>grad, p))
    return 0


# ---- the gradient of a batch -------------------------------------------------------------------

cdef struct Share:             # one part of a batch
    Py_ssize_t first           # place of its first sequence in the sorted order
    Py_ssize_t n
    void *grad                 # (size of theta)
    double loss
    bint failed                # by an exception of a signal handler, which is set


cdef struct Job:               # a batch
    Task *tasks
    Share *shares
    Py_ssize_t parts
    Py_ssize_t n
    const void *theta
    const void *data
    const Py_ssize_t *offsets
    const Py_ssize_t *order
    const void *weights
    Descent *descent
    bint single                # the element type: float


cdef int part_gradient(Task *task, Share *share, const Job *job, const real *theta) except -1 nogil:
    cdef const Plan *p = task.plan
    cdef Py_ssize_t done = 0, members, i
    cdef real *w = <real *>task.buffers.w
    cdef real *grad = <real *>share.grad
    cdef const Py_ssize_t *order = job.order + share.first
    cdef const real *weights = <const real *>job.weights
    share.loss = 0
    memset(<real *>h0_of(<const real *>grad, p), 0, p.H * sizeof(real))
    while done < share.n:
        members = block_members(share.n - done, order + done, job.offsets, p.block_rows, p.block_members)
        fill_block(&task.block, members, order + done, job.offsets)
        task.descent = job.descent if members == job.n and task.block.rows <= p.span_rows else NULL
        for i in range(members):
            w[i] = weights[task.block.member[i]] if weights != NULL else <real>(1.0 / <double>job.n)
        block_gradient(task, theta, <const real *>job.data, done > 0, grad, &share.loss)
        done += members
    return 0


ctypedef int (*part_f32)(Task *, Share *, const Job *, const float *) noexcept nogil
ctypedef int (*part_f64)(Task *, Share *, const Job *, const double *) noexcept nogil


cdef void some_parts(void *argument, size_t member, size_t members) noexcept nogil:
    """The parts of one member of the team."""
    cdef Job *job = <Job *>argument
    cdef Py_ssize_t p = member
    cdef int status
    while p < job.parts:
        # The casts keep a raised exception set for batch_gradient, where it belongs.
        if job.single:
            status = (<part_f32>&part_gradient[float])(&job.tasks[member], &job.shares[p], job,
                                                       <const float *>job.theta)
        else:
            status = (<part_f64>&part_gradient[double])(&job.tasks[member], &job.shares[p], job,
                                                        <const double *>job.theta)
        job.shares[p].failed = status != 0
        if status:
            return
        p += members


cdef Py_ssize_t cut_into_parts(const Plan *p, Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets,
                               size_t item, Share *shares) noexcept nogil:
    """Cut the sorted sequences into parts of nearly as many rows each; returns how many parts."""
    cdef Py_ssize_t i, rows = 0, total = 0, wanted, parts = 0
    for i in range(n):
        total += offsets[order[i] + 1] - offsets[order[i]]
    wanted = part_count(p, n, total, item)
    shares[0].first = 0
    for i in range(n):
        # Parts begin at multiples of the rows of a tile.
        if i % PART_SEQUENCES == 0 and parts + 1 < wanted and rows * wanted >= total * (parts + 1):
            shares[parts].n = i - shares[parts].first
            parts += 1
            shares[parts].first = i
        rows += offsets[order[i] + 1] - offsets[order[i]]
    shares[parts].n = n - shares[parts].first
    return parts + 1


cdef class Gradient:
    """The memory and the threads of one call that computes gradients, for batches up to a certain size."""

    def __dealloc__(self):
        end_team(self.team)

    cdef bint fits(self, form, Py_ssize_t item, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch, max_memory,
                   Py_ssize_t n_jobs) except -1:
        """Whether it was prepared for just that."""
        return (self.item == item and self.longest == longest and self.rows == rows and self.batch == batch
                and self.n_jobs == n_jobs and self.isa == in_use
                and self.plan.own == choose_own(self.plan.I, self.plan.H, item)
                and self.max_memory == max_memory and (self.form is form or self.form == form))

    cdef int prepare(self, form, Py_ssize_t item, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch,
                     max_memory, Py_ssize_t n_jobs) except -1:
        """For batches of up to `batch` sequences that have up to `rows` rows, the longest of them `longest`."""
        cdef Workspace space = Workspace(0)
        cdef Py_ssize_t i
        cdef Task *tasks
        self.item = 0  # fits nothing until all is there
        self.plan = make_plan(form, item, True, max_memory)
        self.most_parts = part_count(&self.plan, batch, rows, item)
        self.size = theta_size(&self.plan)
        if n_jobs > 1 and self.plan.own and (self.most_parts > 1 or self.plan.H >= TEAM_MIN_HIDDEN):
            self.team = start_team(n_jobs if self.most_parts == 1 else min(n_jobs, self.most_parts))
        self.members = team_members(self.team)
        cdef Extent extent = measure(&self.plan, longest, rows, batch)
        self.heads = Workspace(sizeof(Weights) + self.most_parts * sizeof(Share) + self.members * sizeof(Task) + 256)
        self.weights = self.heads.take(1, sizeof(Weights))
        self.shares = self.heads.take(self.most_parts, sizeof(Share))
        self.tasks = self.heads.take(self.members, sizeof(Task))
        tasks = <Task *>self.tasks
        for _ in range(2):
            take_weights(space, &self.plan, item, True, <Weights *>self.weights)
            self.lengths = space.take(batch, sizeof(LengthAt))
            self.grad = space.take(self.size, item)
            self.step = space.take(self.size, item)
            self.order = <Py_ssize_t *>space.take(batch, sizeof(Py_ssize_t))
            self.partial = space.take((self.most_parts - 1) * self.size, item)
            for i in range(self.members):
                tasks[i].plan = &self.plan
                tasks[i].weights = <Weights *>self.weights
                tasks[i].team = NULL
                tasks[i].recompute = extent.recompute
                take_block(space, extent.members, extent.steps, &tasks[i].block)
                take_buffers(space, &self.plan, &extent, item, self.members if i == 0 else 1, &tasks[i].buffers)
            if space.base == NULL:
                space = Workspace(space.used)
        self.space = space
        for i in range(self.members):
            tasks[i].pulse = new_pulse(0)
            tasks[i].pulse.alone = i > 0
        self.form, self.max_memory, self.isa, self.n_jobs = form, max_memory, in_use, n_jobs
        self.item, self.longest, self.rows, self.batch = item, longest, rows, batch
        return 0

    cdef Pulse *pulse(self) noexcept nogil:
        """That of the calling thread."""
        return &(<Task *>self.tasks)[0].pulse


# The memory of the last small call, for the next one: to set it up takes longer than the gradient of a small model.
cdef enum:
    SPARE_BYTES = 1048576

cdef Gradient _spare = None


cpdef Py_ssize_t worthwhile(Py_ssize_t n_jobs, form, Py_ssize_t rows) except -1:
    """The threads for one gradient of so many rows: one if the others would cost more than they save."""
    cdef double K = form.n_hidden + form.n_inputs
    return n_jobs if n_jobs == 1 or 12.0 * rows * form.n_hidden * K >= TEAM_WORK else 1


cdef Gradient borrow(form, Py_ssize_t item, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch, max_memory,
                     Py_ssize_t n_jobs):
    """A Gradient prepared for a single call, by the first who asks."""
    global _spare
    cdef Gradient work = _spare
    _spare = None
    if work is not None and work.fits(form, item, longest, rows, batch, max_memory, n_jobs):
        work.pulse()[0] = new_pulse(0)
        return work
    work = Gradient()
    work.prepare(form, item, longest, rows, batch, max_memory, n_jobs)
    return work


def spare_isa():
    """The instruction set that the memory at hand was set up for; None if there is none."""
    return None if _spare is None else _spare.isa.name.decode()


cdef void give_back(Gradient work):
    global _spare
    if work.team == NULL and work.space.size <= SPARE_BYTES:
        _spare = work


cdef struct Addition:
    size_t n
    size_t parts
    void *total                # (n)
    const void *partial        # (parts, n)
    bint single


cdef void add_share(void *argument, size_t member, size_t members) noexcept nogil:
    """One member's range of total += sum of the partial gradients, in order."""
    cdef Addition *x = <Addition *>argument
    cdef size_t start = x.n * member // members, end = x.n * (member + 1) // members, p
    for p in range(x.parts):
        if x.single:
            axpy(end - start, 1.0, <const float *>x.partial + p * x.n + start, <float *>x.total + start)
        else:
            axpy(end - start, 1.0, <const double *>x.partial + p * x.n + start, <double *>x.total + start)


cdef int batch_gradient(Gradient work, const real *theta, const real *data, const Py_ssize_t *offsets, Py_ssize_t n,
                        Py_ssize_t *order, const real *weights, real *grad, Descent *descent,
                        double *loss) except -1 nogil:
    """Loss and gradient of sum_n w_n E(X_n) over the sequences order[0:n], which get sorted.

    weights: one per sequence of the data, NULL for 1 / n each. descent: if not NULL, theta may be updated at once
    (`made` then says so, and grad holds nothing) where the batch is a single span, whose sums would otherwise be
    written and read once more.
    """
    cdef const Plan *plan = &work.plan
    cdef Job job
    cdef Addition addition
    cdef Py_ssize_t p
    job.tasks = <Task *>work.tasks
    job.shares = <Share *>work.shares
    job.theta, job.data, job.offsets, job.order, job.weights = theta, data, offsets, order, weights
    job.n = n
    job.single = sizeof(real) == sizeof(float)
    job.descent = descent
    set_encoder(plan, theta, n, <Weights *>work.weights)
    set_decoder(plan, theta, n, <Weights *>work.weights)
    sort_by_length(n, order, offsets, <LengthAt *>work.lengths)
    job.parts = cut_into_parts(plan, n, order, offsets, sizeof(real), job.shares)
    for p in range(job.parts):
        job.shares[p].grad = grad if p == 0 else <real *>work.partial + (p - 1) * work.size
    # A single part's products are shared by the team, several parts are shared themselves.
    job.tasks[0].team = work.team if job.parts == 1 and plan.H >= TEAM_MIN_HIDDEN else NULL
    if job.parts == 1:
        part_gradient(&job.tasks[0], &job.shares[0], &job, theta)
        loss[0] = job.shares[0].loss
        return 0
    together(work.team, some_parts, &job)
    loss[0] = 0
    for p in range(job.parts):
        if job.shares[p].failed:
            return -1
        loss[0] += job.shares[p].loss
    addition = Addition(work.size, job.parts - 1, grad, work.partial, job.single)
    together(work.team, add_share, &addition)
    return 0


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


cdef void count(Py_ssize_t n, Py_ssize_t *order) noexcept nogil:
    """0, 1, ... n - 1"""
    cdef Py_ssize_t i
    for i in range(n):
        order[i] = i


def loss_and_grad(const real[::1] theta not None, const real[:, ::1] data not None,
                  const Py_ssize_t[::1] offsets not None, const real[::1] weights, form,
                  real[::1] grad not None, max_memory=2**30, Py_ssize_t n_jobs=1):
    """Return sum_n w_n E(X_n) and write its gradient; weights None means 1 / N each.

    max_memory: bytes of hidden states kept; of longer sequences, those of a span are computed again.
    n_jobs: threads, which change no bit.
    """
    cdef Py_ssize_t N = offsets.shape[0] - 1
    if weights is not None and weights.shape[0] != N:
        raise ValueError("one weight per sequence is needed")
    cdef Plan plan = make_plan(form, sizeof(real), True, max_memory)
    check_theta(&plan, theta.shape[0])
    check_theta(&plan, grad.shape[0])
    check_data(&plan, data.shape[0], data.shape[1], offsets)
    cdef (Py_ssize_t, Py_ssize_t) most = longest_and_rows(N, &offsets[0], N)
    cdef Gradient work = borrow(form, sizeof(real), most[0], most[1], N, max_memory, n_jobs)
    cdef double loss = 0
    cdef const real *w = &weights[0] if weights is not None else NULL
    count(N, work.order)
    with nogil:
        batch_gradient(work, &theta[0], &data[0, 0], &offsets[0], N, work.order, w, &grad[0], NULL, &loss)
    give_back(work)
    return loss
