"""The cell: sizes and choices of a call, weights as factors of products, rows in, rows out.

Shapes: I inputs, H hidden units, K = H + I; all arrays row-major. The mathematics: docs/design.md. What is here knows
nothing of the order in which a cell is applied: _sequence.pyx does.

Rows in buffers are padded to whole vectors, which are 0 where the C kernels write them.
"""

from libc.math cimport log
from libc.string cimport memcpy, memset

from rae_fast._form cimport B_H, H0, W_HH, W_XH, smoothing
from rae_fast._kernels cimport axpy, copy_rows, cross_entropy, gather, lanes, residual
from rae_fast._products cimport (choose_own, multiply, recurs_bare, rows_of, set_bare, set_factor, take_factor)
from rae_fast._slots cimport slot_of

# ---- the plan of a call ------------------------------------------------------------------------

# A span's buffers, 2 (H + I) + H numbers a row, are to stay in the L2 cache beside the weights, but
# a product over fewer than SPAN_MIN_ROWS rows would pay too much for each pass over the weights.
cdef enum:
    SPAN_BYTES = 1048576
    SPAN_MIN_ROWS = 256
    BUCKET_BYTES = 268435456  # hidden states kept for one bucket of several sequences
    ENCODE_SEQUENCES = 256    # a bucket that keeps no hidden states: more rows gain nothing


# Sequences in one bucket, for tests: nothing of a size that they can compute fills a second one.
cdef Py_ssize_t most_in_bucket = 2 ** 62


def use_buckets(Py_ssize_t sequences):
    """Put up to so many sequences into one bucket; returns how many it was."""
    global most_in_bucket
    if sequences < 1:
        raise ValueError("a bucket holds at least one sequence")
    before, most_in_bucket = most_in_bucket, sequences
    return before


cdef Py_ssize_t row_distance(Py_ssize_t n, Py_ssize_t itemsize) noexcept nogil:
    """n up to whole cache lines; from 8 on an odd number of them, lest a column of a matrix meet in one cache set."""
    cdef Py_ssize_t lines = (n * itemsize + 63) // 64
    if lines >= 8:
        lines |= 1
    return lines * (16 if itemsize == sizeof(float) else 8)


