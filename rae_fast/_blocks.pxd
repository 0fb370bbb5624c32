"""Scratch memory, and sequences packed step by step: see _blocks.pyx."""

from rae_fast._blas cimport real


cdef class Workspace:
    cdef object memory
    cdef void *own
    cdef char *base
    cdef size_t size, used
    cdef void *take(self, size_t count, size_t itemsize) except? NULL

cdef struct Block:
    Py_ssize_t n           # sequences, longest first
    Py_ssize_t steps       # of the longest
    Py_ssize_t rows        # sum of all lengths
    Py_ssize_t *member     # (n) which sequence of the data
    Py_ssize_t *start      # (n) its first row in the data
    Py_ssize_t *last       # (n) and its last
    Py_ssize_t *length     # (n)
    Py_ssize_t *active     # (steps) how many have more than t steps
    Py_ssize_t *first      # (steps + 1) packed row of step t, sequence 0
    Py_ssize_t spans       # runs of steps, see cut_into_spans
    Py_ssize_t *span       # (spans + 1) first step of each, and the end

cdef struct LengthAt:
    Py_ssize_t length
    Py_ssize_t place

cdef int take_block(Workspace space, Py_ssize_t members, Py_ssize_t steps, Block *block) except -1
cdef (Py_ssize_t, Py_ssize_t) longest_and_rows(Py_ssize_t N, const Py_ssize_t *offsets, Py_ssize_t batch) except *
cdef void sort_by_length(Py_ssize_t n, Py_ssize_t *order, const Py_ssize_t *offsets,
                         LengthAt *scratch) noexcept nogil
cdef void fill_block(Block *block, Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets) noexcept nogil
cdef Py_ssize_t block_members(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets,
                              Py_ssize_t max_rows, Py_ssize_t max_n) noexcept nogil
cdef void cut_into_spans(Block *block, Py_ssize_t max_rows) noexcept nogil
