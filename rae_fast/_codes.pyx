"""Codes of sequences, sequences of codes, and single steps: what a trained model is used for.

Shapes, blocks and the choice of products as in _sequence.pyx. Sequences (or codes) are cut into blocks by their shape
alone; a team of threads shares the blocks, or the products of a single one, and changes no bit.
"""

from libc.string cimport memcpy

from rae_fast._blas cimport real
from rae_fast._blocks cimport (Block, LengthAt, Workspace, block_members, cut_into_spans, fill_block, longest_and_rows,
                               sort_by_length, take_block)
from rae_fast._kernels cimport (RAE_ROWS, copy_rows, end_team, lanes, rae_operand, rae_team, start_team, tanh_,
                                team_members, together)
from rae_fast._products cimport Factor, multiply, recurs_bare, rows_of, set_bare, set_factor, take_factor
from rae_fast._pulse cimport Pulse, beat, new_pulse
from rae_fast._sequence cimport (TEAM_MIN_HIDDEN, TEAM_WORK, Extent, Plan, Weights, check_data, check_theta, count,
                                 encode_span, make_plan, measure, set_encoder, set_unroller, take_weights, theta_size)

# Sequences in a block: for more, a product gains nothing; with fewer, it would read the weights too often.
cdef enum:
    MOST_SEQUENCES = 256
    FEWEST_SEQUENCES = 32
    BLOCKS = 16               # that many sequences are cut into, if these limits allow it


cdef struct Reader:           # one thread's memory
    Block block
    Pulse pulse
    void *rows                # (rows of a span, I), or (members, ld_k) where codes are unrolled
    void *h                   # (rows of a span, ld_h), or (members, ld_h)
    void *h_before            # (members, ld_h)
    bint failed               # by an exception of a signal handler, which is set


cdef struct Job:
    const Plan *plan
    const Weights *weights
    Reader *readers
    rae_team *team            # that shares every product, or NULL
    Py_ssize_t blocks
    Py_ssize_t *first         # (blocks + 1) places in the order
    const Py_ssize_t *order
    const Py_ssize_t *offsets
    const void *theta
    const void *source        # the data, or the codes
    void *out
    bint codes                # unroll codes; else encode
    bint last_only
    bint chronological
    bint single               # the element type: float


cdef int encode_block(const Job *job, Reader *r, const real *theta) except -1 nogil:
    cdef const Plan *p = job.plan
    cdef const Block *block = &r.block
    cdef Py_ssize_t H = p.H, ld = p.ld_h, s, t, t0, t1, n, still
    cdef real *out = <real *>job.out
    cdef real *h_t
    for s in range(block.spans):
        t0, t1 = block.span[s], block.span[s + 1]
        encode_span(p, job.team, &r.pulse, job.weights, theta, block, t0, t1, <const real *>job.source,
                    <const real *>r.h_before, <real *>r.rows, <real *>r.h)
        h_t = <real *>r.h
        for t in range(t0, t1):
            still = block.active[t + 1] if t + 1 < block.steps else 0
            if job.last_only:
                for n in range(still, block.active[t]):
                    memcpy(out + block.member[n] * H, h_t + n * ld, H * sizeof(real))
            else:
                for n in range(block.active[t]):
                    memcpy(out + (block.start[n] + t) * H, h_t + n * ld, H * sizeof(real))
            if t + 1 == t1:
                memcpy(r.h_before, h_t, still * ld * sizeof(real))
            h_t += block.active[t] * ld
    return 0


cdef int unroll_block(const Job *job, Reader *r, const real *theta) except -1 nogil:
    cdef const Plan *p = job.plan
    cdef const Block *block = &r.block
    cdef Py_ssize_t I = p.I, H = p.H, K = p.K, ld = p.ld_k, k, n, active, row
    cdef real *y = <real *>r.h
    cdef real *z = <real *>r.rows
    cdef real *out = <real *>job.out
    cdef const real *c = theta + (1 if p.tied else 2) * K * H + 2 * H
    for n in range(block.n):
        memcpy(y + n * H, <const real *>job.source + block.member[n] * H, H * sizeof(real))
    for k in range(block.steps):
        active = block.active[k]
        # [y', x] = y V + c          (B,H+I) = (B,H)(H,H+I)
        multiply(job.team, active, K, H, <const real *>y, H, &job.weights.V, c, 0, z, ld)
        copy_rows(active, H, <const real *>z, ld, y, H)
        for n in range(active):
            row = block.start[n] + (block.length[n] - 1 - k if job.chronological else k)
            memcpy(out + row * I, z + n * ld + H, I * sizeof(real))
        if p.tanh_decoder:
            tanh_(active * H, <const real *>y, y)
        beat(&r.pulse, 2.0 * active * H * K)
    return 0


cdef int one_block(const Job *job, Reader *r, const real *theta, Py_ssize_t b) except -1 nogil:
    fill_block(&r.block, job.first[b + 1] - job.first[b], job.order + job.first[b], job.offsets)
    cut_into_spans(&r.block, job.plan.span_rows)
    return unroll_block(job, r, theta) if job.codes else encode_block(job, r, theta)


