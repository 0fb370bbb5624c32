"""Trees that join the neighbours with the smallest error: see _greedy.pyx."""

from rae_fast._blas cimport real
from rae_fast._pulse cimport Pulse
from rae_fast._tree_cell cimport Nodes, TreePlan, TreeWeights

cdef int build(const TreePlan *p, const TreeWeights *w, Pulse *pulse, const real *theta, Nodes *nodes) except -1 nogil
cdef void keep_codes(const TreePlan *p, Nodes *nodes, real *decoded, real *lengths) noexcept nogil
