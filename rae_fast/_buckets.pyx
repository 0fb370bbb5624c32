"""Sequences packed step by step.

A *bucket* is a set of sequences, longest first, so that at every step the sequences still running are its first
active[t] ones: the rows of step t, packed one step after the other, need no padding. A *span* is a run of steps.
"""

import numpy as np

from libc.stdlib cimport qsort


cdef int take_bucket(Workspace space, Py_ssize_t sequences, Py_ssize_t steps, Bucket *bucket) except -1:
    """Memory for a bucket of up to so many sequences and steps."""
    bucket.which = <Py_ssize_t *>space.take(sequences, sizeof(Py_ssize_t))
    bucket.start = <Py_ssize_t *>space.take(sequences, sizeof(Py_ssize_t))
    bucket.last = <Py_ssize_t *>space.take(sequences, sizeof(Py_ssize_t))
    bucket.length = <Py_ssize_t *>space.take(sequences, sizeof(Py_ssize_t))
    bucket.active = <Py_ssize_t *>space.take(steps + 1, sizeof(Py_ssize_t))
    bucket.first = <Py_ssize_t *>space.take(steps + 1, sizeof(Py_ssize_t))
    bucket.span = <Py_ssize_t *>space.take(steps + 1, sizeof(Py_ssize_t))
    return 0


cdef Py_ssize_t most_rows(Py_ssize_t n, const Py_ssize_t *offsets, Py_ssize_t batch) except -1:
    """The most rows that any `batch` of the n sequences, of different lengths, can have."""
    if batch == n:
        return offsets[n]
    lengths = np.diff(<Py_ssize_t[:n + 1]><Py_ssize_t *>offsets)
    return np.partition(lengths, n - batch)[n - batch:].sum()


cdef void count(Py_ssize_t n, Py_ssize_t *order) noexcept nogil:
    """0, 1, ... n - 1"""
    cdef Py_ssize_t i
    for i in range(n):
        order[i] = i


cdef Py_ssize_t count_rows(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets) noexcept nogil:
    """Rows of the sequences order[0:n]."""
    cdef Py_ssize_t i, rows = 0
    for i in range(n):
        rows += offsets[order[i] + 1] - offsets[order[i]]
    return rows


cdef int longer_first(const void *a, const void *b) noexcept nogil:
    cdef const LengthAt *x = <const LengthAt *>a
    cdef const LengthAt *y = <const LengthAt *>b
    if x.length != y.length:
        return 1 if x.length < y.length else -1
    return 1 if x.place > y.place else -1  # stable, hence reproducible


cdef void sort_by_length(Py_ssize_t n, Py_ssize_t *order, const Py_ssize_t *offsets,
                         LengthAt *scratch) noexcept nogil:
    """Reorder order[0:n] so that lengths fall; equal lengths keep their order."""
    cdef Py_ssize_t i, length, last = 0
    cdef bint sorted_already = True
    for i in range(n):
        length = offsets[order[i] + 1] - offsets[order[i]]
        scratch[i].length = length
        scratch[i].place = i
        sorted_already = sorted_already and (i == 0 or length <= last)
        last = length
    if sorted_already:
        return
    qsort(scratch, n, sizeof(LengthAt), longer_first)
    for i in range(n):
        scratch[i].place = order[scratch[i].place]
    for i in range(n):
        order[i] = scratch[i].place


cdef void fill_bucket(Bucket *bucket, Py_ssize_t n, const Py_ssize_t *order,
                      const Py_ssize_t *offsets) noexcept nogil:
    """The bucket of the sequences order[0:n], whose lengths must fall."""
    cdef Py_ssize_t i, t
    bucket.n = n
    bucket.steps = offsets[order[0] + 1] - offsets[order[0]]
    bucket.rows = 0
    for i in range(n):
        bucket.which[i] = order[i]
        bucket.start[i] = offsets[order[i]]
        bucket.length[i] = offsets[order[i] + 1] - offsets[order[i]]
        bucket.last[i] = bucket.start[i] + bucket.length[i] - 1
        bucket.rows += bucket.length[i]
    t = 0
    for i in range(n - 1, -1, -1):
        while t < bucket.length[i]:
            bucket.active[t] = i + 1
            t += 1
    bucket.first[0] = 0
    for t in range(bucket.steps):
        bucket.first[t + 1] = bucket.first[t] + bucket.active[t]


cdef Py_ssize_t next_bucket(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets,
                            Py_ssize_t max_rows, Py_ssize_t max_n) noexcept nogil:
    """How many of the next n sequences make a bucket: up to max_rows rows, at least one sequence."""
    cdef Py_ssize_t i, rows = 0
    for i in range(n):
        rows += offsets[order[i] + 1] - offsets[order[i]]
        if i > 0 and (rows > max_rows or i >= max_n):
            return i
    return n


cdef void cut_into_spans(Bucket *bucket, Py_ssize_t max_rows) noexcept nogil:
    """Spans of up to max_rows rows, of at least one step, from the first step on."""
    cdef Py_ssize_t t
    bucket.spans = 0
    bucket.span[0] = 0
    for t in range(1, bucket.steps):
        if bucket.first[t + 1] - bucket.first[bucket.span[bucket.spans]] > max_rows:
            bucket.spans += 1
            bucket.span[bucket.spans] = t
    bucket.spans += 1
    bucket.span[bucket.spans] = bucket.steps
