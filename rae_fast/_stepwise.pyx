"""The stepwise objective: at every step the input and the previous state are given back.

E(X) = sum_t loss(x^_t, x_t) + hidden_weight sum_{t>=2} |h^_{t-1} - h_{t-1}|^2, [h^_{t-1}, x^_t] = h_t V + c, the states
through tanh where the decoder is. The targets h_{t-1} move too: *pull* is the gradient that flows into them, or rather
out of them. Twin: reference.stepwise_decoder_grad.
"""

from libc.math cimport isfinite, sqrt
from libc.string cimport memcpy, memset

from rae_fast._batch cimport Source
from rae_fast._blas cimport real
from rae_fast._buckets cimport Bucket, active_at
from rae_fast._cell cimport (Encoder, Plan, block, block_to_write, gather_inputs, lie_bare, output_loss, padded_copy,
                             set_turned, sparse_loss, take_as_given)
from rae_fast._form cimport C_H, C_X, H0, V_HH, V_HX
from rae_fast._judge cimport judge
from rae_fast._kernels cimport axpy, column_sums, copy_rows, residual, rows_within, tanh_, tanh_backward
from rae_fast._products cimport Factor, backward, multiply, set_factor, take_factor
from rae_fast._pulse cimport beat
from rae_fast._sequence cimport (Extent, SequenceObjective, Task, add_decoder_gradient, add_encoder_gradient,
                                 bucket_f32, bucket_f64, encode, encoder_within, h0_gradient, keep_last, keep_next, label_errors,
                                 residuals_within, root_of, span_of, targets)
from rae_fast._workspace cimport Workspace


cdef struct Weights:           # of one theta
    Factor V                   # (H, H+I), or with the tanh decoder
    Factor V_hh                # (H, H)
    Factor V_hx                # (H, I)
    Factor V_T                 # V'
    void *c_h                  # (H_full)
    void *zeros                # (H)
    double hidden_weight
    bint reconstruct_h0


cdef struct Extra:             # buffers
    void *w_hidden             # (rows of a span) weights of the hidden terms
    void *back                 # (rows of a span, ld_h)    decoded states, tanh decoder only
    void *pull                 # (rows of a span, ld_h)    on the targets, tanh decoder only
    void *pull_next            # (sequences, ld_h)         of the first step of the later span
    void *codes                # (sequences, ld_h)    last states, and what labels say of them; with labels only
    void *dcodes


cdef void set_weights(const Plan *p, const Encoder *encoder, const real *theta, Py_ssize_t sequences,
                      Weights *w) noexcept nogil:
    cdef const real *V = block(theta, p.theta, V_HH)
    cdef bint lying = lie_bare(p, sequences, sizeof(real))
    if p.tied:
        w.V_T = encoder.W_hh
    else:
        set_factor(&w.V_T, p.K, p.H, V, p.H, False)
    if p.tanh_decoder:
        if p.tied:
            w.V_hh = encoder.W_hh_T
        else:
            set_turned(V, p.H, p.H, lying, &w.V_hh)
        if p.split == NULL:
            set_turned(block(theta, p.theta, V_HX), p.I, p.H, lying, &w.V_hx)
    else:
        set_turned(V, p.K, p.H, lying, &w.V)
    padded_copy(p, block(theta, p.theta, C_H), <real *>w.c_h)
    memset(w.zeros, 0, p.H * sizeof(real))


cdef void row_weights(const Task *task, Py_ssize_t s, const real *w) noexcept nogil:
    """The weights of both losses of every row of span s."""
    cdef const Weights *weights = <const Weights *>task.decoder
    cdef const Bucket *bucket = &task.bucket
    cdef Py_ssize_t t, n, r = 0
    cdef real *w_input = <real *>task.buffers.w_row
    cdef real *w_hidden = <real *>(<const Extra *>task.extra).w_hidden
    for t in range(bucket.span[s], bucket.span[s + 1]):
        for n in range(bucket.active[t]):
            w_input[r] = w[n]
            w_hidden[r] = <real>(weights.hidden_weight * w[n]) if t > 0 or weights.reconstruct_h0 else 0
            r += 1


