"""What a model computes, and where its parameters lie.

A Form is all that the mathematics depends on. From it follows the one table of the blocks of theta, _TABLE: their
names, shapes, places, and whether the rows of a block are touched all together or one by one. Everything that has a
number for every parameter, or for every block of them, is laid out by it: theta, gradients, a solver's state, the units
of relative rates.
"""

from typing import NamedTuple

import numpy as np

cimport numpy as cnp

cdef extern from *:
    """
    #undef I  /* C's imaginary unit, which NumPy's headers bring, is the number of inputs in a Plan. */
    """

cnp.import_array()

# In the order of theta, which files and reductions depend on: name, stored rows and columns, whether the named view is
# the transpose, the mark, and which block stands for it in a tied model. A row of W_xh belongs to an input and one of
# V_hx to an output: marked "rows", they can be touched without the others.
#
#     theta = [ W (H+R+I, H) | b_h (H) | h0 (H) | V' (H+R+I, H) | c (H+R+I)
#               | W_hc (H, C) | b_c (C) | V_ch (C, H) | c_1 (H) | W_hy' (K, Y) | b_y (K) ]
#     W = [W_hh; W_rh; W_xh]    V = [V_hh, V_hr, V_hx]
#
# A sequence's cell reads a state and an input: R is 0. A tree's reads two codes, the left one by W_hh and the right one
# by W_rh: R is H, h0 is absent, and W_xh, V_hx and c_x are there where leaves are embedded and given back by them. W_hc to
# c_1 are there where the code has a size C of its own, W_hy and b_y where codes, of Y numbers, have labels of K classes.
_TABLE = (
    ("W_hh", "H", "H", False, "dense", None),
    ("W_rh", "R", "H", False, "dense", None),
    ("W_xh", "E", "H", False, "rows", None),
    ("b_h", "1", "H", False, "dense", None),
    ("h0", "1", "S", False, "dense", None),
    ("V_hh", "H", "H", True, "dense", "W_hh"),
    ("V_hr", "R", "H", True, "dense", "W_rh"),
    ("V_hx", "O", "H", True, "rows", "W_xh"),
    ("c_h", "1", "H", False, "dense", None),
    ("c_r", "1", "R", False, "dense", None),
    ("c_x", "O", "1", False, "rows", None),
    ("W_hc", "H", "C", False, "dense", None),
    ("b_c", "1", "C", False, "dense", None),
    ("V_ch", "C", "H", False, "dense", None),
    ("c_1", "1", "Hc", False, "dense", None),
    ("W_hy", "K", "Y", True, "dense", None),
    ("b_y", "1", "K", False, "dense", None),
)
ORDER = tuple([row[0] for row in _TABLE])
cdef tuple _ORDER = ORDER

DECODERS, OUTPUTS = ("linear", "tanh"), ("linear", "softmax", "spherical")

# Of spherical outputs each of I squares counts this / I more: what all of them together have where outputs are 0
# (docs/quality.md, "Words").
SMOOTHING = smoothing()

# The keys of RAE.parameters_ and of gradients, in the order in which initial values are drawn.
NAMES = ("W_xh", "W_hh", "b_h", "h0", "V_hh", "V_hx", "c_h", "c_x", "W_hc", "b_c", "V_ch", "c_1", "W_rh", "V_hr", "c_r",
         "W_hy", "b_y")
cdef tuple _NAMED = tuple([(name, _ORDER.index(name)) for name in NAMES])
cdef bint _turned[N_BLOCKS]
cdef bint _vector[N_BLOCKS]


def _read_table():
    """What compiled code asks of the table, and what it takes for granted."""
    cdef Py_ssize_t i
    for i in range(N_BLOCKS):
        _vector[i], _turned[i] = "1" in _TABLE[i][1:3], _TABLE[i][3]
    # The enum of _form.pxd names them in this order; kernels take W, V' and c for one piece each.
    assert [_ORDER[i] for i in (W_HH, W_RH, W_XH, V_HH, V_HR, V_HX, C_H, C_R, C_X, W_HC, W_HY)] == [
        "W_hh", "W_rh", "W_xh", "V_hh", "V_hr", "V_hx", "c_h", "c_r", "c_x", "W_hc", "W_hy"], "not the table's order"
    assert len(_TABLE) == N_BLOCKS and (W_XH, V_HX, C_X) == (W_HH + 2, V_HH + 2, C_H + 2)


