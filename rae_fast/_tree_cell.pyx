"""The cell of trees: sizes, weights as factors, codes of leaves, and what is decoded from codes of inner nodes.

    h = tanh(l W_hh + r W_rh + b_h)            the code of a node whose children have the codes l and r
    [l^, r^] = f(h [V_hh, V_hr] + [c_h, c_r])

With codes of length 1, h / |h| is the code; with reconstructions of length 1, l^ / |l^| is what is decoded. W_hh and W_rh lie
in one piece, and so do V_hh and V_hr, c_h and c_r.
"""

from libc.math cimport sqrt
from libc.string cimport memcpy, memset

from rae_fast._cell cimport block, first_of, row_distance
from rae_fast._form cimport B_H, C_H, V_HH, V_HX, W_HH, W_XH
from rae_fast._head cimport set_head, take_head
from rae_fast._kernels cimport axpy, lanes, tanh_
from rae_fast._products cimport choose_own, multiply, set_factor, take_factor
from rae_fast._tree_form cimport AS_OUTPUT, AS_SYMBOL, AS_VECTOR, GREEDY
from rae_fast._forest cimport take_forest


cdef TreePlan make_tree_plan(TreeForm form, Py_ssize_t itemsize, bint sparse) noexcept:
    """The plan of a call for rows of that kind."""
    cdef TreePlan plan
    cdef Py_ssize_t H = form.n_hidden
    plan.I, plan.H = form.n_inputs, H
    plan.leaf, plan.builder, plan.sparse, plan.embedding = form.leaf, form.builder, sparse, form.embeds
    plan.O = form.n_inputs if form.leaf == AS_OUTPUT or form.leaf == AS_SYMBOL else 0
    plan.own = choose_own(H, H, itemsize)
    plan.H_full = (H + lanes(itemsize) - 1) & ~(lanes(itemsize) - 1) if plan.own else H
    plan.ld_h, plan.ld_z = row_distance(H, itemsize), row_distance(2 * H, itemsize)
    plan.ld_o = row_distance(plan.O, itemsize)
    plan.tanh_decoder, plan.unit_codes = form.tanh_decoder, form.normalize_codes
    plan.unit_reconstruction, plan.word_weights = form.normalize_reconstruction, form.word_weights
    plan.mean, plan.stop_targets = form.reduction == "mean", form.stop_targets
    plan.unfold, plan.unfold_all = form.objective != "stepwise", form.objective == "unfold_all"
    plan.alpha = form.alpha
    plan.hidden_weight = form.hidden_weight
    plan.leaf_weight, plan.inner_weight, plan.root_weight = form.leaf_weight, form.inner_weight, form.root_weight
    plan.slots = NULL
    plan.theta = plan.grad = &form.layout
    return plan


cdef int take_tree_weights(Workspace space, const TreePlan *p, size_t item, TreeWeights *w) except -1:
    cdef Py_ssize_t H = p.H
    cdef bint greedy = p.builder == GREEDY
    take_factor(space, 2 * H, H, item, p.own, &w.W)
    take_factor(space, H, 2 * H, item, p.own, &w.W_T)
    take_factor(space, H, 2 * H, item, p.own, &w.V)
    take_factor(space, 2 * H, H, item, p.own, &w.V_T)
    take_factor(space, H, 2 * H if greedy else 0, item, p.own, &w.sides)
    w.sides_raw = space.take(2 * H * H if greedy else 0, item)
    take_factor(space, p.I, H if p.embedding and not p.sparse else 0, item, p.own, &w.W_xh)
    take_factor(space, H, p.O, item, p.own, &w.V_hx)
    take_factor(space, p.O, H if p.O else 0, item, p.own, &w.V_hx_T)
    take_head(space, item, &w.head)
    w.b = space.take(p.H_full, item)
    return 0


