"""Loss and gradient of linear outputs of sparse rows, without the outputs: of weights that are kept in factors.

The mathematics: _factored.pyx. Here is what is done row by row of states, in parts of a batch that threads share.
"""

from libc.math cimport log, sqrt
from libc.string cimport memcpy, memset

from rae_fast._cell cimport CHUNK, block_to_write, first_of
from rae_fast._form cimport C_X, V_HX
from rae_fast._kernels cimport axpy, sum_scratch
from rae_fast._products cimport multiply, sum_over_rows
from rae_fast._slots cimport slot_of


cdef int take_named(Workspace space, const Split *s, size_t item, Py_ssize_t most_rows, Py_ssize_t parts,
                    Named *named) except -1:
    """Memory of a batch with up to so many rows of states, besides its slots."""
    cdef Py_ssize_t most = named.slots.most, kept
    # The inverse of I - 2 rate A is found in the number of states while that is less than half of d.
    named.few = s.d // 2
    kept = min(named.few, most_rows)
    named.held = <double *>space.take(most * s.ld, sizeof(double))
    named.moved = <double *>space.take(most * s.ld, sizeof(double))
    named.near = space.take(most * s.ld_r, item)
    named.state = space.take(kept * s.ld_r, item)
    named.image = space.take(kept * s.ld_r, item)
    named.turned = space.take(kept * s.ld_r, item)
    named.system = space.take(kept * kept, item)
    named.target = <Py_ssize_t *>space.take(kept, sizeof(Py_ssize_t))
    named.root = <double *>space.take(kept, sizeof(double))
    named.squares = space.take(parts * s.d * s.ld_r, item)
    if space.base != NULL:
        memset(named.held, 0, most * s.ld * sizeof(double))
        memset(named.moved, 0, most * s.ld * sizeof(double))
        memset(named.near, 0, most * s.ld_r * item)
        memset(named.state, 0, kept * s.ld_r * item)
        memset(named.image, 0, kept * s.ld_r * item)
        memset(named.turned, 0, kept * s.ld_r * item)
        memset(named.squares, 0, parts * s.d * s.ld_r * item)
    return 0


cdef int take_judge(Workspace space, const Split *s, size_t item, Judge *judge) except -1:
    cdef Py_ssize_t size = CHUNK * s.ld_r
    judge.h = space.take(size, item)
    judge.image = space.take(size, item)
    judge.error = space.take(size, item)
    judge.pull = space.take(size, item)
    judge.scratch = space.take(sum_scratch(s.d, s.d, CHUNK, item), item)
    if space.base != NULL:
        memset(judge.h, 0, size * item)
        memset(judge.image, 0, size * item)
        memset(judge.error, 0, size * item)
        memset(judge.pull, 0, size * item)
    return 0


cdef void remember(const Plan *p, const Py_ssize_t *row, Py_ssize_t n, const real *w, Judge *j) noexcept nogil:
    """Of n states in j.h what the update needs: few of them themselves, of many the sum of their squares."""
    cdef const Split *s = p.split
    cdef const Named *named = p.named
    cdef real *states = <real *>j.h
    cdef const real *images = <const real *>j.image
    cdef Py_ssize_t i, k, ld = s.ld_r, d = s.d
    cdef double root
    for i in range(n):
        root = sqrt(<double>w[i] * (j.weight[i] if p.spherical else 1.0))
        if named.rows > named.few:
            for k in range(d):
                states[i * ld + k] *= <real>root
            continue
        for k in range(d):
            (<real *>named.state)[j.row * ld + k] = <real>root * states[i * ld + k]
            (<real *>named.image)[j.row * ld + k] = <real>root * images[i * ld + k]
        named.target[j.row], named.root[j.row] = row[i], root
        j.row += 1
    if named.rows > named.few:
        sum_over_rows(NULL, s.U.own, d, d, n, <const real *>states, ld, <const real *>states, ld, 1, True,
                      <real *>j.scratch, <real *>j.squares, ld)


cdef double spherical_row(const Plan *p, const Source *source, Py_ssize_t row, double own, const real *image, real *error,
                          double w, const real *h, real *C, real *C_x, Judge *j, Py_ssize_t i) noexcept nogil:
    """The loss of row i of a chunk, of spherical outputs; what squared errors count once counts j.weight[i].

    Any loss of q = |o|^2 and of the named o_c alone has the same algebra, with 2 dL/dq in place of 2 and -dL/do_c in place
    of 2 y. Here dL/dq = M / (q + S), M the sum of the targets y, and dL/do_c = -2 y o_c / (o_c^2 + S / I).
    """
    cdef const Named *named = p.named
    cdef const real *values = <const real *>source.values
    cdef const real *v
    cdef Py_ssize_t at, k, slot, d = p.split.d
    cdef double y, o, mass = 0, each = p.smoothing / p.I, q = own + p.smoothing, loss = 0
    for at in range(first_of(source, row), first_of(source, row + 1)):
        mass += 1 if values == NULL else <double>values[at]
    j.weight[i] = mass / q
    for k in range(d):
        error[k] *= <real>j.weight[i]
    for at in range(first_of(source, row), first_of(source, row + 1)):
        y = 1 if values == NULL else <double>values[at]
        slot = slot_of(&named.slots, source.column[at])
        v = <const real *>named.near + slot * p.split.ld_r
        o = dot(p.split.ld_r, image, v)
        loss += y * (log(q) - log(o * o + each))
        y *= o / (o * o + each)
        axpy(d, -y, v, error)
        axpy(p.H, w * y, h, C + slot * p.H)
        C_x[slot] += <real>(w * y * p.split.bias)
    return loss


