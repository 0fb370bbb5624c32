"""The training loop: shuffling, schedules, solvers, the stopping rule; update after update without Python.

NumPy twin: reference.train. What a solver keeps: solvers.py.
"""

import numpy as np

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport INFINITY, M_PI, cos, isfinite, sqrt
from libc.stdint cimport uint64_t

from rae_fast._blas cimport real
from rae_fast._blocks cimport longest_and_rows
from rae_fast._kernels cimport axpy, find_solver, first_beyond, rae_step, sum_squares, update_by
from rae_fast._pulse cimport Pulse, new_pulse, rae_flush_subnormals, rae_set_fp_state
from rae_fast._sequence cimport Descent, Gradient, Plan, batch_gradient, check_data, check_theta, make_plan, theta_size

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
    CONSTANT = 0
    COSINE = 1
    STEP = 2
    INVERSE = 3

_SCHEDULES = {"constant": CONSTANT, "cosine": COSINE, "step": STEP, "inverse": INVERSE}


cdef double learning_rate_at(const Rule *s, double done) noexcept nogil:
    """The schedule; done is the fraction of the run's updates already made."""
    if s.schedule == COSINE:
        return s.learning_rate * (1 + cos(M_PI * done)) / 2
    if s.schedule == STEP:
        return s.learning_rate * (1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01)
    if s.schedule == INVERSE:
        return s.learning_rate / (1 + 10 * done)
    return s.learning_rate


cdef void update(const Rule *rule, double rate, Py_ssize_t t, Py_ssize_t n, real *grad, real *first, real *second,
                 const real *scale, real *scratch, real *theta) noexcept nogil:
    """Update number t (from 1) of theta and of the state arrays; grad is overwritten if need be.

    scale (n) or NULL: the solver works on theta / scale, and on the loss over its unit; scratch (n) then holds its
    step.
    """
    cdef double norm
    cdef Py_ssize_t i
    cdef real *moving = theta
    cdef rae_step step
    step.rate, step.t, step.settings = rate, t, &rule.settings[0]
    if rule.clip_norm < INFINITY:
        norm = sqrt(sum_squares(n, grad))
        if norm > rule.clip_norm:
            for i in range(n):
                grad[i] = <real>(grad[i] * (rule.clip_norm / norm))
    if rule.weight_decay != 0:
        axpy(n, rule.weight_decay, theta, grad)
    if scale != NULL:
        moving = scratch
        for i in range(n):
            grad[i] *= <real>(scale[i] / rule.unit)
            moving[i] = 0
    update_by(rule.solver, &step, n, grad, first, second, moving)
    if scale != NULL:
        for i in range(n):
            theta[i] += scale[i] * moving[i]


cdef Rule rule_of(const Plan *plan, solver, bint single, double widest, double unit) except *:
    """How a model is updated. widest: the largest element of the scale; 0 without one."""
    cdef Rule rule
    cdef Py_ssize_t size = theta_size(plan), i
    rule.solver = find_solver(solver.name)
    settings = solver.numbers
    for i in range(len(settings)):
        rule.settings[i] = settings[i]
    rule.schedule = _SCHEDULES[solver.schedule]
    rule.learning_rate = solver.learning_rate
    rule.clip_norm = INFINITY if solver.clip_norm is None else solver.clip_norm
    rule.weight_decay = solver.weight_decay
    rule.unit = unit
    # Within this limit neither rate * gradient overflows nor, where it is squared, its sum of squares. With a
    # scale the solver squares the gradient in its own units, which must leave room for the step's way back.
    cdef double most = (FLT_MAX if single else DBL_MAX) / 2
    cdef bint squares = solver.kind.squares, scaled = widest > 0
    rule.limit = most
    rule.limit_scaled = (sqrt(most / size) if squares else most) / max(rule.learning_rate, 1.0) / max(widest, 1.0)
    if rule.clip_norm < INFINITY or (squares and not scaled):
        rule.limit = sqrt(most / size)
    if not scaled:
        rule.limit /= max(rule.learning_rate, 1.0)
    # Plain SGD needs no gradient to look at: theta can take the sums at once.
    rule.plain = (solver.name == "sgd" and rule.clip_norm == INFINITY and rule.weight_decay == 0 and not scaled
                  and not plan.tied and not plan.reconstruct_h0)
    return rule


