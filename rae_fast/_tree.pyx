"""The schedule over trees: codes of all nodes, level by level, and the gradient back through them.

A part of a batch is one bucket of trees after the other. In a bucket the rows 0:L are leaves and the others inner nodes,
level by level (_forest.pyx); each level is one product forwards and one backwards, and what the loss says of the nodes, and
the sums over them, are products over the whole bucket. The loss of an item, with m inner nodes and parts of alpha:

    alpha / m sum over inner nodes of share |l^ - l|^2 + share |r^ - r|^2  +  (1 - alpha) sum over nodes of w loss(label)

(reduction "sum": without 1 / m); objective "unfold" has in place of the first sum that over the leaves of errors of what
the root gives back of them, and "unfold_all" the sum of that over all inner nodes (_tree_unfold.pyx). Leaves are given back as the form says. Twin: reference.tree_loss.
"""

import numpy as np

from libc.string cimport memcpy, memset

from rae_fast._batch cimport Batch, Source
from rae_fast._blas cimport real
from rae_fast._buckets cimport LengthAt, next_bucket, sort_by_length
from rae_fast._cell cimport block, block_to_write, first_of
from rae_fast._factored cimport OutputFactor
from rae_fast._forest cimport Forest, by_level, copy_given, grow, nodes_of, plant, size_of
from rae_fast._form cimport AnyForm, B_H, C_H, C_X, V_HH, V_HX, W_HH, W_XH, data_of, is_single, new_array
from rae_fast._greedy cimport build, keep_codes
from rae_fast._head cimport Head, Labelled, head_loss, make_head, take_labelled, zero_head
from rae_fast._kernels cimport axpy, column_sums, cross_entropy, distance, in_use, residual, start_team, sum_scratch, tanh_, team_members
from rae_fast._objective cimport Descent, Objective, Part, cut_into_parts, gradient_of_parts, part_count
from rae_fast._products cimport choose_own, multiply, sum_over_rows
from rae_fast._pulse cimport Pulse, beat, new_pulse
from rae_fast._slots cimport compact, name_rows, slot_of, take_slots
from rae_fast._tree_cell cimport (Nodes, TreePlan, TreeWeights, back_through, decode, leaf_codes, make_tree_plan, set_tree_weights,
                                  take_nodes, take_tree_weights, to_unit_length)
from rae_fast._tree_form cimport AS_OUTPUT, AS_SYMBOL, GIVEN, GREEDY, TreeForm
from rae_fast._tree_unfold cimport Unfolded, begin_unfolding, fold_back, take_unfolded, unfold
from rae_fast._workspace cimport Workspace

cdef enum:
    # A part's gradient has all embeddings, which takes long to clear and to add up.
    PART_TREES = 48
    BUCKET_LEAVES = 4096       # at most, but of a single larger tree
    OUTPUT_ROWS = 64           # leaves that are given back by outputs at once


cdef struct TreeTask:          # one thread's part of a call; (real *) behind void *
    const TreePlan *plan
    const TreeWeights *weights
    Pulse pulse
    Nodes nodes
    void *dh                   # (rows, ld_h)    gradient of codes; of inner nodes then of what tanh is taken of
    void *g                    # (inner, ld_z)   what is decoded, then its gradient before f
    void *error                # (H)
    void *norm                 # (inner, 2)      lengths of what is decoded, before these are made 1
    void *u                    # (inner, ld_z)   what flows into children
    Unfolded unfolded
    void *w                    # (trees)         weights of items
    void *decoded              # (OUTPUT_ROWS, ld_h)
    void *outputs              # (OUTPUT_ROWS, ld_o)
    void *written              # (OUTPUT_ROWS, O)
    void *back                 # (OUTPUT_ROWS, ld_h)
    Py_ssize_t *child          # (OUTPUT_ROWS)   inner node and side, 2 inner + side
    Labelled labelled          # all nodes
    void *w_row                # (OUTPUT_ROWS)
    void *scratch              # of sums over rows


# ---- codes of a bucket -----------------------------------------------------------------------------

