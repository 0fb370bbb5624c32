"""The shortest way from ready arrays to codes, outputs, gradients and updates.

A small model reads a sequence in half a microsecond and learns from it in two; the checks and conversions that every
input gets (sequences.py) take several times that. Here is looked for what needs none of them: parameters, inputs and
states that are plain arrays of one floating-point type, of the right shapes, finite. For everything else, good or
bad, the answer is None, and the caller goes the long way.
"""

cimport numpy as cnp
from libc.float cimport DBL_EPSILON, DBL_MAX, FLT_EPSILON, FLT_MAX
from libc.math cimport fabs
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #undef I  /* C's imaginary unit, which NumPy's headers bring, is the number of inputs in a Plan. */
    """

from rae_fast._blas cimport real
from rae_fast._blocks cimport Workspace
from rae_fast._codes cimport decode, encode, step_one
from rae_fast._kernels cimport first_beyond
from rae_fast._pulse cimport rae_flush_subnormals, rae_set_fp_state
from rae_fast._sequence cimport Gradient, Plan, batch_gradient, borrow, count, give_back, make_plan, worthwhile
from rae_fast._training cimport Rule, enter, make_update, rule_of

cnp.import_array()

# Of more elements the check takes so long that Ctrl-C should be heard; so many steps or codes are no small call.
cdef enum:
    MOST = 1048576


# ---- what is ready -----------------------------------------------------------------------------

cdef bint plain(object x, int ndim, int kind) noexcept:
    """Whether x is an array, of no subclass, of that many dimensions and that kind of float, as C has them."""
    if not cnp.PyArray_CheckExact(x):
        return False
    cdef cnp.ndarray array = <cnp.ndarray>x
    return cnp.PyArray_NDIM(array) == ndim and cnp.PyArray_TYPE(array) == kind and cnp.PyArray_ISCARRAY_RO(array)


cdef bint finite(object x, int kind) noexcept:
    cdef size_t n = cnp.PyArray_SIZE(x)
    cdef void *data = cnp.PyArray_DATA(<cnp.ndarray>x)
    if n > MOST:
        return False
    if kind == cnp.NPY_FLOAT:
        return first_beyond(n, FLT_MAX, <const float *>data) == n
    return first_beyond(n, DBL_MAX, <const double *>data) == n


cdef struct Sizes:
    Py_ssize_t inputs, hidden, theta


cdef int model_of(object theta, object form, Sizes *sizes) except -1:
    """The kind of float of a model's parameters; 0, which is none, if they are not ready."""
    cdef int kind
    if form is None or not cnp.PyArray_CheckExact(theta):
        return 0
    kind = cnp.PyArray_TYPE(<cnp.ndarray>theta)
    if (kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE) or not plain(theta, 1, kind):
        return 0
    sizes.inputs, sizes.hidden = form.n_inputs, form.n_hidden
    sizes.theta = ((1 if form.tied else 2) * (sizes.inputs + sizes.hidden) * sizes.hidden + 3 * sizes.hidden
                   + sizes.inputs)
    return kind if cnp.PyArray_DIM(<cnp.ndarray>theta, 0) == sizes.theta else 0


cdef struct Sequences:
    Py_ssize_t n, steps    # of equal length
    const void *data


cdef bint sequences_of(object X, int kind, const Sizes *sizes, Sequences *x) noexcept:
    """One sequence (T, I) or several (N, T, I)."""
    cdef int ndim
    if not cnp.PyArray_CheckExact(X):
        return False
    ndim = cnp.PyArray_NDIM(<cnp.ndarray>X)
    if not (ndim == 2 or ndim == 3) or not plain(X, ndim, kind):
        return False
    x.n = 1 if ndim == 2 else cnp.PyArray_DIM(<cnp.ndarray>X, 0)
    x.steps = cnp.PyArray_DIM(<cnp.ndarray>X, ndim - 2)
    x.data = cnp.PyArray_DATA(<cnp.ndarray>X)
    return (x.n >= 1 and x.steps >= 1 and cnp.PyArray_DIM(<cnp.ndarray>X, ndim - 1) == sizes.inputs
            and finite(X, kind))


cdef bint distributions(Py_ssize_t rows, Py_ssize_t n, double eps, const real *x) noexcept nogil:
    """Whether every row is certainly one: within far less than sequences.check_distributions lets pass."""
    cdef Py_ssize_t r, i
    cdef double sum
    for r in range(rows):
        sum = 0
        for i in range(n):
            if not x[r * n + i] >= 0:
                return False
            sum += x[r * n + i]
        if not fabs(sum - 1) <= eps * 8:
            return False
    return True


