"""Trees decoded from their roots down to the leaves: see _tree_unfold.pyx."""

from rae_fast._blas cimport real
from rae_fast._forest cimport Forest
from rae_fast._pulse cimport Pulse
from rae_fast._tree_cell cimport Nodes, TreePlan, TreeWeights
from rae_fast._workspace cimport Workspace

cdef struct Unfolded:          # inner nodes by their distance from the root; (real *) behind void *
    Py_ssize_t *at             # (inner) the inner node of each row
    Py_ssize_t *place          # (inner) the row of each inner node
    Py_ssize_t *depth          # (inner) of inner nodes
    Py_ssize_t *left           # (inner) children of each row's node
    Py_ssize_t *right
    Py_ssize_t *level          # (levels + 1) first row of each depth
    Py_ssize_t levels
    void *y                    # (inner, ld_h) what a node's code is once it is decoded; of roots the code
    void *dy                   # (inner, ld_h) and its gradient
    void *lengths              # (inner, 2)

cdef int take_unfolded(Workspace space, const TreePlan *p, size_t item, Py_ssize_t leaves, Unfolded *x) except -1
cdef int unfold(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, const Nodes *nodes, Unfolded *x,
                real *u, real *g, real *norm) except -1 nogil
cdef int fold_back(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const Nodes *nodes, Unfolded *x, const real *norm,
                   real *g, real *u, real *dh) except -1 nogil