cdef int codes_of_bucket(TreeTask *task, const real *theta, const Source *source) except -1 nogil:
    """Leaves, trees, levels, and the codes of all nodes of the bucket that is planted."""
    cdef const TreePlan *p = task.plan
    cdef const TreeWeights *w = task.weights
    cdef Nodes *nodes = &task.nodes
    cdef Forest *forest = &nodes.forest
    cdef real *h = <real *>nodes.h
    cdef real *z = <real *>nodes.z
    cdef real *row
    cdef Py_ssize_t level, i, first, end, H = p.H, L = forest.leaves
    leaf_codes(p, w, theta, source, nodes)
    if p.builder == GIVEN:
        copy_given(forest, source)
    elif p.builder == GREEDY:
        build(p, w, &task.pulse, theta, nodes)
    else:
        grow(forest, p.builder)
    by_level(forest)
    if p.builder == GREEDY:
        keep_codes(p, nodes, <real *>task.g, <real *>task.norm)
    for level in range(forest.levels):
        first, end = forest.level[level], forest.level[level + 1]
        for i in range(first, end):
            memcpy(z + i * p.ld_z, h + forest.left[i] * p.ld_h, H * sizeof(real))
            memcpy(z + i * p.ld_z + H, h + forest.right[i] * p.ld_h, H * sizeof(real))
        if p.builder == GREEDY:
            continue
        # H = tanh(Z W + 1 b')      (rows,H) = (rows,2H)(2H,H)
        row = h + (L + first) * p.ld_h
        multiply(NULL, end - first, p.H_full, 2 * H, <const real *>z + first * p.ld_z, p.ld_z, &w.W, <const real *>w.b, 0,
                 row, p.ld_h)
        tanh_((end - first) * p.ld_h, row, row)
        if p.unit_codes:
            for i in range(first, end):
                (<real *>nodes.norm)[i] = <real>to_unit_length(H, h + (L + i) * p.ld_h)
        beat(&task.pulse, 4.0 * (end - first) * H * H)
    return 0


# ---- the loss --------------------------------------------------------------------------------------

cdef inline double share(const TreePlan *p, const Forest *forest, Py_ssize_t i, Py_ssize_t child) noexcept nogil:
    """Of a child of inner node i in that node's reconstruction error, over the weight of its item."""
    cdef double found = p.alpha
    if p.mean:
        found /= size_of(forest, forest.tree[child]) - 1
    if p.unfold:
        return found
    if p.word_weights:
        found *= forest.words[child] / <double>forest.words[forest.leaves + i]
    return found if child < forest.leaves else found * p.hidden_weight


cdef double code_errors(TreeTask *task, const real *h, Py_ssize_t rows, const Py_ssize_t *left,
                        const Py_ssize_t *right) noexcept nogil:
    """Loss of children, those of so many rows, that are given back as codes; its gradient with respect to what is decoded
    into g, and with respect to the children's codes, as targets, to dh."""
    cdef const TreePlan *p = task.plan
    cdef const Forest *forest = &task.nodes.forest
    cdef const real *w = <const real *>task.w
    cdef const real *c
    cdef real *g
    cdef real *d
    cdef real *error = <real *>task.error
    cdef double loss = 0, s
    cdef Py_ssize_t i, j, side, child
    for i in range(rows):
        for side in range(2):
            child = right[i] if side else left[i]
            if p.unfold if child >= forest.leaves else p.leaf == AS_OUTPUT or p.leaf == AS_SYMBOL:
                continue
            s = share(p, forest, i, child) * w[forest.tree[child]]
            g = <real *>task.g + i * p.ld_z + side * p.H
            c = h + child * p.ld_h
            d = <real *>task.dh + child * p.ld_h
            loss += s * distance(p.H, g, c)
            for j in range(p.H):
                error[j] = g[j] - c[j]
            back_through(p, child < forest.leaves, 2 * s, (<real *>task.norm)[2 * i + side], error, g)
            if not p.stop_targets:
                axpy(p.H, -2 * s, error, d)
    return loss


cdef int output_errors(TreeTask *task, const real *theta, const Source *source, Py_ssize_t rows, const Py_ssize_t *left,
                       const Py_ssize_t *right, real *grad, double *loss) except -1 nogil:
    """Loss of leaves, children of so many rows, that are given back by outputs, some of them at a time, its gradient before f into g, and that of
    V_hx and c_x."""
    cdef const Forest *forest = &task.nodes.forest
    cdef Py_ssize_t i, side, n = 0
    for i in range(rows):
        for side in range(2):
            if (right[i] if side else left[i]) < forest.leaves:
                task.child[n] = 2 * i + side
                n += 1
                if n == OUTPUT_ROWS:
                    loss[0] += some_outputs(task, theta, source, n, left, right, grad)
                    n = 0
                    beat(&task.pulse, 6.0 * OUTPUT_ROWS * task.plan.H * task.plan.O)
    if n:
        loss[0] += some_outputs(task, theta, source, n, left, right, grad)
    return 0


