"""Trees that join the two neighbours with the smallest reconstruction error, again and again (Socher et al., EMNLP 2011).

All sentences of a bucket go in lock-step: a round joins one pair of each, so that what a round computes is one product.
Joining a pair makes at most two new ones, and a node's part in a pair, h W_hh as the left or h W_rh as the right one, is
computed once: 3 n pairs are scored for n leaves, where scoring all of each round would be n^2 / 2. Of errors that are
equal up to rounding the leftmost pair is joined: of words that are repeated, whose pairs a product may round otherwise in
another row. Twin: reference.greedy_tree.
"""

from libc.float cimport DBL_EPSILON, FLT_EPSILON
from libc.math cimport sqrt
from libc.string cimport memcpy

from rae_fast._forest cimport Forest, nodes_of, size_of
from rae_fast._kernels cimport distance, sum_squares, tanh_
from rae_fast._products cimport multiply
from rae_fast._pulse cimport beat
from rae_fast._tree_cell cimport SCORED_ROWS, decode, to_unit_length


cdef enum:
    EQUAL = 16                 # roundings by which what is equal may differ


cdef inline real *code_at(const TreePlan *p, const Nodes *nodes, Py_ssize_t at, real *h) noexcept nogil:
    """The code of a node by where it is: a leaf's in h, another's in the order in which they are made."""
    if at < nodes.forest.leaves:
        return h + at * p.ld_h
    return <real *>nodes.made + (at - nodes.forest.leaves) * p.ld_h


cdef int score(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, Nodes *nodes,
               Py_ssize_t m, const Py_ssize_t *first) except -1 nogil:
    """Codes and errors of the pairs whose left ones begin at the leaves first[0:m], at most SCORED_ROWS."""
    cdef Py_ssize_t i, j, a, b, H = p.H
    cdef Py_ssize_t left[SCORED_ROWS]
    cdef Py_ssize_t right[SCORED_ROWS]
    cdef real *codes = <real *>nodes.codes
    cdef real *decoded = <real *>nodes.decoded
    cdef real *h = <real *>nodes.h
    cdef real *c
    cdef const real *l
    cdef const real *r
    cdef const real *bias = <const real *>w.b
    cdef double share_l, share_r, total, size
    for i in range(m):
        a, b = first[i], nodes.after[first[i]]
        left[i], right[i] = nodes.at[a], nodes.at[b]
        l = <const real *>nodes.sides + left[i] * p.ld_z
        r = <const real *>nodes.sides + right[i] * p.ld_z + H
        c = codes + i * p.ld_h
        for j in range(H):
            c[j] = l[j] + r[j] + bias[j]
    tanh_(m * p.ld_h, codes, codes)
    if p.unit_codes:
        for i in range(m):
            (<real *>nodes.pair_norm)[first[i]] = <real>to_unit_length(H, codes + i * p.ld_h)
    decode(p, w, theta, m, <const real *>codes, left, right, nodes.forest.leaves, decoded,
           <real *>nodes.lengths)
    for i in range(m):
        a, b = first[i], nodes.after[first[i]]
        share_l = share_r = 1
        if p.word_weights:
            share_l = nodes.below[a] / <double>(nodes.below[a] + nodes.below[b])
            share_r = 1 - share_l
        total = (share_l * distance(H, decoded + i * p.ld_z, code_at(p, nodes, left[i], h))
                 + share_r * distance(H, decoded + i * p.ld_z + H, code_at(p, nodes, right[i], h)))
        nodes.score[a] = total
        size = sum_squares(H, code_at(p, nodes, left[i], h)) + sum_squares(H, code_at(p, nodes, right[i], h))
        nodes.bound[a] = less_rounding(total, size, FLT_EPSILON if real is float else DBL_EPSILON)
        memcpy(<real *>nodes.pairs + a * p.ld_h, codes + i * p.ld_h, p.ld_h * sizeof(real))
        memcpy(<real *>nodes.pair_decoded + a * p.ld_z, decoded + i * p.ld_z, p.ld_z * sizeof(real))
        memcpy(<real *>nodes.pair_lengths + 2 * a, <real *>nodes.lengths + 2 * i, 2 * sizeof(real))
    beat(pulse, 4.0 * m * H * H)
    return 0


