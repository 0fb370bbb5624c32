"""The cell of trees: sizes, weights as factors, codes of leaves and of inner nodes. See _tree_cell.pyx."""

from rae_fast._batch cimport Source
from rae_fast._blas cimport real
from rae_fast._forest cimport Forest
from rae_fast._form cimport Layout
from rae_fast._head cimport Head
from rae_fast._products cimport Factor
from rae_fast._slots cimport Slots
from rae_fast._tree_form cimport AS_CODE, TreeForm
from rae_fast._workspace cimport Workspace

cdef struct TreePlan:
    Py_ssize_t I
    Py_ssize_t H
    Py_ssize_t O               # outputs of a leaf, or 0
    Py_ssize_t H_full
    Py_ssize_t ld_h            # row distances in buffers: rows of H and of 2 H numbers
    Py_ssize_t ld_z
    Py_ssize_t ld_o
    bint own
    bint sparse
    bint embedding
    bint tanh_decoder
    bint unit_codes
    bint unit_reconstruction
    bint word_weights
    bint mean
    bint stop_targets
    bint unfold
    bint unfold_all           # from every inner node
    int builder
    int leaf
    double alpha, hidden_weight, leaf_weight, inner_weight, root_weight
    const Slots *slots
    const Layout *theta
    const Layout *grad

cdef struct TreeWeights:       # of one theta; (real *) behind void *
    Factor W                   # (2H, H)
    Factor W_T                 # (H, 2H)
    Factor V                   # (H, 2H)
    Factor V_T                 # (2H, H)
    Factor sides               # (H, 2H)  [W_hh, W_rh]: what a node adds as left and as right child
    void *sides_raw
    Factor W_xh                # (I, H)   of dense leaves
    Factor V_hx                # (H, O)
    Factor V_hx_T              # (O, H)
    Head head
    void *b                    # (H_full)

cdef struct Nodes:             # what a bucket's nodes hold
    Forest forest
    size_t item                # of their type
    void *x                    # (leaves, I)     dense leaves that are embedded
    void *h                    # (rows, ld_h)    codes
    void *norm                 # (inner)         lengths of codes before they are made 1
    void *z                    # (inner, ld_z)   [left, right]
    # greedy trees only
    void *made                 # (inner, ld_h)   codes in the order in which they are made
    void *made_norm            # (inner)
    void *sides                # (rows, ld_z)    what each node adds as left and as right child
    void *pairs                # (leaves, ld_h)  codes of neighbours joined, by the first leaf of the left one
    void *pair_norm            # (leaves)
    void *pair_decoded         # (leaves, ld_z)  what they give back, and its lengths before these are made 1
    void *pair_lengths         # (leaves, 2)
    void *made_decoded         # (inner, ld_z)   the same of those that are made
    void *made_lengths         # (inner, 2)
    double *score              # (leaves)        their errors
    double *bound              # (leaves)        what an error must lie below to be smaller than each, rounding left out
    Py_ssize_t *winner         # (4 leaves)      a tree of minima over the scores, of each sentence
    Py_ssize_t *after          # (leaves)        the first leaf of the right neighbour, -1 for none
    Py_ssize_t *before
    Py_ssize_t *at             # (leaves)        the row of the node that begins at a leaf; of inner ones leaves + order
    Py_ssize_t *number         # (leaves)        and its own number in its tree
    Py_ssize_t *below          # (leaves)        and how many leaves are below it
    Py_ssize_t *order          # (nodes)         of inner nodes, the order in which they were made
    Py_ssize_t *asked          # (leaves)
    void *codes                # (SCORED_ROWS, ld_h)
    void *decoded              # (SCORED_ROWS, ld_z)
    void *lengths              # (SCORED_ROWS, 2)

cdef enum:
    SCORED_ROWS = 256          # pairs that are scored at once

cdef TreePlan make_tree_plan(TreeForm form, Py_ssize_t itemsize, bint sparse) noexcept
cdef int take_tree_weights(Workspace space, const TreePlan *p, size_t item, TreeWeights *w) except -1
cdef void set_tree_weights(const TreePlan *p, const real *theta, TreeWeights *w) noexcept nogil
cdef int take_nodes(Workspace space, const TreePlan *p, size_t item, Py_ssize_t trees, Py_ssize_t leaves,
                    Nodes *nodes) except -1
cdef void leaf_codes(const TreePlan *p, const TreeWeights *w, const real *theta, const Source *source,
                     Nodes *nodes) noexcept nogil
cdef void back_through(const TreePlan *p, bint is_leaf, double factor, real norm, const real *error, real *g) noexcept nogil
cdef double to_unit_length(Py_ssize_t n, real *x) noexcept nogil
cdef void decode(const TreePlan *p, const TreeWeights *w, const real *theta, Py_ssize_t rows, const real *h,
                 const Py_ssize_t *left, const Py_ssize_t *right, Py_ssize_t leaves, real *out,
                 real *norm) noexcept nogil

cdef inline bint decoded_to_unit(const TreePlan *p, bint is_leaf) noexcept nogil:
    """Whether what is decoded for such a child is made of length 1: only what is compared with a code is."""
    return p.unit_reconstruction and (not is_leaf or p.leaf == AS_CODE)
