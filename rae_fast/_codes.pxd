"""What _quick.pyx needs of _codes.pyx."""

cdef int encode(bint single, const void *theta, const void *data, Py_ssize_t N, const Py_ssize_t *offsets, form,
                bint last_only, void *out, Py_ssize_t n_jobs) except -1
cdef int decode(bint single, const void *theta, const void *codes, Py_ssize_t N, const Py_ssize_t *offsets, form,
                bint chronological, void *out, Py_ssize_t n_jobs) except -1
cdef int step_one(bint single, const void *theta, const void *state, const void *x, form, void *out) except -1
