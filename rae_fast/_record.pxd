"""What is counted while a model learns: see _record.pyx."""

cdef class Record:
    cdef readonly Py_ssize_t n_iter, n_updates
    cdef readonly object n_steps
    cdef readonly list loss_curve
    cdef int enter_update(self, double loss, object n_steps) except -1
    cdef int enter_passes(self, const double *losses, Py_ssize_t passes, Py_ssize_t n_updates) except -1
