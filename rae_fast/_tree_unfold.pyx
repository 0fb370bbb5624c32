"""Trees decoded from their roots, or from every inner node, down to the leaves (Socher et al., NIPS 2011), and back.

y of the node that is unfolded is its code; of the inner nodes below what their parents' y gives back. Rows of one distance
from where they began, of all trees, are one product. What is judged are the leaves, by _tree.pyx. From every inner node a
node comes back as often as it has inner nodes above it: so many of these are unfolded at a time as there is memory for,
which is at least one. Twin: reference.tree_loss.
"""

from libc.string cimport memcpy, memset

from rae_fast._products cimport multiply
from rae_fast._pulse cimport beat
from rae_fast._tree_cell cimport back_through, decode


cdef int take_unfolded(Workspace space, const TreePlan *p, size_t item, Py_ssize_t leaves, Unfolded *x) except -1:
    """Memory for buckets of up to so many leaves."""
    cdef Py_ssize_t n = leaves if p.unfold else 0
    x.most = n
    x.at = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.left = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.right = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.below = <Py_ssize_t *>space.take(2 * n, sizeof(Py_ssize_t))
    x.level = <Py_ssize_t *>space.take(n + 2 if n else 0, sizeof(Py_ssize_t))
    x.is_child = <unsigned char *>space.take(n, 1)
    x.y = space.take(n * p.ld_h, item)
    x.dy = space.take(n * p.ld_h, item)
    return 0


cdef void begin_unfolding(const Forest *forest, Unfolded *x) noexcept nogil:
    """Which inner nodes of the bucket are no roots."""
    cdef Py_ssize_t i, L = forest.leaves
    memset(x.is_child, 0, forest.inner)
    for i in range(forest.inner):
        if forest.left[i] >= L:
            x.is_child[forest.left[i] - L] = 1
        if forest.right[i] >= L:
            x.is_child[forest.right[i] - L] = 1


cdef Py_ssize_t choose(const TreePlan *p, const Forest *forest, Unfolded *x, Py_ssize_t first) noexcept nogil:
    """The nodes from `first` on that are unfolded together, as the first level of rows; returns the one after them."""
    cdef Py_ssize_t i = first, rows = 0, below, L = forest.leaves
    x.rows = 0
    while i < forest.inner:
        if p.unfold_all or not x.is_child[i]:
            below = forest.words[L + i] - 1
            if rows + below > x.most:
                break
            rows += below
            x.at[x.rows] = i
            x.rows += 1
        i += 1
    return i


cdef Py_ssize_t unfold(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, const Nodes *nodes,
                       Unfolded *x, Py_ssize_t first, real *g, real *norm) except -1 nogil:
    """What comes back from some of the nodes, of those from `first` on: by rows into g and norm, as `decode` does. Returns
    the first that is left."""
    cdef const Forest *forest = &nodes.forest
    cdef Py_ssize_t r, i, side, child, start, end, L = forest.leaves, H = p.H, after = choose(p, forest, x, first)
    cdef real *y = <real *>x.y
    x.levels, x.level[0] = 0, 0
    for r in range(x.rows):
        memcpy(y + r * p.ld_h, <const real *>nodes.h + (L + x.at[r]) * p.ld_h, H * sizeof(real))
    start, end = 0, x.rows
    while start < end:
        for r in range(start, end):
            x.left[r], x.right[r] = forest.left[x.at[r]], forest.right[x.at[r]]
        decode(p, w, theta, end - start, <const real *>y + start * p.ld_h, x.left + start, x.right + start, L,
               g + start * p.ld_z, norm + 2 * start)
        for r in range(start, end):
            for side in range(2):
                child = (x.right[r] if side else x.left[r]) - L
                x.below[2 * r + side] = x.rows if child >= 0 else -1
                if child >= 0:
                    x.at[x.rows] = child
                    memcpy(y + x.rows * p.ld_h, g + r * p.ld_z + side * H, H * sizeof(real))
                    x.rows += 1
        beat(pulse, 4.0 * (end - start) * H * H)
        x.levels += 1
        x.level[x.levels] = end
        start, end = end, x.rows
    return after


cdef int fold_back(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const Nodes *nodes, Unfolded *x, const real *norm,
                   real *g, real *dh) except -1 nogil:
    """From the gradient before f of leaves, in g, to that of all that is decoded, and to dh of the nodes unfolded."""
    cdef Py_ssize_t d, r, j, side, below, first, end, L = nodes.forest.leaves, H = p.H
    cdef real *dy = <real *>x.dy
    for d in range(x.levels - 1, -1, -1):
        first, end = x.level[d], x.level[d + 1]
        for r in range(first, end):
            for side in range(2):
                below = x.below[2 * r + side]
                if below >= 0:
                    back_through(p, False, 1, norm[2 * r + side], <const real *>dy + below * p.ld_h,
                                 g + r * p.ld_z + side * H)
        # dY = G V'                (rows,H) = (rows,2H)(2H,H)
        multiply(NULL, end - first, H, 2 * H, <const real *>g + first * p.ld_z, p.ld_z, &w.V_T, <const real *>NULL, 0,
                 dy + first * p.ld_h, p.ld_h)
        beat(pulse, 4.0 * (end - first) * H * H)
    for r in range(x.level[1] if x.levels else 0):
        for j in range(H):
            dh[(L + x.at[r]) * p.ld_h + j] += dy[r * p.ld_h + j]
    return 0