cdef int decode(Task *task, const real *theta, const Source *source, Py_ssize_t s, Py_ssize_t rows, const real *h,
                real *grad, double *loss) except -1 nogil:
    """Reconstruct the span's targets z from h; loss, G, the pull, and into da what flows into h."""
    cdef const Plan *p = task.plan
    cdef const Weights *w = <const Weights *>task.decoder
    cdef const Extra *extra = <const Extra *>task.extra
    cdef Py_ssize_t r, H = p.H, ld = p.ld_h
    cdef real *z = <real *>task.buffers.z
    cdef real *g = <real *>task.buffers.g
    cdef real *back = <real *>extra.back
    cdef real *pull = <real *>extra.pull
    cdef const real *c = block(theta, p.theta, C_H)
    cdef const real *c_x = block(theta, p.theta, C_X)
    if p.tanh_decoder:
        # back = tanh(H V_hh + c_h); pull = 2 w (back - h_{t-1}); G_h = pull o (1 - back^2)
        multiply(task.team, rows, p.H_full, H, h, ld, &w.V_hh, <const real *>w.c_h, 0, back, ld)
        if p.split == NULL:
            multiply(task.team, rows, p.I, H, h, ld, &w.V_hx, <const real *>NULL, 0, g + H, p.ld_k)
        for r in range(rows):
            tanh_(H, back + r * ld, back + r * ld)
        copy_rows(rows, H, back, ld, pull, ld)
        loss[0] += residual(rows, H, <const real *>extra.w_hidden, <const real *>w.zeros, <const real *>z, p.ld_z, 1,
                            pull, ld)
        copy_rows(rows, H, pull, ld, g, p.ld_k)
        for r in range(rows):
            tanh_backward(H, back + r * ld, g + r * p.ld_k)
    else:
        # H V                          (rows,H+I) = (rows,H)(H,H+I)
        multiply(task.team, rows, p.K, H, h, ld, &w.V, <const real *>NULL, 0, g, p.ld_k)
        loss[0] += residual(rows, H, <const real *>extra.w_hidden, c, <const real *>z, p.ld_z, 1, g, p.ld_k)
    if source.missing != NULL:
        take_as_given(p, &task.bucket, task.bucket.span[s], task.bucket.span[s + 1], False, source,
                      <const real *>g + H, p.ld_k, c_x, z + H, p.ld_z)
    if p.split != NULL:
        pass  # below
    elif p.sparse:
        loss[0] += sparse_loss(p, &task.bucket, task.bucket.span[s], task.bucket.span[s + 1], False, source,
                               <const real *>task.buffers.w_row, c_x, <real *>task.buffers.written, g + H)
    else:
        loss[0] += output_loss(p, rows, <const real *>task.buffers.w_row, c_x, <const real *>z + H, p.ld_z, g + H,
                               p.ld_k)
    if source.missing != NULL:  # z is read again, as what the encoder read
        gather_inputs(p, &task.bucket, task.bucket.span[s], task.bucket.span[s + 1], source, z + H, p.ld_z)
    beat(&task.pulse, 2.0 * rows * H * p.K)
    # dH = G V'                        (rows,H) = (rows,H+I)(H+I,H)
    multiply(task.team, rows, p.H_full, p.K, g, p.ld_k, &w.V_T, <const real *>NULL, 0, <real *>task.buffers.da, ld)
    beat(&task.pulse, 2.0 * rows * H * p.K)
    if p.split != NULL:
        loss[0] += judge(p, &task.bucket, task.bucket.span[s], task.bucket.span[s + 1], False, source,
                         <const real *>task.buffers.w_row, h, &task.buffers.judge, True, grad, <real *>task.buffers.da)
        beat(&task.pulse, 8.0 * rows * H * H)
    return 0


