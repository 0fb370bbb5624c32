"""The rows of W_xh and V_hx that a batch names: see _slots.pyx."""

from rae_fast._batch cimport Source
from rae_fast._form cimport Layout
from rae_fast._workspace cimport Workspace

cdef struct Slots:
    Py_ssize_t n               # different columns
    Py_ssize_t most
    Py_ssize_t *column         # (most) of each slot
    Py_ssize_t *table          # (mask + 1) slots by a hash of their column, -1 where there is none
    Py_ssize_t mask

cdef Layout compact(const Layout *theta, Py_ssize_t most, bint inputs, bint outputs) noexcept nogil
cdef Py_ssize_t most_named(const Source *source, Py_ssize_t n_sequences, Py_ssize_t sequences) except -1
cdef int take_slots(Workspace space, Py_ssize_t most, Slots *slots) except -1
cdef void name_rows(Slots *slots, Py_ssize_t n, const Py_ssize_t *chosen, const Source *source) noexcept nogil

cdef inline Py_ssize_t place_of(const Slots *slots, Py_ssize_t column) noexcept nogil:
    """Where in the table a column is, or would be (linear probing; Knuth's multiplicative hash)."""
    cdef Py_ssize_t at = <Py_ssize_t>((<size_t>column * <size_t>11400714819323198485ULL) >> 20) & slots.mask
    while slots.table[at] >= 0 and slots.column[slots.table[at]] != column:
        at = (at + 1) & slots.mask
    return at

cdef inline Py_ssize_t slot_of(const Slots *slots, Py_ssize_t column) noexcept nogil:
    """The slot of a column that the batch names."""
    return slots.table[place_of(slots, column)]
