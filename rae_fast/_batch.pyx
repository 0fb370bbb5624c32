"""Sequences on their way from what a user passes to the kernels: made once, then handed on whole.

inputs.py makes a Batch of anything; `ready` makes one of what needs no conversion, in a tenth of a microsecond or so.
Both ways end in the same object, and everything after it is the same.
"""

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.float cimport DBL_EPSILON, DBL_MAX, FLT_EPSILON, FLT_MAX
from libc.math cimport fabs
from libc.string cimport memcpy

cdef extern from *:
    """
    #undef I  /* C's imaginary unit, which NumPy's headers bring, is the number of inputs in a Plan. */
    """

from rae_fast._blas cimport real
from rae_fast._form cimport Form, is_single
from rae_fast._kernels cimport first_beyond
from rae_fast._pulse cimport hear

cnp.import_array()

# Elements looked at between two chances for Ctrl-C: some 50 ms.
cdef enum:
    CHECK_AT_ONCE = 33554432


cdef class Batch:
    """N sequences as the kernels read them, one after the other in rows of float32 or float64.

    Attributes
    ----------
    data : ndarray of shape (n_rows, n_features), C-contiguous
    offsets : ndarray of shape (N + 1,), sequence n is data[offsets[n]:offsets[n + 1]]
    n_sequences, n_rows, n_features, longest : int
    common_length : int or None, the length of every sequence
    is_list : whether results are lists, one array a sequence
    missing : ndarray of bool of the shape of data, or None
        Where data holds a stand-in: it is read, but outputs there count in no loss.
    children, labels, label_weights : arrays that `attach` has taken, or None
    """

    def __init__(self, data, offsets, bint is_list=False, missing=None):
        """data (rows, n_features), C-contiguous, aligned and native; offsets: rising from 0 to their number."""
        if (type(data) is not np.ndarray or data.ndim != 2 or data.dtype.char not in "fd"
                or not (data.flags.c_contiguous and data.flags.aligned and data.dtype.isnative)):
            raise ValueError("data must be a C-contiguous matrix of float32 or float64")
        if data.shape[1] < 1:
            raise ValueError("data must have at least one feature")
        bounds = np.array(offsets)  # nobody else's
        if bounds.dtype.kind not in "iu":
            raise ValueError(f"offsets must be integers, not {bounds.dtype}")
        bounds = bounds.astype(np.intp, copy=False)
        bounds.flags.writeable = False
        if bounds.ndim != 1 or len(bounds) < 2 or bounds[0] != 0 or bounds[len(bounds) - 1] != len(data):
            raise ValueError(f"data of {len(data)} rows does not fit its offsets")
        if missing is not None:
            if (type(missing) is not np.ndarray or missing.dtype != np.bool_ or not missing.flags.c_contiguous
                    or (<object>missing).shape != data.shape):
                raise ValueError("missing must be a C-contiguous matrix of booleans, one for each number of data")
            self.source.missing = <const unsigned char *>cnp.PyArray_DATA(<cnp.ndarray>missing)
        self.missing = missing
        self.array, self.bounds, self.is_list = data, bounds, is_list
        self.n_sequences, self.n_rows, self.n_features = len(bounds) - 1, data.shape[0], data.shape[1]
        self.single = data.dtype.itemsize == sizeof(float)
        self.source.values = cnp.PyArray_DATA(<cnp.ndarray>data)
        self.source.offset = <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>bounds)
        self.take_lengths()

    cdef int take_lengths(self) except -1:
        """Whether the sequences of source.offset are of one length, and the longest; ValueError for one of no steps."""
        cdef Py_ssize_t i, length
        self.equal, self.longest = True, self.source.offset[1]
        for i in range(self.n_sequences):
            length = self.source.offset[i + 1] - self.source.offset[i]
            if length < 1:
                raise ValueError(f"sequence {i} has no steps")
            self.equal = self.equal and length == self.longest
            self.longest = max(self.longest, length)
        return 0

    def __dealloc__(self):
        PyMem_Free(self.piece)

    def __reduce__(self):
        return Batch, (self.data, self.offsets, self.is_list, self.missing)

    def dense_rows(self, rows):
        """Those of data, a slice or an array of their numbers, whose shape the result has with one more dimension."""
        return self.data[rows]

    def attach(self, children=None, labels=None, label_weights=None, Py_ssize_t n_classes=0):
        """Trees and labels that belong to the sequences; returns the batch.

        children: (n_rows - N, 2) intp; a tree over n rows has the nodes 0 to n - 1, its rows, and n to 2 n - 2, whose two
        children stand here in that order, each before its parent, and each but the root the child of one. labels: classes
        below n_classes, or -1 for none, one for each sequence or one for each node; label_weights: a float64 for each.
        """
        if children is not None:
            children = np.ascontiguousarray(children, dtype=np.intp)
            if (<object>children).shape != (self.n_rows - self.n_sequences, 2):
                raise ValueError("two children are needed for each inner node")
            if not are_trees(children, self.source.offset, self.n_sequences):
                raise ValueError("a child comes after its parent, or has two")
            self.source.children = <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>children)
        if labels is not None:
            labels = np.ascontiguousarray(labels, dtype=np.intp)
            if (<object>labels).shape not in ((self.n_sequences,), (2 * self.n_rows - self.n_sequences,)):
                raise ValueError("a label is needed for each sequence, or for each node")
            if (labels < -1).any() or (labels >= n_classes).any():
                raise ValueError(f"labels must be -1, or below n_classes={n_classes}")
            self.source.label = <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>labels)
            self.source.of_nodes = len(labels) != self.n_sequences
        if label_weights is not None:
            label_weights = np.ascontiguousarray(label_weights, dtype=np.float64)
            if labels is None or (<object>label_weights).shape != (<object>labels).shape:
                raise ValueError("a weight is needed for each label")
            self.source.label_weight = <const double *>cnp.PyArray_DATA(<cnp.ndarray>label_weights)
        self.children, self.labels, self.label_weights, self.n_classes = children, labels, label_weights, n_classes
        return self

    cdef object handed_on(self, Batch chosen_ones, chosen):
        """The chosen sequences with their trees and labels."""
        cdef object children = None, labels = None, label_weights = None, at
        number = np.arange(self.n_sequences + 1)
        if self.children is not None:
            children = self.children[ranges(self.offsets - number, chosen)[0]]
        if self.labels is not None:
            at = ranges(2 * self.offsets - number, chosen)[0] if self.source.of_nodes else chosen
            labels = self.labels[at]
            label_weights = None if self.label_weights is None else self.label_weights[at]
        return chosen_ones.attach(children, labels, label_weights, self.n_classes)

    def hand_labels(self, Batch other not None):
        """other, the same sequences in other rows, with their labels."""
        return other.attach(None, self.labels, self.label_weights, self.n_classes)

    def memory(self):
        """The arrays that its numbers are in."""
        return [self.data] + ([] if self.missing is None else [self.missing]) + self.attached()

    def attached(self):
        return [x for x in (self.children, self.labels, self.label_weights) if x is not None]

    @property
    def is_ids(self):
        """Whether every row is one token id."""
        return False

    @property
    def data(self):
        if self.rows is None:
            self.rows = self.array.reshape(self.n_rows, self.n_features)
        return self.rows

    @property
    def offsets(self):
        if self.bounds is None:  # of equal lengths
            self.bounds = np.arange(0, self.n_rows + 1, self.longest, dtype=np.intp)
            self.bounds.flags.writeable = False
        return self.bounds

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def common_length(self):
        return self.longest if self.equal else None

    def lengths(self):
        """(N,) the number of steps of each."""
        return np.diff(self.offsets)

    @cython.wraparound(True)
    def select(self, chosen):
        """The chosen sequences, in that order, as a Batch of its own."""
        rows, offsets = ranges(self.offsets, chosen)
        missing = None if self.missing is None else self.missing[rows]
        return self.handed_on(Batch(self.data[rows], offsets, self.is_list, missing), chosen)

    def cut(self, offsets):
        """The same rows as sequences between other bounds, without labels."""
        return Batch(self.data, offsets, self.is_list, self.missing)

    def in_container(self, rows):
        """Results with one row per step, in the user's container: (N, T, F), or of (rows, F) a list of (T_n, F)."""
        return pack(rows, self.offsets, True) if self.is_list else rows

    def first_not_finite(self):
        """Where in data.ravel() the first element is that is NaN or infinite; -1 if there is none."""
        return first_not_finite(self.single, self.n_rows * self.n_features, self.source.values)

    def surely_distributions(self):
        """Whether every row certainly is one: within far less than inputs.check_distributions lets pass."""
        cdef Py_ssize_t at_once = max(<Py_ssize_t>1, CHECK_AT_ONCE // max(<Py_ssize_t>1, self.n_features)), first = 0, some
        cdef bint sure = True
        while sure and first < self.n_rows:
            if first > 0:
                hear()
            some = min(at_once, self.n_rows - first)
            if self.single:
                sure = distributions(some, self.n_features, FLT_EPSILON,
                                     <const float *>self.source.values + first * self.n_features)
            else:
                sure = distributions(some, self.n_features, DBL_EPSILON,
                                     <const double *>self.source.values + first * self.n_features)
            first += some
        return sure


cdef class SparseBatch(Batch):
    """Sequences of which only the numbers that are not 0 are kept: token ids, and sparse rows. `data` is made anew
    whenever it is asked for.

    Attributes
    ----------
    columns : (non-zeros,) intp, where in its row each is; values : theirs, or None where all are 1
    starts : (n_rows + 1,) intp, row r has those of starts[r]:starts[r + 1]; None where every row has one
    """

    def __init__(self, columns, offsets, Py_ssize_t n_features, dtype, bint is_list=False, values=None, starts=None):
        """Checked: columns within n_features and rising within a row, values finite and of dtype."""
        cdef Py_ssize_t i, first, end
        cdef const Py_ssize_t *column
        bounds = sizes_of("offsets", offsets).copy()  # nobody else's
        bounds.flags.writeable = False
        columns = sizes_of("columns", columns)
        dtype = np.dtype(dtype)
        rows = len(columns)
        if starts is not None:
            starts = sizes_of("starts", starts)
            rows = len(starts) - 1
            if rows < 0 or starts[0] != 0 or starts[len(starts) - 1] != len(columns) or (np.diff(starts) < 0).any():
                raise ValueError(f"{len(columns)} non-zeros do not fit the starts of their rows")
        if len(bounds) < 2 or bounds[0] != 0 or bounds[len(bounds) - 1] != rows:
            raise ValueError(f"data of {rows} rows does not fit its offsets")
        if n_features < 1 or dtype.char not in "fd":
            raise ValueError("rows have at least one feature, of float32 or float64")
        if values is not None and not is_exact(values, dtype.itemsize == sizeof(float)):
            raise ValueError(f"values must be a C-contiguous vector of {dtype}")
        if values is not None and (values.ndim != 1 or len(values) != len(columns)):
            raise ValueError("one value for each column is needed")
        self.columns, self.values, self.starts, self.bounds, self.is_list = columns, values, starts, bounds, is_list
        self.n_sequences, self.n_rows, self.n_features = len(bounds) - 1, rows, n_features
        self.single = dtype.itemsize == sizeof(float)
        self.source.column = column = <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>columns)
        self.source.start = NULL if starts is None else <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>starts)
        self.source.values = NULL if values is None else cnp.PyArray_DATA(<cnp.ndarray>values)
        self.source.offset = <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>bounds)
        self.source.largest = 1 if values is None else float(np.abs(values).max(initial=0))
        if not self.source.largest <= FLT_MAX and self.single or not self.source.largest <= DBL_MAX:
            raise ValueError("values must be finite")
        for i in range(rows):
            first, end = i, i + 1
            if starts is not None:
                first, end = self.source.start[i], self.source.start[i + 1]
            while first < end:
                if not 0 <= column[first] < n_features:
                    raise ValueError(f"column {column[first]} is not within {n_features} features")
                if first + 1 < end and column[first] >= column[first + 1]:
                    raise ValueError("the columns of a row must rise")
                first += 1
        self.take_lengths()

    def __reduce__(self):
        return SparseBatch, (self.columns, self.offsets, self.n_features, self.dtype, self.is_list, self.values,
                             self.starts)

    @property
    def dtype(self):
        return np.dtype(np.float32 if self.single else np.float64)

    @property
    def is_ids(self):
        return self.values is None and self.starts is None

    @property
    def data(self):
        return self.dense_rows(np.arange(self.n_rows))

    def matrix(self, dtype=None):
        """The rows as a scipy.sparse.csr_array that shares no values."""
        import scipy.sparse  # for few calls
        values = np.ones(len(self.columns), dtype or self.dtype) if self.values is None else self.values.astype(
            dtype or self.dtype)
        starts = np.arange(self.n_rows + 1) if self.starts is None else self.starts
        return scipy.sparse.csr_array((values, self.columns, starts), shape=(self.n_rows, self.n_features))

    def dense_rows(self, rows):
        rows = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else np.asarray(rows)
        flat = rows.ravel()
        out = np.zeros((len(flat), self.n_features), self.dtype)
        if self.starts is None:
            out[np.arange(len(flat)), self.columns[flat]] = 1 if self.values is None else self.values[flat]
        else:
            at, starts = ranges(self.starts, flat)
            row = np.repeat(np.arange(len(flat)), np.diff(starts))
            out[row, self.columns[at]] = 1 if self.values is None else self.values[at]
        return out.reshape(rows.shape + (self.n_features,))

    def memory(self):
        return [self.columns] + [x for x in (self.values, self.starts) if x is not None] + self.attached()

    def select(self, chosen):
        rows, offsets = ranges(self.offsets, chosen)
        if self.starts is None:
            values = None if self.values is None else self.values[rows]
            return self.handed_on(SparseBatch(self.columns[rows], offsets, self.n_features, self.dtype, self.is_list,
                                              values), chosen)
        at, starts = ranges(self.starts, rows)
        return self.handed_on(SparseBatch(self.columns[at], offsets, self.n_features, self.dtype, self.is_list,
                                          None if self.values is None else self.values[at], starts), chosen)

    def cut(self, offsets):
        """The same rows as sequences between other bounds."""
        return SparseBatch(self.columns, offsets, self.n_features, self.dtype, self.is_list, self.values, self.starts)

    def with_features(self, kept):
        """The same of the chosen features alone, whose numbers rise."""
        place = np.full(self.n_features, -1, dtype=np.intp)
        place[kept] = np.arange(len(kept))
        found = place[self.columns]
        there = found >= 0
        each = 1 if self.starts is None else np.diff(self.starts)
        row = np.repeat(np.arange(self.n_rows), each)[there]
        starts = np.cumsum(np.bincount(row + 1, minlength=self.n_rows + 1))
        values = np.ones(int(there.sum()), self.dtype) if self.values is None else self.values[there]
        return SparseBatch(found[there], self.offsets, len(kept), self.dtype, self.is_list, values, starts)

    def first_not_finite(self):
        return -1

    def surely_distributions(self):
        return self.is_ids


