"""Scratch memory of compiled calls, taken before their time loops begin."""

import numpy as np

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc

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
            self.array = np.empty(size + 64, dtype=np.uint8)
            view = self.array
            address = <size_t>&view[0]
        else:
            self.piece = PyMem_RawMalloc(size + 64)
            if self.piece == NULL:
                raise MemoryError()
            address = <size_t>self.piece
        self.base = <char *>((address + 63) & ~<size_t>63)
        self.size = size

    def __dealloc__(self):
        PyMem_RawFree(self.piece)

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
