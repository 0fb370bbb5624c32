"""The unfolding objective: the whole sequence unrolled from its last state (Socher et al., NIPS 2011).

E(X) = sum_k loss(y_k V_hx + c_x, x_{T+1-k}), y_1 = h_T, y_{k+1} = f(y_k V_hh + c_h). Where a code has a size of its
own, y_1 = (h_T W_hc + b_c) V_ch + c_1. The decoder runs forward and
backward through the bucket before the encoder goes back, in the same spans; all that flows into the encoder comes in
where each sequence ends. Twin: reference.unfold_decoder_grad.
"""

from libc.math cimport isfinite, sqrt
from libc.string cimport memcpy, memset

from rae_fast._batch cimport Source
from rae_fast._blas cimport real
from rae_fast._buckets cimport Bucket, active_at
from rae_fast._cell cimport (Encoder, Plan, block, block_to_write, gather_latest, lie_bare, output_loss, padded_copy,
                             set_stacked, set_turned, sparse_loss, take_as_given)
from rae_fast._form cimport B_C, C_1, C_H, C_X, H0, V_CH, V_HH, V_HX, W_HC
from rae_fast._judge cimport judge
from rae_fast._kernels cimport axpy, column_sums, copy_rows, rows_within
from rae_fast._products cimport Factor, backward, forward, multiply, set_factor, sum_over_rows, take_factor
from rae_fast._pulse cimport beat
from rae_fast._sequence cimport (Extent, SequenceObjective, Task, Trace, add_decoder_gradient, add_encoder_gradient,
                                 before_span, bucket_f32, bucket_f64, encode, encoder_within, h0_gradient, keep_last, label_errors,
                                 keep_next, residuals_within, span_of, take_trace, targets)
from rae_fast._workspace cimport Workspace


cdef struct Weights:           # of one theta
    Factor V_hh                # (H, H)
    Factor V_hx                # (H, I)
    Factor V_hh_T              # rows of V'
    Factor V_hx_T
    void *c_h                  # (H_full)
    Factor W_hc                # (H, C)
    Factor V_ch                # (C, H)
    Factor W_hc_T
    Factor V_ch_T


cdef struct Extra:             # buffers
    Trace y                    # the unrolled states
    void *codes                # (sequences, ld_h)  the last states
    void *dcode                # (sequences, ld_h)  and their gradient; before that y_1's
    void *code                 # (sequences, ld_c)  where a code has a size of its own
    void *dc                   # (sequences, ld_c)  its gradient
    void *y_1                  # (sequences, ld_h)


cdef void set_weights(const Plan *p, const Encoder *encoder, const real *theta, Py_ssize_t sequences,
                      Weights *w) noexcept nogil:
    cdef const real *V = block(theta, p.theta, V_HH)
    cdef bint lying = lie_bare(p, sequences, sizeof(real))
    if p.tied:
        w.V_hh_T, w.V_hx_T, w.V_hh = encoder.W_hh, encoder.W_xh, encoder.W_hh_T
    else:
        set_stacked(p, theta, V_HH, V_HX, lying, &w.V_hh_T, &w.V_hx_T)
        set_turned(V, p.H, p.H, lying, &w.V_hh)
    if p.split == NULL:
        set_turned(block(theta, p.theta, V_HX), p.I, p.H, lying, &w.V_hx)
    padded_copy(p, block(theta, p.theta, C_H), <real *>w.c_h)
    if p.C > 0:
        set_factor(&w.W_hc, p.H, p.C, block(theta, p.theta, W_HC), p.C, False)
        set_factor(&w.V_ch, p.C, p.H, block(theta, p.theta, V_CH), p.H, False)
        set_factor(&w.W_hc_T, p.C, p.H, block(theta, p.theta, W_HC), p.C, True)
        set_factor(&w.V_ch_T, p.H, p.C, block(theta, p.theta, V_CH), p.H, True)