cdef bint targets(object form, int kind, const Sizes *sizes, const Sequences *x) except -1:
    """Whether the sequences can be given back: distributions where the output is softmax."""
    if form.output != "softmax":
        return True
    if kind == cnp.NPY_FLOAT:
        return distributions(x.n * x.steps, sizes.inputs, FLT_EPSILON, <const float *>x.data)
    return distributions(x.n * x.steps, sizes.inputs, DBL_EPSILON, <const double *>x.data)


cdef Py_ssize_t *equal_offsets(Workspace space, Py_ssize_t n, Py_ssize_t steps) except NULL:
    cdef Py_ssize_t *offsets = <Py_ssize_t *>space.take(n + 1, sizeof(Py_ssize_t))
    cdef Py_ssize_t i
    for i in range(n + 1):
        offsets[i] = i * steps
    return offsets


cdef inline Workspace room_for(Py_ssize_t n):
    """Memory for the offsets of n sequences."""
    return Workspace((n + 1) * sizeof(Py_ssize_t) + 64)


cdef cnp.ndarray new_array(int kind, int ndim, cnp.npy_intp a, cnp.npy_intp b=0, cnp.npy_intp c=0):
    cdef cnp.npy_intp[3] shape
    shape[0], shape[1], shape[2] = a, b, c
    return cnp.PyArray_EMPTY(ndim, shape, kind, 0)


# ---- codes and outputs -------------------------------------------------------------------------

def states_of(theta, X, form, bint last_only, Py_ssize_t n_jobs):
    """Codes (N, H) of sequences X (T, I) or (N, T, I), or with last_only false all hidden states (N, T, H)."""
    cdef Sizes sizes
    cdef Sequences x
    cdef int kind = model_of(theta, form, &sizes)
    if kind == 0 or not sequences_of(X, kind, &sizes, &x):
        return None
    cdef cnp.ndarray out = (new_array(kind, 2, x.n, sizes.hidden) if last_only
                            else new_array(kind, 3, x.n, x.steps, sizes.hidden))
    cdef Workspace space = room_for(x.n)
    encode(kind == cnp.NPY_FLOAT, cnp.PyArray_DATA(<cnp.ndarray>theta), x.data, x.n, equal_offsets(space, x.n, x.steps),
           form, last_only, cnp.PyArray_DATA(out), n_jobs)
    return out


def outputs_of(theta, codes, steps, form, bint chronological, Py_ssize_t n_jobs):
    """Outputs (N, steps, I) of codes (N, H), with softmax output their logits; steps: an int."""
    cdef Sizes sizes
    cdef Py_ssize_t n, each
    cdef int kind = model_of(theta, form, &sizes)
    if kind == 0 or type(steps) is not int or not 1 <= steps <= MOST or not plain(codes, 2, kind):
        return None
    n, each = cnp.PyArray_DIM(<cnp.ndarray>codes, 0), steps
    if n < 1 or n > MOST or cnp.PyArray_DIM(<cnp.ndarray>codes, 1) != sizes.hidden or not finite(codes, kind):
        return None
    cdef cnp.ndarray out = new_array(kind, 3, n, each, sizes.inputs)
    cdef Workspace space = room_for(n)
    decode(kind == cnp.NPY_FLOAT, cnp.PyArray_DATA(<cnp.ndarray>theta), cnp.PyArray_DATA(<cnp.ndarray>codes), n,
           equal_offsets(space, n, each), form, chronological, cnp.PyArray_DATA(out), n_jobs)
    return out


def step_of(theta, state, x, form, out):
    """The next state (H,) of one stream with state (H,) and input x (I,); copied to out (H,) if that is not None."""
    cdef Sizes sizes
    cdef cnp.ndarray after
    cdef int kind = model_of(theta, form, &sizes)
    if kind == 0 or not plain(state, 1, kind) or not plain(x, 1, kind):
        return None
    if (cnp.PyArray_DIM(<cnp.ndarray>state, 0) != sizes.hidden or cnp.PyArray_DIM(<cnp.ndarray>x, 0) != sizes.inputs
            or not finite(state, kind) or not finite(x, kind)):
        return None
    if out is not None and not (plain(out, 1, kind) and cnp.PyArray_DIM(<cnp.ndarray>out, 0) == sizes.hidden
                                and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)):
        return None
    after = new_array(kind, 1, sizes.hidden)
    step_one(kind == cnp.NPY_FLOAT, cnp.PyArray_DATA(<cnp.ndarray>theta), cnp.PyArray_DATA(<cnp.ndarray>state),
             cnp.PyArray_DATA(<cnp.ndarray>x), form, cnp.PyArray_DATA(after))
    if out is None:
        return after
    memcpy(cnp.PyArray_DATA(<cnp.ndarray>out), cnp.PyArray_DATA(after), cnp.PyArray_NBYTES(after))
    return out


