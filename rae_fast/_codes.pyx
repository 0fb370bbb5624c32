"""Codes of sequences, sequences of codes, and single steps: what a trained model is used for.

Shapes, buckets and the choice of products as in _sequence.pyx. Sequences (or codes) are cut into buckets by their shape
alone; a team of threads shares the buckets, or the products of a single one, and changes no bit.
"""

import numpy as np

from libc.string cimport memcpy

from rae_fast._batch cimport Batch, Source, is_ready
from rae_fast._blas cimport real
from rae_fast._buckets cimport (Bucket, LengthAt, active_at, count, cut_into_spans, fill_bucket, most_rows, next_bucket,
                                sort_by_length, take_bucket)
from rae_fast._cell cimport (PRODUCT_LIMIT, TEAM_MIN_HIDDEN, TEAM_WORK, Encoder, Plan, block, make_plan, set_encoder,
                             set_turned, take_encoder)
from rae_fast._form cimport B_C, B_H, C_1, C_H, Form, V_CH, V_HH, W_HC, W_HH, W_XH, data_of, is_array, is_single, length_of, new_array
from rae_fast._kernels cimport (RAE_ROWS, axpy, copy_rows, end_team, lanes, rae_operand, rae_team, start_team, tanh_,
                                team_members, together)
from rae_fast._products cimport Factor, choose_own, multiply, recurs_bare, rows_of, set_bare, set_factor, take_factor
from rae_fast._pulse cimport Pulse, beat, new_pulse
from rae_fast._sequence cimport Extent, encode_span, measure
from rae_fast._workspace cimport Workspace

# Sequences in a bucket: for more, a product gains nothing; with fewer, it would read the weights too often.
cdef enum:
    MOST_SEQUENCES = 256
    FEWEST_SEQUENCES = 32
    BUCKETS = 16              # that many sequences are cut into, if these limits allow it


cdef struct Reader:           # one thread's memory
    Bucket bucket
    Pulse pulse
    void *rows                # (rows of a span, I), or (sequences, ld_k) where codes are unrolled
    void *h                   # (rows of a span, ld_h), or (sequences, H)
    void *h_before            # (sequences, ld_h)
    bint failed               # by an exception of a signal handler, which is set


cdef struct Job:
    const Plan *plan
    const Encoder *encoder
    const Factor *V           # (H, H+I)
    Reader *readers
    rae_team *team            # that shares every product, or NULL
    Py_ssize_t buckets
    Py_ssize_t *first         # (buckets + 1) places in the order
    const Py_ssize_t *order
    const Py_ssize_t *offsets
    Py_ssize_t longest
    const void *theta
    const Source *source      # of sequences to encode
    const void *codes         # or codes to unroll, else NULL
    void *out
    bint last_only
    bint chronological
    bint single               # the element type: float


cdef int encode_bucket(const Job *job, Reader *r, const real *theta) except -1 nogil:
    cdef const Plan *p = job.plan
    cdef const Bucket *bucket = &r.bucket
    cdef Py_ssize_t H = p.H, ld = p.ld_h, s, t, t0, t1, n, still
    cdef real *out = <real *>job.out
    cdef real *h_t
    for s in range(bucket.spans):
        t0, t1 = bucket.span[s], bucket.span[s + 1]
        encode_span(p, job.team, &r.pulse, job.encoder, theta, bucket, t0, t1, job.source,
                    <const real *>r.h_before, <real *>r.rows, <real *>r.h)
        h_t = <real *>r.h
        for t in range(t0, t1):
            still = active_at(bucket, t + 1)
            if job.last_only:
                for n in range(still, bucket.active[t]):
                    memcpy(out + bucket.which[n] * H, h_t + n * ld, H * sizeof(real))
            else:
                for n in range(bucket.active[t]):
                    memcpy(out + (bucket.start[n] + t) * H, h_t + n * ld, H * sizeof(real))
            if t + 1 == t1:
                memcpy(r.h_before, h_t, still * ld * sizeof(real))
            h_t += bucket.active[t] * ld
    return 0


