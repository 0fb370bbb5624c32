"""Updates of a model by the gradients of an objective, and passes of them over its batch, without Python in between.

NumPy twins: reference.update and reference.train. The solvers' formulas: solvers.py; their loops: csrc/solvers_body.h.
"""

import numpy as np

from rae_fast._form import ORDER

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport INFINITY, M_PI, cos, isfinite, sqrt
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from rae_fast._blas cimport real
from rae_fast._buckets cimport count
from rae_fast._factored cimport OutputFactor
from rae_fast._form cimport AnyForm, C_X, Layout, V_HX, W_XH, data_of, is_single, new_blocks, same_places
from rae_fast._kernels cimport axpy, find_solver, first_beyond, rae_step, sum_squares, update_by
from rae_fast._objective cimport Descent
from rae_fast._pulse cimport Pulse, new_pulse, rae_flush_subnormals, rae_set_fp_state
from rae_fast._record cimport Record
from rae_fast._slots cimport compact, slot_of

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


# ---- updates -------------------------------------------------------------------------------------

cdef enum:
    CONSTANT = 0
    COSINE = 1
    STEP = 2
    INVERSE = 3

_SCHEDULES = {"constant": CONSTANT, "cosine": COSINE, "step": STEP, "inverse": INVERSE}


cdef double learning_rate_at(const Rule *rule, double done) noexcept nogil:
    """The schedule; done is the fraction of the fit's updates already made."""
    if rule.schedule == COSINE:
        return rule.learning_rate * (1 + cos(M_PI * done)) / 2
    if rule.schedule == STEP:
        return rule.learning_rate * (1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01)
    if rule.schedule == INVERSE:
        return rule.learning_rate / (1 + 10 * done)
    return rule.learning_rate


cdef Rule rule_of(solver, bint scaled, double unit) except *:
    """What of an update does not depend on the present values of anything."""
    cdef Rule rule
    cdef Py_ssize_t i
    rule.solver = find_solver(solver.name)
    numbers = solver.numbers
    if len(numbers) > MOST_NUMBERS:
        raise AssertionError(f"{solver.name} takes more numbers than a Rule has room for")
    for i in range(len(numbers)):
        rule.numbers[i] = numbers[i]
    rule.schedule = _SCHEDULES[solver.schedule]
    rule.learning_rate = solver.learning_rate
    rule.clip_norm = INFINITY if solver.clip_norm is None else solver.clip_norm
    rule.decays = False
    for i in range(N_BLOCKS):
        rule.decay[i] = solver.decay_of(ORDER[i])
        rule.decays = rule.decays or rule.decay[i] != 0
    rule.squares, rule.adds, rule.scaled, rule.unit = solver.kind.squares, solver.kind.adds, scaled, unit
    # Plain SGD needs no gradient to look at: theta can take the sums at once.
    rule.sums = solver.kind.adds and rule.clip_norm == INFINITY and not rule.decays and not scaled
    return rule


# A number that, added to any finite one, leaves it finite: less than half the distance of the largest ones.
cdef double FLT_STEP = 2.0**102
cdef double DBL_STEP = 2.0**969


cdef void set_limits(Rule *rule, bint single, Py_ssize_t size, double widest) noexcept nogil:
    """Within these the gradient's sum of squares does not overflow where it is squared, and no step, once it is back in
    theta's units, takes a finite number of theta beyond them.

    widest: the largest number of the solver's units.
    """
    cdef double most = (FLT_MAX if single else DBL_MAX) / 2
    cdef double step = (FLT_STEP if single else DBL_STEP) / max(widest, 1.0)
    rule.limit = most
    rule.limit_scaled = (sqrt(most / size) if rule.squares else most) / max(rule.learning_rate, 1.0)
    rule.limit_step = step
    if rule.clip_norm < INFINITY or (rule.squares and not rule.scaled):
        rule.limit = sqrt(most / size)
    if not rule.scaled:
        rule.limit /= max(rule.learning_rate, 1.0)
        if rule.adds:
            rule.limit = min(rule.limit, step / rule.learning_rate)


cdef double largest(Py_ssize_t n, const real *x) noexcept nogil:
    cdef double found = 0
    cdef Py_ssize_t i
    for i in range(n):
        found = max(found, <double>x[i])
    return found