_read_table()

# Parameters that are read and updated where they are begin on a cache line: docs/performance.md, "The small rung".
cdef enum:
    LINE = 64


class Block(NamedTuple):
    """An entry of the table: `shape` as stored from element `start` of theta on, in C order."""

    name: str
    start: int
    shape: tuple[int, int]
    turned: bool               # the named view is the transpose
    mark: str                  # "dense" or "rows"


cdef class AnyForm:
    """What a model of some kind computes; its theta is laid out by the table. It cannot be changed.

    Attributes
    ----------
    n_inputs, n_hidden : int
    objective, decoder, output : str
    categorical : whether outputs are probabilities; tied : whether V is the transpose of W
    n_classes : int, of labels; 0 without
    FIXED : tuple of str
        Those of the attributes that are the model's own and stay when it goes on learning; files keep them.
    engine : str, the objective that minimises it, by its name in _objectives.pyx
    """

    cdef int lay_out(self, dict sizes) except -1:
        """Where the blocks lie: sizes by the letters of the table."""
        cdef Py_ssize_t start = 0, i
        for i, (_, rows, columns, _, _, stand_in) in enumerate(_TABLE):
            self.layout.at[i].rows, self.layout.at[i].columns = sizes[rows], sizes[columns]
            if sizes[rows] * sizes[columns] == 0:
                self.layout.at[i].rows = self.layout.at[i].columns = self.layout.at[i].start = 0
                self.layout.at[i].absent = True
                continue
            self.layout.at[i].absent = self.tied and stand_in is not None
            if self.layout.at[i].absent:
                self.layout.at[i].start = self.layout.at[_ORDER.index(stand_in)].start
            else:
                self.layout.at[i].start = start
                start += sizes[rows] * sizes[columns]
        self.layout.size = start
        return 0

    def choices(self):
        """All that it was made of, in the order of the constructor."""
        raise NotImplementedError

    def __reduce__(self):
        return type(self), self.choices()

    def __eq__(self, other):
        return self is other or (type(other) is type(self) and self.choices() == other.choices())

    def __hash__(self):
        return hash(self.choices())

    def __repr__(self):
        return f"{type(self).__name__}{self.choices()}"

    @property
    def size(self):
        """Number of parameters."""
        return self.layout.size

    @property
    def blocks(self):
        """The table: a Block for each that has numbers of its own."""
        cdef Py_ssize_t i
        return [Block(_TABLE[i][0], self.layout.at[i].start, (self.layout.at[i].rows, self.layout.at[i].columns),
                      _TABLE[i][3], _TABLE[i][4])
                for i in range(N_BLOCKS) if not self.layout.at[i].absent]

    def empty(self, dtype):
        """Memory for theta, aligned to a cache line."""
        dtype = np.dtype(dtype)
        memory = np.empty(self.layout.size * dtype.itemsize + LINE, dtype=np.uint8)
        start = -memory.ctypes.data % LINE
        return memory[start:start + self.layout.size * dtype.itemsize].view(dtype)

    def views(self, theta):
        """The named parameters as views into theta, which writing to them changes: dict of str to ndarray.

        Of a tied model V_hh and V_hx are transposed views of W.
        """
        is_single(theta, self)
        return named_views(theta, &self.layout, None)


cdef double check_dropout(double dropout) except -1:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout lies in [0, 1), not at {dropout}")
    return dropout


