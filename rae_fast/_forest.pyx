"""The trees of a bucket, level by level: nodes of the same height, of all trees, lie one after the other, so that each level
is one product, however the trees look.

A tree over n leaves has the nodes 0 to n - 1, its leaves from left to right, and n to 2 n - 2, the inner ones, children
before parents; the last one is the root. No function recurs: a tree of a hundred thousand levels is as good as any.
"""

from libc.string cimport memcpy, memset

from rae_fast._tree_form cimport BALANCED, LEFT


cdef int take_forest(Workspace space, Py_ssize_t trees, Py_ssize_t leaves, Forest *forest) except -1:
    """Memory for up to so many trees with up to so many leaves."""
    cdef size_t item = sizeof(Py_ssize_t)
    forest.which = <Py_ssize_t *>space.take(trees, item)
    forest.first = <Py_ssize_t *>space.take(trees + 1, item)
    forest.kids = <Py_ssize_t *>space.take(2 * leaves, item)
    forest.row = <Py_ssize_t *>space.take(2 * leaves, item)
    forest.height = <Py_ssize_t *>space.take(2 * leaves, item)
    forest.words = <Py_ssize_t *>space.take(2 * leaves, item)
    forest.tree = <Py_ssize_t *>space.take(2 * leaves, item)
    forest.left = <Py_ssize_t *>space.take(leaves, item)
    forest.right = <Py_ssize_t *>space.take(leaves, item)
    forest.level = <Py_ssize_t *>space.take(leaves + 2, item)
    return 0


cdef void plant(Forest *forest, Py_ssize_t n, const Py_ssize_t *order, const Source *source) noexcept nogil:
    """The leaves of the items order[0:n]."""
    cdef Py_ssize_t i, j
    forest.n, forest.first[0] = n, 0
    for i in range(n):
        forest.which[i] = order[i]
        forest.first[i + 1] = forest.first[i] + source.offset[order[i] + 1] - source.offset[order[i]]
        for j in range(forest.first[i], forest.first[i + 1]):
            forest.tree[j], forest.words[j] = i, 1
    forest.leaves = forest.first[n]
    forest.inner = forest.leaves - n


cdef void copy_given(Forest *forest, const Source *source) noexcept nogil:
    """The trees that the batch gives."""
    cdef Py_ssize_t i, item
    for i in range(forest.n):
        item = forest.which[i]
        memcpy(forest.kids + 2 * (forest.first[i] - i), source.children + 2 * (source.offset[item] - item),
               2 * (size_of(forest, i) - 1) * sizeof(Py_ssize_t))


cdef void grow(Forest *forest, int builder) noexcept nogil:
    """Trees that follow from the number of leaves: left- or right-branching, or balanced."""
    cdef Py_ssize_t i, j, k, m, n, count
    cdef Py_ssize_t *kids
    cdef Py_ssize_t *roots
    for i in range(forest.n):
        kids, n = forest.kids + 2 * (forest.first[i] - i), size_of(forest, i)
        if builder == BALANCED:
            # Neighbours are joined, two by two, until one is left; a last odd one waits for the next round.
            roots, count, m = forest.height + nodes_of(forest, i), n, 0
            for j in range(n):
                roots[j] = j
            while count > 1:
                k = count // 2
                for j in range(k):
                    kids[2 * m], kids[2 * m + 1] = roots[2 * j], roots[2 * j + 1]
                    roots[j] = n + m
                    m += 1
                if count % 2:
                    roots[k] = roots[count - 1]
                count = (count + 1) // 2
            continue
        for m in range(n - 1):
            kids[2 * m] = (0 if m == 0 else n + m - 1) if builder == LEFT else n - 2 - m
            kids[2 * m + 1] = m + 1 if builder == LEFT else (n - 1 if m == 0 else n + m - 1)


cdef void by_level(Forest *forest) noexcept nogil:
    """Rows and levels of the inner nodes, from the children of each."""
    cdef Py_ssize_t i, m, n, base, node, a, b, row, most = 0
    cdef const Py_ssize_t *kids
    for i in range(forest.n):
        n, base, kids = size_of(forest, i), nodes_of(forest, i), forest.kids + 2 * (forest.first[i] - i)
        for m in range(n):
            forest.height[base + m], forest.row[base + m] = 0, forest.first[i] + m
        for m in range(n - 1):
            node = base + n + m
            forest.height[node] = 1 + max(forest.height[base + kids[2 * m]], forest.height[base + kids[2 * m + 1]])
            most = max(most, forest.height[node])
    forest.levels = most
    memset(forest.level, 0, (most + 1) * sizeof(Py_ssize_t))
    for i in range(forest.n):
        for m in range(nodes_of(forest, i) + size_of(forest, i), nodes_of(forest, i + 1)):
            forest.level[forest.height[m]] += 1
    for m in range(1, most + 1):
        forest.level[m] += forest.level[m - 1]
    # level[h - 1] counts up from the first node of height h; afterwards it is that of height h + 1, so shift back.
    for i in range(forest.n):
        n, base, kids = size_of(forest, i), nodes_of(forest, i), forest.kids + 2 * (forest.first[i] - i)
        for m in range(n - 1):
            node = base + n + m
            row = forest.level[forest.height[node] - 1]
            forest.level[forest.height[node] - 1] += 1
            a, b = forest.row[base + kids[2 * m]], forest.row[base + kids[2 * m + 1]]
            forest.left[row], forest.right[row] = a, b
            forest.row[node] = forest.leaves + row
            forest.tree[forest.leaves + row] = i
            forest.words[forest.leaves + row] = forest.words[a] + forest.words[b]
    for m in range(most, 0, -1):
        forest.level[m] = forest.level[m - 1]
    forest.level[0] = 0