ctypedef int (*block_f32)(const Job *, Reader *, const float *, Py_ssize_t) noexcept nogil
ctypedef int (*block_f64)(const Job *, Reader *, const double *, Py_ssize_t) noexcept nogil


cdef void some_blocks(void *argument, size_t member, size_t members) noexcept nogil:
    """The blocks of one member of the team."""
    cdef Job *job = <Job *>argument
    cdef Reader *r = &job.readers[member]
    cdef Py_ssize_t b = member
    while b < job.blocks and not r.failed:
        # The casts keep a raised exception set for `run`, where it belongs.
        if job.single:
            r.failed = (<block_f32>&one_block[float])(job, r, <const float *>job.theta, b) != 0
        else:
            r.failed = (<block_f64>&one_block[double])(job, r, <const double *>job.theta, b) != 0
        b += members


cdef int run(Job *job, const real *theta, const real *source, Py_ssize_t N, const Py_ssize_t *offsets, form, real *out,
             Py_ssize_t n_jobs) except -1:
    """Encode or unroll everything; job says which."""
    cdef Plan plan = make_plan(form, sizeof(real), False, 0)
    cdef Weights weights
    cdef Py_ssize_t members, i, done = 0
    cdef (Py_ssize_t, Py_ssize_t) most = longest_and_rows(N, offsets, N)
    cdef double work = 2.0 * offsets[N] * plan.H * plan.K
    cdef Py_ssize_t each = max(<Py_ssize_t>FEWEST_SEQUENCES, min(<Py_ssize_t>MOST_SEQUENCES, N // BLOCKS))
    each = min(min(each, plan.block_members), N)
    cdef Extent extent = measure(&plan, most[0], min(most[1], most[0] * each), each)
    cdef rae_team *team = NULL
    cdef Workspace space = Workspace(0)
    cdef LengthAt *lengths
    cdef Py_ssize_t *order
    if n_jobs > 1 and plan.own and work >= TEAM_WORK and (N > each or plan.H >= TEAM_MIN_HIDDEN):
        team = start_team(n_jobs)
    try:
        members = team_members(team)
        for _ in range(2):
            take_weights(space, &plan, sizeof(real), False, &weights)
            take_factor(space, plan.H, plan.K if job.codes else 0, sizeof(real), plan.own, &weights.V)
            lengths = <LengthAt *>space.take(N, sizeof(LengthAt))
            order = <Py_ssize_t *>space.take(N, sizeof(Py_ssize_t))
            job.first = <Py_ssize_t *>space.take(N + 1, sizeof(Py_ssize_t))
            job.readers = <Reader *>space.take(members, sizeof(Reader))
            if space.base == NULL:
                # The readers' own parts: counted for one, taken for all.
                for i in range(members):
                    take_reader(space, &plan, &extent, sizeof(real), job.codes, NULL)
                space = Workspace(space.used)
            else:
                for i in range(members):
                    take_reader(space, &plan, &extent, sizeof(real), job.codes, &job.readers[i])
                    job.readers[i].pulse.alone = i > 0
        job.plan, job.weights = &plan, &weights
        job.offsets, job.theta, job.source, job.out = offsets, theta, source, out
        job.single = sizeof(real) == sizeof(float)
        job.order = order
        with nogil:
            count(N, order)
            if job.codes:
                set_unroller(&plan, theta, &weights)
            else:
                set_encoder(&plan, theta, each, &weights)
            sort_by_length(N, order, job.offsets, lengths)
            job.blocks = 0
            while done < N:
                job.first[job.blocks] = done
                done += block_members(N - done, job.order + done, job.offsets, extent.rows, each)
                job.blocks += 1
            job.first[job.blocks] = N
            job.team = team if job.blocks == 1 and plan.H >= TEAM_MIN_HIDDEN else NULL
            if job.blocks == 1:
                some_blocks(job, 0, 1)
            else:
                together(team, some_blocks, job)
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
    take_block(space, e.members, e.steps, &r.block)
    r.rows = space.take(e.members * p.ld_k if codes else e.span_rows * p.I, item)
    r.h = space.take(e.members * p.H if codes else e.span_rows * p.ld_h, item)
    r.h_before = space.take(0 if codes else e.members * p.ld_h, item)
    r.failed = False
    r.pulse = new_pulse(0)
    return 0


cdef int encode(bint single, const void *theta, const void *data, Py_ssize_t N, const Py_ssize_t *offsets, form,
                bint last_only, void *out, Py_ssize_t n_jobs) except -1:
    """hidden_states of float or double, with nothing checked."""
    cdef Job job
    job.codes, job.last_only = False, last_only
    if single:
        return run(&job, <const float *>theta, <const float *>data, N, offsets, form, <float *>out, n_jobs)
    return run(&job, <const double *>theta, <const double *>data, N, offsets, form, <double *>out, n_jobs)


cdef int decode(bint single, const void *theta, const void *codes, Py_ssize_t N, const Py_ssize_t *offsets, form,
                bint chronological, void *out, Py_ssize_t n_jobs) except -1:
    """unroll of float or double, with nothing checked."""
    cdef Job job
    job.codes, job.chronological = True, chronological
    if single:
        return run(&job, <const float *>theta, <const float *>codes, N, offsets, form, <float *>out, n_jobs)
    return run(&job, <const double *>theta, <const double *>codes, N, offsets, form, <double *>out, n_jobs)


def hidden_states(const real[::1] theta not None, const real[:, ::1] data not None,
                  const Py_ssize_t[::1] offsets not None, form, real[:, ::1] out not None,
                  bint last_only=False, Py_ssize_t n_jobs=1):
    """h_t of every step into out (rows of data, H); with last_only the codes into out (N, H)."""
    cdef Plan plan = make_plan(form, sizeof(real), False, 0)
    check_theta(&plan, theta.shape[0])
    check_data(&plan, data.shape[0], data.shape[1], offsets)
    if out.shape[0] != (offsets.shape[0] - 1 if last_only else data.shape[0]) or out.shape[1] != plan.H:
        raise ValueError("out has the wrong shape")
    encode(sizeof(real) == sizeof(float), &theta[0], &data[0, 0], offsets.shape[0] - 1, &offsets[0], form, last_only,
           &out[0, 0], n_jobs)


def unroll(const real[::1] theta not None, const real[:, ::1] codes not None,
           const Py_ssize_t[::1] offsets not None, form, bint chronological,
           real[:, ::1] out not None, Py_ssize_t n_jobs=1):
    """Unroll code n into rows offsets[n]:offsets[n+1] of out, latest input first or chronological.

    With softmax output these are logits.
    """
    cdef Plan plan = make_plan(form, sizeof(real), False, 0)
    cdef Py_ssize_t N = offsets.shape[0] - 1
    check_theta(&plan, theta.shape[0])
    if codes.shape[0] != N or codes.shape[1] != plan.H or out.shape[0] != offsets[N] or out.shape[1] != plan.I:
        raise ValueError("codes and out do not fit the offsets")
    decode(sizeof(real) == sizeof(float), &theta[0], &codes[0, 0], N, &offsets[0], form, chronological, &out[0, 0],
           n_jobs)


# Streams for which packing W would take longer than reading it as it lies.
cdef enum:
    FEW_STREAMS = 32


cdef int step_streams(const Plan *p, const real *theta, Py_ssize_t B, const real *state, const real *x,
                      real *out) except -1:
    """out = tanh(x W_xh + state W_hh + b_h) of B streams."""
    cdef Py_ssize_t H = p.H, I = p.I, first = 0, rows
    cdef Workspace space
    cdef Factor W
    cdef Factor W_xh
    cdef Pulse pulse = new_pulse(0)
    cdef const real *bias = theta + p.K * H
    if p.own and recurs_bare(B, H, sizeof(real)):
        W.own = True
        set_bare(&W, H, theta, H, False)
    # A vector that begins in the last row of W must end within theta.
    elif p.own and B < FEW_STREAMS and theta_size(p) - p.K * H >= <Py_ssize_t>lanes(sizeof(real)):
        W.own = True
        W.transposed = False
        W.raw = theta
        W.ld = H
        W.packed = rae_operand(RAE_ROWS, theta, 0, 0, H, 0)
    else:
        space = Workspace(0)
        take_factor(space, p.K, H, sizeof(real), p.own, &W)
        space = Workspace(space.used)
        take_factor(space, p.K, H, sizeof(real), p.own, &W)
        set_factor(&W, p.K, H, theta, H, False)
    W_xh = rows_of(&W, H, theta)
    with nogil:
        while first < B:
            rows = min(B - first, p.block_members)
            multiply(NULL, rows, H, I, x + first * I, I, &W_xh, bias, 0, out + first * H, H)
            multiply(NULL, rows, H, H, state + first * H, H, &W, <const real *>out + first * H, H, out + first * H, H)
            tanh_(rows * H, <const real *>out + first * H, out + first * H)
            beat(&pulse, 2.0 * rows * H * (H + I))
            first += rows
    return 0


cdef int step_one(bint single, const void *theta, const void *state, const void *x, form, void *out) except -1:
    """One step of one stream of float or double, with nothing checked."""
    cdef Plan plan = make_plan(form, sizeof(float) if single else sizeof(double), False, 0)
    if single:
        return step_streams(&plan, <const float *>theta, 1, <const float *>state, <const float *>x, <float *>out)
    return step_streams(&plan, <const double *>theta, 1, <const double *>state, <const double *>x, <double *>out)


def step(const real[::1] theta not None, const real[:, ::1] state not None,
         const real[:, ::1] x not None, form, real[:, ::1] out not None):
    """out = tanh(x W_xh + state W_hh + b_h), one step of B streams; out must not overlap the inputs."""
    cdef Plan plan = make_plan(form, sizeof(real), False, 0)
    cdef Py_ssize_t B = state.shape[0]
    check_theta(&plan, theta.shape[0])
    if x.shape[0] != B or x.shape[1] != plan.I or state.shape[1] != plan.H or out.shape[0] != B or out.shape[1] != plan.H:
        raise ValueError("state, x and out do not fit together")
    step_streams(&plan, &theta[0], B, &state[0, 0], &x[0, 0], &out[0, 0])