cdef Plan make_plan(Form form, Py_ssize_t itemsize, bint keep, bint sparse) noexcept:
    """The plan of a call that keeps the hidden states of a bucket (gradients) or does not, of sparse rows or not."""
    cdef Plan plan
    cdef Py_ssize_t I = form.n_inputs, H = form.n_hidden
    cdef Py_ssize_t limit_rows = max(<Py_ssize_t>1, <Py_ssize_t>PRODUCT_LIMIT // (2 * (H + I) * H))
    plan.I, plan.H, plan.K, plan.C = I, H, I + H, form.C
    plan.own = choose_own(I, H, itemsize)
    plan.H_full = (H + lanes(itemsize) - 1) & ~(lanes(itemsize) - 1) if plan.own else H
    plan.ld_h = row_distance(H, itemsize)
    plan.ld_k = row_distance(H + I, itemsize)
    plan.ld_c = row_distance(form.C, itemsize)
    plan.sparse = sparse
    plan.ld_z = plan.ld_h if sparse else plan.ld_k
    plan.tanh_decoder = form.tanh_decoder
    plan.softmax = form.softmax
    plan.spherical = form.spherical
    plan.smoothing = smoothing()
    plan.tied = form.tied
    plan.per_unit = 1
    plan.slots = NULL
    plan.split = NULL
    plan.named = NULL
    plan.theta = plan.grad = &form.layout
    plan.span_rows = max(<Py_ssize_t>SPAN_MIN_ROWS, SPAN_BYTES // ((3 * H + 2 * I) * itemsize))
    plan.span_rows = min(plan.span_rows, limit_rows)
    plan.bucket_rows = max(<Py_ssize_t>1, BUCKET_BYTES // (H * itemsize)) if keep else <Py_ssize_t>2 ** 62
    plan.bucket_sequences = min(limit_rows, most_in_bucket if keep else ENCODE_SEQUENCES)
    return plan


# ---- the weights as factors --------------------------------------------------------------------

cdef bint lie_bare(const Plan *p, Py_ssize_t sequences, size_t item) noexcept nogil:
    """Whether the recurrences use their weights as they lie; tied ones serve in other products too."""
    return p.own and not p.tied and recurs_bare(sequences, p.H, item)


cdef void set_stacked(const Plan *p, const real *theta, int codes_block, int inputs_block, bint lying, Factor *codes,
                      Factor *inputs) noexcept nogil:
    """W or V' (K, H) in one piece; or the rows of codes as they lie, and those of inputs in the memory of both."""
    cdef const real *matrix = block(theta, p.theta, codes_block)
    if lying:
        set_bare(codes, p.H, matrix, p.H, False)
        inputs[0] = codes[0]
        if p.K > p.H:
            set_factor(inputs, p.I, p.H, block(theta, p.theta, inputs_block), p.H, False)
    else:
        set_factor(codes, p.K, p.H, matrix, p.H, False)
        inputs[0] = rows_of(codes, p.H, matrix)


cdef void set_turned(const real *matrix, Py_ssize_t n, Py_ssize_t H, bint lying, Factor *factor) noexcept nogil:
    """The transpose of n rows of W or V': as it lies, or in panels."""
    if lying:
        set_bare(factor, n, matrix, H, True)
    else:
        set_factor(factor, H, n, matrix, H, True)


cdef void padded_copy(const Plan *p, const real *x, real *y) noexcept nogil:
    memcpy(y, x, p.H * sizeof(real))
    memset(y + p.H, 0, (p.H_full - p.H) * sizeof(real))


cdef inline bint looked_up(const Plan *p) noexcept nogil:
    """Whether no product needs W_xh: a tied model's is its decoder as well."""
    return p.sparse and not p.tied


cdef int take_encoder(Workspace space, const Plan *p, size_t item, bint gradient, Encoder *w) except -1:
    take_factor(space, p.H if looked_up(p) else p.K, p.H, item, p.own, &w.W_hh)
    take_factor(space, p.H, p.H if gradient else 0, item, p.own, &w.W_hh_T)
    w.bias = space.take(p.H_full, item)
    w.bias0 = space.take(p.H_full, item)
    return 0


cdef void set_encoder(const Plan *p, const real *theta, Py_ssize_t sequences, bint gradient, Encoder *w) noexcept nogil:
    """What encoding buckets of up to so many sequences needs, and the gradient of that."""
    cdef bint lying = lie_bare(p, sequences, sizeof(real))
    cdef const real *W_hh = block(theta, p.theta, W_HH)
    if not looked_up(p):
        set_stacked(p, theta, W_HH, W_XH, lying, &w.W_hh, &w.W_xh)
    elif lying:
        set_bare(&w.W_hh, p.H, W_hh, p.H, False)
    else:
        set_factor(&w.W_hh, p.H, p.H, W_hh, p.H, False)
    padded_copy(p, block(theta, p.theta, B_H), <real *>w.bias)
    if sequences >= FEW_SEQUENCES:
        multiply(NULL, 1, p.H_full, p.H, block(theta, p.theta, H0), p.H, &w.W_hh, <real *>w.bias, 0, <real *>w.bias0,
                 p.H_full)
    if gradient:
        set_turned(W_hh, p.H, p.H, lying, &w.W_hh_T)


# ---- rows in -------------------------------------------------------------------------------------

cdef void gather_inputs(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source,
                        real *out, Py_ssize_t ld) noexcept nogil:
    """Inputs of steps t0:t1 in packed order into rows of `out`, ld numbers apart."""
    cdef const real *data = <const real *>source.values
    cdef Py_ssize_t t
    if bucket.n == 1:
        copy_rows(t1 - t0, p.I, data + (bucket.start[0] + t0) * p.I, p.I, out, ld)
        return
    for t in range(t0, t1):
        gather(bucket.active[t], p.I, data + t * p.I, bucket.start, out, ld)
        out += bucket.active[t] * ld


cdef void gather_latest(const Plan *p, const Bucket *bucket, Py_ssize_t k, const Source *source,
                        real *out) noexcept nogil:
    """The inputs that step k of unrolling gives back, the k-th latest (from 0) of every sequence, into rows of out."""
    gather(bucket.active[k], p.I, <const real *>source.values - k * p.I, bucket.last, out, p.I)


cdef const real *packed_inputs(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1,
                               const Source *source, real *out) noexcept nogil:
    """Inputs of steps t0:t1 in packed order, (rows, I): copied to `out`, unless they are so in the data."""
    if bucket.n == 1:
        return <const real *>source.values + (bucket.start[0] + t0) * p.I
    gather_inputs(p, bucket, t0, t1, source, out, p.I)
    return out


# ---- sparse rows -----------------------------------------------------------------------------------

cdef void look_up(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source,
                  const real *W_xh, const real *bias_first, const real *bias, real *h) noexcept nogil:
    """x_t W_xh + bias of steps t0:t1 in packed order into rows of h; bias_first: of step 0."""
    cdef const real *values = <const real *>source.values
    cdef Py_ssize_t t, n, j, row
    for t in range(t0, t1):
        for n in range(bucket.active[t]):
            row = bucket.start[n] + t
            memcpy(h, bias_first if t == 0 else bias, p.H_full * sizeof(real))
            for j in range(first_of(source, row), first_of(source, row + 1)):
                axpy(p.H, 1.0 if values == NULL else <double>values[j], W_xh + source.column[j] * p.H, h)
            h += p.ld_h


cdef void scatter(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, const Source *source,
                  const real *da, double factor, real *W_xh) noexcept nogil:
    """W_xh += factor X' da, of steps t0:t1 in packed order; of a gradient in slots, into these."""
    cdef const real *values = <const real *>source.values
    cdef Py_ssize_t t, n, j, row, at
    for t in range(t0, t1):
        for n in range(bucket.active[t]):
            row = bucket.start[n] + t
            for j in range(first_of(source, row), first_of(source, row + 1)):
                at = source.column[j] if p.slots == NULL else slot_of(p.slots, source.column[j])
                axpy(p.H, factor if values == NULL else factor * <double>values[j], da, W_xh + at * p.H)
            da += p.ld_h


cdef double sparse_loss(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, bint latest_first,
                        const Source *source, const real *w, const real *c, real *written, real *g) noexcept nogil:
    """output_loss against the sparse rows of steps t0:t1 in packed order; latest_first: steps count from the end.

    Some rows at a time are written out into `written` (LOOKED_UP_ROWS, I), which is 0 before and afterwards.
    """
    cdef const real *values = <const real *>source.values
    cdef Py_ssize_t rows[LOOKED_UP_ROWS]
    cdef Py_ssize_t t, n, i, j, r = 0, some = 0
    cdef double loss = 0
    for t in range(t0, t1):
        for n in range(bucket.active[t]):
            rows[some] = bucket.last[n] - t if latest_first else bucket.start[n] + t
            for j in range(first_of(source, rows[some]), first_of(source, rows[some] + 1)):
                written[some * p.I + source.column[j]] = <real>1 if values == NULL else values[j]
            some += 1
            if some == LOOKED_UP_ROWS or (t + 1 == t1 and n + 1 == bucket.active[t]):
                loss += output_loss(p, some, w + r, c, <const real *>written, p.I, g + r * p.ld_k, p.ld_k)
                for i in range(some):
                    for j in range(first_of(source, rows[i]), first_of(source, rows[i] + 1)):
                        written[i * p.I + source.column[j]] = 0
                r += some
                some = 0
    return loss


# ---- rows out ------------------------------------------------------------------------------------

cdef void take_as_given(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, bint latest_first,
                        const Source *source, const real *g, Py_ssize_t ldg, const real *c, real *x,
                        Py_ssize_t ldx) noexcept nogil:
    """Targets x of steps t0:t1 in packed order where they are missing: the outputs g + c themselves, as the kernels
    round them, so that the error there is 0. latest_first: steps count from the end."""
    cdef Py_ssize_t t, n, i, row, r = 0
    cdef const unsigned char *missing
    for t in range(t0, t1):
        for n in range(bucket.active[t]):
            row = bucket.last[n] - t if latest_first else bucket.start[n] + t
            missing = source.missing + row * p.I
            for i in range(p.I):
                if missing[i]:
                    x[r * ldx + i] = g[r * ldg + i] + c[i]
            r += 1


cdef double spherical_loss(const Plan *p, Py_ssize_t rows, const real *w, const real *c, const real *x, Py_ssize_t ldx,
                           real *g, Py_ssize_t ldg) noexcept nogil:
    """output_loss of spherical outputs o = g + c: sum_i x_i (log(sum_j o_j^2 + S) - log(o_i^2 + S / I)), S the smoothing."""
    cdef Py_ssize_t r, i
    cdef double q, o, mass, each = p.smoothing / p.I, loss = 0
    for r in range(rows):
        q, mass = p.smoothing, 0
        for i in range(p.I):
            o = <double>(g[r * ldg + i] + c[i])
            q += o * o
            mass += x[r * ldx + i]
        for i in range(p.I):
            o = <double>(g[r * ldg + i] + c[i])
            if x[r * ldx + i] != 0:
                loss += w[r] * x[r * ldx + i] * (log(q) - log(o * o + each))
            g[r * ldg + i] = <real>(2 * w[r] * o * (mass / q - x[r * ldx + i] / (o * o + each)))
    return loss


cdef double output_loss(const Plan *p, Py_ssize_t rows, const real *w, const real *c, const real *x, Py_ssize_t ldx,
                        real *g, Py_ssize_t ldg) noexcept nogil:
    """Loss of the outputs g + c against x (rows, I), weighted by w (rows), and its gradient into g."""
    if p.softmax:
        return cross_entropy(rows, p.I, w, c, x, ldx, g, ldg)
    if p.spherical:
        return spherical_loss(p, rows, w, c, x, ldx, g, ldg)
    return residual(rows, p.I, w, c, x, ldx, p.per_unit, g, ldg)