cdef class Form(AnyForm):
    """What a model of sequences computes: its sizes and the choices that its mathematics depends on.

    Attributes
    ----------
    n_inputs, n_hidden : int
    n_code : int, or None where the code is the last state; code_size : int, n_code or n_hidden
    objective : "stepwise" or "unfold"
    decoder : "linear" or "tanh"
    output : "linear" (squared error), "softmax" or "spherical" (cross-entropy); categorical : whether it is of these
    tied : whether V is the transpose of W
    hidden_weight, reconstruct_h0 : of the stepwise objective's hidden term
    alpha : the part of reconstruction in the loss, measured in loss_unit, hidden terms in hidden_unit; the rest is that of
        labels
    FIXED : tuple of str
        Those of the attributes that are the model's own and stay when it goes on learning; files keep them.
    """

    FIXED = ("n_inputs", "n_hidden", "decoder", "output", "tied", "n_code", "n_classes", "loss_unit", "hidden_unit")

    def __cinit__(self, Py_ssize_t n_inputs, Py_ssize_t n_hidden, str objective="stepwise", str decoder="linear",
                  str output="linear", bint tied=False, double hidden_weight=1.0, bint reconstruct_h0=False,
                  n_code=None, Py_ssize_t n_classes=0, double loss_unit=1.0, double hidden_unit=1.0,
                  double alpha=1.0, double dropout=0.0):
        if n_inputs < 1 or n_hidden < 1 or (n_code is not None and n_code < 1):
            raise ValueError("n_inputs, n_hidden and n_code must be at least 1")
        if n_code is not None and n_code > n_hidden:
            raise ValueError(f"n_code={n_code} must not be larger than n_hidden={n_hidden}, from which codes are made")
        if n_code is not None and objective == "stepwise":
            raise ValueError("n_code is for objective='unfold': stepwise gives back a step from every state, and has no "
                             "use for a code of the last one")
        if decoder not in DECODERS or output not in OUTPUTS:
            raise ValueError(f"decoder can be one of {DECODERS} and output one of {OUTPUTS}, not {decoder!r}, {output!r}")
        if n_classes < 0 or n_classes == 1 or not 0 < min(loss_unit, hidden_unit) <= max(loss_unit, hidden_unit) < float("inf") or not 0 <= alpha <= 1:
            raise ValueError("n_classes is 0 or at least 2, units are positive, and alpha lies between 0 and 1")
        self.n_inputs, self.n_hidden, self.n_code, self.n_classes = n_inputs, n_hidden, n_code, n_classes
        # Without labels all is reconstruction, as it is.
        self.loss_unit = loss_unit if n_classes else 1
        self.hidden_unit = hidden_unit if n_classes else 1
        self.alpha = alpha if n_classes else 1
        self.dropout = check_dropout(dropout) if n_classes else 0
        self.C = n_code or 0
        self.code_size = self.C or n_hidden
        self.objective, self.decoder, self.output, self.tied = objective, decoder, output, tied
        self.hidden_weight, self.reconstruct_h0 = hidden_weight, reconstruct_h0
        self.tanh_decoder, self.softmax, self.spherical = decoder == "tanh", output == "softmax", output == "spherical"
        self.categorical = output != "linear"
        self.lay_out({"1": 1, "H": n_hidden, "S": n_hidden, "R": 0, "E": n_inputs, "O": n_inputs, "C": self.C,
                      "Hc": n_hidden if n_code else 0, "K": n_classes, "Y": self.code_size})

    def choices(self):
        return (self.n_inputs, self.n_hidden, self.objective, self.decoder, self.output, self.tied,
                self.hidden_weight, self.reconstruct_h0, self.n_code, self.n_classes, self.loss_unit, self.hidden_unit,
                self.alpha, self.dropout)

    @property
    def engine(self):
        return self.objective

    def under(self, settings):
        """The same model under the objective of these settings."""
        return self.learned_by(settings.objective, settings.hidden_weight, settings.reconstruct_h0, settings.alpha,
                               settings.dropout)

    def learned_by(self, str objective, double hidden_weight, bint reconstruct_h0, double alpha=1,
                   double dropout=0):
        """The same model under that objective."""
        if (self.objective == objective and self.hidden_weight == hidden_weight
                and self.reconstruct_h0 == reconstruct_h0 and (self.n_classes == 0 or self.alpha == alpha and self.dropout == dropout)):
            return self
        return Form(self.n_inputs, self.n_hidden, objective, self.decoder, self.output, self.tied, hidden_weight,
                    reconstruct_h0, self.n_code, self.n_classes, self.loss_unit, self.hidden_unit, alpha, dropout)

    def with_labels(self, Py_ssize_t n_classes, double loss_unit, double hidden_unit, double alpha, double dropout=0):
        """The same whose codes have labels of so many classes."""
        return Form(self.n_inputs, self.n_hidden, self.objective, self.decoder, self.output, self.tied, self.hidden_weight,
                    self.reconstruct_h0, self.n_code, n_classes, loss_unit, hidden_unit, alpha, dropout)

    def without_labels(self):
        """The same without labels, whose loss over loss_unit is what alpha is the part of; its theta is the first part of
        this one's."""
        return Form(self.n_inputs, self.n_hidden, self.objective, self.decoder, self.output, self.tied,
                    self.hidden_weight * (self.loss_unit / self.hidden_unit), self.reconstruct_h0, self.n_code)

    def with_linear_outputs(self):
        """The same with linear outputs; its theta is laid out alike."""
        return Form(self.n_inputs, self.n_hidden, self.objective, self.decoder, "linear", self.tied, self.hidden_weight,
                    self.reconstruct_h0, self.n_code, self.n_classes, self.loss_unit, self.hidden_unit, self.alpha,
                    self.dropout)