cdef void set_tree_weights(const TreePlan *p, const real *theta, TreeWeights *w) noexcept nogil:
    cdef Py_ssize_t H = p.H, i
    cdef const real *W = block(theta, p.theta, W_HH)
    cdef const real *V = block(theta, p.theta, V_HH)
    cdef real *sides = <real *>w.sides_raw
    set_factor(&w.W, 2 * H, H, W, H, False)
    set_factor(&w.W_T, H, 2 * H, W, H, True)
    set_factor(&w.V, H, 2 * H, V, H, True)
    set_factor(&w.V_T, 2 * H, H, V, H, False)
    if p.builder == GREEDY:
        for i in range(H):
            memcpy(sides + 2 * i * H, W + i * H, H * sizeof(real))
            memcpy(sides + (2 * i + 1) * H, W + (H + i) * H, H * sizeof(real))
        set_factor(&w.sides, H, 2 * H, <const real *>sides, 2 * H, False)
    if p.embedding and not p.sparse:
        set_factor(&w.W_xh, p.I, H, block(theta, p.theta, W_XH), H, False)
    if p.O:
        set_factor(&w.V_hx, H, p.O, block(theta, p.theta, V_HX), H, True)
        set_factor(&w.V_hx_T, p.O, H, block(theta, p.theta, V_HX), H, False)
    set_head(p.theta, theta, &w.head)
    memcpy(w.b, block(theta, p.theta, B_H), H * sizeof(real))
    memset(<real *>w.b + H, 0, (p.H_full - H) * sizeof(real))


cdef int take_nodes(Workspace space, const TreePlan *p, size_t item, Py_ssize_t trees, Py_ssize_t leaves,
                    Nodes *nodes) except -1:
    """Memory for the codes of buckets of up to so many trees and leaves."""
    cdef Py_ssize_t made = leaves if p.builder == GREEDY else 0
    take_forest(space, trees, leaves, &nodes.forest)
    nodes.item = item
    nodes.x = space.take(leaves * p.I if p.embedding and not p.sparse else 0, item)
    nodes.h = space.take(2 * leaves * p.ld_h, item)
    nodes.norm = space.take(leaves, item)
    nodes.z = space.take(leaves * p.ld_z, item)
    nodes.made = space.take(made * p.ld_h, item)
    nodes.made_norm = space.take(made, item)
    nodes.sides = space.take(2 * made * p.ld_z, item)
    nodes.pairs = space.take(made * p.ld_h, item)
    nodes.pair_norm = space.take(made, item)
    nodes.pair_decoded = space.take(made * p.ld_z, item)
    nodes.pair_lengths = space.take(2 * made, item)
    nodes.made_decoded = space.take(made * p.ld_z, item)
    nodes.made_lengths = space.take(2 * made, item)
    nodes.score = <double *>space.take(made, sizeof(double))
    nodes.bound = <double *>space.take(made, sizeof(double))
    nodes.winner = <Py_ssize_t *>space.take(4 * made, sizeof(Py_ssize_t))
    nodes.after = <Py_ssize_t *>space.take(made, sizeof(Py_ssize_t))
    nodes.before = <Py_ssize_t *>space.take(made, sizeof(Py_ssize_t))
    nodes.at = <Py_ssize_t *>space.take(made, sizeof(Py_ssize_t))
    nodes.number = <Py_ssize_t *>space.take(made, sizeof(Py_ssize_t))
    nodes.below = <Py_ssize_t *>space.take(made, sizeof(Py_ssize_t))
    nodes.order = <Py_ssize_t *>space.take(2 * made, sizeof(Py_ssize_t))
    nodes.asked = <Py_ssize_t *>space.take(2 * made, sizeof(Py_ssize_t))
    nodes.codes = space.take(min(made, SCORED_ROWS) * p.ld_h, item)
    nodes.decoded = space.take(min(made, SCORED_ROWS) * p.ld_z, item)
    nodes.lengths = space.take(2 * min(made, SCORED_ROWS), item)
    return 0


