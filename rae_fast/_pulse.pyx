"""How long-running compiled code hears Ctrl-C: see _pulse.pxd."""

from cpython.exc cimport PyErr_CheckSignals
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec


cdef inline double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <double>t.tv_sec + 1e-9 * <double>t.tv_nsec


cdef Pulse new_pulse(double seconds) noexcept nogil:
    cdef Pulse pulse
    cdef double t = now()
    pulse.alone = False
    pulse.work = 0
    pulse.time = t
    pulse.next_look = t + 0.05
    pulse.deadline = t + seconds
    return pulse


cdef int hear() except -1 with gil:
    """Run Python's signal handlers now."""
    # A signal handler is Python code, which knows subnormal numbers.
    cdef uint64_t state = rae_fp_state()
    rae_set_fp_state(state & ~RAE_FLUSH)
    try:
        PyErr_CheckSignals()
    finally:
        rae_set_fp_state(state)
    return 0


cdef int look(Pulse *pulse) except -1 nogil:
    cdef double t = now()
    pulse.work = 0
    pulse.time = t
    if t > pulse.next_look:
        pulse.next_look = t + 0.05
        hear()
    return 0