cdef bint make_update(Gradient work, const Rule *rule, double rate, Py_ssize_t t, const real *data,
                      const Py_ssize_t *offsets, Py_ssize_t n, Py_ssize_t *order, const real *weights, real *first,
                      real *second, const real *scale, real *theta, double *loss) except -1 nogil:
    """Update number t (from 1) by the sequences order[0:n]; whether it was made, for nothing may overflow."""
    cdef Py_ssize_t size = work.size, i
    cdef real *grad = <real *>work.grad
    cdef real *step = <real *>work.step
    cdef Descent descent
    descent.limit, descent.rate, descent.made = rule.limit, rate, False
    batch_gradient(work, theta, data, offsets, n, order, weights, grad,
                   &descent if rule.plain and work.plan.own else NULL, loss)
    if descent.made:
        return True
    if not isfinite(loss[0]) or first_beyond(size, rule.limit, grad) < <size_t>size:
        return False
    if scale != NULL:
        for i in range(size):
            step[i] = <real>(grad[i] * (scale[i] / rule.unit))
        if first_beyond(size, <real>rule.limit_scaled, step) < <size_t>size:
            return False
    update(rule, rate, t, size, grad, first, second, scale, step, theta)
    return True


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
    cdef Gradient work                 # of the last call, whose memory and threads the next one uses again

    def __init__(self, const Py_ssize_t[::1] offsets not None, Py_ssize_t batch_size):
        if not 1 <= batch_size < offsets.shape[0]:
            raise ValueError("batch_size must lie between 1 and the number of sequences")
        self.status = "running"
        self.best = float("inf")
        self.order = np.arange(offsets.shape[0] - 1)
        self.batch_size = batch_size
        self.longest, self.batch_rows = longest_and_rows(offsets.shape[0] - 1, &offsets[0], batch_size)

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
          double seconds, max_memory=2**30, Py_ssize_t n_jobs=1):
    """Make updates of theta and of the solver's state arrays for about `seconds`; write the loss of each pass.

    A pass's loss is the mean over its updates of the batch's loss before the update. The size of `losses`
    bounds the number of passes that end in a call; run.n_iter counts them. scale and unit:
    what the solver measures theta and the loss in (parameters.relative_scales), None for 1. bit_generator shuffles the sequences before each pass; None keeps their order. Call again with the same `run`
    until run.status is no longer 'running'. t0: updates that the state had seen before this run. max_memory, n_jobs:
    _sequence.loss_and_grad.
    """
    cdef Py_ssize_t N = offsets.shape[0] - 1, n, n_losses = 0, batch_size = run.batch_size
    cdef Plan plan = make_plan(form, sizeof(real), True, max_memory)
    check_theta(&plan, theta.shape[0])
    check_data(&plan, data.shape[0], data.shape[1], offsets)
    if weights is not None and weights.shape[0] != N:
        raise ValueError("one weight per sequence is needed")
    if run.order.shape[0] != N or losses.shape[0] == 0:
        raise ValueError("run or losses do not fit the data")
    cdef Gradient work = run.work
    if work is None or not work.fits(form, sizeof(real), run.longest, run.batch_rows, batch_size, max_memory, n_jobs):
        work = Gradient()
        work.prepare(form, sizeof(real), run.longest, run.batch_rows, batch_size, max_memory, n_jobs)
        run.work = work
    cdef Pulse *pulse = work.pulse()
    pulse[0] = new_pulse(seconds)
    cdef Py_ssize_t size = theta_size(&plan)
    cdef const real *w = &weights[0] if weights is not None else NULL
    cdef rae_bitgen *bits = NULL
    if bit_generator is not None:
        bits = <rae_bitgen *>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
    cdef real[::1] first, second
    cdef real *first_ = NULL
    cdef real *second_ = NULL
    if len(state) != len(solver.kind.state) or any(len(array) != size for array in state):
        raise ValueError(f"solver {solver.name!r} keeps {len(solver.kind.state)} arrays of {size} elements")
    if len(state) > 0:
        first = state[0]
        first_ = &first[0]
    if len(state) > 1:
        second = state[1]
        second_ = &second[0]
    cdef const real *scale_ = NULL
    cdef double widest = 0
    if scale is not None:
        check_theta(&plan, scale.shape[0])
        scale_ = &scale[0]
        widest = np.max(scale)
    cdef Rule rule = rule_of(&plan, solver, sizeof(real) == sizeof(float), widest, unit)
    cdef double total = <double>max_iter * ((N + batch_size - 1) // batch_size)
    cdef double loss = 0, rate
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
                if n_losses == losses.shape[0] or (updated and pulse.time >= pulse.deadline):
                    break
                if not run.in_pass:  # drawn once, even if Ctrl-C comes before the pass's first update
                    if bits != NULL and N > 1:
                        shuffle(N, &run.order[0], bits)
                    run.pass_loss = 0
                    run.in_pass = True
                n = min(batch_size, N - run.position)
                rate = learning_rate_at(&rule, run.n_updates / total)
                if not make_update(work, &rule, rate, t0 + run.n_updates + 1, &data[0, 0], &offsets[0], n,
                                   &run.order[run.position], w, first_, second_, scale_, &theta[0], &loss):
                    status = 3
                    break
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


cdef int enter(dict model, double loss, n_steps) except -1:
    """Enter an update into the record of a model, given by its attributes. It is compiled, so no signal handler runs
    between an update and this: both have happened, or neither."""
    (<list>model["loss_curve_"]).append(loss)
    model["n_updates_"] += 1
    model["n_iter_"] += 1
    if model["n_steps_"] != n_steps:
        model["n_steps_"] = None
    return 0


def update_once(dict model not None, theta, data, const Py_ssize_t[::1] offsets not None, weights, form, solver, state,
                scale, double unit, n_steps, max_memory, Py_ssize_t n_jobs):
    """One update by all sequences, and its entry into the record; whether it was made.

    n_steps: the sequences' common length, or None.
    """
    cdef Training run = Training(offsets, offsets.shape[0] - 1)
    for name in ("loss_curve_", "n_iter_", "n_updates_", "n_steps_"):
        if name not in model:
            raise AttributeError(f"this RAE has lost its {name}")
    losses = np.empty(1)
    try:
        while run.status == "running":
            train(theta, data, offsets, weights, form, solver, state, scale, unit, model["n_updates_"], None, 1, 0.0, 1,
                  run, losses, 1.0, max_memory, n_jobs)
    finally:
        if run.n_updates:
            enter(model, losses[0], n_steps)
    return run.n_updates == 1