cdef bint are_trees(children, const Py_ssize_t *offset, Py_ssize_t n_sequences) except -1:
    """Whether children (inner, 2) come before their parents, and each but the root is the child of one."""
    cdef const Py_ssize_t *child = <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>children)
    cdef Py_ssize_t i, m, n
    cdef unsigned char[::1] met = np.zeros(2 * offset[n_sequences], dtype=np.uint8)
    for i in range(n_sequences):
        n = offset[i + 1] - offset[i]
        for m in range(2 * (n - 1)):
            if not 0 <= child[m] < n + m // 2 or met[2 * offset[i] + child[m]]:
                return False
            met[2 * offset[i] + child[m]] = True
        child += 2 * (n - 1)
    return True


@cython.wraparound(True)
cdef tuple ranges(bounds, chosen):
    """Of ranges that lie one after the other between bounds: the places within the chosen ones, and their new bounds."""
    first = bounds[:-1][chosen]
    counts = bounds[1:][chosen] - first
    new = np.zeros(len(counts) + 1, dtype=np.intp)
    np.cumsum(counts, out=new[1:])
    return np.repeat(first - new[:-1], counts) + np.arange(new[-1]), new


cdef object sizes_of(str what, array):
    """array as a C-contiguous vector of intp."""
    found = np.asarray(array)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise ValueError(f"{what} must be a vector of integers")
    return np.ascontiguousarray(found, dtype=np.intp)


