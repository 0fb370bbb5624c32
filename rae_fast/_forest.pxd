"""The trees of a bucket, level by level: see _forest.pyx."""

from rae_fast._batch cimport Source
from rae_fast._workspace cimport Workspace

cdef struct Forest:
    Py_ssize_t n               # trees
    Py_ssize_t leaves          # of all of them: rows 0:leaves of buffers
    Py_ssize_t inner           # nodes: rows leaves:leaves + inner, level by level
    Py_ssize_t *which          # (n) the batch's item
    Py_ssize_t *first          # (n + 1) its first leaf; its nodes begin at 2 first - tree
    Py_ssize_t *kids           # (inner, 2) of tree n from first - n on: its own numbers of nodes, children before parents
    Py_ssize_t *row            # (nodes) of buffers
    Py_ssize_t *height         # (nodes)
    Py_ssize_t *words          # (rows) leaves below each
    Py_ssize_t *tree           # (rows) to which it belongs
    Py_ssize_t *left           # (inner) row of the left child
    Py_ssize_t *right
    Py_ssize_t *level          # (levels + 1) first inner node of each, and inner
    Py_ssize_t levels

cdef inline Py_ssize_t nodes_of(const Forest *forest, Py_ssize_t n) noexcept nogil:
    """Where a tree's nodes begin."""
    return 2 * forest.first[n] - n

cdef inline Py_ssize_t size_of(const Forest *forest, Py_ssize_t n) noexcept nogil:
    """A tree's leaves."""
    return forest.first[n + 1] - forest.first[n]

cdef int take_forest(Workspace space, Py_ssize_t trees, Py_ssize_t leaves, Forest *forest) except -1
cdef void plant(Forest *forest, Py_ssize_t n, const Py_ssize_t *order, const Source *source) noexcept nogil
cdef void copy_given(Forest *forest, const Source *source) noexcept nogil
cdef void grow(Forest *forest, int builder) noexcept nogil
cdef void by_level(Forest *forest) noexcept nogil
