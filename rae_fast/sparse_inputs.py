"""Token ids and sparse rows from what a user passes: the part of inputs.py that makes a SparseBatch.

An array of integers with one dimension is a sequence of ids, a list of such arrays (or of lists of integers) several;
one with two dimensions is N sequences of ids where `n_features` or a fitted model says that ids are meant. A SciPy
matrix or array of any sparse format is a sequence of sparse rows, a list of them several.
"""

from __future__ import annotations

import sys
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _blas
from rae_fast._batch import SparseBatch
from rae_fast._messages import shown

Integers = NDArray[np.intp]


def is_sparse(value: Any) -> bool:
    """Whether a value is a SciPy matrix or array of a sparse format; none is where nobody has imported these."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(value))


def as_sparse_batch(X: Any, dtype: np.dtype[Any] | None, n_features: int | None, name: str,
                    ids: bool) -> SparseBatch | None:
    """X as a batch, if it is token ids or sparse rows; None for what is to be read as dense.

    Parameters
    ----------
    X : what a user passes
    dtype : the model's, or None
    n_features : the model's number of features, or of different ids; None: as many as X has
    name : the estimator's, for messages
    ids : whether integer arrays with two dimensions are ids

    Raises
    ------
    ValueError
        For ids that are negative or not below n_features, sparse rows of other sizes or with NaN or infinity, and
        lists of which only some elements are so.
    """
    if is_sparse(X):
        return _of_matrices([X], ["X"], dtype, n_features, name, False)
    if isinstance(X, (list, tuple)):
        elements = list(X)
        kinds = {_kind(element) for element in elements}
        if "ids" in kinds and kinds <= {"ids", "empty"}:
            arrays = [np.asarray(element) for element in elements]
            machine = all(a.dtype.kind in "if" or a.dtype.kind == "u" and a.max() <= np.iinfo(np.int64).max
                          for a in arrays if len(a))
            ids_of_all = np.concatenate([a.astype(np.int64 if machine else object) for a in arrays])
            return _of_ids(ids_of_all, np.cumsum([0, *map(len, arrays)]), dtype, n_features, name, True)
        if kinds == {"sparse"}:
            return _of_matrices(elements, [f"sequence {i}" for i in range(len(elements))], dtype, n_features, name,
                                True)
        kinds -= {"empty"}
        for kind, what in (("ids", "a sequence of token ids"), ("sparse", "a sparse matrix")):
            if kind in kinds and len(kinds) > 1:
                i, j = (next(i for i, e in enumerate(elements) if _kind(e) != "empty" and (_kind(e) == kind) is found)
                        for found in (True, False))
                raise ValueError(f"sequence {i} is {what}, but sequence {j} is not; sequences of one list must be "
                                 "of one kind")
        return None
    X = _plain(X)
    if not isinstance(X, np.ndarray) or X.dtype.kind not in "iu" or X.ndim != 1 and not (ids and X.ndim == 2):
        return None
    if X.size == 0:
        raise ValueError("X is empty: it holds no steps")
    n, steps = X.shape if X.ndim == 2 else (1, len(X))
    return _of_ids(np.asarray(X).ravel(), np.arange(0, n * steps + 1, steps), dtype, n_features, name, False)


def as_stream_ids(x: Any, shape: tuple[int, ...], n_features: int) -> Integers | None:
    """The next id of each stream whose states have that shape, (H,) or (N, H), as (1,) or (N,); None for what is none.

    ValueError for ids that are not below n_features, or another number of them than of streams.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "iu" or array.ndim != len(shape) - 1:
        return None
    n = shape[0] if len(shape) == 2 else 1
    if array.size != n:
        raise ValueError(f"state holds {n} streams, but x holds {array.size} ids")
    flat = array.ravel()
    if flat.min() < 0 or flat.max() >= n_features:
        i = int(np.argmax((flat < 0) | (flat >= n_features)))
        raise ValueError(f"x has the id {int(flat[i])} of stream {i}, but there are {n_features}, from 0 to "
                         f"{n_features - 1}")
    return flat.astype(np.intp)


def _kind(element: Any) -> str:
    """What an element of a list is: "ids", "sparse", "dense", or "empty", which may be any."""
    element = _plain(element)
    if isinstance(element, np.ndarray):
        if element.shape == (0,):
            return "empty"
        return "ids" if element.ndim == 1 and element.dtype.kind in "iu" else "dense"
    if isinstance(element, (list, tuple)):
        if not element:
            return "empty"
        integers = all(isinstance(x, Integral) and not isinstance(x, (bool, np.bool_)) for x in element)
        return "ids" if integers else "dense"
    return "sparse" if is_sparse(element) else "dense"