@cython.wraparound(True)
def pack(rows, offsets, bint as_list):
    """(sum of lengths, F) as (N, T, F), or as a list of (T_n, F) arrays that share no memory."""
    if not as_list:
        return rows.reshape(len(offsets) - 1, -1, rows.shape[1])
    return [rows[a:b].copy() for a, b in zip(offsets[:-1], offsets[1:])]


cdef bint distributions(Py_ssize_t rows, Py_ssize_t n, double eps, const real *x) noexcept nogil:
    cdef Py_ssize_t r, i
    cdef double total
    for r in range(rows):
        total = 0
        for i in range(n):
            if not x[r * n + i] >= 0:
                return False
            total += x[r * n + i]
        if not fabs(total - 1) <= eps * 8:
            return False
    return True


cdef Py_ssize_t first_not_finite(bint single, Py_ssize_t n, const void *values) except -2:
    cdef Py_ssize_t start = 0, some, found
    while start < n:
        if start > 0:
            hear()
        some = min(n - start, <Py_ssize_t>CHECK_AT_ONCE)
        if single:
            found = first_beyond(some, FLT_MAX, <const float *>values + start)
        else:
            found = first_beyond(some, DBL_MAX, <const double *>values + start)
        if found < some:
            return start + found
        start += some
    return -1


