"""Trees decoded from inner nodes down to the leaves: see _tree_unfold.pyx."""

from rae_fast._blas cimport real
from rae_fast._forest cimport Forest
from rae_fast._pulse cimport Pulse
from rae_fast._tree_cell cimport Nodes, TreePlan, TreeWeights
from rae_fast._workspace cimport Workspace

cdef struct Unfolded:          # rows: inner nodes as they come back from some node above them; (real *) behind void *
    Py_ssize_t most            # rows at a time
    Py_ssize_t rows            # now
    Py_ssize_t *at             # (rows) the inner node
    Py_ssize_t *left           # (rows) its children
    Py_ssize_t *right
    Py_ssize_t *below          # (rows, 2) the rows of these, -1 for leaves
    Py_ssize_t *level          # (levels + 1) first row of each distance from where it began
    Py_ssize_t levels
    unsigned char *is_child    # (inner) whether a node is one
    void *y                    # (rows, ld_h) codes where it began, then what is decoded
    void *dy                   # (rows, ld_h) and its gradient

cdef int take_unfolded(Workspace space, const TreePlan *p, size_t item, Py_ssize_t leaves, Unfolded *x) except -1
cdef void begin_unfolding(const Forest *forest, Unfolded *x) noexcept nogil
cdef Py_ssize_t unfold(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, const Nodes *nodes,
                       Unfolded *x, Py_ssize_t first, real *g, real *norm) except -1 nogil
cdef int fold_back(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const Nodes *nodes, Unfolded *x, const real *norm,
                   real *g, real *dh) except -1 nogil