# ---- gradients and updates ---------------------------------------------------------------------

cdef cnp.ndarray view(cnp.ndarray whole, Py_ssize_t start, int ndim, cnp.npy_intp rows, cnp.npy_intp columns,
                      cnp.npy_intp row, cnp.npy_intp column):
    """Elements of a vector as (rows,) or (rows, columns), so far apart."""
    cdef cnp.npy_intp[2] shape
    cdef cnp.npy_intp[2] strides
    cdef cnp.npy_intp item = cnp.PyArray_ITEMSIZE(whole)
    shape[0], shape[1], strides[0], strides[1] = rows, columns, row * item, column * item
    cdef cnp.ndarray part = cnp.PyArray_New(
        cnp.ndarray, ndim, shape, cnp.PyArray_TYPE(whole), strides, <char *>cnp.PyArray_DATA(whole) + start * item, 0,
        cnp.NPY_ARRAY_WRITEABLE, None)
    cnp.set_array_base(part, whole)
    return part


cdef dict named_views(cnp.ndarray theta, const Sizes *sizes, bint tied):
    """parameters.views"""
    cdef Py_ssize_t H = sizes.hidden, n = sizes.inputs, K = H + n, end = K * H
    cdef Py_ssize_t V = 0 if tied else end + 2 * H
    cdef Py_ssize_t c = sizes.theta - K
    return {"W_xh": view(theta, H * H, 2, n, H, H, 1), "W_hh": view(theta, 0, 2, H, H, H, 1),
            "b_h": view(theta, end, 1, H, 0, 1, 0), "h0": view(theta, end + H, 1, H, 0, 1, 0),
            "V_hh": view(theta, V, 2, H, H, 1, H), "V_hx": view(theta, V + H * H, 2, H, n, 1, H),
            "c_h": view(theta, c, 1, H, 0, 1, 0), "c_x": view(theta, c + H, 1, n, 0, 1, 0)}


cdef double gradient(Gradient work, const real *theta, const Sequences *x, const Py_ssize_t *offsets,
                     real *grad) except? -1:
    cdef double loss = 0
    count(x.n, work.order)
    with nogil:
        batch_gradient(work, theta, <const real *>x.data, offsets, x.n, work.order, <const real *>NULL, grad, NULL,
                       &loss)
    return loss


def gradient_of(theta, X, form, max_memory, Py_ssize_t n_jobs):
    """Loss and named gradients of sequences X (T, I) or (N, T, I), weighted 1 / N each."""
    cdef Sizes sizes
    cdef Sequences x
    cdef double loss
    cdef int kind = model_of(theta, form, &sizes)
    if kind == 0 or not sequences_of(X, kind, &sizes, &x) or not targets(form, kind, &sizes, &x):
        return None
    cdef cnp.ndarray grad = new_array(kind, 1, sizes.theta)
    cdef Workspace space = room_for(x.n)
    cdef Py_ssize_t *offsets = equal_offsets(space, x.n, x.steps)
    cdef Gradient work = borrow(form, cnp.PyArray_ITEMSIZE(grad), x.steps, x.n * x.steps, x.n, max_memory,
                                worthwhile(n_jobs, form, x.n * x.steps))
    if kind == cnp.NPY_FLOAT:
        loss = gradient(work, <const float *>cnp.PyArray_DATA(<cnp.ndarray>theta), &x, offsets,
                        <float *>cnp.PyArray_DATA(grad))
    else:
        loss = gradient(work, <const double *>cnp.PyArray_DATA(<cnp.ndarray>theta), &x, offsets,
                        <double *>cnp.PyArray_DATA(grad))
    give_back(work)
    return loss, named_views(grad, &sizes, form.tied)


cdef bint updated(Gradient work, const Rule *rule, Py_ssize_t t, const Sequences *x, const Py_ssize_t *offsets,
                  void *first, void *second, const void *scale, real *theta, double *loss) except -1:
    cdef bint made
    count(x.n, work.order)
    with nogil:
        made = make_update(work, rule, rule.learning_rate, t, <const real *>x.data, offsets, x.n, work.order,
                           <const real *>NULL, <real *>first, <real *>second, <const real *>scale, theta, loss)
    return made