# ---- what is ready as it is ----------------------------------------------------------------------

cdef inline bint is_exact(object x, bint single) noexcept:
    """Whether x is an array, of no subclass, of floats or doubles as C has them."""
    return (cnp.PyArray_CheckExact(x)
            and cnp.PyArray_TYPE(<cnp.ndarray>x) == <int>(cnp.NPY_FLOAT if single else cnp.NPY_DOUBLE)
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>x))


def ready(X, theta, Form form not None):
    """The Batch of one sequence (T, I) or several (N, T, I) for a model, if they are finite and need no conversion;
    None for everything else.

    Raises
    ------
    ValueError
        If theta is not a vector of the form's parameters.
    """
    cdef bint single = is_single(theta, form)
    cdef int ndim
    cdef Py_ssize_t n, steps, i
    cdef Batch batch
    if not is_exact(X, single):
        return None
    ndim = cnp.PyArray_NDIM(<cnp.ndarray>X)
    if (ndim != 2 and ndim != 3) or cnp.PyArray_DIM(<cnp.ndarray>X, ndim - 1) != form.n_inputs:
        return None
    n = 1 if ndim == 2 else cnp.PyArray_DIM(<cnp.ndarray>X, 0)
    steps = cnp.PyArray_DIM(<cnp.ndarray>X, ndim - 2)
    if n < 1 or steps < 1 or first_not_finite(single, n * steps * form.n_inputs, cnp.PyArray_DATA(<cnp.ndarray>X)) >= 0:
        return None
    batch = Batch.__new__(Batch)
    if n > 1:
        batch.piece = <Py_ssize_t *>PyMem_Malloc((n + 1) * sizeof(Py_ssize_t))
        if batch.piece == NULL:
            raise MemoryError()
        for i in range(n + 1):
            batch.piece[i] = i * steps
        batch.source.offset = batch.piece
    else:
        batch.few[0], batch.few[1] = 0, steps
        batch.source.offset = batch.few
    batch.array, batch.source.values, batch.single = X, cnp.PyArray_DATA(<cnp.ndarray>X), single
    batch.n_sequences, batch.n_rows, batch.n_features, batch.longest = n, n * steps, form.n_inputs, steps
    batch.equal = True
    return batch


