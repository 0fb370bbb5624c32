"""What a model computes, and where its parameters lie: see _form.pyx."""

cdef enum:                 # the blocks, in the order of _TABLE in _form.pyx
    W_HH
    W_RH
    W_XH
    B_H
    H0
    V_HH
    V_HR
    V_HX
    C_H
    C_R
    C_X
    W_HC
    B_C
    V_CH
    C_1
    W_HY
    B_Y
    N_BLOCKS

cdef struct Place:         # of a block in a vector of blocks
    Py_ssize_t start
    Py_ssize_t rows
    Py_ssize_t columns
    bint absent            # of theta: it has no numbers of its own; another block stands for it, or it has no rows

cdef struct Layout:
    Place at[N_BLOCKS]
    Py_ssize_t size

cdef inline double smoothing() noexcept nogil:
    """Of spherical outputs: each of I squares counts this / I more."""
    return 0.2

cdef class AnyForm:
    cdef readonly Py_ssize_t n_inputs, n_hidden
    cdef readonly str objective, decoder, output
    cdef readonly bint categorical, tied
    cdef readonly Py_ssize_t n_classes
    cdef readonly double dropout           # of codes, as their labels see them
    cdef bint tanh_decoder, softmax
    cdef Layout layout     # of theta
    cdef int lay_out(self, dict sizes) except -1

cdef class Form(AnyForm):
    cdef readonly Py_ssize_t code_size
    cdef readonly object n_code            # an int, or None where the code is the last state
    cdef Py_ssize_t C                      # n_code, or 0
    cdef readonly bint reconstruct_h0
    cdef bint spherical
    cdef readonly double hidden_weight, loss_unit, hidden_unit, alpha

cdef class Blocks:
    cdef readonly AnyForm form
    cdef readonly object memory
    cdef tuple by_row
    cdef Layout layout     # of memory
    cdef void *data
    cdef bint single

cdef double check_dropout(double dropout) except -1
cdef bint same_places(const Layout *a, const Layout *b) noexcept nogil
cdef Blocks new_blocks(AnyForm form, bint single)
cdef bint is_single(object theta, AnyForm form, bint to_write=*) except -1
cdef bint is_array(object x, bint single, int ndim, Py_ssize_t columns) noexcept
cdef Py_ssize_t length_of(object array) noexcept
cdef void *data_of(object array) noexcept
cdef object new_array(bint single, Py_ssize_t a, Py_ssize_t b=*, Py_ssize_t c=*)