cdef void through_code(Task *task, const real *theta) noexcept nogil:
    """The codes of the last states, and y_1 of these."""
    cdef const Plan *p = task.plan
    cdef const Weights *w = <const Weights *>task.decoder
    cdef const Extra *extra = <const Extra *>task.extra
    cdef Py_ssize_t n = task.bucket.n
    # code = H_T W_hc + b_c            (B,C) = (B,H)(H,C)
    multiply(task.team, n, p.C, p.H, <const real *>extra.codes, p.ld_h, &w.W_hc, block(theta, p.theta, B_C), 0,
             <real *>extra.code, p.ld_c)
    # Y_1 = code V_ch + c_1            (B,H) = (B,C)(C,H)
    multiply(task.team, n, p.H, p.C, <const real *>extra.code, p.ld_c, &w.V_ch, block(theta, p.theta, C_1), 0,
             <real *>extra.y_1, p.ld_h)


cdef void back_through_code(Task *task, const real *theta, const Source *source, bint accumulate, real *grad,
                            double *loss) noexcept nogil:
    """From the gradient of y_1 in dcode to that of the last states, in its place, and those of the maps; the labels of
    codes come in between."""
    cdef const Plan *p = task.plan
    cdef const Weights *w = <const Weights *>task.decoder
    cdef const Extra *extra = <const Extra *>task.extra
    cdef Py_ssize_t n = task.bucket.n
    cdef real *d = <real *>extra.dcode
    cdef real *dc = <real *>extra.dc
    cdef real *scratch = <real *>task.buffers.scratch
    # dcode = dY_1 V_ch'               (B,C) = (B,H)(H,C)
    multiply(task.team, n, p.C, p.H, <const real *>d, p.ld_h, &w.V_ch_T, <const real *>NULL, 0, dc, p.ld_c)
    loss[0] += label_errors(task, theta, source, <const real *>extra.code, p.ld_c, dc, p.ld_c, grad)
    sum_over_rows(task.team, p.own, p.C, p.H, n, <const real *>extra.code, p.ld_c, <const real *>d, p.ld_h, 1, accumulate,
                  scratch, block_to_write(grad, p.grad, V_CH), p.H)
    column_sums(n, p.H, <const real *>d, p.ld_h, 1, accumulate, block_to_write(grad, p.grad, C_1))
    sum_over_rows(task.team, p.own, p.H, p.C, n, <const real *>extra.codes, p.ld_h, <const real *>dc, p.ld_c, 1,
                  accumulate, scratch, block_to_write(grad, p.grad, W_HC), p.C)
    column_sums(n, p.C, <const real *>dc, p.ld_c, 1, accumulate, block_to_write(grad, p.grad, B_C))
    # dH_T = dcode W_hc'               (B,H) = (B,C)(C,H)
    multiply(task.team, n, p.H, p.C, <const real *>dc, p.ld_c, &w.W_hc_T, <const real *>NULL, 0, d, p.ld_h)


cdef int unroll_span(Task *task, const real *codes, Py_ssize_t s) except -1 nogil:
    """States y_k = f(y_{k-1} V_hh + c_h) of span s; y_1 are the last states of the encoder."""
    cdef const Plan *p = task.plan
    cdef const Weights *w = <const Weights *>task.decoder
    cdef const Trace *trace = &(<const Extra *>task.extra).y
    cdef const Bucket *bucket = &task.bucket
    cdef Py_ssize_t k0 = bucket.span[s], k1 = bucket.span[s + 1]
    cdef const real *before = before_span(task, <const real *>trace.rows, <const real *>trace.kept, s)
    cdef real *y = span_of(task, <const real *>trace.rows, s)
    if k0 == 0:
        memcpy(y, codes, bucket.n * p.ld_h * sizeof(real))
        before = y
        y += bucket.n * p.ld_h
        k0 = 1
    forward(task.team, &task.pulse, k1 - k0, bucket.active + k0, p.H, before, p.ld_h, &w.V_hh, <const real *>w.c_h,
            p.tanh_decoder, y, p.ld_h)
    return 0


cdef void state_gradients(Task *task, Py_ssize_t s, const real *da, real *g) noexcept nogil:
    """Codes' columns of G: row (k, n) is the gradient of y_{k+1}'s linear part, 0 where the sequence has ended."""
    cdef const Plan *p = task.plan
    cdef const Bucket *bucket = &task.bucket
    cdef Py_ssize_t k, k0 = bucket.span[s], k1 = bucket.span[s + 1], n, r, later
    cdef const real *source
    for k in range(k0, k1):
        later = active_at(bucket, k + 1)
        r = bucket.first[k] - bucket.first[k0]
        source = da + (bucket.first[k + 1] - bucket.first[k0]) * p.ld_h
        if k + 1 == k1:
            source = <const real *>task.buffers.da_next
        copy_rows(later, p.H, source, p.ld_h, g + r * p.ld_k, p.ld_k)
        for n in range(later, bucket.active[k]):
            memset(g + (r + n) * p.ld_k, 0, p.H * sizeof(real))