cdef bint is_ready(object x, bint single, int ndim, Py_ssize_t columns) except -1:
    """Whether x is such an array with ndim dimensions and so many columns, not empty, and finite."""
    cdef Py_ssize_t size
    if not (is_exact(x, single) and cnp.PyArray_NDIM(<cnp.ndarray>x) == ndim
            and cnp.PyArray_DIM(<cnp.ndarray>x, ndim - 1) == columns):
        return False
    size = cnp.PyArray_SIZE(x)
    return size > 0 and first_not_finite(single, size, cnp.PyArray_DATA(<cnp.ndarray>x)) == -1


def first_not_finite_in(array not None):
    """Where in array.ravel() the first element is that is NaN or infinite; -1 if there is none.

    array: float32 or float64, C-contiguous, aligned and native.
    """
    cdef int kind = cnp.PyArray_TYPE(<cnp.ndarray?>array)
    if (kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE) or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array):
        raise ValueError("a C-contiguous array of float32 or float64 is needed")
    return first_not_finite(kind == cnp.NPY_FLOAT, cnp.PyArray_SIZE(array), cnp.PyArray_DATA(<cnp.ndarray>array))


def ready_codes(codes, theta, Form form not None):
    """codes, if they are some (N, C) of a model, finite and in need of no conversion; None for everything else."""
    return codes if is_ready(codes, is_single(theta, form), 2, form.code_size) else None