cdef bint may_descend(const Task *task, const Source *source, Py_ssize_t rows, const real *da, double loss) noexcept nogil:
    """Whether no element of the gradient can be beyond the limit: see encoder_within."""
    cdef const Plan *p = task.plan
    cdef double most = sqrt(task.descent.limit / rows)
    if not (isfinite(loss) and encoder_within(task, source, rows, da, most)):
        return False
    if p.softmax or p.spherical:
        return rows_within(rows, p.K, most, <const real *>task.buffers.g, p.ld_k)
    return residuals_within(task.bucket.n, <const real *>task.buffers.w,
                            (<const Weights *>task.decoder).hidden_weight, loss, most)


cdef void last_rows(const Task *task, Py_ssize_t s, real *rows, real *codes, bint add) noexcept nogil:
    """The rows of span s with which sequences end into codes; or (add) codes added to these."""
    cdef const Bucket *bucket = &task.bucket
    cdef Py_ssize_t n, ld = task.plan.ld_h, t0 = bucket.span[s]
    cdef real *row
    for n in range(active_at(bucket, bucket.span[s + 1]), bucket.active[t0]):
        row = rows + (bucket.first[bucket.length[n] - 1] - bucket.first[t0] + n) * ld
        if add:
            axpy(task.plan.H, 1.0, <const real *>(codes + n * ld), row)
        else:
            memcpy(codes + n * ld, row, ld * sizeof(real))


cdef int bucket_gradient(Task *task, const real *theta, const Source *source, bint accumulate, real *grad,
                         double *loss) except -1 nogil:
    """Add the bucket's loss; write its gradient to grad, or add it (accumulate)."""
    cdef const Plan *p = task.plan
    cdef const Bucket *bucket = &task.bucket
    cdef const Weights *w = <const Weights *>task.decoder
    cdef const Extra *extra = <const Extra *>task.extra
    cdef Py_ssize_t H = p.H, ld = p.ld_h, s, t0, t1, rows
    cdef const real *h
    cdef real *da = <real *>task.buffers.da
    cdef const real *pull = <const real *>(extra.pull if p.tanh_decoder else task.buffers.g)
    cdef Py_ssize_t ld_pull = ld if p.tanh_decoder else p.ld_k
    cdef real *target = grad
    cdef double factor = 1
    for s in range(bucket.spans):
        encode(task, theta, source, s)
        keep_last(task, <const real *>task.buffers.h.rows, <real *>task.buffers.h.kept, s)
        if task.head.K:
            last_rows(task, s, span_of(task, <const real *>task.buffers.h.rows, s), <real *>extra.codes, False)
    if task.head.K:
        memset(extra.dcodes, 0, bucket.n * ld * sizeof(real))
        loss[0] += label_errors(task, theta, source, <const real *>extra.codes, ld, <real *>extra.dcodes, ld, grad)
    for s in range(bucket.spans - 1, -1, -1):
        t0, t1 = bucket.span[s], bucket.span[s + 1]
        rows = bucket.first[t1] - bucket.first[t0]
        if task.recompute and s < bucket.spans - 1:
            encode(task, theta, source, s)
        h = span_of(task, <const real *>task.buffers.h.rows, s)
        targets(task, theta, source, s)
        row_weights(task, s, <const real *>task.buffers.w)
        decode(task, theta, source, s, rows, h, grad, loss)
        if task.head.K:
            last_rows(task, s, da, <real *>extra.dcodes, True)
        # dA_t = (dH_t + dA_{t+1} W_hh' - pull_{t+1}) o (1 - H_t^2)
        backward(task.team, &task.pulse, t1 - t0, rows, bucket.active + t0, active_at(bucket, t1), H,
                 <const real *>task.buffers.da_next, <const real *>extra.pull_next, ld, &task.encoder.W_hh_T,
                 <const real *>NULL, pull, ld_pull, h, da, ld)
        if t0 == 0:
            h0_gradient(task, <const real *>da)
            if w.reconstruct_h0:
                column_sums(bucket.n, H, pull, ld_pull, 1, False, <real *>task.buffers.sums)
                axpy(H, -1.0, <const real *>task.buffers.sums, <real *>task.buffers.h0_sum)
        if task.descent != NULL and may_descend(task, source, rows, <const real *>da, loss[0]):
            # theta -= rate (its gradient): the same sums, times -rate, into theta itself.
            task.descent.made = True
            factor, accumulate, target = -task.descent.rate, True, <real *>theta
        add_encoder_gradient(task, source, s, rows, <const real *>da, factor, accumulate, False, target)
        add_decoder_gradient(task, rows, h, factor, accumulate, True, target)
        accumulate = True
        keep_next(task, s, <const real *>da)
        if t0 > 0:
            copy_rows(bucket.active[t0], H, pull, ld_pull, <real *>extra.pull_next, ld)
    axpy(H, factor, <const real *>task.buffers.h0_sum, block_to_write(target, p.grad, H0))
    return 0