cdef int decode_outputs(Task *task, const Source *source, Py_ssize_t k0, Py_ssize_t k1, Py_ssize_t rows, const real *y,
                        const real *c_x, double *loss) except -1 nogil:
    """Outputs of steps k0:k1 from their states y: the loss, G_x, and into da what flows into y."""
    cdef const Plan *p = task.plan
    cdef const Weights *w = <const Weights *>task.decoder
    cdef Py_ssize_t I = p.I, H = p.H, ld = p.ld_h
    cdef const real *w_row = <const real *>task.buffers.w_row
    cdef real *z = <real *>task.buffers.z
    cdef real *g = <real *>task.buffers.g
    # X^ = Y V_hx + c_x, loss, G_x     (rows,I) = (rows,H)(H,I)
    multiply(task.team, rows, I, H, y, ld, &w.V_hx, <const real *>NULL, 0, g + H, p.ld_k)
    if source.missing != NULL:
        take_as_given(p, &task.bucket, k0, k1, True, source, <const real *>g + H, p.ld_k, c_x, z, I)
    if p.sparse:
        loss[0] += sparse_loss(p, &task.bucket, k0, k1, True, source, w_row, c_x, <real *>task.buffers.written, g + H)
    else:
        loss[0] += output_loss(p, rows, w_row, c_x, <const real *>z, I, g + H, p.ld_k)
    beat(&task.pulse, 2.0 * rows * H * I)
    # dY = G_x V_hx'                   (rows,H) = (rows,I)(I,H)
    multiply(task.team, rows, p.H_full, I, <const real *>g + H, p.ld_k, &w.V_hx_T, <const real *>NULL, 0,
             <real *>task.buffers.da, ld)
    beat(&task.pulse, 2.0 * rows * H * I)
    return 0


cdef int decode(Task *task, const real *theta, const Source *source, bint accumulate, real *grad,
                double *loss) except -1 nogil:
    """Unroll the codes of the bucket, add the loss, and go back to dcode, dV and dc (which a descent leaves for later).

    Step k decodes x_{T-k} (k from 0) from y_k; y_0 is the code. Row first[k] + n belongs to sequence n.
    """
    cdef const Plan *p = task.plan
    cdef const Bucket *bucket = &task.bucket
    cdef const Weights *w = <const Weights *>task.decoder
    cdef const Extra *extra = <const Extra *>task.extra
    cdef Py_ssize_t I = p.I, H = p.H, ld = p.ld_h, s, k, k0, k1, r, rows, from_1, k_1
    cdef real *z = <real *>task.buffers.z
    cdef real *g = <real *>task.buffers.g
    cdef real *da = <real *>task.buffers.da
    cdef real *w_row = <real *>task.buffers.w_row
    cdef const real *da_next = <const real *>task.buffers.da_next
    cdef const real *codes = <const real *>(extra.y_1 if p.C > 0 else extra.codes)
    cdef const real *c_x = block(theta, p.theta, C_X)
    cdef const real *y
    for s in range(bucket.spans):
        unroll_span(task, codes, s)
        keep_last(task, <const real *>extra.y.rows, <real *>extra.y.kept, s)
    for s in range(bucket.spans - 1, -1, -1):
        k0, k1 = bucket.span[s], bucket.span[s + 1]
        rows = bucket.first[k1] - bucket.first[k0]
        y = span_of(task, <const real *>extra.y.rows, s)
        if task.recompute and s < bucket.spans - 1:
            unroll_span(task, codes, s)
        r = 0
        for k in range(k0, k1):
            if not p.sparse:
                gather_latest(p, bucket, k, source, z + r * I)
            memcpy(w_row + r, task.buffers.w, bucket.active[k] * sizeof(real))
            r += bucket.active[k]
        if p.split != NULL:
            loss[0] += judge(p, bucket, k0, k1, True, source, <const real *>w_row, y, &task.buffers.judge, False, grad, da)
            beat(&task.pulse, 8.0 * rows * H * H)
        else:
            decode_outputs(task, source, k0, k1, rows, y, c_x, loss)
        # dY_k = (dY_k + dY_{k+1} V_hh') o (1 - y_k^2); the code y_0 is no tanh of the decoder
        k_1 = max(k0, <Py_ssize_t>1)
        from_1 = bucket.n if k0 == 0 else 0
        backward(task.team, &task.pulse, k1 - k_1, rows - from_1, bucket.active + k_1, active_at(bucket, k1), H,
                 da_next, <const real *>NULL, 0, &w.V_hh_T, <const real *>NULL, <const real *>NULL, 0,
                 y + from_1 * ld if p.tanh_decoder else NULL, da + from_1 * ld, ld)
        if k0 == 0:
            backward(task.team, &task.pulse, 1, bucket.n, bucket.active, active_at(bucket, 1), H,
                     <const real *>(da + bucket.n * ld) if k1 > 1 else da_next, <const real *>NULL, 0, &w.V_hh_T,
                     <const real *>NULL, <const real *>NULL, 0, <const real *>NULL, da, ld)
        state_gradients(task, s, <const real *>da, g)
        if task.descent == NULL:
            add_decoder_gradient(task, rows, y, 1, accumulate, False, grad)
        accumulate = True
        keep_next(task, s, <const real *>da)
    memcpy(extra.dcode, da, bucket.n * ld * sizeof(real))
    return 0


