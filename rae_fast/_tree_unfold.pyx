"""Trees decoded from their roots down to the leaves (Socher et al., NIPS 2011), and back, all trees of a bucket at once.

y of a root is its code; of the other inner nodes what their parents' y gives back. Nodes of one depth, of all trees, are one
product. What is judged are the leaves, by _tree.pyx. Twin: reference.tree_loss.
"""

from libc.string cimport memcpy, memset

from rae_fast._products cimport multiply
from rae_fast._pulse cimport beat
from rae_fast._tree_cell cimport back_through, decode


cdef int take_unfolded(Workspace space, const TreePlan *p, size_t item, Py_ssize_t leaves, Unfolded *x) except -1:
    """Memory for buckets of up to so many leaves."""
    cdef Py_ssize_t n = leaves if p.unfold else 0
    x.at = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.place = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.depth = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.left = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.right = <Py_ssize_t *>space.take(n, sizeof(Py_ssize_t))
    x.level = <Py_ssize_t *>space.take(n + 2 if n else 0, sizeof(Py_ssize_t))
    x.y = space.take(n * p.ld_h, item)
    x.dy = space.take(n * p.ld_h, item)
    x.lengths = space.take(2 * n, item)
    return 0


cdef void by_depth(const Forest *forest, Unfolded *x) noexcept nogil:
    """Rows of the inner nodes, nearest to their roots first."""
    cdef Py_ssize_t i, side, child, d, L = forest.leaves, most = 0
    # Parents come after their children: from the last one on, a node's depth is known before it is asked for.
    memset(x.depth, 0, forest.inner * sizeof(Py_ssize_t))
    for i in range(forest.inner - 1, -1, -1):
        most = max(most, x.depth[i])
        for side in range(2):
            child = (forest.right[i] if side else forest.left[i]) - L
            if child >= 0:
                x.depth[child] = x.depth[i] + 1
    x.levels = most + 1 if forest.inner else 0
    memset(x.level, 0, (x.levels + 1) * sizeof(Py_ssize_t))
    for i in range(forest.inner):
        x.level[x.depth[i] + 1] += 1
    for d in range(x.levels):
        x.level[d + 1] += x.level[d]
    for i in range(forest.inner):
        d = x.level[x.depth[i]]
        x.level[x.depth[i]] += 1
        x.at[d], x.place[i], x.left[d], x.right[d] = i, d, forest.left[i], forest.right[i]
    for d in range(x.levels, 0, -1):
        x.level[d] = x.level[d - 1]
    x.level[0] = 0


cdef int unfold(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, const Nodes *nodes, Unfolded *x,
                real *u, real *g, real *norm) except -1 nogil:
    """What all inner nodes give back once they are decoded: into g and norm, as `decode` does of their own codes."""
    cdef const Forest *forest = &nodes.forest
    cdef Py_ssize_t d, r, i, side, child, first, end, L = forest.leaves, H = p.H
    cdef real *y = <real *>x.y
    cdef real *lengths = <real *>x.lengths
    by_depth(forest, x)
    for i in range(forest.inner):
        if x.depth[i] == 0:
            memcpy(y + x.place[i] * p.ld_h, <const real *>nodes.h + (L + i) * p.ld_h, H * sizeof(real))
    for d in range(x.levels):
        first, end = x.level[d], x.level[d + 1]
        decode(p, w, theta, end - first, <const real *>y + first * p.ld_h, x.left + first, x.right + first, L,
               u + first * p.ld_z, lengths + 2 * first)
        for r in range(first, end):
            i = x.at[r]
            memcpy(g + i * p.ld_z, u + r * p.ld_z, 2 * H * sizeof(real))
            memcpy(norm + 2 * i, lengths + 2 * r, 2 * sizeof(real))
            for side in range(2):
                child = (x.right[r] if side else x.left[r]) - L
                if child >= 0:
                    memcpy(y + x.place[child] * p.ld_h, u + r * p.ld_z + side * H, H * sizeof(real))
        beat(pulse, 4.0 * (end - first) * H * H)
    return 0


cdef int fold_back(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const Nodes *nodes, Unfolded *x, const real *norm,
                   real *g, real *u, real *dh) except -1 nogil:
    """From the gradient before f of leaves, in g, to that of all that is decoded, into u by rows of x, and to roots' dh."""
    cdef const Forest *forest = &nodes.forest
    cdef Py_ssize_t d, r, i, j, side, child, first, end, L = forest.leaves, H = p.H
    cdef real *dy = <real *>x.dy
    for d in range(x.levels - 1, -1, -1):
        first, end = x.level[d], x.level[d + 1]
        for r in range(first, end):
            i = x.at[r]
            for side in range(2):
                child = (x.right[r] if side else x.left[r]) - L
                if child >= 0:
                    back_through(p, False, 1, norm[2 * i + side], <const real *>dy + x.place[child] * p.ld_h,
                                 g + i * p.ld_z + side * H)
            memcpy(u + r * p.ld_z, g + i * p.ld_z, 2 * H * sizeof(real))
        # dY = G V'                (rows,H) = (rows,2H)(2H,H)
        multiply(NULL, end - first, H, 2 * H, <const real *>u + first * p.ld_z, p.ld_z, &w.V_T, <const real *>NULL, 0,
                 dy + first * p.ld_h, p.ld_h)
        beat(pulse, 4.0 * (end - first) * H * H)
    for r in range(x.level[1] if x.levels else 0):
        for j in range(H):
            dh[(L + x.at[r]) * p.ld_h + j] += dy[r * p.ld_h + j]
    return 0
