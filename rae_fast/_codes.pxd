"""What _quick.pyx needs of _codes.pyx."""

cdef int encode_one(bint single, const void *theta, const void *x, Py_ssize_t steps, form, void *out,
                    Py_ssize_t n_jobs) except -1
cdef int step_one(bint single, const void *theta, const void *state, const void *x, form, void *out) except -1