cdef bint may_descend(const Task *task, const Source *source, Py_ssize_t rows, const real *da, double loss) noexcept nogil:
    """Whether no element of the gradient can be beyond the limit: see encoder_within. Of a tanh y lies within 1."""
    cdef const Plan *p = task.plan
    cdef const real *g = <const real *>task.buffers.g
    cdef double most = sqrt(task.descent.limit / rows)
    if not (isfinite(loss) and encoder_within(task, source, rows, da, most)
            and (p.tanh_decoder
                 or rows_within(rows, p.H, most, <const real *>(<const Extra *>task.extra).y.rows, p.ld_h))):
        return False
    if p.softmax or p.spherical:
        return rows_within(rows, p.K, most, g, p.ld_k)
    return (rows_within(rows, p.H, most, g, p.ld_k)
            and residuals_within(task.bucket.n, <const real *>task.buffers.w, 1, loss, most))


cdef int bucket_gradient(Task *task, const real *theta, const Source *source, bint accumulate, real *grad,
                         double *loss) except -1 nogil:
    """Add the bucket's loss; write its gradient to grad, or add it (accumulate)."""
    cdef const Plan *p = task.plan
    cdef const Bucket *bucket = &task.bucket
    cdef const Extra *extra = <const Extra *>task.extra
    cdef Py_ssize_t H = p.H, ld = p.ld_h, s, t0, t1, n, rows
    cdef const real *h
    cdef real *codes = <real *>extra.codes
    cdef real *da = <real *>task.buffers.da
    cdef real *target = grad
    cdef double factor = 1
    for s in range(bucket.spans):
        t0, t1 = bucket.span[s], bucket.span[s + 1]
        encode(task, theta, source, s)
        keep_last(task, <const real *>task.buffers.h.rows, <real *>task.buffers.h.kept, s)
        h = span_of(task, <const real *>task.buffers.h.rows, s)
        for n in range(active_at(bucket, t1), bucket.active[t0]):
            memcpy(codes + n * ld, h + (bucket.first[bucket.length[n] - 1] - bucket.first[t0] + n) * ld,
                   ld * sizeof(real))
    if p.C > 0:
        through_code(task, theta)
    decode(task, theta, source, accumulate, grad, loss)
    if p.C > 0:
        back_through_code(task, theta, source, accumulate, grad, loss)
        beat(&task.pulse, 12.0 * bucket.n * H * p.C)
    else:
        loss[0] += label_errors(task, theta, source, <const real *>codes, ld, <real *>extra.dcode, ld, grad)
    for s in range(bucket.spans - 1, -1, -1):
        t0, t1 = bucket.span[s], bucket.span[s + 1]
        rows = bucket.first[t1] - bucket.first[t0]
        if task.recompute and s < bucket.spans - 1:
            encode(task, theta, source, s)
        h = span_of(task, <const real *>task.buffers.h.rows, s)
        targets(task, theta, source, s)
        # dA_t = (dcode where a sequence ends, else dA_{t+1} W_hh') o (1 - H_t^2)
        backward(task.team, &task.pulse, t1 - t0, rows, bucket.active + t0, active_at(bucket, t1), H,
                 <const real *>task.buffers.da_next, <const real *>NULL, ld, &task.encoder.W_hh_T,
                 <const real *>extra.dcode, <const real *>NULL, 0, h, da, ld)
        if t0 == 0:
            h0_gradient(task, <const real *>da)
        if task.descent != NULL:
            if may_descend(task, source, rows, <const real *>da, loss[0]):
                # theta -= rate (its gradient): the same sums, times -rate, into theta itself.
                task.descent.made = True
                factor, accumulate, target = -task.descent.rate, True, <real *>theta
            add_encoder_gradient(task, source, s, rows, <const real *>da, factor, accumulate, False, target)
            add_decoder_gradient(task, rows, <const real *>extra.y.rows, factor, accumulate, True, target)
        else:
            add_encoder_gradient(task, source, s, rows, <const real *>da, factor, accumulate, True, target)
        accumulate = True
        keep_next(task, s, <const real *>da)
    axpy(H, factor, <const real *>task.buffers.h0_sum, block_to_write(target, p.grad, H0))
    return 0


