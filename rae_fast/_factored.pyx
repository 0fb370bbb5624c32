"""Linear outputs of sparse rows at a cost that does not grow with the number of features: W~ = V U.

V lies where W~ = [V_hx', c_x / bias] does, in theta; U, its inverse and Q = V'V are float64 beside it. An update touches
the rows of V that a batch names (Vincent, de Brebisson and Bouthillier, NIPS 2015). *Corrections* keep U regular; a row
gets those that it has missed when it is named next, or all rows do when V is *folded* into the true weights. The
mathematics: docs/design.md, "Outputs in factors". NumPy twin: the dense update.
"""

import threading

import numpy as np

from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport isfinite, sqrt
from libc.string cimport memcpy, memset

cimport numpy as cnp

cdef extern from *:
    """
    #undef I  /* C's imaginary unit, which NumPy's headers bring, is the number of inputs in a Plan. */
    """

from rae_fast._blas cimport real
from rae_fast._cell cimport CHUNK, block, block_to_write, first_of, row_distance
from rae_fast._form cimport C_X, V_HX, data_of, is_single
from rae_fast._judge cimport dot
from rae_fast._kernels cimport axpy, in_use, sum_scratch
from rae_fast._products cimport choose_own, multiply, set_factor, solve, sum_over_rows, take_factor
from rae_fast._slots cimport slot_of

cnp.import_array()

cdef enum:
    MOST_CORRECTIONS = 256     # waiting for rows; a row that has missed all of them costs as much as a product with U
    POWER_STEPS = 8            # towards the direction in which U is smallest
    FOLDED_ROWS = 256
    ROOMS = 4                  # matrices in theta's type: U, Q, and two for products

# How far the inverse of U may grow, and how far within one update: V holds numbers so much larger than its others, and
# errors of rounding are the square of that as large (docs/performance.md, "Outputs in factors").
cdef double most_growth = 64, most_at_once = 256
cdef double LEAST_PIVOT = 1 / 64.0


def use_limits(double most, double at_once):
    """For tests: how far the inverse of U may grow, and how far within one update; returns what these were."""
    global most_growth, most_at_once
    before = most_growth, most_at_once
    most_growth, most_at_once = most, at_once
    return before


# ---- vectors of d numbers --------------------------------------------------------------------------

cdef inline double inner(Py_ssize_t ld, const double *x, const double *y) noexcept nogil:
    return dot(ld, x, y)


cdef void combine(const Split *s, const double *x, const double *matrix, double *out) noexcept nogil:
    """out = x' matrix"""
    cdef Py_ssize_t i
    memset(out, 0, s.ld * sizeof(double))
    for i in range(s.d):
        axpy(s.ld, x[i], <const double *>(matrix + i * s.ld), out)


cdef void identity(const Split *s, double *matrix) noexcept nogil:
    cdef Py_ssize_t i
    memset(matrix, 0, s.d * s.ld * sizeof(double))
    for i in range(s.d):
        matrix[i * s.ld + i] = 1


# ---- matrices in theta's type ----------------------------------------------------------------------

cdef const real *near_matrix(OutputFactor f, Py_ssize_t room, const double *matrix, const real *of_type) noexcept nogil:
    """A matrix (d, ld) in theta's type, (d, ld_r): itself, or rounded, in that room. of_type only says which."""
    cdef const Split *s = &f.split
    cdef real *out = <real *>f.room + room * s.d * s.ld_r
    cdef Py_ssize_t i, k
    if real is double:
        return matrix
    else:
        for i in range(s.d):
            for k in range(s.d):
                out[i * s.ld_r + k] = <real>matrix[i * s.ld + k]
        return out


cdef void times_near(OutputFactor f, Py_ssize_t n, const real *A, const double *matrix, real *out) noexcept nogil:
    """out (n, d) = A (n, d) matrix, in theta's type."""
    cdef const Split *s = &f.split
    set_factor(&f.near, s.d, s.d, near_matrix(f, 2, matrix, A), s.ld_r, False)
    multiply(NULL, n, s.d, s.d, A, s.ld_r, &f.near, <const real *>NULL, 0, out, s.ld_r)


