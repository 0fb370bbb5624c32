"""Scratch memory, and sequences packed step by step.

A *block* is a set of sequences, longest first, so that at every step the sequences still running are its first
active[t] ones: the rows of step t, packed one step after the other, need no padding. A *span* is a run of steps.
"""

import numpy as np

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdlib cimport qsort

# Beyond this NumPy's memory: it asks the system for huge pages.
cdef enum:
    LARGE = 1048576


cdef class Workspace:
    """One piece of scratch memory, handed out in 64-byte aligned parts; one per call and thread.

    Workspace(0) only counts what is taken from it: the size that a second, real one needs.
    """

    def __cinit__(self, size_t size):
        if size == 0:
            return
        cdef unsigned char[::1] view
        cdef size_t address
        if size > LARGE:
            self.memory = np.empty(size + 64, dtype=np.uint8)
            view = self.memory
            address = <size_t>&view[0]
        else:
            self.own = PyMem_RawMalloc(size + 64)
            if self.own == NULL:
                raise MemoryError()
            address = <size_t>self.own
        self.base = <char *>((address + 63) & ~<size_t>63)
        self.size = size

    def __dealloc__(self):
        PyMem_RawFree(self.own)

    cdef void *take(self, size_t count, size_t itemsize) except? NULL:
        cdef size_t start = self.used
        self.used += bytes_for(count, itemsize)
        if self.base == NULL:
            return NULL
        if self.used > self.size:
            raise AssertionError("the workspace was planned too small")
        return self.base + start


cdef inline size_t bytes_for(size_t count, size_t itemsize) noexcept nogil:
    return (count * itemsize + 64) // 64 * 64


cdef int take_block(Workspace space, Py_ssize_t members, Py_ssize_t steps, Block *block) except -1:
    """Memory for a block of up to so many sequences and steps."""
    block.member = <Py_ssize_t *>space.take(members, sizeof(Py_ssize_t))
    block.start = <Py_ssize_t *>space.take(members, sizeof(Py_ssize_t))
    block.last = <Py_ssize_t *>space.take(members, sizeof(Py_ssize_t))
    block.length = <Py_ssize_t *>space.take(members, sizeof(Py_ssize_t))
    block.active = <Py_ssize_t *>space.take(steps + 1, sizeof(Py_ssize_t))
    block.first = <Py_ssize_t *>space.take(steps + 1, sizeof(Py_ssize_t))
    block.span = <Py_ssize_t *>space.take(steps + 1, sizeof(Py_ssize_t))
    return 0


cdef (Py_ssize_t, Py_ssize_t) longest_and_rows(Py_ssize_t N, const Py_ssize_t *offsets, Py_ssize_t batch) except *:
    """The longest length, and the most rows that any `batch` of the sequences can have."""
    cdef Py_ssize_t i, length, longest = 0
    cdef bint equal = True
    for i in range(N):
        length = offsets[i + 1] - offsets[i]
        equal = equal and (i == 0 or length == longest)
        longest = max(longest, length)
    if equal:
        return longest, longest * batch
    if batch == N:
        return longest, offsets[N]
    lengths = np.diff(<Py_ssize_t[:N + 1]><Py_ssize_t *>offsets)
    return longest, np.partition(lengths, len(lengths) - batch)[len(lengths) - batch:].sum()


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


cdef void fill_block(Block *block, Py_ssize_t n, const Py_ssize_t *order,
                     const Py_ssize_t *offsets) noexcept nogil:
    """The block of the sequences order[0:n], whose lengths must fall."""
    cdef Py_ssize_t i, t
    block.n = n
    block.steps = offsets[order[0] + 1] - offsets[order[0]]
    block.rows = 0
    for i in range(n):
        block.member[i] = order[i]
        block.start[i] = offsets[order[i]]
        block.length[i] = offsets[order[i] + 1] - offsets[order[i]]
        block.last[i] = block.start[i] + block.length[i] - 1
        block.rows += block.length[i]
    t = 0
    for i in range(n - 1, -1, -1):
        while t < block.length[i]:
            block.active[t] = i + 1
            t += 1
    block.first[0] = 0
    for t in range(block.steps):
        block.first[t + 1] = block.first[t] + block.active[t]


cdef Py_ssize_t block_members(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets,
                              Py_ssize_t max_rows, Py_ssize_t max_n) noexcept nogil:
    """How many of the next n sequences make a block: up to max_rows rows, at least one sequence."""
    cdef Py_ssize_t i, rows = 0
    for i in range(n):
        rows += offsets[order[i] + 1] - offsets[order[i]]
        if i > 0 and (rows > max_rows or i >= max_n):
            return i
    return n


cdef void cut_into_spans(Block *block, Py_ssize_t max_rows) noexcept nogil:
    """Spans of up to max_rows rows, of at least one step, from the first step on."""
    cdef Py_ssize_t t
    block.spans = 0
    block.span[0] = 0
    for t in range(1, block.steps):
        if block.first[t + 1] - block.first[block.span[block.spans]] > max_rows:
            block.spans += 1
            block.span[block.spans] = t
    block.spans += 1
    block.span[block.spans] = block.steps