cdef inline void times_number(Py_ssize_t n, double factor, real *x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] *= <real>factor


cdef void in_units(Updates updates, const Rows *rows, const real *scale, double unit, real *grad) noexcept nogil:
    """grad *= scale / unit, block by block; a block's scale is one number, or one a row."""
    cdef const Layout *scales = &updates.scale.layout
    cdef Py_ssize_t b, r, n, each
    cdef const real *s
    for b in range(N_BLOCKS):
        if not updates.whole[b]:
            continue
        s, n = scale + scales.at[b].start, scales.at[b].rows
        each = rows.layout.at[b].rows * rows.layout.at[b].columns // n
        for r in range(n):
            times_number(each, <real>(s[r] / unit), grad + rows.layout.at[b].start + r * each)
    s, each = scale + scales.at[W_XH].start, rows.layout.at[W_XH].columns
    for r in range(rows.n):
        times_number(each, <real>(s[rows.column[r]] / unit), grad + rows.layout.at[W_XH].start + r * each)


cdef inline void add_scaled(Py_ssize_t n, real s, const real *step, real *theta) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        theta[i] += s * step[i]


cdef void add_in_units(Updates updates, const Rows *rows, const real *scale, const real *step,
                       real *theta) noexcept nogil:
    """theta += scale step, likewise; step is laid out as a gradient."""
    cdef const Layout *scales = &updates.scale.layout
    cdef const Layout *places = &updates.form.layout
    cdef Py_ssize_t b, r, n, each
    cdef const real *s
    for b in range(N_BLOCKS):
        if not updates.whole[b]:
            continue
        s, n = scale + scales.at[b].start, scales.at[b].rows
        each = places.at[b].rows * places.at[b].columns // n
        for r in range(n):
            add_scaled(each, s[r], step + rows.layout.at[b].start + r * each, theta + places.at[b].start + r * each)
    s, each = scale + scales.at[W_XH].start, rows.layout.at[W_XH].columns
    for r in range(rows.n):
        add_scaled(each, s[rows.column[r]], step + rows.layout.at[W_XH].start + r * each,
                   theta + places.at[W_XH].start + rows.column[r] * each)


cdef inline Py_ssize_t pieces(Updates updates, const Rows *rows) noexcept nogil:
    return updates.n_stretches + rows.n


cdef inline Stretch piece(Updates updates, const Rows *rows, Py_ssize_t i) noexcept nogil:
    """One of the stretches, or after these one of the rows of W_xh that have a gradient."""
    cdef Stretch row
    if i < updates.n_stretches:
        return updates.stretches[i]
    i -= updates.n_stretches
    row.n = rows.layout.at[W_XH].columns
    row.theta = row.state = updates.form.layout.at[W_XH].start + rows.column[i] * row.n
    row.grad = rows.layout.at[W_XH].start + i * row.n
    return row


cdef bint within(Updates updates, const Rows *rows, double limit, const real *x, bint as_theta) noexcept nogil:
    """Whether no element of what has a gradient is beyond the limit in x, which is laid out as a gradient or as theta."""
    cdef Stretch stretch
    cdef Py_ssize_t i
    for i in range(pieces(updates, rows)):
        stretch = piece(updates, rows, i)
        if first_beyond(stretch.n, limit, x + (stretch.theta if as_theta else stretch.grad)) < <size_t>stretch.n:
            return False
    return True


cdef void add_decay(Updates updates, const Rows *rows, double unit, const real *theta, real *grad) noexcept nogil:
    """grad += weight_decay theta, block by block, of a gradient of the loss over unit^2."""
    cdef const Layout *places = &updates.form.layout
    cdef Py_ssize_t b, r, n = rows.layout.at[W_XH].columns
    for b in range(N_BLOCKS):
        if updates.whole[b] and updates.rule.decay[b] != 0:
            axpy(places.at[b].rows * places.at[b].columns, updates.rule.decay[b] / unit / unit, theta + places.at[b].start,
                 grad + rows.layout.at[b].start)
    if updates.rule.decay[W_XH] != 0:
        for r in range(rows.n):
            axpy(n, updates.rule.decay[W_XH] / unit / unit, theta + places.at[W_XH].start + rows.column[r] * n,
                 grad + rows.layout.at[W_XH].start + r * n)