cdef void add_near_products(OutputFactor f, Py_ssize_t rows, const real *A, const real *B, double factor,
                            double *out) noexcept nogil:
    """out (d, d) += factor A' B, of few rows in theta's type."""
    cdef const Split *s = &f.split
    cdef real *room = <real *>f.room + 3 * s.d * s.ld_r
    cdef Py_ssize_t i, k
    sum_over_rows(NULL, f.own, s.d, s.d, rows, A, s.ld_r, B, s.ld_r, factor, False, <real *>f.scratch_r, room, s.ld_r)
    for i in range(s.d):
        for k in range(s.d):
            out[i * s.ld + k] += room[i * s.ld_r + k]


cdef void set_split(OutputFactor f, const real *of_type) noexcept nogil:
    """The factors of products with rows of states."""
    cdef Split *s = &f.split
    cdef const real *U = near_matrix(f, 0, f.U, of_type)
    set_factor(&s.U_T, s.d, s.d, U, s.ld_r, True)
    set_factor(&s.U, s.d, s.d, U, s.ld_r, False)
    set_factor(&s.Q, s.d, s.d, near_matrix(f, 1, f.Q, of_type), s.ld_r, False)


# ---- the rows of V ---------------------------------------------------------------------------------

cdef void load_row(const Split *s, const real *v, real c, double *out) noexcept nogil:
    """A row of V as it lies."""
    cdef Py_ssize_t i
    for i in range(s.H):
        out[i] = v[i]
    out[s.H] = c / s.bias


cdef void load_rows(OutputFactor f, const real *theta, Named *named) noexcept nogil:
    cdef const Split *s = &f.split
    cdef const real *V = block(theta, &f.form.layout, V_HX)
    cdef const real *c = block(theta, &f.form.layout, C_X)
    cdef real *near
    cdef double *held
    cdef Py_ssize_t i, j, k
    for i in range(named.slots.n):
        k = named.slots.column[i]
        held, near = named.held + i * s.ld, <real *>named.near + i * s.ld_r
        load_row(s, V + k * s.H, c[k], held)
        f.catch_up(f.epoch[k], held)
        for j in range(s.d):
            near[j] = <real>held[j]
    set_split(f, theta)


cdef void store_rows(OutputFactor f, Named *named, real *theta) noexcept nogil:
    """held + moved into theta; moved becomes what the rows have really moved by, for what is stored may be rounded."""
    cdef const Split *s = &f.split
    cdef real *V = block_to_write(theta, &f.form.layout, V_HX)
    cdef real *c = block_to_write(theta, &f.form.layout, C_X)
    cdef Py_ssize_t i, j, k
    cdef const double *held
    cdef double *moved
    for i in range(named.slots.n):
        k = named.slots.column[i]
        held, moved = named.held + i * s.ld, named.moved + i * s.ld
        for j in range(s.H):
            V[k * s.H + j] = <real>(held[j] + moved[j])
            moved[j] = V[k * s.H + j] - held[j]
        c[k] = <real>((held[s.H] + moved[s.H]) * s.bias)
        moved[s.H] = c[k] / s.bias - held[s.H]
        f.epoch[k] = <uint32_t>f.n_pending


cdef void measure_rows(OutputFactor f, const real *theta) noexcept nogil:
    """Q = V'V of all rows as they lie."""
    cdef const Split *s = &f.split
    cdef const real *V = block(theta, &f.form.layout, V_HX)
    cdef const real *c = block(theta, &f.form.layout, C_X)
    cdef Py_ssize_t first, n, i
    memset(f.Q, 0, s.d * s.ld * sizeof(double))
    for first from 0 <= first < f.form.n_inputs by CHUNK:
        n = min(f.form.n_inputs - first, <Py_ssize_t>CHUNK)
        for i in range(n):
            load_row(s, V + (first + i) * s.H, c[first + i], f.some + i * s.ld)
        f.add_products(n, f.some, f.some, 1, f.Q)


cdef void fold_group(OutputFactor f, Py_ssize_t n, const Py_ssize_t *which, const Factor *by, const real *rows, real *out,
                     real *V, real *c) noexcept nogil:
    """Rows times `by` to where they belong."""
    cdef const Split *s = &f.split
    cdef Py_ssize_t i
    if n == 0:
        return
    multiply(NULL, n, s.d, s.d, rows, s.ld_r, by, <const real *>NULL, 0, out, s.ld_r)
    for i in range(n):
        memcpy(V + which[i] * s.H, out + i * s.ld_r, s.H * sizeof(real))
        c[which[i]] = <real>(out[i * s.ld_r + s.H] * s.bias)