cdef bint same_places(const Layout *a, const Layout *b) noexcept nogil:
    """Whether two vectors of blocks are laid out alike."""
    cdef Py_ssize_t i
    for i in range(N_BLOCKS):
        if (a.at[i].start != b.at[i].start or a.at[i].rows != b.at[i].rows or a.at[i].columns != b.at[i].columns
                or a.at[i].absent != b.at[i].absent):
            return False
    return a.size == b.size


cdef dict named_views(cnp.ndarray memory, const Layout *layout, tuple by_row):
    """Views into the blocks of memory by name. by_row: None, or the names of blocks of one number a row among blocks of
    one number each; then without those that have none of their own."""
    cdef dict views = {}
    cdef Py_ssize_t i, item = cnp.PyArray_ITEMSIZE(memory)
    cdef cnp.npy_intp[2] shape
    cdef cnp.npy_intp[2] strides
    cdef cnp.ndarray view
    cdef int ndim
    for name, i in _NAMED:
        if layout.at[i].rows == 0 or (by_row is not None and layout.at[i].absent):
            continue
        shape[0], shape[1] = layout.at[i].rows, layout.at[i].columns
        strides[0], strides[1] = layout.at[i].columns * item, item
        if _turned[i]:
            shape[0], shape[1], strides[0], strides[1] = shape[1], shape[0], strides[1], strides[0]
        if by_row is not None:
            ndim = 2 if name in by_row else 0
        elif _vector[i]:
            ndim = 1
            shape[0], strides[0] = shape[0] * shape[1], item
        else:
            ndim = 2
        view = cnp.PyArray_New(cnp.ndarray, ndim, shape, cnp.PyArray_TYPE(memory), strides,
                               <char *>cnp.PyArray_DATA(memory) + layout.at[i].start * item, 0,
                               cnp.PyArray_FLAGS(memory) & cnp.NPY_ARRAY_WRITEABLE, None)
        cnp.set_array_base(view, memory)
        views[name] = view
    return views