cdef double judge_chunk(const Plan *p, const Source *source, const Py_ssize_t *row, Py_ssize_t n, const real *w,
                        const real *h, Judge *j, bint accumulate, real *grad, real *da) noexcept nogil:
    """The same of up to CHUNK rows, whose targets are the batch's rows row[0:n]."""
    cdef const Split *s = p.split
    cdef const Named *named = p.named
    cdef const real *values = <const real *>source.values
    cdef const real *near = <const real *>named.near
    cdef const real *v
    cdef real *C = block_to_write(grad, p.grad, V_HX)
    cdef real *C_x = block_to_write(grad, p.grad, C_X)
    cdef real *states = <real *>j.h
    cdef real *images = <real *>j.image
    cdef real *errors = <real *>j.error
    cdef real *pulls = <real *>j.pull
    cdef real *x
    cdef real *image
    cdef Py_ssize_t i, k, at, slot, ld = s.ld_r, H = s.H, d = s.d
    cdef double y, own, cross, size, loss = 0
    cdef real factor
    for i in range(n):
        memcpy(states + i * ld, h + i * p.ld_h, H * sizeof(real))
        states[i * ld + H] = <real>s.bias
    multiply(NULL, n, d, d, <const real *>states, ld, &s.U_T, <const real *>NULL, 0, images, ld)
    multiply(NULL, n, d, d, <const real *>images, ld, &s.Q, <const real *>NULL, 0, errors, ld)
    for i in range(n):
        x, image = errors + i * ld, images + i * ld
        own = dot(ld, <const real *>image, <const real *>x)
        if p.spherical:
            loss += w[i] * spherical_row(p, source, row[i], max(own, 0.0), <const real *>image, x, w[i],
                                         h + i * p.ld_h, C, C_x, j, i)
            continue
        cross, size = 0, 0
        for at in range(first_of(source, row[i]), first_of(source, row[i] + 1)):
            y = 1 if values == NULL else <double>values[at]
            slot = slot_of(&named.slots, source.column[at])
            v = near + slot * ld
            cross += y * dot(ld, <const real *>image, v)
            axpy(d, -y, v, x)
            size += y * y
            axpy(H, w[i] * y, h + i * p.ld_h, C + slot * H)
            C_x[slot] += <real>(w[i] * y * s.bias)
        # Rounding may leave a little below 0 of what is given back exactly.
        loss += w[i] * max(own - 2 * cross + size, 0.0)
    multiply(NULL, n, d, d, <const real *>errors, ld, &s.U, <const real *>NULL, 0, pulls, ld)
    for i in range(n):
        factor = <real>(2 * <double>w[i] * p.per_unit * p.per_unit)
        x = da + i * p.ld_h
        if not accumulate:
            memset(x, 0, p.H_full * sizeof(real))
        for k in range(H):
            x[k] += factor * pulls[i * ld + k]
    remember(p, row, n, w, j)
    return loss


cdef double judge(const Plan *p, const Bucket *bucket, Py_ssize_t t0, Py_ssize_t t1, bint latest_first,
                  const Source *source, const real *w, const real *h, Judge *j, bint accumulate, real *grad,
                  real *da) noexcept nogil:
    """Loss of the outputs of the states h against the sparse rows of steps t0:t1 in packed order, weighted by w, and its
    gradient by h into da (accumulate: added to it).

    Summed up for the update: C into its slots in grad, and A, or few states themselves. latest_first: steps count from
    the end.
    """
    cdef Py_ssize_t row[CHUNK]
    cdef Py_ssize_t t, n, r = 0, some = 0
    cdef double loss = 0
    for t in range(t0, t1):
        for n in range(bucket.active[t]):
            row[some] = bucket.last[n] - t if latest_first else bucket.start[n] + t
            some += 1
            if some == CHUNK or (t + 1 == t1 and n + 1 == bucket.active[t]):
                loss += judge_chunk(p, source, <const Py_ssize_t *>row, some, w + r, h + r * p.ld_h, j, accumulate, grad,
                                    da + r * p.ld_h)
                r += some
                some = 0
    return loss * p.per_unit * p.per_unit