cdef void fold_rows(OutputFactor f, real *theta, const double *last) noexcept nogil:
    """V <- V (the corrections that each row has missed) last."""
    cdef const Split *s = &f.split
    cdef real *V = block_to_write(theta, &f.form.layout, V_HX)
    cdef real *c = block_to_write(theta, &f.form.layout, C_X)
    cdef Py_ssize_t d = s.d, ld = s.ld_r, first, end, i, k, late, old
    cdef real *late_rows = <real *>f.folded
    cdef real *old_rows = late_rows + FOLDED_ROWS * ld
    cdef real *out = old_rows + FOLDED_ROWS * ld
    cdef Py_ssize_t lates[FOLDED_ROWS]
    cdef Py_ssize_t olds[FOLDED_ROWS]
    # Rows that no batch has named since the last time, in one product: of all corrections and `last`.
    identity(s, f.T)
    for i in range(d):
        f.catch_up(0, f.T + i * s.ld)
    f.times(d, f.T, last, f.T2)
    set_factor(&f.folding, d, d, near_matrix(f, 2, last, V), ld, False)
    set_factor(&f.folding_all, d, d, near_matrix(f, 3, f.T2, V), ld, False)
    for first from 0 <= first < f.form.n_inputs by FOLDED_ROWS:
        end = min(f.form.n_inputs, first + FOLDED_ROWS)
        late = old = 0
        for i in range(first, end):
            if f.epoch[i] == 0:
                memcpy(old_rows + old * ld, V + i * s.H, s.H * sizeof(real))
                old_rows[old * ld + s.H] = <real>(c[i] / s.bias)
                olds[old] = i
                old += 1
                continue
            load_row(s, V + i * s.H, c[i], f.x)
            f.catch_up(f.epoch[i], f.x)
            for k in range(d):
                late_rows[late * ld + k] = <real>f.x[k]
            lates[late] = i
            late += 1
        fold_group(f, late, lates, &f.folding, <const real *>late_rows, out, V, c)
        fold_group(f, old, olds, &f.folding_all, <const real *>old_rows, out, V, c)


# ---- sums of a batch -------------------------------------------------------------------------------

cdef void add_squares(OutputFactor f, const Named *named, const real *squares) noexcept nogil:
    """A = the sum of the parts' squares."""
    cdef const Split *s = &f.split
    cdef Py_ssize_t part, i, k
    memset(f.A, 0, s.d * s.ld * sizeof(double))
    for part in range(named.parts):
        for i in range(s.d):
            for k in range(s.d):
                f.A[i * s.ld + k] += squares[(part * s.d + i) * s.ld_r + k]


cdef void read_sums(OutputFactor f, const real *grad, const Layout *layout, Py_ssize_t first, Py_ssize_t n,
                    real *out) noexcept nogil:
    """Rows first:first+n of C."""
    cdef const Split *s = &f.split
    cdef const real *C = block(grad, layout, V_HX) + first * s.H
    cdef const real *C_x = block(grad, layout, C_X) + first
    cdef Py_ssize_t i
    for i in range(n):
        memcpy(out + i * s.ld_r, C + i * s.H, s.H * sizeof(real))
        out[i * s.ld_r + s.H] = C_x[i]


cdef void move_by_sums(OutputFactor f, Named *named, const real *grad, const Layout *layout, double rate,
                       const double *inverse) noexcept nogil:
    """moved = 2 rate C inverse"""
    cdef const Split *s = &f.split
    cdef real *rows = <real *>f.rows
    cdef real *out = rows + CHUNK * s.ld_r
    cdef Py_ssize_t first, n, i, k
    set_factor(&f.near, s.d, s.d, near_matrix(f, 2, inverse, grad), s.ld_r, False)
    for first from 0 <= first < named.slots.n by CHUNK:
        n = min(named.slots.n - first, <Py_ssize_t>CHUNK)
        read_sums(f, grad, layout, first, n, rows)
        multiply(NULL, n, s.d, s.d, <const real *>rows, s.ld_r, &f.near, <const real *>NULL, 0, out, s.ld_r)
        for i in range(n):
            for k in range(s.d):
                named.moved[(first + i) * s.ld + k] = 2 * rate * out[i * s.ld_r + k]


