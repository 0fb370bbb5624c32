"""The schedule over time: cells applied step by step, and the gradient back through them.

Shapes: N sequences of T_n steps with I features, H hidden units; all arrays row-major. Sequence n has the rows
offset[n]:offset[n+1] of a batch's Source, which only _cell.pyx reads. The mathematics: docs/design.md. NumPy twin:
reference.py. What is minimised: _stepwise.pyx and _unfold.pyx, whose classes are SequenceObjectives.

How the work is laid out. A part of a batch is one *bucket* of sequences after the other (_buckets.pyx), a bucket one
*span* of steps after the other. Only h_{t-1} W_hh and da_{t+1} W_hh' run step by step; everything else is a product
over all rows of a span, and a span is small enough that its buffers stay in the cache. Between the forward and the
backward sweep only the hidden states are kept (where they would be too many, those between two spans): the loss and G
are made where the backward sweep uses them.

Everything between the methods of Objective and the C kernels is nogil. Memory is taken from a Workspace before any time
loop starts.
"""

from libc.math cimport frexp, ldexp
from libc.string cimport memcpy, memset

from rae_fast._batch cimport Batch
from rae_fast._buckets cimport count_rows, cut_into_spans, fill_bucket, next_bucket, sort_by_length, take_bucket
from rae_fast._cell cimport (FEW_SEQUENCES, LOOKED_UP_ROWS, Named, TEAM_MIN_HIDDEN, block, block_to_write, gather_inputs,
                             look_up, make_plan, packed_inputs, scatter, set_encoder, take_encoder)
from rae_fast._factored cimport OutputFactor
from rae_fast._form cimport AnyForm, B_H, Form, C_H, C_X, H0, V_HH, V_HX, W_HH, W_XH
from rae_fast._head cimport head_loss, make_head, set_head, take_head, take_labelled, zero_head
from rae_fast._judge cimport Judge, take_judge, take_named
from rae_fast._kernels cimport column_sums, copy_rows, in_use, rows_within, start_team, sum_scratch, team_members
from rae_fast._objective cimport Part, cut_into_parts, gradient_of_parts, part_count
from rae_fast._products cimport choose_own, forward, multiply, sum_over_rows
from rae_fast._pulse cimport beat, new_pulse
from rae_fast._slots cimport compact, name_rows, take_slots

# Enough sequences in a part that each reading of W_hh, from L2 or from beyond it, serves several: docs/performance.md,
# "Threads".
cdef enum:
    PART_SEQUENCES = 8
    PART_SEQUENCES_LARGE = 32
    LARGE_BYTES = 524288      # of W_hh