cdef void decay_resting(Updates updates, const Rows *rows, double rate, const real *scale, real *theta) noexcept nogil:
    """theta -= rate weight_decay theta of the rows of W_xh that have no gradient, in the solver's units."""
    cdef Py_ssize_t i, n = updates.form.layout.at[W_XH].columns
    cdef real *W_xh = theta + updates.form.layout.at[W_XH].start
    cdef double decay = rate * updates.rule.decay[W_XH]
    cdef double s = 1
    for i in range(updates.form.n_inputs):
        if slot_of(rows.slots, i) < 0:
            if scale != NULL:
                s = <double>scale[updates.scale.layout.at[W_XH].start + i]
            times_number(n, 1 - decay * s * s / (updates.rule.unit if scale != NULL else 1.0), W_xh + i * n)


cdef double clipped(Updates updates, const Rows *rows, OutputFactor outputs, double unit, real *grad) noexcept nogil:
    """Scale a gradient of the loss over unit^2 that is longer than clip_norm down to it; by what."""
    cdef Stretch stretch
    cdef double norm = 0, clip
    cdef Py_ssize_t i, j
    for i in range(pieces(updates, rows)):
        stretch = piece(updates, rows, i)
        norm += sum_squares(stretch.n, grad + stretch.grad)
    norm = sqrt(norm) * unit * unit
    if outputs is not None:
        norm = sqrt(norm * norm + outputs.squared_gradient(rows.named, grad, rows.layout))
    if not norm > updates.rule.clip_norm:
        return 1
    clip = updates.rule.clip_norm / norm
    for i in range(pieces(updates, rows)):
        stretch = piece(updates, rows, i)
        for j in range(stretch.grad, stretch.grad + stretch.n):
            grad[j] = <real>(grad[j] * clip)
    return clip


cdef double rate_of_outputs(Updates updates, const real *scale, int name) noexcept nogil:
    """The rate of plain gradient descent on V_hx or c_x in factors, over the solver's rate, in the units of theta."""
    cdef double rate = updates.rule.output_rate / updates.rule.learning_rate, s
    if scale == NULL:
        return rate
    s = <double>scale[updates.scale.layout.at[name].start]
    return rate * s * s / updates.rule.unit


cdef void put_back(Updates updates, const Rows *rows, const real *before, real *theta) noexcept nogil:
    """theta as it was, laid out as a gradient."""
    cdef Stretch stretch
    cdef Py_ssize_t i
    for i in range(pieces(updates, rows)):
        stretch = piece(updates, rows, i)
        memcpy(theta + stretch.theta, before + stretch.grad, stretch.n * sizeof(real))


