"""How long-running compiled code hears Ctrl-C: it counts its work and now and then asks Python for signals."""

from libc.stdint cimport uint64_t

cdef struct Pulse:
    bint alone         # on a thread that is not Python's own: never ask
    double work        # operations since the clock was last read
    double time        # that reading
    double next_look   # when to look for signals again
    double deadline    # when the training loop returns to Python

cdef enum:
    LOOK_EVERY = 2000000  # operations between two readings of the clock: 20-200 us

cdef extern from "fp_state.h" nogil:
    uint64_t rae_fp_state()
    void rae_set_fp_state(uint64_t state)
    uint64_t rae_flush_subnormals()
    const uint64_t RAE_FLUSH

cdef Pulse new_pulse(double seconds) noexcept nogil
cdef int look(Pulse *pulse) except -1 nogil
cdef int hear() except -1 nogil


cdef inline int beat(Pulse *pulse, double work) except -1 nogil:
    """Count work; now and then run Python's signal handlers, whose exception this then raises."""
    pulse.work += work
    if pulse.work < LOOK_EVERY or pulse.alone:
        return 0
    return look(pulse)