cdef int unroll_bucket(const Job *job, Reader *r, const real *theta) except -1 nogil:
    cdef const Plan *p = job.plan
    cdef const Bucket *bucket = &r.bucket
    cdef Py_ssize_t I = p.I, H = p.H, K = p.K, ld = p.ld_k, k, n, active, row
    cdef real *y = <real *>r.h
    cdef real *z = <real *>r.rows
    cdef real *out = <real *>job.out
    cdef const real *c = block(theta, p.theta, C_H)
    for n in range(bucket.n):
        memcpy(y + n * H, <const real *>job.codes + bucket.which[n] * H, H * sizeof(real))
    for k in range(bucket.steps):
        active = bucket.active[k]
        # [y', x] = y V + c          (B,H+I) = (B,H)(H,H+I)
        multiply(job.team, active, K, H, <const real *>y, H, job.V, c, 0, z, ld)
        copy_rows(active, H, <const real *>z, ld, y, H)
        for n in range(active):
            row = bucket.start[n] + (bucket.length[n] - 1 - k if job.chronological else k)
            memcpy(out + row * I, z + n * ld + H, I * sizeof(real))
        if p.tanh_decoder:
            tanh_(active * H, <const real *>y, y)
        beat(&r.pulse, 2.0 * active * H * K)
    return 0


cdef int one_bucket(const Job *job, Reader *r, const real *theta, Py_ssize_t b) except -1 nogil:
    fill_bucket(&r.bucket, job.first[b + 1] - job.first[b], job.order + job.first[b], job.offsets)
    cut_into_spans(&r.bucket, job.plan.span_rows)
    return unroll_bucket(job, r, theta) if job.codes != NULL else encode_bucket(job, r, theta)


ctypedef int (*reader_f32)(const Job *, Reader *, const float *, Py_ssize_t) noexcept nogil
ctypedef int (*reader_f64)(const Job *, Reader *, const double *, Py_ssize_t) noexcept nogil


cdef void some_buckets(void *argument, size_t member, size_t members) noexcept nogil:
    """The buckets of one member of the team."""
    cdef Job *job = <Job *>argument
    cdef Reader *r = &job.readers[member]
    cdef Py_ssize_t b = member
    while b < job.buckets and not r.failed:
        # The casts keep a raised exception set for `compute`, where it belongs.
        if job.single:
            r.failed = (<reader_f32>&one_bucket[float])(job, r, <const float *>job.theta, b) != 0
        else:
            r.failed = (<reader_f64>&one_bucket[double])(job, r, <const double *>job.theta, b) != 0
        b += members