cdef bint apply(Updates updates, const Rows *rows, OutputFactor outputs, double rate, Py_ssize_t t, double unit,
                real *grad, real *step, real *theta) noexcept nogil:
    """Update number t (from 1) by that gradient, which is overwritten; whether it was made, for nothing may overflow.

    The gradient is that of the loss over unit^2. step: scratch. Where the solver has units of its own, it works on
    theta / scale and on the loss over its unit. Then its step can be looked at before it is made; of one that only adds
    the gradient the limit is enough; of all others theta is looked at afterwards, and put back.
    """
    cdef const Rule *rule = &updates.rule
    cdef Stretch stretch
    cdef const real *scale = <const real *>updates.scale.data if updates.rule.scaled else NULL
    cdef real *first = NULL
    cdef real *second = NULL
    cdef real *moving
    cdef rae_step how
    cdef double clip = 1, output_rate = 0
    cdef Py_ssize_t i
    how.rate, how.t, how.numbers = rate, t, <const double *>rule.numbers
    if not within(updates, rows, rule.limit, grad, False):
        return False
    if outputs is not None:
        outputs.sum_up(rows.named)
    if rule.clip_norm < INFINITY:
        clip = clipped(updates, rows, outputs, unit, grad)
    if rule.decays:
        add_decay(updates, rows, unit, theta, grad)
        if not within(updates, rows, rule.limit, grad, False):
            return False
    if outputs is not None:
        output_rate = clip * rate * rate_of_outputs(updates, scale, V_HX)
        if not outputs.prepare(rows.named, grad, rows.layout, output_rate,
                               1 - rate * rate_of_outputs(updates, scale, V_HX) * rule.decay[V_HX],
                               1 - rate * rate_of_outputs(updates, scale, C_X) * rule.decay[C_X]):
            return False
    if rule.scaled:
        in_units(updates, rows, scale, rule.unit / unit / unit, grad)
        if not within(updates, rows, rule.limit_scaled, grad, False):
            return False
        memset(step, 0, rows.layout.size * sizeof(real))
    elif not rule.adds:
        for i in range(pieces(updates, rows)):
            stretch = piece(updates, rows, i)
            memcpy(step + stretch.grad, theta + stretch.theta, stretch.n * sizeof(real))
    for i in range(pieces(updates, rows)):
        stretch = piece(updates, rows, i)
        if updates.first is not None:
            first = <real *>updates.first.data + stretch.state
        if updates.second is not None:
            second = <real *>updates.second.data + stretch.state
        moving = step + stretch.grad if rule.scaled else theta + stretch.theta
        update_by(rule.solver, &how, stretch.n, grad + stretch.grad, first, second, moving)
    if rule.scaled:
        if not within(updates, rows, rule.limit_step, step, False):
            return False
        add_in_units(updates, rows, scale, step, theta)
    elif not rule.adds and not within(updates, rows, FLT_MAX if updates.single else DBL_MAX, theta, True):
        put_back(updates, rows, <const real *>step, theta)
        return False
    if rule.adds and rule.decay[W_XH] != 0 and updates.by_rows:
        decay_resting(updates, rows, rate, scale, theta)
    if outputs is not None:
        outputs.commit(theta, rows.named, grad, rows.layout, output_rate)
    return True