# Lists of arrays that are ready: one pass over them in C where Python takes a microsecond for each.

cdef bint is_integers(object x, int ndim) noexcept:
    """Whether x is an array, of no subclass, of machine integers as C has them."""
    return (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_INTP
            and cnp.PyArray_NDIM(<cnp.ndarray>x) == ndim and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>x))


def ready_ids(X, Py_ssize_t n_features, dtype):
    """The SparseBatch of a list of vectors of token ids, all below n_features; None for everything else."""
    cdef Py_ssize_t rows = 0, i, j, n
    cdef const Py_ssize_t *ids
    cdef Py_ssize_t *column
    cdef Py_ssize_t *offset
    cdef SparseBatch batch
    cdef tuple arrays
    if type(X) is not list or len(<list>X) == 0:
        return None
    arrays = tuple(X)  # another thread may change the list
    for x in arrays:
        if not is_integers(x, 1) or cnp.PyArray_DIM(<cnp.ndarray>x, 0) == 0:
            return None
        rows += cnp.PyArray_DIM(<cnp.ndarray>x, 0)
    columns, bounds = np.empty(rows, dtype=np.intp), np.empty(len(arrays) + 1, dtype=np.intp)
    column, offset = <Py_ssize_t *>cnp.PyArray_DATA(columns), <Py_ssize_t *>cnp.PyArray_DATA(bounds)
    offset[0] = 0
    for i in range(len(arrays)):
        x = arrays[i]
        n, ids = cnp.PyArray_DIM(<cnp.ndarray>x, 0), <const Py_ssize_t *>cnp.PyArray_DATA(<cnp.ndarray>x)
        for j in range(n):
            if not 0 <= ids[j] < n_features:
                return None
            column[offset[i] + j] = ids[j]
        offset[i + 1] = offset[i] + n
    bounds.flags.writeable = False
    batch = SparseBatch.__new__(SparseBatch)
    batch.columns, batch.bounds, batch.is_list = columns, bounds, True
    batch.n_sequences, batch.n_rows, batch.n_features = len(arrays), rows, n_features
    batch.single = dtype == np.float32
    batch.source.column, batch.source.offset, batch.source.largest = column, offset, 1
    batch.take_lengths()
    return batch


def ready_trees(trees, Batch batch not None):
    """The children (inner, 2) of a list of arrays, one for each of the batch's sequences, if all of them are trees;
    None for everything else."""
    cdef Py_ssize_t i, done = 0, n
    cdef Py_ssize_t *child
    if type(trees) is not list or len(<list>trees) != batch.n_sequences:
        return None
    children = np.empty((batch.n_rows - batch.n_sequences, 2), dtype=np.intp)
    child = <Py_ssize_t *>cnp.PyArray_DATA(children)
    for i in range(batch.n_sequences):
        x = (<list>trees)[i]
        n = batch.source.offset[i + 1] - batch.source.offset[i] - 1
        if (not is_integers(x, 2) or cnp.PyArray_DIM(<cnp.ndarray>x, 0) != n
                or cnp.PyArray_DIM(<cnp.ndarray>x, 1) != 2):
            return None
        memcpy(child + 2 * done, cnp.PyArray_DATA(<cnp.ndarray>x), 2 * n * sizeof(Py_ssize_t))
        done += n
    return children if are_trees(children, batch.source.offset, batch.n_sequences) else None
