"""Of a batch of sparse rows, the columns that it names: only their rows of W_xh (and V_hx) have a gradient.

Each different column gets a slot, in the order in which it is first met, so that a gradient needs room for the slots of a
batch, however many features there are.
"""

from libc.string cimport memset

import numpy as np

from rae_fast._buckets cimport most_rows
from rae_fast._form cimport C_X, N_BLOCKS, V_HX, W_XH


cdef Layout compact(const Layout *theta, Py_ssize_t most, bint inputs, bint outputs) noexcept nogil:
    """theta's layout for a gradient with `most` slots in place of the rows of W_xh (inputs) and of V_hx and c_x (outputs).

    These come last: where the others are does not depend on how many slots there are.
    """
    cdef Layout layout = theta[0]
    cdef Py_ssize_t i, start = 0
    cdef bint is_compact
    cdef int last
    for last in range(2):
        for i in range(N_BLOCKS):
            is_compact = (inputs and i == W_XH) or (outputs and (i == V_HX or i == C_X))
            if theta.at[i].absent or is_compact != last:
                continue
            if is_compact:
                layout.at[i].rows = most
            layout.at[i].start = start
            start += layout.at[i].rows * layout.at[i].columns
    layout.size = start
    return layout


cdef Py_ssize_t most_named(const Source *source, Py_ssize_t n_sequences, Py_ssize_t sequences) except -1:
    """The most non-zeros that any so many of the sequences can have."""
    cdef Py_ssize_t i
    cdef Py_ssize_t[::1] ends
    if source.start == NULL:
        return most_rows(n_sequences, source.offset, sequences)
    ends = np.empty(n_sequences + 1, dtype=np.intp)
    for i in range(n_sequences + 1):
        ends[i] = source.start[source.offset[i]]
    return most_rows(n_sequences, &ends[0], sequences)


cdef int take_slots(Workspace space, Py_ssize_t most, Slots *slots) except -1:
    cdef Py_ssize_t size = 16
    while size < 2 * most:
        size *= 2
    slots.n, slots.most, slots.mask = 0, most, size - 1
    slots.column = <Py_ssize_t *>space.take(most, sizeof(Py_ssize_t))
    slots.table = <Py_ssize_t *>space.take(size, sizeof(Py_ssize_t))
    return 0


cdef void name_rows(Slots *slots, Py_ssize_t n, const Py_ssize_t *chosen, const Source *source) noexcept nogil:
    """Slots for the columns of the chosen sequences."""
    cdef Py_ssize_t i, j, at, first, end
    memset(slots.table, 0xff, (slots.mask + 1) * sizeof(Py_ssize_t))
    slots.n = 0
    for i in range(n):
        first, end = source.offset[chosen[i]], source.offset[chosen[i] + 1]
        if source.start != NULL:
            first, end = source.start[first], source.start[end]
        for j in range(first, end):
            at = place_of(slots, source.column[j])
            if slots.table[at] < 0:
                slots.column[slots.n] = source.column[j]
                slots.table[at] = slots.n
                slots.n += 1
