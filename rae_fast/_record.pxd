"""What is counted while a model learns: see _record.pyx."""

cdef class Record:
    cdef readonly Py_ssize_t n_iter, n_updates
    cdef readonly object n_steps
    cdef list entered              # the losses, but for those that wait for memory
    cdef double late               # an update's loss that waits
    cdef const double *waiting
    cdef Py_ssize_t n_waiting
    cdef object owner              # of what waits
    cdef int enter_waiting(self) except -1
    cdef void enter_what_can_be(self) noexcept
    cdef void enter_update(self, double loss, object n_steps) noexcept
    cdef void enter_passes(self, const double *losses, object owner, Py_ssize_t passes, Py_ssize_t n_updates) noexcept