cdef bint invert_by_states(OutputFactor f, Named *named, double two, real *states) noexcept nogil:
    """U_inv_new = (I - two F'F)^-1 U_inv = U_inv + two F' S (F U_inv), S = (I - two F F')^-1, of the weighted states F; and
    what the named rows are moved by, for F U_inv_new = S F U_inv. False where that is singular."""
    cdef const Split *s = &f.split
    cdef const real *values = <const real *>named.source.values
    cdef real *turned = <real *>named.turned
    cdef real *system = <real *>named.system
    cdef Py_ssize_t i, k, at, slot, n = named.rows, d = s.d
    cdef double factor
    cdef double *moved
    times_near(f, n, <const real *>states, f.U_inv, turned)
    set_factor(&f.near, d, n, <const real *>states, s.ld_r, True)
    multiply(NULL, n, n, d, <const real *>states, s.ld_r, &f.near, <const real *>NULL, 0, system, n)
    for i in range(n * n):
        system[i] *= <real>-two
    for i in range(n):
        system[i * n + i] += 1
    if not solve(n, LEAST_PIVOT, system, n, d, turned, s.ld_r, &f.near):
        return False
    add_near_products(f, n, <const real *>states, <const real *>turned, two, f.U_inv_new)
    for i in range(named.slots.n):
        memset(named.moved + i * s.ld, 0, s.ld * sizeof(double))
    for i in range(n):
        for at in range(first_of(named.source, named.target[i]), first_of(named.source, named.target[i] + 1)):
            slot = slot_of(&named.slots, named.source.column[at])
            factor = two * named.root[i] * (1 if values == NULL else <double>values[at])
            moved = named.moved + slot * s.ld
            for k in range(d):
                moved[k] += factor * turned[i * s.ld_r + k]
    return True


# ---- the factors -----------------------------------------------------------------------------------