cdef inline double less_rounding(double error, double size, double eps) noexcept nogil:
    """What is smaller than an error beyond rounding: that of codes with so many squares, of which both are differences."""
    cdef double root = sqrt(error) * (1 - EQUAL * eps) - EQUAL * eps * sqrt(size)
    return root * root if root > 0 else 0


cdef inline void play(Nodes *nodes, Py_ssize_t *winner, Py_ssize_t i) noexcept nogil:
    """Which of two subtrees of the minima has the smaller score; the left one of equals; -1 for none."""
    cdef Py_ssize_t a = winner[2 * i], b = winner[2 * i + 1]
    winner[i] = a if b < 0 or (a >= 0 and not nodes.score[b] < nodes.bound[a]) else b


cdef inline Py_ssize_t power_above(Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t size = 1
    while size < n:
        size *= 2
    return size


cdef void begin_minima(Nodes *nodes, Py_ssize_t n) noexcept nogil:
    """The tree of minima of sentence n, over all pairs that it has."""
    cdef Forest *forest = &nodes.forest
    cdef Py_ssize_t j, leaves = size_of(forest, n), size = power_above(leaves), first = forest.first[n]
    cdef Py_ssize_t *winner = nodes.winner + 4 * first
    for j in range(size):
        winner[size + j] = first + j if j + 1 < leaves else -1
    for j in range(size - 1, 0, -1):
        play(nodes, winner, j)


cdef void set_minimum(Nodes *nodes, Py_ssize_t n, Py_ssize_t at, bint there) noexcept nogil:
    """The pair that begins at a leaf has another score, or is no more."""
    cdef Forest *forest = &nodes.forest
    cdef Py_ssize_t size = power_above(size_of(forest, n)), i = size + at - forest.first[n]
    cdef Py_ssize_t *winner = nodes.winner + 4 * forest.first[n]
    winner[i] = at if there else -1
    while i > 1:
        i //= 2
        play(nodes, winner, i)


cdef int score_all(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, Nodes *nodes,
                   Py_ssize_t m) except -1 nogil:
    """The pairs nodes.asked[0:m]."""
    cdef Py_ssize_t done = 0, some
    while done < m:
        some = min(m - done, <Py_ssize_t>SCORED_ROWS)
        score(p, w, pulse, theta, nodes, some, nodes.asked + done)
        done += some
    return 0


cdef int build(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, Nodes *nodes) except -1 nogil:
    """The trees of the bucket, longest sentences first, whose leaves have their codes: forest.kids."""
    cdef Forest *forest = &nodes.forest
    cdef Py_ssize_t i, j, m = 0, made = 0, running = forest.n, a, order
    cdef real *h = <real *>nodes.h
    multiply(NULL, forest.leaves, 2 * p.H, p.H, <const real *>h, p.ld_h, &w.sides, <const real *>NULL, 0,
             <real *>nodes.sides, p.ld_z)
    beat(pulse, 4.0 * forest.leaves * p.H * p.H)
    for i in range(forest.n):
        for j in range(forest.first[i], forest.first[i + 1]):
            nodes.at[j], nodes.number[j], nodes.below[j] = j, j - forest.first[i], 1
            nodes.before[j] = j - 1 if j > forest.first[i] else -1
            nodes.after[j] = j + 1 if j + 1 < forest.first[i + 1] else -1
            if nodes.after[j] >= 0:
                nodes.asked[m] = j
                m += 1
    score_all(p, w, pulse, theta, nodes, m)
    for i in range(forest.n):
        begin_minima(nodes, i)
    order = 0
    while True:
        while running > 0 and size_of(forest, running - 1) - 1 <= order:
            running -= 1
        if running == 0:
            return 0
        m = 0
        for i in range(running):
            a = nodes.winner[4 * forest.first[i] + 1]
            join(p, nodes, i, a, order, made + i)
            if nodes.before[a] >= 0:
                nodes.asked[m] = nodes.before[a]
                m += 1
            if nodes.after[a] >= 0:
                nodes.asked[m] = a
                m += 1
        multiply(NULL, running, 2 * p.H, p.H, <const real *>nodes.made + made * p.ld_h, p.ld_h, &w.sides,
                 <const real *>NULL, 0, <real *>nodes.sides + (forest.leaves + made) * p.ld_z, p.ld_z)
        made += running
        score_all(p, w, pulse, theta, nodes, m)
        for j in range(m):
            set_minimum(nodes, forest.tree[nodes.asked[j]], nodes.asked[j], True)
        order += 1


cdef void join(const TreePlan *p, Nodes *nodes, Py_ssize_t n, Py_ssize_t a, Py_ssize_t order, Py_ssize_t made) noexcept nogil:
    """Make a node of the pair that begins at leaf a of sentence n, its inner node number `order`."""
    cdef Forest *forest = &nodes.forest
    cdef Py_ssize_t b = nodes.after[a]
    cdef Py_ssize_t *kids = forest.kids + 2 * (forest.first[n] - n + order)
    kids[0], kids[1] = nodes.number[a], nodes.number[b]
    copy_code(p, nodes, a, made)
    nodes.number[a] = size_of(forest, n) + order
    nodes.order[nodes_of(forest, n) + nodes.number[a]] = made
    nodes.at[a] = forest.leaves + made
    nodes.below[a] += nodes.below[b]
    nodes.after[a] = nodes.after[b]
    if nodes.after[b] >= 0:
        nodes.before[nodes.after[b]] = a
        set_minimum(nodes, n, b, False)
    else:
        set_minimum(nodes, n, a, False)


cdef void copy_code(const TreePlan *p, Nodes *nodes, Py_ssize_t a, Py_ssize_t made) noexcept nogil:
    """The code of the pair that begins at a becomes a node's."""
    cdef size_t item = nodes.item
    memcpy(<char *>nodes.made + made * p.ld_h * item, <char *>nodes.pairs + a * p.ld_h * item, p.ld_h * item)
    memcpy(<char *>nodes.made_norm + made * item, <char *>nodes.pair_norm + a * item, item)
    memcpy(<char *>nodes.made_decoded + made * p.ld_z * item, <char *>nodes.pair_decoded + a * p.ld_z * item, p.ld_z * item)
    memcpy(<char *>nodes.made_lengths + 2 * made * item, <char *>nodes.pair_lengths + 2 * a * item, 2 * item)


cdef void keep_codes(const TreePlan *p, Nodes *nodes, real *decoded, real *lengths) noexcept nogil:
    """Codes of inner nodes from the order in which they were made to that of levels, where by_level has put them; and what
    they give back to where `decode` would write it, if that is not NULL."""
    cdef Forest *forest = &nodes.forest
    cdef Py_ssize_t i, m, row, made
    for i in range(forest.n):
        for m in range(nodes_of(forest, i) + size_of(forest, i), nodes_of(forest, i + 1)):
            row, made = forest.row[m], nodes.order[m]
            memcpy(<real *>nodes.h + row * p.ld_h, <real *>nodes.made + made * p.ld_h, p.ld_h * sizeof(real))
            row -= forest.leaves
            (<real *>nodes.norm)[row] = (<real *>nodes.made_norm)[made]
            if decoded != NULL:
                memcpy(decoded + row * p.ld_z, <real *>nodes.made_decoded + made * p.ld_z, p.ld_z * sizeof(real))
                memcpy(lengths + 2 * row, <real *>nodes.made_lengths + 2 * made, 2 * sizeof(real))