def _plain(value: Any) -> Any:
    """A column of a frame as the array that it holds; masked values, which no id has, stay for inputs.py to name."""
    if isinstance(value, np.ma.MaskedArray) and (value.dtype.names is not None or np.ma.is_masked(value)):
        return None
    if type(value).__module__.split(".")[0] in ("pandas", "polars", "xarray") and getattr(value, "ndim", 2) == 1:
        return np.asarray(value)
    return value


def _of_ids(ids: NDArray[Any], offsets: Integers, dtype: np.dtype[Any] | None, n_features: int | None, name: str,
            is_list: bool) -> SparseBatch:
    def refuse(position: int, why: str) -> ValueError:
        n = int(np.searchsorted(offsets, position, side="right")) - 1
        return ValueError(f"sequence {n} has the id {shown(int(ids[position]))} at step {position - int(offsets[n])}, "
                          f"{why}")

    lengths = np.diff(offsets)
    if (lengths == 0).any():
        raise ValueError(f"sequence {int(np.argmax(lengths == 0))} has length zero; every sequence needs at least one "
                         "step")
    if ids.dtype.kind == "O":
        raise refuse(int(np.argmax([abs(int(i)) for i in ids])), "which is too large for an id")
    lowest, highest = int(np.argmin(ids)), int(np.argmax(ids))
    if ids[lowest] < 0:
        raise refuse(lowest, "but ids count from 0; cut off padding, and pass the sequences as a list")
    if n_features is None:
        if ids[highest] >= _blas.BLAS_INT_MAX:
            raise refuse(highest, "which is too large for an id; number the symbols from 0, as Vocabulary does")
        n_features = int(ids[highest]) + 1
    elif ids[highest] >= n_features:
        raise refuse(highest, f"but {name} knows {n_features}, from 0 to {n_features - 1} (n_features)")
    return SparseBatch(ids.astype(np.intp), offsets, n_features, np.float64 if dtype is None else dtype, is_list)


def _of_matrices(matrices: list[Any], names: list[str], dtype: np.dtype[Any] | None, n_features: int | None,
                 owner: str, is_list: bool) -> SparseBatch:
    import scipy.sparse  # for few calls

    rows = []
    for matrix, name in zip(matrices, names):
        if matrix.ndim != 2:
            raise ValueError(f"{name} is sparse with {matrix.ndim} dimension(s); a sequence has two, (n_steps, "
                             "n_features)")
        if np.dtype(matrix.dtype).kind not in "fiub":
            raise ValueError(f"{name} holds {matrix.dtype}; real numbers are needed")
        found = scipy.sparse.csr_array(matrix)
        if found is matrix or np.shares_memory(found.data, getattr(matrix, "data", found.data)):
            found = found.copy()
        found.sum_duplicates()
        if found.shape[0] == 0 or found.shape[1] == 0:
            raise ValueError(f"{name} has the shape {found.shape}; every sequence needs at least one step and feature")
        if found.shape[1] != (n_features or found.shape[1]):
            raise ValueError(f"{name} has {found.shape[1]} features, but {owner} is expecting {n_features} features as "
                             "input")
        n_features = found.shape[1]
        rows.append(found)
    if dtype is None:
        dtype = np.dtype(np.float32 if all(x.dtype == np.float32 for x in rows) else np.float64)
    with np.errstate(over="ignore"):
        values = np.concatenate([x.data for x in rows]).astype(dtype)
    starts = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(x.indptr) for x in rows]))])
    offsets = np.cumsum([0, *(x.shape[0] for x in rows)])
    columns = np.concatenate([x.indices for x in rows]).astype(np.intp)
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        row = int(np.searchsorted(starts, at, side="right")) - 1
        n = int(np.searchsorted(offsets, row, side="right")) - 1
        what = "NaN" if np.isnan(values[at]) else f"{values[at]} as {dtype}"
        raise ValueError(f"sequence {n} has {what} at step {row - int(offsets[n])}, feature {columns[at]}; remove or "
                         "fill such values first")
    return SparseBatch(columns, offsets, int(n_features or 0), dtype, is_list, values, starts.astype(np.intp))