cdef class Updates:
    """How a model is updated: a solver with its state, and the units in which it works.

    Parameters
    ----------
    form : Form
    solver : solvers.Solver, one that goes update by update
    state : list of Blocks, in the order of solver.kind.state; written by updates
    scale : Blocks of one number a block (or a row), the units of theta, or None
    unit : float, that of the loss
    single : whether all is float32
    by_rows : whether gradients have only those rows of W_xh that their sequences name; a solver that remembers lets the
        others rest
    output_rate : the rate of plain gradient descent by which output weights that are kept in factors are updated, or None
    """

    def __cinit__(self, AnyForm form not None, solver, list state not None, Blocks scale, double unit, bint single,
                  bint by_rows=False, output_rate=None):
        cdef Py_ssize_t i, n
        cdef Stretch *stretch = NULL
        cdef Blocks blocks
        cdef Layout grad = compact(&form.layout, 1, by_rows, output_rate is not None)
        self.form, self.solver, self.scale, self.single = form, solver, scale, single
        self.by_rows, self.factored = by_rows, output_rate is not None
        if self.factored and not by_rows:
            raise ValueError("outputs in factors need gradients by rows")
        if len(state) != len(solver.kind.state):
            raise ValueError(f"solver {solver.name!r} keeps {len(solver.kind.state)} arrays")
        for i in range(len(state)):
            blocks = state[i]
            if blocks.single != single:
                raise ValueError("theta_ and the solver's state must be of one element type, but one is float32 and "
                                 "the other float64; write into theta_ with model.theta_[:] = values")
            if not same_places(&blocks.layout, &form.layout):
                raise ValueError("the solver's state does not fit the model")
            if not blocks.memory.flags.writeable:
                raise ValueError("the solver's state is read-only, as of a model that was mapped from a file; "
                                 "copy.deepcopy(model) can learn")
        if scale is not None and (not same_places(&scale.form.layout, &form.layout) or scale.by_row is None
                                  or scale.single != single):
            raise ValueError("the solver's units do not fit the model")
        self.first = state[0] if len(state) > 0 else None
        self.second = state[1] if len(state) > 1 else None
        self.rule = rule_of(solver, scale is not None, unit)
        self.rule.output_rate = solver.learning_rate if output_rate is None else output_rate
        # As many blocks at a time as lie one after the other everywhere. State is laid out as theta is.
        for i in range(N_BLOCKS):
            self.whole[i] = not (form.layout.at[i].absent or (by_rows and i == W_XH)
                                 or (self.factored and (i == V_HX or i == C_X)))
            if not self.whole[i]:
                continue
            n = form.layout.at[i].rows * form.layout.at[i].columns
            if (stretch == NULL or form.layout.at[i].start != stretch.theta + stretch.n
                    or grad.at[i].start != stretch.grad + stretch.n):
                stretch = &self.stretches[self.n_stretches]
                stretch.theta = stretch.state = form.layout.at[i].start
                stretch.grad = grad.at[i].start
                stretch.n = 0
                self.n_stretches += 1
            stretch.n += n

    cdef int refresh(self) except -1:
        """Look again at what users may have written into."""
        cdef double widest = 0
        if self.scale is not None:
            widest = (largest(self.scale.layout.size, <const float *>self.scale.data) if self.single
                      else largest(self.scale.layout.size, <const double *>self.scale.data))
        set_limits(&self.rule, self.single, self.form.layout.size, widest)
        return 0

    cdef bint make(self, Objective objective, void *theta, Py_ssize_t *chosen, Py_ssize_t n, double rate, Py_ssize_t t,
                   double *loss) except -1 nogil:
        """Update number t (from 1) by the items chosen[0:n] of the objective's batch; whether it was made."""
        cdef Descent descent
        cdef Rows rows
        descent.limit, descent.rate, descent.made = self.rule.limit, rate, False
        objective.update = t
        objective.gradient(theta, chosen, n, objective.grad, &descent if self.rule.sums else NULL, loss)
        loss[0] *= objective.unit * objective.unit
        if descent.made:
            return True
        rows.layout, rows.named, rows.slots, rows.n, rows.column = &objective.layout, NULL, NULL, 0, NULL
        if objective.by_rows:
            rows.named, rows.slots = &objective.named, &objective.named.slots
            rows.n, rows.column = rows.slots.n, rows.slots.column
        return self.apply_to(&rows, objective.outputs, theta, objective.grad, objective.step, loss[0], rate, t,
                             objective.unit)

    cdef bint apply_to(self, const Rows *rows, OutputFactor outputs, void *theta, void *grad, void *step, double loss,
                       double rate, Py_ssize_t t, double unit) noexcept nogil:
        """Update number t by that gradient over unit^2, which is overwritten, of that loss. Whether it was made."""
        if not isfinite(loss):
            return False
        if self.single:
            return apply(self, rows, outputs, rate, t, unit, <float *>grad, <float *>step, <float *>theta)
        return apply(self, rows, outputs, rate, t, unit, <double *>grad, <double *>step, <double *>theta)

    def apply(self, theta not None, Blocks grad not None, double loss, n_steps, Record record not None):
        """One update by a gradient that is there, whoever has computed it, and its entry into the record; whether it
        was made.

        grad: blocks of the form, overwritten. loss: that of the gradient, by sequences of the common length n_steps, or
        None.
        """
        cdef Blocks step = new_blocks(self.form, self.single)
        cdef void *parameters = data_of(theta)
        cdef Rows rows
        cdef bint made
        rows.layout, rows.named, rows.slots, rows.n, rows.column = &grad.layout, NULL, NULL, 0, NULL
        if self.by_rows:
            raise ValueError("these updates are by rows, of which a whole gradient says nothing")
        if is_single(theta, self.form, True) != self.single or grad.single != self.single:
            raise ValueError("theta and the gradient must be of the element type of the solver's state")
        if not same_places(&grad.layout, &self.form.layout) or not grad.memory.flags.writeable:
            raise ValueError("the gradient is of another form, or read-only")
        self.refresh()
        record.enter_waiting()
        cdef uint64_t fp_state = rae_flush_subnormals()
        try:
            made = self.apply_to(&rows, None, parameters, grad.data, step.data, loss, self.rule.learning_rate,
                                 record.n_updates + 1, 1)
        finally:
            rae_set_fp_state(fp_state)
        if made:
            record.enter_update(loss, n_steps)
        return made

    def once(self, theta not None, Objective objective not None, Record record not None):
        """One update by all of the objective's batch, and its entry into the record; whether it was made.

        Ctrl-C comes before both or after.
        """
        cdef Py_ssize_t n = 0 if objective.batch is None else objective.batch.n_sequences
        cdef void *parameters = data_of(theta)
        cdef double loss = 0
        cdef bint made
        cdef object n_steps
        check_fit(self, theta, objective, n)
        n_steps = objective.batch.common_length
        self.refresh()
        record.enter_waiting()
        count(n, objective.order)
        objective.pulse()[0] = new_pulse(0)
        if objective.outputs is not None:
            objective.outputs.begin(parameters)
        cdef uint64_t fp_state = rae_flush_subnormals()
        try:
            with nogil:
                made = self.make(objective, parameters, objective.order, n, self.rule.learning_rate,
                                 record.n_updates + 1, &loss)
        finally:
            rae_set_fp_state(fp_state)
            if objective.outputs is not None:
                objective.outputs.end()
        if made:
            record.enter_update(loss, n_steps)
        return made


