"""Scratch memory: see _workspace.pyx."""

cdef class Workspace:
    cdef object array
    cdef void *piece
    cdef char *base
    cdef size_t size, used
    cdef void *take(self, size_t count, size_t itemsize) except? NULL
