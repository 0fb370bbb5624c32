"""Sequences packed step by step: see _buckets.pyx."""

from rae_fast._workspace cimport Workspace

cdef struct Bucket:
    Py_ssize_t n           # sequences, longest first
    Py_ssize_t steps       # of the longest
    Py_ssize_t rows        # sum of all lengths
    Py_ssize_t *which      # (n) sequence of the batch
    Py_ssize_t *start      # (n) its first row in the batch
    Py_ssize_t *last       # (n) and its last
    Py_ssize_t *length     # (n)
    Py_ssize_t *active     # (steps) how many have more than t steps
    Py_ssize_t *first      # (steps + 1) packed row of step t, sequence 0
    Py_ssize_t spans       # runs of steps, see cut_into_spans
    Py_ssize_t *span       # (spans + 1) first step of each, and the end

cdef struct LengthAt:
    Py_ssize_t length
    Py_ssize_t place

cdef inline Py_ssize_t active_at(const Bucket *bucket, Py_ssize_t t) noexcept nogil:
    return bucket.active[t] if t < bucket.steps else 0

cdef int take_bucket(Workspace space, Py_ssize_t sequences, Py_ssize_t steps, Bucket *bucket) except -1
cdef Py_ssize_t most_rows(Py_ssize_t n, const Py_ssize_t *offsets, Py_ssize_t batch) except -1
cdef Py_ssize_t count_rows(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets) noexcept nogil
cdef void count(Py_ssize_t n, Py_ssize_t *order) noexcept nogil
cdef void sort_by_length(Py_ssize_t n, Py_ssize_t *order, const Py_ssize_t *offsets,
                         LengthAt *scratch) noexcept nogil
cdef void fill_bucket(Bucket *bucket, Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets) noexcept nogil
cdef Py_ssize_t next_bucket(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets,
                            Py_ssize_t max_rows, Py_ssize_t max_n) noexcept nogil
cdef void cut_into_spans(Bucket *bucket, Py_ssize_t max_rows) noexcept nogil