cdef int check_fit(Updates updates, theta, Objective objective, Py_ssize_t most) except -1:
    """ValueError unless the objective's gradients of up to `most` sequences can update theta."""
    if is_single(theta, updates.form, True) != updates.single or objective.single != updates.single:
        raise ValueError("theta and the batch must be of the element type of the solver's state")
    cdef Layout grad = compact(&updates.form.layout, objective.most_named, updates.by_rows, updates.factored)
    if (not same_places(&objective.layout, &grad) or objective.by_rows != updates.by_rows
            or (objective.outputs is not None) != updates.factored):
        raise ValueError("the objective is of another form")
    if objective.batch is None:
        raise ValueError("the objective has no batch")
    if objective.most < most:
        raise ValueError(f"the objective has memory for {objective.most} sequences at a time, not for {most}")
    return 0


# ---- passes --------------------------------------------------------------------------------------

cdef void shuffle(Py_ssize_t n, Py_ssize_t *order, rae_bitgen *bits) noexcept nogil:
    """A uniformly random order of 0..n-1 (Fisher-Yates; bounded draws by masking and rejection)."""
    cdef Py_ssize_t i, j
    cdef uint64_t mask
    count(n, order)
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


cdef class Passes:
    """Where a fit by updates stands: the order of the pass, what is left of it, the stopping rule.

    status is 'running', 'finished' (max_iter passes), 'converged' (the stopping rule) or 'non-finite' (the update after
    the record's n_updates was not made).

    Parameters
    ----------
    objective, updates, record : what is minimised, how, and where it is entered
    batch_size : sequences an update; the objective must have room for as many
    max_iter : passes of the whole fit, which the schedule of the rate needs
    tol, patience : stop after so many passes in a row that improve on the best by less than this fraction; tol 0 never
    bit_generator : shuffles the sequences before each pass; None keeps their order
    """

    cdef readonly str status
    cdef readonly Py_ssize_t batch_size
    cdef Objective objective
    cdef Updates updates
    cdef Record record
    cdef object bit_generator          # whose memory `bits` is
    cdef rae_bitgen *bits
    cdef Py_ssize_t max_iter, patience
    cdef double tol
    cdef bint in_pass                  # the order of this pass is drawn
    cdef Py_ssize_t position           # sequences of this pass already used
    cdef Py_ssize_t[::1] order         # of the sequences in this pass
    cdef double pass_loss              # sum over the updates of this pass
    cdef double best                   # loss of the best pass
    cdef Py_ssize_t stalled            # passes in a row without enough improvement

    def __cinit__(self, Objective objective not None, Updates updates not None, Record record not None,
                  Py_ssize_t batch_size, Py_ssize_t max_iter, double tol=0.0, Py_ssize_t patience=1,
                  bit_generator=None):
        cdef Py_ssize_t N = 0 if objective.batch is None else objective.batch.n_sequences
        if not 1 <= batch_size <= N or batch_size > objective.most:
            raise ValueError("batch_size must lie between 1 and the number of sequences")
        self.objective, self.updates, self.record = objective, updates, record
        self.batch_size, self.max_iter, self.tol, self.patience = batch_size, max_iter, tol, patience
        self.status, self.best, self.order = "running", float("inf"), np.arange(N)
        self.bit_generator = bit_generator
        if bit_generator is not None:
            self.bits = <rae_bitgen *>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")

    def state(self):
        """All that `restore` needs to go on from here, besides the record: counters, and a copy of the order."""
        return {"in_pass": bool(self.in_pass), "position": self.position, "pass_loss": self.pass_loss,
                "best": self.best, "stalled_passes": self.stalled, "order": np.array(self.order)}

    def restore(self, dict state not None):
        """Go on from a state() of a fit on the same data, whose record is there; ValueError if it cannot be one."""
        N = self.order.shape[0]
        order = np.ascontiguousarray(state["order"], dtype=np.intp)
        position, stalled, in_pass = int(state["position"]), int(state["stalled_passes"]), bool(state["in_pass"])
        per_pass = -(-N // self.batch_size)
        if order.shape != (N,) or not np.array_equal(np.sort(order), np.arange(N)):
            raise ValueError("the order of the pass is not one of these sequences")
        if (stalled < 0 or not 0 <= position < N or position % self.batch_size or (position and not in_pass)
                or self.record.n_iter > self.max_iter
                or self.record.n_updates != self.record.n_iter * per_pass + position // self.batch_size):
            raise ValueError("the counters of the fit do not agree with each other")
        self.order, self.position, self.in_pass, self.stalled = order, position, in_pass, stalled
        self.pass_loss, self.best = float(state["pass_loss"]), float(state["best"])

    def run(self, theta not None, Py_ssize_t most, double seconds):
        """Make updates of theta for about `seconds`, or to the end of the most-th pass from here, or of the fit.

        A pass's loss is the mean over its updates of the batch's loss before the update. Call again until status is no
        longer 'running'.
        """
        cdef Objective objective = self.objective
        cdef Py_ssize_t N = self.order.shape[0], n, per_pass = (N + self.batch_size - 1) // self.batch_size
        cdef Py_ssize_t n_iter = self.record.n_iter, n_updates = self.record.n_updates, ended = 0
        cdef double total = <double>self.max_iter * per_pass, loss = 0, rate
        cdef void *parameters = data_of(theta)
        cdef object memory = np.empty(max(<Py_ssize_t>1, min(most, self.max_iter - n_iter)))
        cdef double[::1] losses = memory
        cdef bint updated = False
        cdef int status = 0
        check_fit(self.updates, theta, objective, self.batch_size)
        self.record.enter_waiting()
        self.updates.refresh()
        objective.refresh()
        cdef Pulse *pulse = objective.pulse()
        pulse[0] = new_pulse(seconds)
        if objective.outputs is not None:
            objective.outputs.begin(parameters)
        cdef uint64_t fp_state = rae_flush_subnormals()
        try:
            with nogil:
                while status == 0:
                    if n_iter + ended >= self.max_iter:
                        status = 1
                        break
                    if ended == losses.shape[0] or (updated and pulse.time >= pulse.deadline):
                        break
                    if not self.in_pass:  # drawn once, even if Ctrl-C comes before the pass's first update
                        if self.bits != NULL and N > 1:
                            shuffle(N, &self.order[0], self.bits)
                        self.pass_loss = 0
                        self.in_pass = True
                    n = min(self.batch_size, N - self.position)
                    rate = learning_rate_at(&self.updates.rule, n_updates / total)
                    if not self.updates.make(objective, parameters, &self.order[self.position], n, rate, n_updates + 1,
                                             &loss):
                        status = 3
                        break
                    updated = True
                    n_updates += 1
                    self.pass_loss += loss
                    self.position += n
                    if self.position == N:
                        self.position = 0
                        self.in_pass = False
                        losses[ended] = self.pass_loss / per_pass
                        ended += 1
                        if self.has_converged(n_iter + ended, losses[ended - 1]):
                            status = 2
        finally:
            rae_set_fp_state(fp_state)
            if objective.outputs is not None:
                objective.outputs.end()
            self.record.enter_passes(&losses[0], memory, ended, n_updates)
        self.status = ("running", "finished", "converged", "non-finite")[status]

    cdef bint has_converged(self, Py_ssize_t n_iter, double loss) noexcept nogil:
        """Whether this pass is the patience-th in a row that improves on the best by less than tol."""
        if n_iter > 1 and not self.best - loss >= self.tol * self.best:
            self.stalled += 1
        else:
            self.stalled = 0
        if loss < self.best:
            self.best = loss
        return self.tol > 0 and self.stalled >= self.patience