cdef class Blocks:
    """An array for every block of a form, in one piece of memory: a number for every parameter, such as a solver's
    state, or (`by_row` given) one number for each block and, of the blocks named there, one for each row.

    views() gives them by name, in the shapes of the parameters or such that they broadcast to these; writing into them
    changes the memory.
    """

    def __init__(self, AnyForm form not None, dtype, by_row=None, memory=None):
        cdef Py_ssize_t i, start = 0
        dtype = np.dtype(dtype)
        if dtype != np.float32 and dtype != np.float64:
            raise ValueError(f"blocks hold float32 or float64, not {dtype}")
        self.form, self.layout = form, form.layout
        self.by_row = None if by_row is None else tuple(by_row)
        if by_row is not None:
            for i in range(N_BLOCKS):
                if form.layout.at[i].rows == 0:
                    continue
                self.layout.at[i].columns = 1
                if _ORDER[i] not in self.by_row:
                    self.layout.at[i].rows = 1
                if not form.layout.at[i].absent:
                    self.layout.at[i].start = start
                    start += self.layout.at[i].rows
            self.layout.size = start
        if memory is None:
            memory = np.zeros(self.layout.size, dtype=dtype)
        elif not is_array(memory, dtype.itemsize == sizeof(float), 1, self.layout.size):
            raise ValueError(f"the memory of these blocks must be {self.layout.size} numbers of {dtype}")
        self.memory, self.data = memory, cnp.PyArray_DATA(<cnp.ndarray>memory)
        self.single = dtype.itemsize == sizeof(float)

    def __reduce__(self):
        return Blocks, (self.form, self.memory.dtype, self.by_row, self.memory)

    def views(self):
        """The arrays by name: dict of str to ndarray."""
        return named_views(self.memory, &self.layout, self.by_row)


cdef Blocks new_blocks(AnyForm form, bint single):
    """Blocks of a number for every parameter, not set to anything yet."""
    cdef Blocks blocks = Blocks.__new__(Blocks)
    blocks.form, blocks.layout, blocks.single = form, form.layout, single
    blocks.memory = new_array(single, form.layout.size)
    blocks.data = cnp.PyArray_DATA(<cnp.ndarray>blocks.memory)
    return blocks


# ---- arrays as compiled code takes them ----------------------------------------------------------

cdef bint is_single(object theta, AnyForm form, bint to_write=False) except -1:
    """Whether theta holds float32; ValueError unless it is a vector of the form's parameters.

    Users may write into theta_ and even replace it. Reading from a read-only one works: joblib hands models to its
    workers as such.
    """
    cdef int kind
    if cnp.PyArray_Check(theta):
        kind = cnp.PyArray_TYPE(<cnp.ndarray>theta)
        if ((kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) and cnp.PyArray_NDIM(<cnp.ndarray>theta) == 1
                and cnp.PyArray_DIM(<cnp.ndarray>theta, 0) == form.layout.size
                and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>theta)
                and (not to_write or cnp.PyArray_ISWRITEABLE(<cnp.ndarray>theta))):
            return kind == cnp.NPY_FLOAT
    raise ValueError(f"theta_ must be a contiguous{', writeable' * to_write} float32 or float64 vector of "
                     f"{form.layout.size} elements; write into it with model.theta_[:] = values")


def check_theta(theta, AnyForm form not None, bint to_write=False):
    """theta, if it is a vector of the form's parameters that can be read, and written if that is asked for.

    Raises
    ------
    ValueError
        If it is not.
    """
    is_single(theta, form, to_write)
    return theta


cdef bint is_array(object x, bint single, int ndim, Py_ssize_t columns) noexcept:
    """Whether x is an array of that type as C has it, with ndim dimensions and so many columns."""
    cdef int kind = cnp.NPY_FLOAT if single else cnp.NPY_DOUBLE
    return (cnp.PyArray_Check(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == kind
            and cnp.PyArray_NDIM(<cnp.ndarray>x) == ndim and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>x)
            and cnp.PyArray_DIM(<cnp.ndarray>x, ndim - 1) == columns)


cdef Py_ssize_t length_of(object array) noexcept:
    return cnp.PyArray_DIM(<cnp.ndarray>array, 0)


cdef void *data_of(object array) noexcept:
    return cnp.PyArray_DATA(<cnp.ndarray>array)


cdef object new_array(bint single, Py_ssize_t a, Py_ssize_t b=-1, Py_ssize_t c=-1):
    """A new array of float or double with one, two or three dimensions."""
    cdef cnp.npy_intp[3] shape
    shape[0], shape[1], shape[2] = a, b, c
    return cnp.PyArray_EMPTY(1 if b < 0 else 2 if c < 0 else 3, shape, cnp.NPY_FLOAT if single else cnp.NPY_DOUBLE, 0)