cdef double some_outputs(TreeTask *task, const real *theta, const Source *source, Py_ssize_t n, const Py_ssize_t *left,
                         const Py_ssize_t *right, real *grad) noexcept nogil:
    cdef const TreePlan *p = task.plan
    cdef const TreeWeights *w = task.weights
    cdef const Forest *forest = &task.nodes.forest
    cdef Py_ssize_t r, i, j, side, leaf, H = p.H
    cdef const real *weights = <const real *>task.w
    cdef real *decoded = <real *>task.decoded
    cdef real *outputs = <real *>task.outputs
    cdef real *written = <real *>task.written
    cdef real *back = <real *>task.back
    cdef real *w_row = <real *>task.w_row
    cdef real *g
    cdef double loss
    for r in range(n):
        i, side = task.child[r] // 2, task.child[r] % 2
        leaf = right[i] if side else left[i]
        memcpy(decoded + r * p.ld_h, <real *>task.g + i * p.ld_z + side * H, H * sizeof(real))
        w_row[r] = <real>(share(p, forest, i, leaf) * weights[forest.tree[leaf]])
        write_row(p, source, row_of_leaf(forest, source, leaf), written + r * p.O)
    # O = D V_hx + c_x, loss, G   (rows,O) = (rows,H)(H,O)
    multiply(NULL, n, p.O, H, <const real *>decoded, p.ld_h, &w.V_hx, <const real *>NULL, 0, outputs, p.ld_o)
    if p.leaf == AS_SYMBOL:
        loss = cross_entropy(n, p.O, <const real *>w_row, block(theta, p.theta, C_X), <const real *>written, p.O, outputs,
                             p.ld_o)
    else:
        loss = residual(n, p.O, <const real *>w_row, block(theta, p.theta, C_X), <const real *>written, p.O, 1, outputs,
                        p.ld_o)
    # dD = G V_hx'                (rows,H) = (rows,O)(O,H)
    multiply(NULL, n, H, p.O, <const real *>outputs, p.ld_o, &w.V_hx_T, <const real *>NULL, 0, back, p.ld_h)
    for r in range(n):
        g = <real *>task.g + (task.child[r] // 2) * p.ld_z + (task.child[r] % 2) * H
        for j in range(H):
            g[j] = back[r * p.ld_h + j] * (1 - g[j] * g[j] if p.tanh_decoder else <real>1)
    sum_over_rows(NULL, p.own, p.O, H, n, <const real *>outputs, p.ld_o, <const real *>decoded, p.ld_h, 1, True,
                  <real *>task.scratch, block_to_write(grad, p.grad, V_HX), H)
    column_sums(n, p.O, <const real *>outputs, p.ld_o, 1, True, block_to_write(grad, p.grad, C_X))
    return loss


cdef inline Py_ssize_t row_of_leaf(const Forest *forest, const Source *source, Py_ssize_t leaf) noexcept nogil:
    """The batch's row of a leaf of the bucket."""
    cdef Py_ssize_t n = forest.tree[leaf]
    return source.offset[forest.which[n]] + leaf - forest.first[n]


cdef void write_row(const TreePlan *p, const Source *source, Py_ssize_t row, real *out) noexcept nogil:
    """A row of the batch, written out."""
    cdef const real *values = <const real *>source.values
    cdef Py_ssize_t j
    if not p.sparse:
        memcpy(out, values + row * p.I, p.I * sizeof(real))
        return
    memset(out, 0, p.I * sizeof(real))
    for j in range(first_of(source, row), first_of(source, row + 1)):
        out[source.column[j]] = <real>1 if values == NULL else values[j]


# ---- labels ----------------------------------------------------------------------------------------

cdef double label_weight(const TreePlan *p, const Forest *forest, const Source *source, Py_ssize_t n, Py_ssize_t m,
                         Py_ssize_t *label) noexcept nogil:
    """Of node m of tree n in the loss, over the weight of its item; and its label."""
    cdef Py_ssize_t item = forest.which[n], leaves = size_of(forest, n)
    cdef Py_ssize_t at = 2 * source.offset[item] - item + m if source.of_nodes else item
    cdef double found = p.leaf_weight if m < leaves else p.inner_weight
    if m == 2 * leaves - 2:
        found = p.root_weight
    label[0] = source.label[at]
    if label[0] < 0:
        return 0
    return (1 - p.alpha) * found * (1 if source.label_weight == NULL else source.label_weight[at])


cdef double label_errors(TreeTask *task, const real *theta, const Source *source, real *grad) noexcept nogil:
    """Loss of all nodes' labels; its gradient is added to dh, and to that of W_hy and b_y."""
    cdef const TreePlan *p = task.plan
    cdef const Head *head = &task.weights.head
    cdef const Forest *forest = &task.nodes.forest
    cdef Py_ssize_t n, m, row, label = 0, rows = forest.leaves + forest.inner
    cdef const real *weights = <const real *>task.w
    cdef real *target = <real *>task.labelled.target
    memset(target, 0, rows * head.K * sizeof(real))
    for n in range(forest.n):
        for m in range(2 * size_of(forest, n) - 1):
            row = forest.row[nodes_of(forest, n) + m]
            if head.dropout > 0:
                task.labelled.key[row] = 2 * source.offset[forest.which[n]] - forest.which[n] + m
            (<real *>task.labelled.w)[row] = <real>(weights[n] * label_weight(p, forest, source, n, m, &label))
            if label >= 0:
                target[row * head.K + label] = 1
    return head_loss(head, &task.labelled, p.theta, theta, rows, <const real *>task.nodes.h, p.ld_h, <real *>task.dh, p.ld_h,
                     p.grad, grad)


# ---- the gradient ----------------------------------------------------------------------------------

cdef int back_through_levels(TreeTask *task, real *dh) except -1 nogil:
    """dh of inner nodes, level by level from above: what their own errors say, plus what flows from the parent."""
    cdef const TreePlan *p = task.plan
    cdef const TreeWeights *w = task.weights
    cdef const Forest *forest = &task.nodes.forest
    cdef real *u = <real *>task.u
    cdef const real *h
    cdef real *d
    cdef real norm, along, t
    cdef Py_ssize_t level, i, j, first, end, H = p.H, L = forest.leaves
    for level in range(forest.levels - 1, -1, -1):
        first, end = forest.level[level], forest.level[level + 1]
        for i in range(first, end):
            h, d = <const real *>task.nodes.h + (L + i) * p.ld_h, dh + (L + i) * p.ld_h
            if p.unit_codes:
                # Of h = x / |x|, x = tanh(a), the Jacobian times d: (1 - x^2) o (d - h (h . d)) / |x|.
                norm, along = (<const real *>task.nodes.norm)[i], 0
                for j in range(H):
                    along += h[j] * d[j]
                for j in range(H):
                    t = h[j] * norm
                    d[j] = 0 if norm == 0 else (d[j] - h[j] * along) / norm * (1 - t * t)
            else:
                for j in range(H):
                    d[j] *= 1 - h[j] * h[j]
        # U = dA W'                (rows,2H) = (rows,H)(H,2H)
        multiply(NULL, end - first, 2 * H, H, <const real *>dh + (L + first) * p.ld_h, p.ld_h, &w.W_T, <const real *>NULL, 0,
                 u + first * p.ld_z, p.ld_z)
        for i in range(first, end):
            d, h = dh + forest.left[i] * p.ld_h, u + i * p.ld_z
            for j in range(H):
                d[j] += h[j]
            d, h = dh + forest.right[i] * p.ld_h, u + i * p.ld_z + H
            for j in range(H):
                d[j] += h[j]
        beat(&task.pulse, 4.0 * (end - first) * H * H)
    return 0


cdef void leaf_gradient(TreeTask *task, const Source *source, bint accumulate, real *grad) noexcept nogil:
    """That of W_xh, which is 0 before the first bucket."""
    cdef const TreePlan *p = task.plan
    cdef const Forest *forest = &task.nodes.forest
    cdef const real *values = <const real *>source.values
    cdef const real *dh = <const real *>task.dh
    cdef real *W_xh = block_to_write(grad, p.grad, W_XH)
    cdef Py_ssize_t i, j, row, at
    if not p.sparse:
        sum_over_rows(NULL, p.own, p.I, p.H, forest.leaves, <const real *>task.nodes.x, p.I, dh, p.ld_h, 1, accumulate,
                      <real *>task.scratch, W_xh, p.H)
        return
    for i in range(forest.leaves):
        row = row_of_leaf(forest, source, i)
        for j in range(first_of(source, row), first_of(source, row + 1)):
            at = source.column[j] if p.slots == NULL else slot_of(p.slots, source.column[j])
            axpy(p.H, 1.0 if values == NULL else <double>values[j], dh + i * p.ld_h, W_xh + at * p.H)


cdef int decoder_errors(TreeTask *task, const real *theta, const Source *source, Py_ssize_t rows, const Py_ssize_t *left,
                        const Py_ssize_t *right, real *grad, double *loss) except -1 nogil:
    """The loss of what rows of g give back of their children, and its gradient before f in their place."""
    loss[0] += code_errors(task, <const real *>task.nodes.h, rows, left, right)
    if task.plan.O:
        output_errors(task, theta, source, rows, left, right, grad, loss)
    return 0


cdef void add_decoder_sums(TreeTask *task, Py_ssize_t rows, const real *codes, real *grad) noexcept nogil:
    """dV' += G' H, dc += column sums of G   (2H,H) = (2H,rows)(rows,H)"""
    cdef const TreePlan *p = task.plan
    cdef const real *g = <const real *>task.g
    sum_over_rows(NULL, p.own, 2 * p.H, p.H, rows, g, p.ld_z, codes, p.ld_h, 1, True, <real *>task.scratch,
                  block_to_write(grad, p.grad, V_HH), p.H)
    column_sums(rows, 2 * p.H, g, p.ld_z, 1, True, block_to_write(grad, p.grad, C_H))


cdef int unfolded_gradient(TreeTask *task, const real *theta, const Source *source, real *grad,
                           double *loss) except -1 nogil:
    """What the nodes that are unfolded say of their codes into dh, and of V and c."""
    cdef const TreePlan *p = task.plan
    cdef const TreeWeights *w = task.weights
    cdef Unfolded *x = &task.unfolded
    cdef real *g = <real *>task.g
    cdef Py_ssize_t done = 0
    begin_unfolding(&task.nodes.forest, x)
    while done < task.nodes.forest.inner:
        done = unfold(p, w, &task.pulse, theta, &task.nodes, x, done, g, <real *>task.norm)
        decoder_errors(task, theta, source, x.rows, x.left, x.right, grad, loss)
        fold_back(p, w, &task.pulse, &task.nodes, x, <const real *>task.norm, g, <real *>task.dh)
        add_decoder_sums(task, x.rows, <const real *>x.y, grad)
    return 0


cdef int bucket_gradient(TreeTask *task, const real *theta, const Source *source, bint accumulate, real *grad,
                         double *loss) except -1 nogil:
    """Add the bucket's loss; write its gradient to grad, or add it (accumulate)."""
    cdef const TreePlan *p = task.plan
    cdef const TreeWeights *w = task.weights
    cdef const Forest *forest = &task.nodes.forest
    cdef Py_ssize_t H = p.H, L = forest.leaves
    cdef real *g = <real *>task.g
    cdef real *u = <real *>task.u
    cdef real *dh = <real *>task.dh
    cdef real *scratch = <real *>task.scratch
    cdef const real *z = <const real *>task.nodes.z
    cdef const real *inner
    codes_of_bucket(task, theta, source)
    inner = <const real *>task.nodes.h + L * p.ld_h
    memset(dh, 0, (L + forest.inner) * p.ld_h * sizeof(real))
    if p.unfold:
        unfolded_gradient(task, theta, source, grad, loss)
    else:
        # What is decoded, its loss and its gradient G before f; of greedy trees it is known.
        if p.builder != GREEDY:
            decode(p, w, theta, forest.inner, inner, forest.left, forest.right, L, g, <real *>task.norm)
            beat(&task.pulse, 4.0 * forest.inner * H * H)
        decoder_errors(task, theta, source, forest.inner, forest.left, forest.right, grad, loss)
        # dH += G V'               (inner,H) = (inner,2H)(2H,H)
        multiply(NULL, forest.inner, H, 2 * H, <const real *>g, p.ld_z, &w.V_T, <const real *>dh + L * p.ld_h, p.ld_h,
                 dh + L * p.ld_h, p.ld_h)
        add_decoder_sums(task, forest.inner, inner, grad)
    if w.head.K and source.label != NULL:
        loss[0] += label_errors(task, theta, source, grad)
    # dW = Z' dA                   (2H,H) = (2H,inner)(inner,H)
    back_through_levels(task, dh)
    sum_over_rows(NULL, p.own, 2 * H, H, forest.inner, z, p.ld_z, <const real *>dh + L * p.ld_h, p.ld_h, 1, accumulate,
                  scratch, block_to_write(grad, p.grad, W_HH), H)
    column_sums(forest.inner, H, <const real *>dh + L * p.ld_h, p.ld_h, 1, accumulate, block_to_write(grad, p.grad, B_H))
    if p.embedding:
        leaf_gradient(task, source, accumulate, grad)
    beat(&task.pulse, 12.0 * forest.inner * H * H)
    return 0


# ---- parts and threads -----------------------------------------------------------------------------

cdef struct TreeJob:
    TreeTask *tasks
    Py_ssize_t n
    const void *theta
    const Source *source
    const Py_ssize_t *order
    const void *weights
    bint single
    void *codes                # encode: where those of all nodes go, (nodes, H); else NULL
    bint roots                 # these alone, (N, H)
    Py_ssize_t *children       # encode: where the trees go, (inner, 2), or NULL


cdef void zero_rows(const TreePlan *p, real *grad) noexcept nogil:
    """W_xh's gradient of sparse rows is added up; and of trees of one leaf nothing else is written."""
    cdef Py_ssize_t n = p.grad.at[W_XH].rows if p.slots == NULL else p.slots.n
    if p.embedding:
        memset(block_to_write(grad, p.grad, W_XH), 0, n * p.H * sizeof(real))
    if p.O:
        memset(block_to_write(grad, p.grad, V_HX), 0, p.O * p.H * sizeof(real))
        memset(block_to_write(grad, p.grad, C_X), 0, p.O * sizeof(real))
    memset(block_to_write(grad, p.grad, W_HH), 0, 2 * p.H * p.H * sizeof(real))
    memset(block_to_write(grad, p.grad, V_HH), 0, 2 * p.H * p.H * sizeof(real))
    memset(block_to_write(grad, p.grad, C_H), 0, 2 * p.H * sizeof(real))
    memset(block_to_write(grad, p.grad, B_H), 0, p.H * sizeof(real))


cdef int part_of_job(TreeTask *task, Part *part, const TreeJob *job, const real *theta) except -1 nogil:
    """A part of the items, one bucket after the other."""
    cdef Py_ssize_t done = 0, n, i
    cdef const Py_ssize_t *order = job.order + part.first
    cdef const real *weights = <const real *>job.weights
    part.loss = 0
    if job.codes == NULL:
        zero_rows(task.plan, <real *>part.grad)
        zero_head(&task.weights.head, task.plan.grad, <real *>part.grad)
    while done < part.n:
        n = next_bucket(part.n - done, order + done, job.source.offset, BUCKET_LEAVES, part.n)
        plant(&task.nodes.forest, n, order + done, job.source)
        if job.codes != NULL:
            codes_of_bucket(task, theta, job.source)
            hand_out(task, job, <real *>job.codes)
        else:
            for i in range(n):
                (<real *>task.w)[i] = weights[order[done + i]] if weights != NULL else <real>(1.0 / <double>job.n)
            bucket_gradient(task, theta, job.source, True, <real *>part.grad, &part.loss)
        done += n
    return 0


cdef void hand_out(const TreeTask *task, const TreeJob *job, real *codes) noexcept nogil:
    """Codes and children of the bucket's nodes to where the caller has them."""
    cdef const Forest *forest = &task.nodes.forest
    cdef Py_ssize_t n, m, item, first, H = task.plan.H
    for n in range(forest.n):
        item = forest.which[n]
        if job.roots:
            memcpy(codes + item * H, <const real *>task.nodes.h + forest.row[nodes_of(forest, n + 1) - 1] * task.plan.ld_h,
                   H * sizeof(real))
            continue
        first = 2 * job.source.offset[item] - item
        for m in range(2 * size_of(forest, n) - 1):
            memcpy(codes + (first + m) * H,
                   <const real *>task.nodes.h + forest.row[nodes_of(forest, n) + m] * task.plan.ld_h, H * sizeof(real))
        if job.children != NULL:
            memcpy(job.children + 2 * (job.source.offset[item] - item), forest.kids + 2 * (forest.first[n] - n),
                   2 * (size_of(forest, n) - 1) * sizeof(Py_ssize_t))


ctypedef int (*part_f32)(TreeTask *, Part *, const TreeJob *, const float *) noexcept nogil
ctypedef int (*part_f64)(TreeTask *, Part *, const TreeJob *, const double *) noexcept nogil


cdef int one_part(void *argument, Py_ssize_t member, Part *part) noexcept nogil:
    """part_of_job by a member of the team. The casts keep a raised exception set."""
    cdef const TreeJob *job = <const TreeJob *>argument
    if job.single:
        return (<part_f32>&part_of_job[float])(&job.tasks[member], part, job, <const float *>job.theta)
    return (<part_f64>&part_of_job[double])(&job.tasks[member], part, job, <const double *>job.theta)


cdef int take_task(Workspace space, const TreePlan *p, size_t item, Py_ssize_t trees, Py_ssize_t leaves, bint gradient,
                   TreeTask *task) except -1:
    cdef Py_ssize_t n = leaves if gradient else 0, some = OUTPUT_ROWS if gradient and p.O else 0, most
    take_nodes(space, p, item, trees, leaves, &task.nodes)
    task.dh = space.take(2 * n * p.ld_h, item)
    task.g = space.take(n * p.ld_z, item)
    task.norm = space.take(2 * n, item)
    task.error = space.take(p.ld_h if gradient else 0, item)
    if not gradient:
        task.g = task.norm = NULL
    task.u = space.take(n * p.ld_z, item)
    take_unfolded(space, p, item, n, &task.unfolded)
    task.w = space.take(trees, item)
    task.decoded = space.take(some * p.ld_h, item)
    task.outputs = space.take(some * p.ld_o, item)
    task.written = space.take(some * p.O, item)
    task.back = space.take(some * p.ld_h, item)
    task.child = <Py_ssize_t *>space.take(some, sizeof(Py_ssize_t))
    take_labelled(space, &task.weights.head, 2 * n, item, &task.labelled)
    task.w_row = space.take(some, item)
    # Of all sums over rows but those of labels: of W and V, of outputs and dense leaves.
    most = max(2 * p.H, max(p.O, p.I if p.embedding and not p.sparse else 0))
    task.scratch = space.take(sum_scratch(most, p.H, 2 * leaves, item) if gradient and p.own else 0, item)
    return 0


cdef class TreeObjective(Objective):
    """The objective of trees."""

    cdef TreePlan plan
    cdef TreeWeights weights_of_form
    cdef TreeTask *tasks
    cdef LengthAt *lengths
    cdef bint gradients

    cdef int prepare(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows,
                     Py_ssize_t most, max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=0, bint by_rows=False,
                     OutputFactor outputs=None) except -1:
        cdef Workspace space = Workspace(0)
        cdef Py_ssize_t i, leaves
        cdef size_t item = sizeof(float) if single else sizeof(double)
        Objective.prepare(self, form, single, sparse, longest, most_rows, most, max_memory, n_jobs, most_named, by_rows,
                          outputs)
        self.plan = make_tree_plan(<TreeForm?>form, item, sparse)
        self.weights_of_form.head = make_head(form, self.plan.H, self.plan.own, (<TreeForm>form).label_loss == "squared",
                                              form.dropout, item)
        self.layout = compact(&form.layout, self.most_named, self.by_rows, False)
        self.plan.grad = &self.layout
        if self.by_rows:
            self.plan.slots = &self.named.slots
        self.most_parts = part_count(most, most_rows, PART_TREES)
        if n_jobs > 1 and self.most_parts > 1:
            self.team = start_team(min(n_jobs, self.most_parts))
        self.members = team_members(self.team)
        leaves = min(most_rows, max(<Py_ssize_t>BUCKET_LEAVES, longest))
        self.heads = Workspace(self.most_parts * sizeof(Part) + self.members * sizeof(TreeTask) + 256)
        self.parts = <Part *>self.heads.take(self.most_parts, sizeof(Part))
        self.tasks = <TreeTask *>self.heads.take(self.members, sizeof(TreeTask))
        for _ in range(2):
            take_tree_weights(space, &self.plan, item, &self.weights_of_form)
            self.lengths = <LengthAt *>space.take(most, sizeof(LengthAt))
            if self.gradients:
                self.take_common(space)
            else:
                self.order = <Py_ssize_t *>space.take(most, sizeof(Py_ssize_t))
            if self.by_rows:
                take_slots(space, self.most_named, &self.named.slots)
            for i in range(self.members):
                self.tasks[i].plan, self.tasks[i].weights = &self.plan, &self.weights_of_form
                take_task(space, &self.plan, item, min(most, leaves), leaves, self.gradients, &self.tasks[i])
            if space.base == NULL:
                space = Workspace(space.used)
                # What lies between the end of a row and the next one is read with it, and must be numbers.
                memset(space.base, 0, space.size)
        self.space = space
        for i in range(self.members):
            self.tasks[i].pulse = new_pulse(0)
            self.tasks[i].pulse.alone = i > 0
        self.isa = in_use
        return 0

    def __cinit__(self):
        self.gradients = True

    cdef int take(self, Batch batch, sample_weight, double unit=1) except -1:
        if batch is not None and batch.source.missing != NULL:
            raise ValueError("of trees no numbers can be missing")
        if batch is not None and self.plan.builder == GIVEN and batch.source.children == NULL:
            raise ValueError("tree='given' needs a batch with trees")
        if batch is not None and batch.source.label != NULL and batch.n_classes != self.weights_of_form.head.K:
            raise ValueError(f"labels of {batch.n_classes} classes do not fit a form of {self.form.n_classes}")
        return Objective.take(self, batch, sample_weight, unit)

    cdef bint fits(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows, Py_ssize_t most,
                   max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=0, bint by_rows=False,
                   OutputFactor outputs=None) except -1:
        return (Objective.fits(self, form, single, sparse, longest, most_rows, most, max_memory, n_jobs, most_named,
                               by_rows, outputs)
                and self.plan.own == choose_own(self.plan.H, self.plan.H, self.item))

    cdef Pulse *pulse(self) noexcept nogil:
        return &self.tasks[0].pulse

    cdef int run(self, const void *theta, Py_ssize_t *chosen, Py_ssize_t n, void *codes, bint roots, Py_ssize_t *children,
                 void *grad, double *loss) except -1 nogil:
        """The gradient of the items, or with `codes` their codes and trees."""
        cdef const Py_ssize_t *offsets = self.batch.source.offset
        cdef TreeJob job
        cdef Py_ssize_t n_parts
        job.tasks, job.n, job.order, job.source = self.tasks, n, chosen, &self.batch.source
        job.theta, job.weights, job.single = theta, self.weights, self.single
        self.weights_of_form.head.update = self.update
        job.codes, job.roots, job.children = codes, roots, children
        if self.single:
            set_tree_weights(&self.plan, <const float *>theta, &self.weights_of_form)
        else:
            set_tree_weights(&self.plan, <const double *>theta, &self.weights_of_form)
        sort_by_length(n, chosen, offsets, self.lengths)
        n_parts = cut_into_parts(n, chosen, offsets, PART_TREES, self.parts)
        if self.by_rows:
            name_rows(&self.named.slots, n, chosen, job.source)
        return gradient_of_parts(self, one_part, &job, n_parts, grad, loss)

    cdef int gradient(self, const void *theta, Py_ssize_t *chosen, Py_ssize_t n, void *grad, Descent *descent,
                      double *loss) except -1 nogil:
        return self.run(theta, chosen, n, NULL, False, NULL, grad, loss)

    def codes(self, theta, bint roots):
        """Codes of all nodes of the batch, (nodes, H), and its trees, (inner, 2); or (roots) of roots, (N, H), and None."""
        cdef Py_ssize_t i, N = self.batch.n_sequences, rows = self.batch.n_rows
        cdef object codes = new_array(self.single, N if roots else 2 * rows - N, self.plan.H)
        cdef object children = None if roots else np.empty((rows - N, 2), dtype=np.intp)
        cdef void *out = data_of(codes)
        cdef Py_ssize_t *trees = NULL if roots else <Py_ssize_t *>data_of(children)
        cdef const void *parameters = data_of(theta)
        cdef double loss = 0
        for i in range(N):
            self.order[i] = i
        self.pulse()[0] = new_pulse(0)
        with nogil:
            self.run(parameters, self.order, N, out, roots, trees, NULL, &loss)
        return codes, children


def encode(theta, Batch batch not None, TreeForm form not None, Py_ssize_t n_jobs=1, bint roots=False):
    """Codes of all nodes, (nodes, H): of item n from 2 offsets[n] - n on, leaves first; and the trees, (inner, 2), of item n
    from offsets[n] - n on. With `roots` their codes alone, (N, H), and None."""
    cdef TreeObjective objective = TreeObjective()
    if is_single(theta, form) != batch.single:
        raise ValueError("theta and the batch must be of one element type")
    objective.gradients = False
    objective.prepare(form, batch.single, batch.source.column != NULL, batch.longest, batch.n_rows, batch.n_sequences, 0,
                      n_jobs)
    objective.layout.size = 0  # there is no gradient to be added up
    objective.take(batch, None)
    return objective.codes(theta, roots)
