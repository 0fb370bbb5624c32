"""Sequences on their way from what a user passes to the kernels: see _batch.pyx."""

cdef struct Source:                        # what kernels read of a batch, through _cell.pyx
    const void *values                     # (n_rows, n_features), or of sparse rows those that are not 0; NULL: all 1
    const Py_ssize_t *column               # of sparse rows: where in a row each is; else NULL
    const Py_ssize_t *start                # (n_rows + 1) of each sparse row, in column; NULL: one a row
    double largest                         # of the values of sparse rows: the largest absolute one
    const Py_ssize_t *offset               # (n_sequences + 1)
    const unsigned char *missing           # (n_rows, n_features) 1 where no output is judged, or NULL
    const Py_ssize_t *children             # of trees over the rows: (n_rows - n_sequences, 2), or NULL
    const Py_ssize_t *label                # classes, -1 for none: of each sequence, or of each node of its tree; or NULL
    const double *label_weight             # theirs, or NULL
    bint of_nodes                          # labels are of nodes

cdef class Batch:
    cdef readonly Py_ssize_t n_sequences, n_rows, n_features
    cdef readonly Py_ssize_t longest       # length
    cdef readonly bint is_list             # whether the user passed a list, so that results are lists too
    cdef readonly bint single              # float32, else float64
    cdef Source source
    cdef bint equal                        # all lengths are
    cdef object array, bounds              # whose memory that is; bounds: None, where offset is memory of its own
    cdef readonly object missing
    cdef readonly object children, labels, label_weights
    cdef readonly Py_ssize_t n_classes
    cdef Py_ssize_t *piece
    cdef Py_ssize_t few[2]
    cdef object rows                       # made when asked for
    cdef int take_lengths(self) except -1
    cdef object handed_on(self, Batch chosen_ones, chosen)

cdef class SparseBatch(Batch):
    cdef readonly object columns, values, starts  # values, starts: None where Source has NULL

cdef bint is_ready(object x, bint single, int ndim, Py_ssize_t columns) except -1