cdef class OutputFactor:
    """The factors of a model's output weights, for as long as it learns.

    Parameters
    ----------
    form : Form, with linear outputs of weights of their own
    single : whether theta is float32
    bias : what stands after every state, so that gradient descent moves c_x with bias^2 times V_hx's rate

    Attributes
    ----------
    is_true : whether theta holds the true weights; make_true sees to it
    n_corrections, n_folds, n_dense_updates : since it was made
    """

    def __cinit__(self, Form form not None, bint single, double bias=1):
        if form.softmax or form.tied:
            raise ValueError("only outputs without softmax and with weights of their own can be kept in factors")
        if not (isfinite(bias) and bias > 0):
            raise ValueError(f"bias must be a finite number above 0; got {bias}")
        cdef Split *s = &self.split
        cdef Py_ssize_t i
        self.form, self.single, self.lock = form, single, threading.RLock()
        s.H, s.d, s.bias = form.n_hidden, form.n_hidden + 1, bias
        s.ld = row_distance(s.d, sizeof(double))
        s.ld_r = row_distance(s.d, sizeof(float) if single else sizeof(double))
        self.most_excess, self.most_excess_at_once = most_growth**2, most_at_once**2
        self.space = Workspace(0)
        for _ in range(2):
            self.U = self.matrix()
            self.U_inv = self.matrix()
            self.Q = self.matrix()
            self.A = self.matrix()
            self.UA = self.matrix()
            self.U_new = self.matrix()
            self.U_inv_new = self.matrix()
            self.T = self.matrix()
            self.T2 = self.matrix()
            self.direction = <double *>self.space.take(MOST_CORRECTIONS * s.ld, sizeof(double))
            self.strength = <double *>self.space.take(MOST_CORRECTIONS, sizeof(double))
            self.some = <double *>self.space.take(CHUNK * s.ld, sizeof(double))
            self.x = <double *>self.space.take(2 * s.ld, sizeof(double))
            if self.space.base == NULL:
                self.space = Workspace(self.space.used)
        memset(self.space.base, 0, self.space.size)
        self.epochs = np.zeros(form.n_inputs, dtype=np.uint32)
        self.epoch = <uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>self.epochs)
        self.start_afresh()

    cdef double *matrix(self) except? NULL:
        return <double *>self.space.take(self.split.d * self.split.ld, sizeof(double))

    def __reduce__(self):
        raise TypeError("factors are no part of a model that is kept: make_true")

    def make_true(self, theta not None):
        """Let theta, whose weights these are, hold the true ones, which others may read and write from here on."""
        cdef void *parameters = data_of(theta)
        if is_single(theta, self.form, not self.is_true) != self.single:
            raise ValueError("theta is of another element type than its factors")
        with self.lock:  # of several threads that look one folds
            if self.busy:
                raise RuntimeError("the model is in the middle of an update; look at it when that is over")
            if not self.is_true:
                self.take_packs()
                self.fold(parameters, self.U)
            self.measured = False

    cdef int begin(self, const void *theta) except -1:
        """Updates of theta, until end: threads that look at the weights wait."""
        self.take_packs()
        self.lock.acquire()
        if self.busy:
            self.lock.release()
            raise RuntimeError("the model is in the middle of an update already")
        self.busy = True
        return self.ready(theta)

    cdef int end(self) except -1:
        self.busy = False
        self.lock.release()
        return 0

    @property
    def bias(self):
        return self.split.bias

    def factors(self):
        """Copies of U, its inverse and Q, (d, d) each; for tests."""
        cdef Split *s = &self.split
        return (np.array(<double[:s.d, :s.ld]>self.U)[:, :s.d], np.array(<double[:s.d, :s.ld]>self.U_inv)[:, :s.d],
                np.array(<double[:s.d, :s.ld]>self.Q)[:, :s.d])

    cdef void start_afresh(self) noexcept nogil:
        """V holds the weights themselves."""
        identity(&self.split, self.U)
        identity(&self.split, self.U_inv)
        self.n_pending, self.is_true = 0, True

    cdef int take_packs(self) except -1:
        """Memory for the factors of products, by the kernels that are in use."""
        cdef Split *s = &self.split
        cdef bint own = choose_own(1, s.d, sizeof(double))
        cdef size_t item = sizeof(float) if self.single else sizeof(double)
        if self.isa == in_use and self.own == own:
            return 0
        cdef Workspace space = Workspace(0)
        for _ in range(2):
            take_factor(space, s.d, s.d, item, own, &s.U)
            take_factor(space, s.d, s.d, item, own, &s.U_T)
            take_factor(space, s.d, s.d, item, own, &s.Q)
            take_factor(space, s.d, s.d, sizeof(double), own, &self.factor)
            take_factor(space, s.d, s.d, item, own, &self.near)
            take_factor(space, s.d, s.d, item, own, &self.folding)
            take_factor(space, s.d, s.d, item, own, &self.folding_all)
            self.scratch = <double *>space.take(sum_scratch(s.d, s.d, CHUNK, sizeof(double)), sizeof(double))
            self.scratch_r = space.take(sum_scratch(s.d, s.d, max(<Py_ssize_t>CHUNK, s.d), item), item)
            self.folded = space.take(3 * FOLDED_ROWS * s.ld_r, item)
            self.rows = space.take(2 * CHUNK * s.ld_r, item)
            self.room = space.take(ROOMS * s.d * s.ld_r, item)
            if space.base == NULL:
                space = Workspace(space.used)
        memset(space.base, 0, space.size)
        self.packs, self.isa, self.own = space, in_use, own
        return 0

    cdef int ready(self, const void *theta) except -1:
        if self.measured:
            return 0
        if self.single:
            measure_rows(self, <const float *>theta)
        else:
            measure_rows(self, <const double *>theta)
        self.measured = True
        return 0

    cdef void times(self, Py_ssize_t n, const double *A, const double *B, double *out) noexcept nogil:
        """out (n, d) = A (n, d) B"""
        cdef const Split *s = &self.split
        set_factor(&self.factor, s.d, s.d, B, s.ld, False)
        multiply(NULL, n, s.d, s.d, A, s.ld, &self.factor, <const double *>NULL, 0, out, s.ld)

    cdef void add_products(self, Py_ssize_t rows, const double *A, const double *B, double factor,
                           double *out) noexcept nogil:
        """out (d, d) += factor A' B."""
        cdef Py_ssize_t first, d = self.split.d, ld = self.split.ld
        for first from 0 <= first < rows by CHUNK:
            sum_over_rows(NULL, self.own, d, d, min(rows - first, <Py_ssize_t>CHUNK), A + first * ld, ld, B + first * ld,
                          ld, factor, True, self.scratch, out, ld)

    cdef void catch_up(self, Py_ssize_t epoch, double *row) noexcept nogil:
        """The corrections of a row that has had `epoch` of them."""
        cdef Py_ssize_t j, ld = self.split.ld
        for j in range(epoch, self.n_pending):
            axpy(ld, self.strength[j] * inner(ld, row, self.direction + j * ld),
                 <const double *>(self.direction + j * ld), row)

    cdef void correct(self, Named *named) noexcept nogil:
        """A correction of the direction in which U is smallest, and of the rows that are held."""
        cdef const Split *s = &self.split
        cdef Py_ssize_t i, k, best = 0, d = s.d, ld = s.ld
        cdef double *u = self.direction + self.n_pending * ld
        cdef double *x = self.x
        cdef double *y = self.x + ld
        cdef double size, most = -1, beta, alpha, both
        # The largest singular value of the inverse, by the power method from its longest row.
        for i in range(d):
            size = inner(ld, self.U_inv + i * ld, self.U_inv + i * ld)
            if size > most:
                best, most = i, size
        memcpy(u, self.U_inv + best * ld, ld * sizeof(double))
        for i in range(POWER_STEPS):
            size = 1 / sqrt(inner(ld, u, u))
            for k in range(d):
                u[k] *= size
            for k in range(d):
                x[k] = inner(ld, self.U_inv + k * ld, u)
            if i + 1 < POWER_STEPS:
                combine(s, x, self.U_inv, u)
        # x = U_inv u, of length 1 / sigma
        beta = 1 / sqrt(inner(ld, x, x)) - 1
        alpha = -beta / (1 + beta)
        # U <- U + alpha u (u'U), U_inv <- U_inv + beta (U_inv u) u'
        combine(s, u, self.U, y)
        for i in range(d):
            axpy(ld, alpha * u[i], <const double *>y, self.U + i * ld)
            axpy(ld, beta * x[i], <const double *>u, self.U_inv + i * ld)
        # Q <- (I + beta u u') Q (I + beta u u')
        combine(s, u, self.Q, y)
        both = beta * beta * inner(ld, u, y)
        for i in range(d):
            axpy(ld, beta * u[i], <const double *>y, self.Q + i * ld)
            axpy(ld, beta * y[i] + both * u[i], <const double *>u, self.Q + i * ld)
        self.strength[self.n_pending] = beta
        self.n_pending += 1
        self.n_corrections += 1
        for i in range(named.slots.n):
            self.catch_up(self.n_pending - 1, named.held + i * ld)

    cdef double excess(self, const double *matrix) noexcept nogil:
        """How much more than the identity's its squares sum up to."""
        return inner(self.split.d * self.split.ld, matrix, matrix) - self.split.d

    cdef void fold(self, void *theta, const double *last) noexcept nogil:
        """V <- V last, all corrections made; Q likewise; U becomes the identity."""
        if self.single:
            fold_rows(self, <float *>theta, last)
        else:
            fold_rows(self, <double *>theta, last)
        # Q <- last' Q last
        self.times(self.split.d, self.Q, last, self.T)
        memset(self.Q, 0, self.split.d * self.split.ld * sizeof(double))
        self.add_products(self.split.d, last, self.T, 1, self.Q)
        memset(self.epoch, 0, self.form.n_inputs * sizeof(uint32_t))
        self.n_folds += 1
        self.start_afresh()

    cdef void invert(self) noexcept nogil:
        """The inverse of U, whose updates round: a step of Newton's method, X <- X (2 I - U X)."""
        cdef const Split *s = &self.split
        cdef Py_ssize_t i
        self.times(s.d, self.U, self.U_inv, self.T)
        for i in range(s.d * s.ld):
            self.T[i] = -self.T[i]
        for i in range(s.d):
            self.T[i * s.ld + i] += 2
        self.times(s.d, self.U_inv, self.T, self.T2)
        memcpy(self.U_inv, self.T2, s.d * s.ld * sizeof(double))

    cdef void load(self, const void *theta, Named *named) noexcept nogil:
        """What a gradient needs: the named rows, and the factors of products."""
        if self.single:
            load_rows(self, <const float *>theta, named)
        else:
            load_rows(self, <const double *>theta, named)

    cdef void sum_up(self, Named *named) noexcept nogil:
        """U A, and A itself where there are many states."""
        if named.rows <= named.few:
            self.set_by_states(named, named.image, self.UA)
            return
        if self.single:
            add_squares(self, named, <const float *>named.squares)
        else:
            add_squares(self, named, <const double *>named.squares)
        self.times(self.split.d, self.U, self.A, self.UA)

    cdef void set_by_states(self, Named *named, const void *by, double *out) noexcept nogil:
        """out = by' F of the few states F."""
        memset(out, 0, self.split.d * self.split.ld * sizeof(double))
        if self.single:
            add_near_products(self, named.rows, <const float *>by, <const float *>named.state, 1, out)
        else:
            add_near_products(self, named.rows, <const double *>by, <const double *>named.state, 1, out)

    cdef double squared_gradient(self, Named *named, const void *grad, const Layout *layout) noexcept nogil:
        """The sum of squares of the gradient 2 (W A - C), of V_hx and c_x, after sum_up."""
        cdef const Split *s = &self.split
        cdef Py_ssize_t i, k, first, n
        cdef double total = 0, c
        # Of 4 ((UA)'Q (UA) - (UA)'(V'C) - (V'C)'(UA) + C'C) the diagonal, a column's share each; c_x's own gradient is that
        # of the last column over bias.
        self.times(s.d, self.Q, self.UA, self.T)
        memset(self.T2, 0, s.d * s.ld * sizeof(double))
        for first from 0 <= first < named.slots.n by CHUNK:
            n = min(named.slots.n - first, <Py_ssize_t>CHUNK)
            self.read_C(grad, layout, first, n)
            self.add_products(n, named.held + first * s.ld, self.some, 1, self.T2)
            for i in range(n):
                c = self.some[i * s.ld + s.H]
                total += inner(s.ld, self.some + i * s.ld, self.some + i * s.ld) + c * c * (1 / (s.bias * s.bias) - 1)
        for i in range(s.d):
            for k in range(s.d):
                total += (self.UA[i * s.ld + k] * (self.T[i * s.ld + k] - 2 * self.T2[i * s.ld + k])
                          * (1 if k < s.H else 1 / (s.bias * s.bias)))
        return 4 * max(total, 0.0)

    cdef void read_C(self, const void *grad, const Layout *layout, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
        """Rows first:first+n of C into self.some."""
        cdef const Split *s = &self.split
        cdef Py_ssize_t i, k
        if self.single:
            read_sums(self, <const float *>grad, layout, first, n, <float *>self.rows)
        else:
            read_sums(self, <const double *>grad, layout, first, n, <double *>self.rows)
        for i in range(n):
            for k in range(s.d):
                self.some[i * s.ld + k] = ((<const float *>self.rows)[i * s.ld_r + k] if self.single
                                           else (<const double *>self.rows)[i * s.ld_r + k])

    cdef bint prepare(self, Named *named, const void *grad, const Layout *layout, double rate, double keep,
                      double keep_bias) noexcept nogil:
        """Whether the update W <- W diag(keep) - rate (gradient) can be made, after sum_up; commit makes it."""
        cdef const Split *s = &self.split
        cdef Py_ssize_t i, k, d = s.d, ld = s.ld
        cdef double two = 2 * rate
        cdef double *B = self.T
        cdef double largest = ((<double>FLT_MAX / 16) ** 2 if self.single else DBL_MAX / 16) / max(1.0, s.bias * s.bias)
        cdef bint by_states = named.rows <= named.few and keep == 1 and keep_bias == 1
        for i in range(d):
            for k in range(d):
                self.U_new[i * ld + k] = (keep if k < s.H else keep_bias) * self.U[i * ld + k] - two * self.UA[i * ld + k]
        memcpy(self.U_inv_new, self.U_inv, d * ld * sizeof(double))
        if by_states:
            by_states = (invert_by_states(self, named, two, <float *>named.state) if self.single
                         else invert_by_states(self, named, two, <double *>named.state))
            self.by_folding = False
        if not by_states:
            if named.rows <= named.few:
                self.set_by_states(named, named.state, self.A)
            for i in range(d):
                for k in range(d):
                    B[i * ld + k] = -two * self.A[i * ld + k]
                B[i * ld + i] += keep if i < s.H else keep_bias
            self.by_folding = not solve(d, LEAST_PIVOT, B, ld, d, self.U_inv_new, ld, &self.factor)
        # Written so that NaN folds too, and is found there.
        if not (self.excess(self.U_inv_new) <= self.most_excess_at_once and self.excess(self.U_new) <= self.most_excess):
            self.by_folding = True
        if self.by_folding:
            identity(s, self.U_inv_new)
        if self.by_folding or not by_states or self.form.spherical:
            self.set_moved(named, grad, layout, rate, self.U_inv_new)
        # A row's length is a bound for its numbers; that of all rows together, for those of a fold.
        for i in range(named.slots.n):
            if not (inner(ld, named.moved + i * ld, named.moved + i * ld) < largest
                    and inner(ld, named.held + i * ld, named.held + i * ld) < largest):
                return False
        if self.by_folding:
            self.times(d, self.Q, self.U_new, self.T)
            for i in range(d):
                if not inner(ld, self.U_new + i * ld, self.T + i * ld) < largest:
                    return False
        return True

    cdef void set_moved(self, Named *named, const void *grad, const Layout *layout, double rate,
                        const double *inverse) noexcept nogil:
        if self.single:
            move_by_sums(self, named, <const float *>grad, layout, rate, inverse)
        else:
            move_by_sums(self, named, <const double *>grad, layout, rate, inverse)

    cdef void commit(self, void *theta, Named *named, const void *grad, const Layout *layout, double rate) noexcept nogil:
        """The update that was prepared."""
        cdef const Split *s = &self.split
        cdef Py_ssize_t i, k, d = s.d, ld = s.ld
        if self.by_folding:
            self.fold_held(theta, named, self.U_new)
            self.n_dense_updates += 1
        else:
            self.U, self.U_new, self.U_inv, self.U_inv_new = self.U_new, self.U, self.U_inv_new, self.U_inv
            self.is_true = False
            if self.excess(self.U_inv) > self.most_excess:
                self.invert()  # a correction makes the inverse's error as much larger as it makes U
                while self.excess(self.U_inv) > self.most_excess:
                    if self.n_pending == MOST_CORRECTIONS:
                        memcpy(self.U_new, self.U, d * ld * sizeof(double))
                        self.fold_held(theta, named, self.U_new)
                    else:
                        self.correct(named)
                self.set_moved(named, grad, layout, rate, self.U_inv)
        if self.single:
            store_rows(self, named, <float *>theta)
        else:
            store_rows(self, named, <double *>theta)
        # Q <- (V + M)'(V + M) of the named rows, M what they have moved by: T = M'(V + M / 2), Q += T + T'
        axpy(named.slots.n * ld, 0.5, <const double *>named.moved, named.held)
        memset(self.T, 0, d * ld * sizeof(double))
        self.add_products(named.slots.n, named.moved, named.held, 1, self.T)
        for i in range(d):
            for k in range(i):
                self.T[i * ld + k] += self.T[k * ld + i]
                self.Q[i * ld + k] += self.T[i * ld + k]
                self.Q[k * ld + i] += self.T[i * ld + k]
            self.Q[i * ld + i] += 2 * self.T[i * ld + i]

    cdef void fold_held(self, void *theta, Named *named, const double *last) noexcept nogil:
        """Fold, and what is held with it."""
        cdef const Split *s = &self.split
        cdef Py_ssize_t first, n
        self.fold(theta, last)
        for first from 0 <= first < named.slots.n by CHUNK:
            n = min(named.slots.n - first, <Py_ssize_t>CHUNK)
            self.times(n, named.held + first * s.ld, last, self.some)
            memcpy(named.held + first * s.ld, self.some, n * s.ld * sizeof(double))