cdef void leaf_codes(const TreePlan *p, const TreeWeights *w, const real *theta, const Source *source,
                     Nodes *nodes) noexcept nogil:
    """Codes of the bucket's leaves."""
    cdef const Forest *forest = &nodes.forest
    cdef const real *values = <const real *>source.values
    cdef const real *W_xh = block(theta, p.theta, W_XH)
    cdef real *h = <real *>nodes.h
    cdef real *x = <real *>nodes.x
    cdef Py_ssize_t i, n, row, j
    if not p.sparse:
        for i in range(forest.n):
            n, row = size_of_rows(source, forest.which[i]), source.offset[forest.which[i]]
            if p.embedding:
                memcpy(x + forest.first[i] * p.I, values + row * p.I, n * p.I * sizeof(real))
                continue
            for j in range(n):
                memcpy(h + (forest.first[i] + j) * p.ld_h, values + (row + j) * p.I, p.I * sizeof(real))
        if p.embedding:
            multiply(NULL, forest.leaves, p.H_full, p.I, <const real *>x, p.I, &w.W_xh, <const real *>NULL, 0, h, p.ld_h)
        return
    for i in range(forest.n):
        row = source.offset[forest.which[i]]
        for n in range(size_of_rows(source, forest.which[i])):
            sum_rows(p, source, row + n, values, W_xh, h + (forest.first[i] + n) * p.ld_h)


cdef inline Py_ssize_t size_of_rows(const Source *source, Py_ssize_t item) noexcept nogil:
    return source.offset[item + 1] - source.offset[item]


cdef void sum_rows(const TreePlan *p, const Source *source, Py_ssize_t row, const real *values, const real *W_xh,
                   real *h) noexcept nogil:
    """A sparse row times W_xh."""
    cdef Py_ssize_t j
    if source.start == NULL and values == NULL:
        memcpy(h, W_xh + source.column[row] * p.H, p.H * sizeof(real))
        return
    memset(h, 0, p.H * sizeof(real))
    for j in range(first_of(source, row), first_of(source, row + 1)):
        axpy(p.H, 1.0 if values == NULL else <double>values[j], W_xh + source.column[j] * p.H, h)


cdef double to_unit_length(Py_ssize_t n, real *x) noexcept nogil:
    """x <- x / |x|, of a vector that is not 0; returns |x|."""
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += <double>x[i] * x[i]
    total = sqrt(total)
    if total > 0:
        for i in range(n):
            x[i] = <real>(x[i] / total)
    return total


cdef void decode(const TreePlan *p, const TreeWeights *w, const real *theta, Py_ssize_t rows, const real *h,
                 const Py_ssize_t *left, const Py_ssize_t *right, Py_ssize_t leaves, real *out,
                 real *norm) noexcept nogil:
    """[l^, r^] of codes h into rows of out, (rows, ld_z). left, right: rows of the children, leaves below `leaves`, which
    tell what is decoded linearly. norm (rows, 2): lengths before these are made 1, if they are; or NULL."""
    cdef Py_ssize_t r, side, H = p.H
    cdef double length
    multiply(NULL, rows, 2 * H, H, h, p.ld_h, &w.V, block(theta, p.theta, C_H), 0, out, p.ld_z)
    if p.tanh_decoder and p.leaf != AS_VECTOR:
        tanh_(rows * p.ld_z, out, out)
    elif p.tanh_decoder:
        for r in range(rows):
            for side in range(2):
                if (right if side else left)[r] >= leaves:
                    tanh_(H, out + r * p.ld_z + side * H, out + r * p.ld_z + side * H)
    if p.unit_reconstruction:
        for r in range(rows):
            for side in range(2):
                if decoded_to_unit(p, (right if side else left)[r] < leaves):
                    length = to_unit_length(H, out + r * p.ld_z + side * H)
                    if norm != NULL:
                        norm[2 * r + side] = <real>length


cdef void back_through(const TreePlan *p, bint is_leaf, double factor, real norm, const real *error, real *g) noexcept nogil:
    """From the gradient `factor error` of something decoded, which g holds, to that before f and unit length, into g."""
    cdef Py_ssize_t j
    cdef double along = 0, t
    cdef bint squashed = p.tanh_decoder and not (is_leaf and p.leaf == AS_VECTOR)
    if decoded_to_unit(p, is_leaf):
        for j in range(p.H):
            along += <double>error[j] * g[j]
        for j in range(p.H):
            t = <double>g[j] * norm
            g[j] = <real>(0 if norm == 0 else factor * (error[j] - g[j] * along) / norm * (1 - t * t if squashed else 1.0))
        return
    if squashed:
        for j in range(p.H):
            g[j] = <real>factor * error[j] * (1 - g[j] * g[j])
    else:
        for j in range(p.H):
            g[j] = <real>factor * error[j]