cdef Extent measure(const Plan *plan, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t batch,
                    Py_ssize_t most_kept) noexcept nogil:
    """Of batches of up to `batch` sequences with up to so many rows, and up to most_kept rows of states kept."""
    cdef Extent extent
    extent.steps = longest
    extent.sequences = min(batch, plan.bucket_sequences)
    extent.rows = min(rows, max(plan.bucket_rows, longest))
    extent.span_rows = min(extent.rows, max(plan.span_rows, extent.sequences))
    extent.recompute = extent.rows > max(most_kept, extent.span_rows)
    extent.spans = 0
    if extent.recompute:
        # Two spans in a row have more than span_rows rows, or one has a single step.
        extent.spans = min(longest, 2 * (extent.rows // plan.span_rows + 1))
    return extent


# ---- encode ------------------------------------------------------------------------------------

cdef int encode_span(const Plan *p, rae_team *team, Pulse *pulse, const Encoder *w, const real *theta,
                     const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source, const real *h_before,
                     real *x, real *h) except -1 nogil:
    """Hidden states of steps t0:t1 into h (rows of the span, ld_h).

    h_before (active[t0], ld_h): the states of step t0 - 1, unused for t0 = 0. x: scratch, (rows, I).
    """
    cdef Py_ssize_t rows = bucket.first[t1] - bucket.first[t0], apart = 0, ld_before = p.ld_h
    cdef const real *inputs = NULL
    cdef const void *bias_first = w.bias
    if not p.sparse:
        inputs = packed_inputs(p, bucket, t0, t1, source, x)
    if t0 == 0 and bucket.n < FEW_SEQUENCES:
        h_before = block(theta, p.theta, H0)
        ld_before = 0
    elif t0 == 0:
        h_before = NULL
        apart = bucket.n
        bias_first = w.bias0
        if not p.sparse:
            multiply(team, apart, p.H_full, p.I, inputs, p.I, &w.W_xh, <const real *>w.bias0, 0, h, p.ld_h)
    # A = 1 b' + X W_xh            (rows,H) = (rows,I)(I,H)
    if p.sparse:
        look_up(p, bucket, t0, t1, source, block(theta, p.theta, W_XH), <const real *>bias_first,
                <const real *>w.bias, h)
    elif rows > apart:
        multiply(team, rows - apart, p.H_full, p.I, inputs + apart * p.I, p.I, &w.W_xh, <const real *>w.bias, 0,
                 h + apart * p.ld_h, p.ld_h)
    beat(pulse, 2.0 * rows * p.H * (1 if p.sparse else p.I))
    # H_t = tanh(A_t + H_{t-1} W_hh)
    forward(team, pulse, t1 - t0, bucket.active + t0, p.H, h_before, ld_before, &w.W_hh, <const real *>NULL, True, h,
            p.ld_h)
    return 0


# ---- traces: the states that are kept ------------------------------------------------------------

cdef int take_trace(Workspace space, const Plan *p, const Extent *e, size_t item, Trace *trace) except -1:
    trace.rows = space.take((e.span_rows if e.recompute else e.rows) * p.ld_h, item)
    trace.kept = space.take(e.spans * e.sequences * p.ld_h, item)
    return 0


cdef real *span_of(const Task *task, const real *rows, Py_ssize_t s) noexcept nogil:
    """Where the rows of span s of a trace are."""
    if task.recompute:
        return <real *>rows
    return <real *>rows + task.bucket.first[task.bucket.span[s]] * task.plan.ld_h


cdef const real *before_span(const Task *task, const real *rows, const real *kept, Py_ssize_t s) noexcept nogil:
    """The rows of the step before span s."""
    if s == 0:
        return NULL
    if task.recompute:
        return kept + s * task.bucket.n * task.plan.ld_h
    return rows + task.bucket.first[task.bucket.span[s] - 1] * task.plan.ld_h


cdef void keep_last(const Task *task, const real *rows, real *kept, Py_ssize_t s) noexcept nogil:
    """What `before_span` of the next span will need, before span s is overwritten."""
    cdef const Bucket *bucket = &task.bucket
    cdef Py_ssize_t ld = task.plan.ld_h, t1 = bucket.span[s + 1]
    if task.recompute and t1 < bucket.steps:
        memcpy(kept + (s + 1) * bucket.n * ld, rows + (bucket.first[t1 - 1] - bucket.first[bucket.span[s]]) * ld,
               bucket.active[t1] * ld * sizeof(real))


cdef int encode(Task *task, const real *theta, const Source *source, Py_ssize_t s) except -1 nogil:
    """The hidden states of span s into the trace."""
    cdef const Buffers *b = &task.buffers
    cdef const Bucket *bucket = &task.bucket
    return encode_span(task.plan, task.team, &task.pulse, task.encoder, theta, bucket, bucket.span[s],
                       bucket.span[s + 1], source, before_span(task, <const real *>b.h.rows, <const real *>b.h.kept, s),
                       <real *>b.z, span_of(task, <const real *>b.h.rows, s))


# ---- the encoder's gradient ----------------------------------------------------------------------

cdef void targets(const Task *task, const real *theta, const Source *source, Py_ssize_t s) noexcept nogil:
    """Rows [h_{t-1}, x_t] of span s into z; of sparse rows h_{t-1} alone."""
    cdef const Plan *p = task.plan
    cdef const Bucket *bucket = &task.bucket
    cdef const Buffers *b = &task.buffers
    cdef Py_ssize_t t, t0 = bucket.span[s], t1 = bucket.span[s + 1], end
    cdef const real *h = span_of(task, <const real *>b.h.rows, s)
    cdef real *z = <real *>b.z
    if t0 == 0:
        copy_rows(bucket.active[0], p.H, block(theta, p.theta, H0), 0, z, p.ld_z)
    else:
        copy_rows(bucket.active[t0], p.H, before_span(task, <const real *>b.h.rows, <const real *>b.h.kept, s), p.ld_h,
                  z, p.ld_z)
    # As long as no sequence ends, the states before several steps lie one after the other.
    t = t0 + 1
    while t < t1:
        end = t + 1
        while end < t1 and bucket.active[end - 2] == bucket.active[end - 1]:
            end += 1
        copy_rows(bucket.first[end] - bucket.first[t], p.H, h + (bucket.first[t - 1] - bucket.first[t0]) * p.ld_h,
                  p.ld_h, z + (bucket.first[t] - bucket.first[t0]) * p.ld_z, p.ld_z)
        t = end
    if not p.sparse:
        gather_inputs(p, bucket, t0, t1, source, z + p.H, p.ld_z)


cdef void keep_next(const Task *task, Py_ssize_t s, const real *da) noexcept nogil:
    """What the step before span s needs of da, whose buffer is about to be used again."""
    cdef const Bucket *bucket = &task.bucket
    cdef Py_ssize_t t0 = bucket.span[s]
    if t0 > 0:
        memcpy(task.buffers.da_next, da, bucket.active[t0] * task.plan.ld_h * sizeof(real))


cdef void h0_gradient(const Task *task, const real *da) noexcept nogil:
    """h0_sum = (sum_n da_1) W_hh'; step 1 is at the start of the span's buffers."""
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef real *sums = <real *>b.sums
    column_sums(task.bucket.n, p.H, da, p.ld_h, 1, False, sums)
    multiply(NULL, 1, p.H, p.H, <const real *>sums, p.H, &task.encoder.W_hh_T, <const real *>NULL, 0, <real *>b.h0_sum,
             p.H)


cdef int add_encoder_gradient(Task *task, const Source *source, Py_ssize_t s, Py_ssize_t rows, const real *da,
                              double factor, bint accumulate, bint second, real *grad) except -1 nogil:
    """dW (+)= Z' dA, db (+)= column sums of dA, times factor, of span s.

    second: in a tied model, whose W is V', the decoder's gradient of the same rows is there already.
    """
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef const Bucket *bucket = &task.bucket
    cdef real *W_xh = block_to_write(grad, p.grad, W_XH)
    cdef bint add = accumulate or (second and p.tied)
    sum_over_rows(task.team, p.own, p.H if p.sparse else p.K, p.H, rows, <const real *>b.z, p.ld_z, da, p.ld_h, factor,
                  add, <real *>b.scratch, block_to_write(grad, p.grad, W_HH), p.H)
    if p.sparse:
        if not add:
            memset(W_xh, 0, p.grad.at[W_XH].rows * p.H * sizeof(real))
        scatter(p, bucket, bucket.span[s], bucket.span[s + 1], source, da, factor, W_xh)
    column_sums(rows, p.H, da, p.ld_h, factor, accumulate, block_to_write(grad, p.grad, B_H))
    if task.descent == NULL:  # else theta may be half updated
        beat(&task.pulse, 2.0 * rows * p.H * p.K)
    return 0


cdef int add_decoder_gradient(Task *task, Py_ssize_t rows, const real *y, double factor, bint accumulate, bint second,
                              real *grad) except -1 nogil:
    """dV' (+)= G' Y, dc (+)= column sums of G, times factor; second: the encoder's gradient is there already."""
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef const real *g = <const real *>b.g
    sum_over_rows(task.team, p.own, p.K, p.H, rows, g, p.ld_k, y, p.ld_h, factor, accumulate or (second and p.tied),
                  <real *>b.scratch, block_to_write(grad, p.grad, V_HH), p.H)
    column_sums(rows, p.K, g, p.ld_k, factor, accumulate, block_to_write(grad, p.grad, C_H))
    if task.descent == NULL:
        beat(&task.pulse, 2.0 * rows * p.H * p.K)
    return 0


# ---- labels --------------------------------------------------------------------------------------

cdef double label_errors(Task *task, const real *theta, const Source *source, const real *codes, Py_ssize_t ld,
                         real *dcodes, Py_ssize_t ld_dcodes, real *grad) noexcept nogil:
    """Loss of the labels of the bucket's codes; its gradient is added to dcodes, and to that of W_hy and b_y."""
    cdef const Bucket *bucket = &task.bucket
    cdef const Labelled *x = &task.buffers.labelled
    cdef const real *w = <const real *>task.buffers.w_label
    cdef real *target = <real *>x.target
    cdef Py_ssize_t n, item, label, K = task.head.K
    if K == 0 or source.label == NULL:
        return 0
    memset(target, 0, bucket.n * K * sizeof(real))
    for n in range(bucket.n):
        item = bucket.which[n]
        if task.head.dropout > 0:
            x.key[n] = item
        label = source.label[item]
        (<real *>x.w)[n] = 0
        if label >= 0:
            target[n * K + label] = 1
            (<real *>x.w)[n] = w[n] if source.label_weight == NULL else <real>(w[n] * source.label_weight[item])
    beat(&task.pulse, 6.0 * bucket.n * K * task.head.C)
    return head_loss(task.head, x, task.plan.theta, theta, bucket.n, codes, ld, dcodes, ld_dcodes, task.plan.grad, grad)


# ---- what bounds a gradient that is never made -----------------------------------------------------

# Beyond this weight a residual could be large in the gradient though its square is too small for a number.
cdef enum:
    MOST_WEIGHT = 1000000000000000


cdef bint residuals_within(Py_ssize_t sequences, const real *w, double factor, double loss, double most) noexcept nogil:
    """Whether the gradient g = 2 w d of every residual d lies within most, for w d^2 is one of the loss's terms; some
    are weighted by up to w times factor."""
    cdef double widest = 0
    cdef Py_ssize_t n
    for n in range(sequences):
        widest = max(widest, <double>w[n])
    widest *= max(1.0, factor)
    return widest <= MOST_WEIGHT and 4.4 * widest * loss <= most * most  # 4, and a tenth for the loss's rounding


cdef bint encoder_within(const Task *task, const Source *source, Py_ssize_t rows, const real *da,
                         double most) noexcept nogil:
    """Whether z and da lie within most, and the gradient of h0 within the limit: of a bucket of one span.

    Each element of the gradient but h0's, which is in h0_sum, is a sum over the rows of products of two numbers of z,
    da, g and y. Of these h lies within 1 and needs no look.
    """
    cdef const Plan *p = task.plan
    cdef const Buffers *b = &task.buffers
    cdef const real *z = <const real *>b.z
    cdef bint inputs = source.largest <= most if p.sparse else rows_within(rows, p.I, most, z + p.H, p.ld_z)
    return (most > 1 and rows_within(1, p.H, most, z, p.ld_z) and inputs
            and rows_within(rows, p.H, most, da, p.ld_h)
            and rows_within(1, p.H, task.descent.limit, <const real *>b.h0_sum, p.H))


# ---- the gradient of a batch ---------------------------------------------------------------------

cdef int take_buffers(Workspace space, const Plan *p, const Head *head, const Extent *e, size_t item, Py_ssize_t team,
                      Buffers *b) except -1:
    take_trace(space, p, e, item, &b.h)
    b.z = space.take(e.span_rows * p.ld_z, item)
    b.written = space.take(LOOKED_UP_ROWS * p.I if p.sparse and p.split == NULL else 0, item)
    b.g = space.take(e.span_rows * p.ld_k, item)
    b.da = space.take(e.span_rows * p.ld_h, item)
    b.da_next = space.take(e.sequences * p.ld_h, item)
    b.w = space.take(e.sequences, item)
    b.w_row = space.take(e.span_rows, item)
    b.w_label = space.take(e.sequences, item)
    take_labelled(space, head, e.sequences, item, &b.labelled)
    b.sums = space.take(p.H, item)
    b.h0_sum = space.take(p.H, item)
    b.scratch = space.take(team * sum_scratch(p.K, p.K, e.span_rows, item) if p.own else 0, item)
    if p.split != NULL:
        take_judge(space, p.split, item, &b.judge)
    if space.base != NULL:
        # Products write vectors beyond a row's end only where they start at its start: the rest stays 0.
        memset(b.z, 0, e.span_rows * p.ld_z * item)
        if p.sparse and p.split == NULL:
            memset(b.written, 0, LOOKED_UP_ROWS * p.I * item)
        memset(b.g, 0, e.span_rows * p.ld_k * item)
        memset(b.da, 0, e.span_rows * p.ld_h * item)
    return 0


cdef struct Job:               # a batch
    Task *tasks
    Py_ssize_t n
    const void *theta
    const Source *source
    const Py_ssize_t *order
    const void *weights
    double share               # of reconstruction in the loss, over its unit; and of labels
    double label_share
    Descent *descent
    bucket_f32 bucket_single
    bucket_f64 bucket_double
    bint single                # the element type: float


cdef void begin_judging(Task *task, Part *part, const Job *job, real *grad) noexcept nogil:
    """Where what a part's outputs in factors sum up to goes."""
    cdef const Plan *p = task.plan
    cdef const Named *named = p.named
    cdef Judge *judge = &task.buffers.judge
    memset(block_to_write(grad, p.grad, V_HX), 0, named.slots.n * p.H * sizeof(real))
    memset(block_to_write(grad, p.grad, C_X), 0, named.slots.n * sizeof(real))
    judge.row = count_rows(part.first, job.order, job.source.offset)
    judge.squares = <real *>named.squares + part.number * p.split.d * p.split.ld_r
    if named.rows > named.few:
        memset(judge.squares, 0, p.split.d * p.split.ld_r * sizeof(real))


cdef int part_gradient(Task *task, Part *part, const Job *job, const real *theta) except -1 nogil:
    """The gradient of the sequences of a part, one bucket after the other."""
    cdef const Plan *p = task.plan
    cdef Py_ssize_t done = 0, n, i
    cdef int status
    cdef real *w = <real *>task.buffers.w
    cdef real *grad = <real *>part.grad
    cdef const Py_ssize_t *order = job.order + part.first
    cdef const real *weights = <const real *>job.weights
    part.loss = 0
    memset(block_to_write(grad, p.grad, H0), 0, p.H * sizeof(real))
    zero_head(task.head, p.grad, grad)
    if p.split != NULL:
        begin_judging(task, part, job, grad)
    while done < part.n:
        n = next_bucket(part.n - done, order + done, job.source.offset, p.bucket_rows, p.bucket_sequences)
        fill_bucket(&task.bucket, n, order + done, job.source.offset)
        cut_into_spans(&task.bucket, p.span_rows)
        task.descent = job.descent if n == job.n and task.bucket.rows <= p.span_rows else NULL
        for i in range(n):
            w[i] = weights[task.bucket.which[i]] if weights != NULL else <real>(1.0 / <double>job.n)
            if task.head.K:
                (<real *>task.buffers.w_label)[i] = <real>(job.label_share * w[i])
                w[i] = <real>(job.share * w[i])
        if real is float:
            status = job.bucket_single(task, theta, job.source, done > 0, grad, &part.loss)
        else:
            status = job.bucket_double(task, theta, job.source, done > 0, grad, &part.loss)
        if status:
            return -1
        done += n
    return 0


ctypedef int (*part_f32)(Task *, Part *, const Job *, const float *) noexcept nogil
ctypedef int (*part_f64)(Task *, Part *, const Job *, const double *) noexcept nogil


cdef int one_part(void *argument, Py_ssize_t member, Part *part) noexcept nogil:
    """part_gradient by a member of the team. The casts keep a raised exception set."""
    cdef const Job *job = <const Job *>argument
    if job.single:
        return (<part_f32>&part_gradient[float])(&job.tasks[member], part, job, <const float *>job.theta)
    return (<part_f64>&part_gradient[double])(&job.tasks[member], part, job, <const double *>job.theta)


cdef double root_of(double unit, bint categorical) noexcept nogil:
    """A power of two near the root of a loss's unit; 1 for a cross-entropy."""
    cdef int exponent
    if categorical:
        return 1
    frexp(unit, &exponent)
    return ldexp(1, exponent // 2)


cdef class SequenceObjective(Objective):
    """An objective of sequences; a subclass says how a bucket's loss comes about, with which weights and buffers."""

    cdef int take_decoder(self, Workspace space) except -1:
        """Memory for the objective's own weights."""
        raise NotImplementedError

    cdef int take_extra(self, Workspace space, const Extent *e, Task *task) except -1:
        """Memory for its own buffers of one thread, at task.extra."""
        raise NotImplementedError

    cdef void set_decoder(self, const void *theta, Py_ssize_t sequences) noexcept nogil:
        """Its weights of this theta, for buckets of up to so many sequences."""
        pass

    cdef Py_ssize_t least(self) noexcept nogil:
        """Sequences in a part."""
        cdef bint large = self.plan.H * self.plan.H * <Py_ssize_t>self.item > LARGE_BYTES
        return PART_SEQUENCES_LARGE if large else PART_SEQUENCES

    cdef int prepare(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows,
                     Py_ssize_t most, max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=0, bint by_rows=False,
                     OutputFactor outputs=None) except -1:
        cdef Workspace space = Workspace(0)
        cdef Py_ssize_t i, most_kept, keep = max_memory
        cdef size_t item = sizeof(float) if single else sizeof(double)
        Objective.prepare(self, form, single, sparse, longest, most_rows, most, max_memory, n_jobs, most_named, by_rows,
                          outputs)
        self.plan = make_plan(<Form?>form, item, True, sparse)
        self.head = make_head(form, (<Form>form).code_size, self.plan.own, False, form.dropout, item)
        self.layout = compact(&form.layout, self.most_named, self.by_rows, self.outputs is not None)
        self.plan.grad = &self.layout
        if self.by_rows:
            self.plan.slots = &self.named.slots
        if self.outputs is not None:
            self.plan.split, self.plan.named = &self.outputs.split, &self.named
            self.plan.K, self.plan.ld_k = self.plan.H, self.plan.ld_h
        self.most_parts = part_count(most, most_rows, self.least())
        if n_jobs > 1 and self.plan.own and (self.most_parts > 1 or self.plan.H >= TEAM_MIN_HIDDEN):
            self.team = start_team(n_jobs if self.most_parts == 1 else min(n_jobs, self.most_parts))
        self.members = team_members(self.team)
        most_kept = keep // (self.traces * self.plan.ld_h * <Py_ssize_t>item)
        cdef Extent extent = measure(&self.plan, longest, most_rows, most, most_kept)
        self.heads = Workspace(self.most_parts * sizeof(Part) + self.members * (sizeof(Task) + self.extra_bytes + 64)
                               + 256)
        self.parts = <Part *>self.heads.take(self.most_parts, sizeof(Part))
        self.tasks = <Task *>self.heads.take(self.members, sizeof(Task))
        for i in range(self.members):
            self.tasks[i].extra = self.heads.take(1, self.extra_bytes)
        for _ in range(2):
            take_encoder(space, &self.plan, item, True, &self.encoder)
            take_head(space, item, &self.head)
            self.take_decoder(space)
            self.lengths = <LengthAt *>space.take(most, sizeof(LengthAt))
            self.take_common(space)
            if self.by_rows:
                take_slots(space, self.most_named, &self.named.slots)
            if self.outputs is not None:
                take_named(space, self.plan.split, item, most_rows, self.most_parts, &self.named)
            for i in range(self.members):
                self.tasks[i].plan, self.tasks[i].encoder = &self.plan, &self.encoder
                self.tasks[i].head = &self.head
                self.tasks[i].decoder, self.tasks[i].team = self.decoder, NULL
                self.tasks[i].recompute = extent.recompute
                take_bucket(space, extent.sequences, extent.steps, &self.tasks[i].bucket)
                take_buffers(space, &self.plan, &self.head, &extent, item, self.members if i == 0 else 1,
                             &self.tasks[i].buffers)
                self.take_extra(space, &extent, &self.tasks[i])
            if space.base == NULL:
                space = Workspace(space.used)
        self.space = space
        for i in range(self.members):
            self.tasks[i].pulse = new_pulse(0)
            self.tasks[i].pulse.alone = i > 0
        self.isa = in_use
        return 0

    cdef int take(self, Batch batch, sample_weight, double unit=1) except -1:
        if batch is not None and batch.source.label != NULL and (batch.n_classes != self.head.K or batch.source.of_nodes):
            raise ValueError(f"labels of {batch.n_classes} classes, one for each sequence, do not fit a form of "
                             f"{self.form.n_classes}")
        return Objective.take(self, batch, sample_weight, unit)

    cdef bint fits(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows, Py_ssize_t most,
                   max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=0, bint by_rows=False,
                   OutputFactor outputs=None) except -1:
        return (Objective.fits(self, form, single, sparse, longest, most_rows, most, max_memory, n_jobs, most_named,
                               by_rows, outputs)
                and self.plan.own == choose_own(self.plan.I, self.plan.H, self.item))

    cdef Pulse *pulse(self) noexcept nogil:
        return &self.tasks[0].pulse

    cdef int gradient(self, const void *theta, Py_ssize_t *chosen, Py_ssize_t n, void *grad, Descent *descent,
                      double *loss) except -1 nogil:
        cdef Plan *plan = &self.plan
        cdef const Py_ssize_t *offsets = self.batch.source.offset
        cdef Job job
        cdef Py_ssize_t n_parts
        # With labels, residuals are measured in about the root of the loss's unit: neither is too small or large a number.
        # Outputs in factors are corrected by sums of states that know of no such unit, and their rows are of sizes about 1.
        plan.per_unit = 1 / self.unit
        if self.head.K and plan.split == NULL:
            plan.per_unit = 1 / root_of((<Form>self.form).loss_unit, self.form.categorical)
        self.head.update = self.update
        job.tasks, job.n, job.order, job.source = self.tasks, n, chosen, &self.batch.source
        job.theta, job.weights, job.single = theta, self.weights, self.single
        job.share = (<Form>self.form).alpha / (<Form>self.form).loss_unit / plan.per_unit / plan.per_unit
        job.label_share = 1 - (<Form>self.form).alpha
        job.bucket_single, job.bucket_double = self.bucket_single, self.bucket_double
        # A tied model's sums meet in one block, and so do two in h0 that is reconstructed: these need a gradient. So
        # does a code of its own, which stands between decoder and encoder, and so do labels.
        job.descent = NULL
        if (plan.own and not plan.tied and not self.by_rows and not (<Form>self.form).reconstruct_h0 and plan.C == 0
                and self.unit == 1 and self.head.K == 0):
            job.descent = descent
        if self.single:
            set_encoder(plan, <const float *>theta, n, True, &self.encoder)
            set_head(plan.theta, <const float *>theta, &self.head)
        else:
            set_encoder(plan, <const double *>theta, n, True, &self.encoder)
            set_head(plan.theta, <const double *>theta, &self.head)
        self.set_decoder(theta, n)
        sort_by_length(n, chosen, offsets, self.lengths)
        n_parts = cut_into_parts(n, chosen, offsets, self.least(), self.parts)
        if self.by_rows:
            name_rows(&self.named.slots, n, chosen, job.source)
        if self.outputs is not None:
            self.named.rows, self.named.parts = count_rows(n, chosen, offsets), n_parts
            self.named.source = job.source
            self.outputs.load(theta, &self.named)
        # A single part's products are shared by the team, several parts are shared themselves.
        self.tasks[0].team = self.team if n_parts == 1 and plan.H >= TEAM_MIN_HIDDEN else NULL
        return gradient_of_parts(self, one_part, &job, n_parts, grad, loss)