cdef class Unfold(SequenceObjective):
    """The objective "unfold"."""

    cdef Weights weights_of_decoder

    def __cinit__(self):
        self.traces, self.extra_bytes, self.decoder = 2, sizeof(Extra), &self.weights_of_decoder
        self.has_unit = True
        # The casts keep a raised exception set.
        self.bucket_single = <bucket_f32>&bucket_gradient[float]
        self.bucket_double = <bucket_f64>&bucket_gradient[double]

    cdef int take_decoder(self, Workspace space) except -1:
        cdef const Plan *p = &self.plan
        cdef Weights *w = &self.weights_of_decoder
        take_factor(space, p.H, 0 if p.tied else p.H, self.item, p.own, &w.V_hh)
        take_factor(space, p.H, p.I if p.split == NULL else 0, self.item, p.own, &w.V_hx)
        take_factor(space, p.K, 0 if p.tied else p.H, self.item, p.own, &w.V_hh_T)
        w.c_h = space.take(p.H_full, self.item)
        take_factor(space, p.H, p.C, self.item, p.own, &w.W_hc)
        take_factor(space, p.C, p.H if p.C else 0, self.item, p.own, &w.V_ch)
        take_factor(space, p.C, p.H if p.C else 0, self.item, p.own, &w.W_hc_T)
        take_factor(space, p.H, p.C, self.item, p.own, &w.V_ch_T)
        return 0

    cdef int take_extra(self, Workspace space, const Extent *e, Task *task) except -1:
        cdef Extra *extra = <Extra *>task.extra
        take_trace(space, &self.plan, e, self.item, &extra.y)
        extra.codes = space.take(e.sequences * self.plan.ld_h, self.item)
        extra.dcode = space.take(e.sequences * self.plan.ld_h, self.item)
        extra.code = space.take(e.sequences * self.plan.ld_c, self.item)
        extra.dc = space.take(e.sequences * self.plan.ld_c, self.item)
        extra.y_1 = space.take(e.sequences * self.plan.ld_h if self.plan.C else 0, self.item)
        if space.base != NULL and self.plan.C:
            memset(extra.code, 0, e.sequences * self.plan.ld_c * self.item)
            memset(extra.dc, 0, e.sequences * self.plan.ld_c * self.item)
            memset(extra.y_1, 0, e.sequences * self.plan.ld_h * self.item)
        return 0

    cdef void set_decoder(self, const void *theta, Py_ssize_t sequences) noexcept nogil:
        if self.single:
            set_weights(&self.plan, &self.encoder, <const float *>theta, sequences, &self.weights_of_decoder)
        else:
            set_weights(&self.plan, &self.encoder, <const double *>theta, sequences, &self.weights_of_decoder)