cdef class Stepwise(SequenceObjective):
    """The objective "stepwise"."""

    cdef Weights weights_of_decoder

    def __cinit__(self):
        self.traces, self.extra_bytes, self.decoder = 1, sizeof(Extra), &self.weights_of_decoder
        # The casts keep a raised exception set.
        self.bucket_single = <bucket_f32>&bucket_gradient[float]
        self.bucket_double = <bucket_f64>&bucket_gradient[double]

    cdef int take_decoder(self, Workspace space) except -1:
        cdef const Plan *p = &self.plan
        cdef Weights *w = &self.weights_of_decoder
        cdef bint halves = p.tanh_decoder
        w.hidden_weight, w.reconstruct_h0 = self.form.hidden_weight, self.form.reconstruct_h0
        if self.head.K:  # rows' weights are those of residuals in another unit
            w.hidden_weight *= self.form.loss_unit / self.form.hidden_unit
            if p.split == NULL:
                w.hidden_weight /= root_of(self.form.loss_unit, self.form.categorical) ** 2
        take_factor(space, p.H, 0 if halves else p.K, self.item, p.own, &w.V)
        take_factor(space, p.H, p.H if halves and not p.tied else 0, self.item, p.own, &w.V_hh)
        take_factor(space, p.H, p.I if halves and p.split == NULL else 0, self.item, p.own, &w.V_hx)
        take_factor(space, p.K, 0 if p.tied else p.H, self.item, p.own, &w.V_T)
        w.c_h = space.take(p.H_full, self.item)
        w.zeros = space.take(p.H, self.item)
        return 0

    cdef int take_extra(self, Workspace space, const Extent *e, Task *task) except -1:
        cdef Extra *extra = <Extra *>task.extra
        cdef Py_ssize_t rows = e.span_rows * self.plan.ld_h if self.plan.tanh_decoder else 0
        extra.w_hidden = space.take(e.span_rows, self.item)
        extra.back = space.take(rows, self.item)
        extra.pull = space.take(rows, self.item)
        extra.pull_next = space.take(e.sequences * self.plan.ld_h, self.item)
        extra.codes = space.take(e.sequences * self.plan.ld_h if self.head.K else 0, self.item)
        extra.dcodes = space.take(e.sequences * self.plan.ld_h if self.head.K else 0, self.item)
        if space.base != NULL:
            # Rows are read as whole vectors.
            memset(extra.pull_next, 0, e.sequences * self.plan.ld_h * self.item)
            memset(extra.pull, 0, rows * self.item)
        return 0

    cdef void set_decoder(self, const void *theta, Py_ssize_t sequences) noexcept nogil:
        if self.single:
            set_weights(&self.plan, &self.encoder, <const float *>theta, sequences, &self.weights_of_decoder)
        else:
            set_weights(&self.plan, &self.encoder, <const double *>theta, sequences, &self.weights_of_decoder)