cdef int compute(Job *job, const real *theta, Py_ssize_t N, Form form, Py_ssize_t n_jobs) except -1:
    """Encode or unroll everything; job says which, of what and where to."""
    cdef Plan plan = make_plan(form, sizeof(real), False, job.source != NULL and job.source.column != NULL)
    cdef Encoder encoder
    cdef Factor V
    cdef Py_ssize_t members, i, done = 0
    cdef double work = 2.0 * job.offsets[N] * plan.H * plan.K
    cdef Py_ssize_t each = max(<Py_ssize_t>FEWEST_SEQUENCES, min(<Py_ssize_t>MOST_SEQUENCES, N // BUCKETS))
    each = min(min(each, plan.bucket_sequences), N)
    cdef Extent extent = measure(&plan, job.longest, min(job.offsets[N], job.longest * each), each, 0)
    cdef rae_team *team = NULL
    cdef Workspace space = Workspace(0)
    cdef LengthAt *lengths
    cdef Py_ssize_t *order
    if n_jobs > 1 and plan.own and work >= TEAM_WORK and (N > each or plan.H >= TEAM_MIN_HIDDEN):
        team = start_team(n_jobs)
    try:
        members = team_members(team)
        for _ in range(2):
            take_encoder(space, &plan, sizeof(real), False, &encoder)
            take_factor(space, plan.H, plan.K if job.codes != NULL else 0, sizeof(real), plan.own, &V)
            lengths = <LengthAt *>space.take(N, sizeof(LengthAt))
            order = <Py_ssize_t *>space.take(N, sizeof(Py_ssize_t))
            job.first = <Py_ssize_t *>space.take(N + 1, sizeof(Py_ssize_t))
            job.readers = <Reader *>space.take(members, sizeof(Reader))
            for i in range(members):
                if space.base == NULL:  # what they take is counted first
                    take_reader(space, &plan, &extent, sizeof(real), job.codes != NULL, NULL)
                else:
                    take_reader(space, &plan, &extent, sizeof(real), job.codes != NULL, &job.readers[i])
                    job.readers[i].pulse.alone = i > 0
            if space.base == NULL:
                space = Workspace(space.used)
        job.plan, job.encoder, job.V, job.theta, job.order = &plan, &encoder, &V, theta, order
        job.single = sizeof(real) == sizeof(float)
        with nogil:
            count(N, order)
            if job.codes != NULL:
                set_turned(block(theta, plan.theta, V_HH), plan.K, plan.H, False, &V)
            else:
                set_encoder(&plan, theta, each, False, &encoder)
            sort_by_length(N, order, job.offsets, lengths)
            job.buckets = 0
            while done < N:
                job.first[job.buckets] = done
                done += next_bucket(N - done, job.order + done, job.offsets, extent.rows, each)
                job.buckets += 1
            job.first[job.buckets] = N
            job.team = team if job.buckets == 1 and plan.H >= TEAM_MIN_HIDDEN else NULL
            if job.buckets == 1:
                some_buckets(job, 0, 1)
            else:
                together(team, some_buckets, job)
        for i in range(members):
            if job.readers[i].failed:
                return -1
    finally:
        end_team(team)
    return 0


cdef int take_reader(Workspace space, const Plan *p, const Extent *e, size_t item, bint codes, Reader *r) except -1:
    cdef Reader counted_only
    if r == NULL:
        r = &counted_only
    take_bucket(space, e.sequences, e.steps, &r.bucket)
    r.rows = space.take(e.sequences * p.ld_k if codes else 0 if p.sparse else e.span_rows * p.I, item)
    r.h = space.take(e.sequences * p.H if codes else e.span_rows * p.ld_h, item)
    r.h_before = space.take(0 if codes else e.sequences * p.ld_h, item)
    r.failed = False
    r.pulse = new_pulse(0)
    return 0


# ---- codes of states, and first unrolled states of codes ------------------------------------------

cdef int map_rows(Form form, const real *theta, int matrix, int bias, Py_ssize_t N, const real *x,
                  real *out) except -1:
    """out (N, n) = x (N, k) times a block (k, n) of theta, and another added."""
    cdef Py_ssize_t k = form.layout.at[matrix].rows, n = form.layout.at[matrix].columns, first = 0, rows
    cdef Py_ssize_t most = max(<Py_ssize_t>1, PRODUCT_LIMIT // (2 * k * n))
    cdef bint own = choose_own(form.n_inputs, form.n_hidden, sizeof(real))
    cdef Workspace space = Workspace(0)
    cdef Factor factor
    cdef Pulse pulse = new_pulse(0)
    take_factor(space, k, n, sizeof(real), own, &factor)
    space = Workspace(space.used)
    take_factor(space, k, n, sizeof(real), own, &factor)
    with nogil:
        set_factor(&factor, k, n, block(theta, &form.layout, matrix), n, False)
        while first < N:
            rows = min(N - first, most)
            multiply(NULL, rows, n, k, x + first * k, k, &factor, block(theta, &form.layout, bias), 0, out + first * n,
                     n)
            beat(&pulse, 2.0 * rows * k * n)
            first += rows
    return 0


cdef object mapped(theta, rows, Form form, int matrix, int bias, str what):
    cdef bint single = is_single(theta, form)
    cdef Py_ssize_t k = form.layout.at[matrix].rows
    if not is_array(rows, single, 2, k):
        raise ValueError(f"{what} must be a C-contiguous (N, {k}) array of theta's element type")
    out = new_array(single, length_of(rows), form.layout.at[matrix].columns)
    if single:
        map_rows(form, <const float *>data_of(theta), matrix, bias, length_of(rows), <const float *>data_of(rows),
                 <float *>data_of(out))
    else:
        map_rows(form, <const double *>data_of(theta), matrix, bias, length_of(rows), <const double *>data_of(rows),
                 <double *>data_of(out))
    return out


def codes_of(theta, states not None, Form form not None):
    """The codes of states (N, H), such as those of streams: (N, C)."""
    return mapped(theta, states, form, W_HC, B_C, "states") if form.C else states


# ---- whole sequences -----------------------------------------------------------------------------

def encode(theta, Batch batch not None, Form form not None, bint last_only=False, Py_ssize_t n_jobs=1):
    """h_t of every step, (N, T, H), or (rows, H) of a list; or with last_only those of the last steps, (N, H)."""
    cdef bint single = is_single(theta, form)
    cdef Job job
    if batch.single != single or batch.n_features != form.n_inputs:
        raise ValueError("theta and the batch must be of one element type, and the batch of the form's features")
    if last_only:
        out = new_array(single, batch.n_sequences, form.n_hidden)
    elif batch.is_list:
        out = new_array(single, batch.n_rows, form.n_hidden)
    else:
        out = new_array(single, batch.n_sequences, batch.longest, form.n_hidden)
    job.source, job.codes, job.out, job.last_only = &batch.source, NULL, data_of(out), last_only
    job.offsets, job.longest = batch.source.offset, batch.longest
    if single:
        compute(&job, <const float *>data_of(theta), batch.n_sequences, form, n_jobs)
    else:
        compute(&job, <const double *>data_of(theta), batch.n_sequences, form, n_jobs)
    return out


cdef enum:
    FEW = 16                  # codes whose offsets need no memory of their own


def unroll(theta, codes not None, lengths not None, Form form not None, bint chronological, Py_ssize_t n_jobs=1):
    """Outputs of codes (N, H), latest input first or chronological; with softmax output their logits.

    lengths: an int, for (N, length, I); or offsets (N + 1,), for code n in rows offsets[n]:offsets[n+1] of (rows, I).
    """
    cdef bint single = is_single(theta, form)
    cdef Py_ssize_t N, each, i
    cdef Py_ssize_t few[FEW + 1]
    cdef const Py_ssize_t[::1] offsets
    cdef Job job
    if not is_array(codes, single, 2, form.code_size) or length_of(codes) < 1:
        raise ValueError(f"codes must be a C-contiguous (N, {form.code_size}) array of theta's element type")
    N = length_of(codes)
    if form.C:
        codes = mapped(theta, codes, form, V_CH, C_1, "codes")
    if isinstance(lengths, int) and lengths < 1:
        raise ValueError(f"codes are unrolled over at least 1 step, not {lengths}")
    if isinstance(lengths, int) and N <= FEW:
        each = lengths
        for i in range(N + 1):
            few[i] = i * each
        job.offsets, job.longest = few, each
        out = new_array(single, N, each, form.n_inputs)
    elif isinstance(lengths, int):
        each = lengths
        offsets = np.arange(0, N * each + 1, each, dtype=np.intp)
        job.offsets, job.longest = &offsets[0], each
        out = new_array(single, N, each, form.n_inputs)
    else:
        offsets = lengths
        if offsets.shape[0] != N + 1 or offsets[0] != 0:
            raise ValueError("codes do not fit the offsets")
        job.offsets, job.longest = &offsets[0], 0
        for i in range(N):
            if offsets[i + 1] - offsets[i] < 1:
                raise ValueError(f"code {i} has no steps in the offsets")
            job.longest = max(job.longest, offsets[i + 1] - offsets[i])
        out = new_array(single, offsets[N], form.n_inputs)
    job.source, job.codes, job.chronological, job.out = NULL, data_of(codes), chronological, data_of(out)
    if single:
        compute(&job, <const float *>data_of(theta), N, form, n_jobs)
    else:
        compute(&job, <const double *>data_of(theta), N, form, n_jobs)
    return out


# ---- streams -------------------------------------------------------------------------------------

# Streams for which packing W would take longer than reading it as it lies.
cdef enum:
    FEW_STREAMS = 32


cdef int step_streams(Form form, const real *theta, Py_ssize_t B, const real *state, const real *x,
                      const Py_ssize_t *ids, real *out) except -1:
    """out = tanh(x W_xh + state W_hh + b_h) of B streams; x NULL: that of the one-hot rows of ids."""
    cdef Py_ssize_t H = form.n_hidden, I = form.n_inputs, K = H + I if x != NULL else H, first = 0, rows, most = B, n
    cdef bint own = choose_own(I, H, sizeof(real))
    cdef Workspace space
    cdef Factor factor
    cdef Factor W_xh
    cdef Pulse pulse = new_pulse(0)
    cdef const real *W = block(theta, &form.layout, W_HH)
    cdef const real *bias = block(theta, &form.layout, B_H)
    if B > 1:
        most = max(<Py_ssize_t>1, PRODUCT_LIMIT // (2 * K * H))
    if own and recurs_bare(B, H, sizeof(real)):
        factor.own = True
        set_bare(&factor, H, W, H, False)
    # A vector that begins in the last row of W must end within theta.
    elif own and B < FEW_STREAMS and form.layout.size - K * H >= <Py_ssize_t>lanes(sizeof(real)):
        factor.own = True
        factor.transposed = False
        factor.raw = W
        factor.ld = H
        factor.packed = rae_operand(RAE_ROWS, W, 0, 0, H, 0)
    else:
        space = Workspace(0)
        take_factor(space, K, H, sizeof(real), own, &factor)
        space = Workspace(space.used)
        take_factor(space, K, H, sizeof(real), own, &factor)
        set_factor(&factor, K, H, W, H, False)
    if x != NULL:
        W_xh = rows_of(&factor, H, W)
    with nogil:
        while first < B:
            rows = min(B - first, most)
            if x != NULL:
                multiply(NULL, rows, H, I, x + first * I, I, &W_xh, bias, 0, out + first * H, H)
            for n in range(first, first + rows if x == NULL else first):
                memcpy(out + n * H, bias, H * sizeof(real))
                axpy(H, 1.0, block(theta, &form.layout, W_XH) + ids[n] * H, out + n * H)
            multiply(NULL, rows, H, H, state + first * H, H, &factor, <const real *>out + first * H, H,
                     out + first * H, H)
            tanh_(rows * H, <const real *>out + first * H, out + first * H)
            beat(&pulse, 2.0 * rows * H * K)
            first += rows
    return 0


def step(theta, state, x, Form form not None, out=None, bint ids=False):
    """tanh([state, x] W + b_h): one step of one stream, (H,) and (I,), or of B, (B, H) and (B, I).

    state and x must be finite, and C-contiguous arrays of theta's element type, or with `ids` x ids (B,) of
    intp; else the answer is None. out, if given, takes the result.
    """
    cdef bint single = is_single(theta, form)
    cdef bint one = is_ready(state, single, 1, form.n_hidden)
    cdef Py_ssize_t B = 1
    cdef const Py_ssize_t[::1] numbers = None
    cdef const Py_ssize_t *which = NULL
    cdef const void *rows = NULL
    if not one:
        if not is_ready(state, single, 2, form.n_hidden):
            return None
        B = length_of(state)
    if ids:
        numbers = x
        if numbers.shape[0] != B or not 0 <= np.min(x) <= np.max(x) < form.n_inputs:
            raise ValueError("one id within the form's for each stream is needed")
        which = &numbers[0]
    elif not is_ready(x, single, 1 if one else 2, form.n_inputs) or (not one and length_of(x) != B):
        return None
    else:
        rows = data_of(x)
    after = new_array(single, form.n_hidden) if one else new_array(single, B, form.n_hidden)
    if single:
        step_streams(form, <const float *>data_of(theta), B, <const float *>data_of(state), <const float *>rows,
                     which, <float *>data_of(after))
    else:
        step_streams(form, <const double *>data_of(theta), B, <const double *>data_of(state),
                     <const double *>rows, which, <double *>data_of(after))
    if out is None:
        return after
    out[...] = after
    return out