cdef class Updates:
    """Updates of one model by ready arrays, for as long as what they were prepared for stays the same objects."""

    cdef object fitted, settings, form, scale, names
    cdef double unit, widest
    cdef Rule rule
    cdef int kind

    def __init__(self, theta not None, fitted not None, form not None, settings not None, scale, double unit):
        """fitted, form: the model's own Form, and with the objective that the settings ask for. settings: checked
        Hyperparameters that fit both. scale, unit: of relative rates."""
        cdef Sizes sizes
        cdef Plan plan
        self.fitted, self.form, self.settings, self.scale, self.unit = fitted, form, settings, scale, unit
        self.names = settings.solver.kind.state
        self.kind = model_of(theta, fitted, &sizes)
        if self.kind == 0 or (scale is not None and not self.is_state(scale, &sizes)):
            self.kind = 0
            return
        self.widest = 0 if scale is None else scale.max()
        plan = make_plan(form, cnp.PyArray_ITEMSIZE(<cnp.ndarray>theta), True, settings.max_memory)
        self.rule = rule_of(&plan, settings.solver, self.kind == cnp.NPY_FLOAT, self.widest, unit)

    cdef bint is_state(self, object x, const Sizes *sizes) noexcept:
        return plain(x, 1, self.kind) and cnp.PyArray_DIM(<cnp.ndarray>x, 0) == sizes.theta

    def serves(self, fitted, settings, scale, double unit):
        """Whether they are for that."""
        return self.fitted is fitted and self.settings is settings and self.scale is scale and self.unit == unit

    def make(self, dict model not None, X):
        """Update a model, given by its attributes, by X (T, I) or (N, T, I), and enter that into its record.

        Whether it was done; not where something is not ready, or would have overflowed. Ctrl-C comes before all of
        it or after.
        """
        cdef Sizes sizes
        cdef Sequences x
        cdef double loss = 0
        cdef bint made
        cdef void *states[2]
        cdef void *scale = NULL
        cdef uint64_t fp_state
        cdef Py_ssize_t t
        theta, state = model.get("theta_"), model.get("solver_state_")
        cdef int kind = model_of(theta, self.fitted, &sizes)
        if (kind == 0 or kind != self.kind or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>theta)
                or not sequences_of(X, kind, &sizes, &x) or not targets(self.fitted, kind, &sizes, &x)
                or type(state) is not dict or len(state) != len(self.names) or type(model.get("loss_curve_")) is not list
                or type(model.get("n_updates_")) is not int or type(model.get("n_iter_")) is not int
                or "n_steps_" not in model):
            return False
        states[0] = states[1] = NULL
        held = [state.get(name) for name in self.names]  # whatever a signal handler puts in their place meanwhile
        for i in range(len(held)):
            if not self.is_state(held[i], &sizes) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>held[i]):
                return False
            states[i] = cnp.PyArray_DATA(<cnp.ndarray>held[i])
        if self.scale is not None:
            scale = cnp.PyArray_DATA(<cnp.ndarray>self.scale)
            if not self.is_state(self.scale, &sizes) or not self.scale_holds(scale, sizes.theta):
                return False
        t = model["n_updates_"]
        cdef Workspace space = room_for(x.n)
        cdef Py_ssize_t *offsets = equal_offsets(space, x.n, x.steps)
        cdef Gradient work = borrow(self.form, cnp.PyArray_ITEMSIZE(<cnp.ndarray>theta), x.steps, x.n * x.steps, x.n,
                                    self.settings.max_memory,
                                    worthwhile(self.settings.n_jobs, self.form, x.n * x.steps))
        fp_state = rae_flush_subnormals()
        try:
            if kind == cnp.NPY_FLOAT:
                made = updated(work, &self.rule, t + 1, &x, offsets, states[0], states[1], scale,
                               <float *>cnp.PyArray_DATA(<cnp.ndarray>theta), &loss)
            else:
                made = updated(work, &self.rule, t + 1, &x, offsets, states[0], states[1], scale,
                               <double *>cnp.PyArray_DATA(<cnp.ndarray>theta), &loss)
        finally:
            rae_set_fp_state(fp_state)
        give_back(work)
        if made:
            enter(model, loss, x.steps)
        return made

    cdef bint scale_holds(self, const void *scale, size_t n) noexcept:
        """Whether no element of the scale has grown beyond what the rule reckons with."""
        if self.kind == cnp.NPY_FLOAT:
            return first_beyond(n, self.widest, <const float *>scale) == n
        return first_beyond(n, self.widest, <const double *>scale) == n
