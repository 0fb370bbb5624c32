"""From what a user passes to what the kernels read: the only place that coerces input.

Everything becomes a Batch: one C-contiguous float array with the sequences one after the other, and
the offsets between them. A 3-D array is re-shaped, not copied, where its memory already fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _blas, _kernels

Floats = NDArray[Any]
Integers = NDArray[np.intp]

_KINDS = {"O": "objects", "S": "byte strings", "U": "strings", "T": "strings",
          "M": "dates", "m": "time differences", "V": "records"}

_MOST = {np.dtype(t): float(np.finfo(t).max) for t in (np.float32, np.float64)}

# Elements checked for NaN at a time: about 50 ms, so that Ctrl-C is heard in between.
_CHECK_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class Batch:
    """N sequences as the kernels read them.

    Attributes
    ----------
    data : ndarray of shape (sum of lengths, n_features), float32 or float64, C-contiguous
    offsets : ndarray of shape (N + 1,), sequence n is data[offsets[n]:offsets[n + 1]]
    is_list : whether the user passed a list, so that results are lists too
    """

    data: Floats
    offsets: Integers
    is_list: bool

    @property
    def n_sequences(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_features(self) -> int:
        return int(self.data.shape[1])

    @property
    def common_length(self) -> int | None:
        """The length of every sequence, None if they differ."""
        if len(self.offsets) == 2:
            return int(self.offsets[1])
        lengths = np.diff(self.offsets)
        return int(lengths[0]) if (lengths == lengths[0]).all() else None

    def select(self, chosen: Integers) -> Batch:
        """The chosen sequences, in that order, as a Batch of its own."""
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.zeros(len(chosen) + 1, dtype=np.intp)
        np.cumsum(lengths, out=offsets[1:])
        rows = np.repeat(self.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Batch(self.data[rows], offsets, self.is_list)

    def in_container(self, rows: Floats) -> Floats | list[Floats]:
        """Results with one row per step, in the user's container: (N, T, F) or a list of (T_n, F)."""
        return pack(rows, self.offsets, self.is_list)


def pack(rows: Floats, offsets: Integers, as_list: bool) -> Floats | list[Floats]:
    """(sum of lengths, F) as (N, T, F), or as a list of (T_n, F) arrays that share no memory."""
    if not as_list:
        return rows.reshape(len(offsets) - 1, -1, rows.shape[1])
    return [rows[a:b].copy() for a, b in zip(offsets[:-1], offsets[1:])]


def as_batch(X: Any, *, dtype: np.dtype[Any] | None = None, n_features: int | None = None) -> Batch:
    """Validate and convert sequences.

    Parameters
    ----------
    X : array-like of shape (T, I), ONE sequence; array-like of shape (N, T, I); or list or tuple
        of N array-likes of shape (T_n, I)
    dtype : the model's dtype; None keeps float32 and makes all else float64
    n_features : the model's number of features; None accepts any

    Raises
    ------
    ValueError
        For wrong shapes, empty input, NaN or infinity (the message names the sequence and step),
        sizes beyond the BLAS integer, and for anything that is not an array of real numbers:
        objects, strings, complex numbers, sparse matrices, arrays with masked values.
    """
    if isinstance(X, (list, tuple)):
        batch = _from_list(X, dtype, n_features)
    else:
        batch = _from_array(X, dtype, n_features)
    _check_finite(batch)
    return batch


def _from_array(X: Any, dtype: np.dtype[Any] | None, n_features: int | None) -> Batch:
    array = _as_numbers(X, "X")
    if array.ndim not in (2, 3):
        if array.ndim == 1:
            hint = ". Reshape your data: a sequence of scalars is X[:, None], a single step X[None, :]"
        else:
            hint = ""
        raise ValueError(f"X has {array.ndim} dimension{'' if array.ndim == 1 else 's'}; expected one "
                         "sequence (n_steps, n_features), an array (n_sequences, n_steps, n_features) "
                         f"or a list of (n_steps, n_features) arrays{hint}")
    if array.ndim == 2:
        array = array[None]
    if array.shape[0] == 0:
        raise ValueError("X is empty: it holds no sequence")
    _check_shape(array.shape[1:], "X", n_features)
    offsets = np.arange(0, array.shape[0] * array.shape[1] + 1, array.shape[1], dtype=np.intp)
    return Batch(_as_floats(array, dtype).reshape(-1, array.shape[2]), offsets, is_list=False)


def _from_list(X: Any, dtype: np.dtype[Any] | None, n_features: int | None) -> Batch:
    if len(X) == 0:
        raise ValueError("X is empty: it holds no sequence")
    arrays = []
    for i, element in enumerate(X):
        array = _as_numbers(element, f"sequence {i}")
        if array.ndim != 2:
            raise ValueError(f"sequence {i} has {array.ndim} dimensions; every element of a list must be "
                             "one sequence (n_steps, n_features). To pass a single sequence, make it a "
                             "2-D array")
        n_features = array.shape[1] if n_features is None and i == 0 else n_features
        _check_shape(array.shape, f"sequence {i}", n_features,
                     "sequence 0 has" if dtype is None else "RAE is expecting")
        arrays.append(array)
    if dtype is None:
        dtype = _float_dtype(*arrays)
    offsets = np.zeros(len(arrays) + 1, dtype=np.intp)
    np.cumsum([len(a) for a in arrays], out=offsets[1:])
    data = np.empty((int(offsets[-1]), arrays[0].shape[1]), dtype=dtype)
    with np.errstate(over="ignore"):  # becomes inf, which the check for finite values names
        for a, start, end in zip(arrays, offsets[:-1], offsets[1:]):
            data[start:end] = a
    return Batch(data, offsets, is_list=True)


def _as_numbers(value: Any, what: str) -> NDArray[Any]:
    """value as an array of real numbers of any kind; `what` names it in messages."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{what} has masked values; fill them or cut the sequence first")
    if hasattr(value, "tocsr") or hasattr(value, "tocoo"):
        raise ValueError(f"{what} is a sparse matrix; convert it with .toarray()")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} cannot be made an array: its rows differ in length or depth "
                         f"({error})") from None
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {what} holds {array.dtype} numbers")
    content = _KINDS.get(array.dtype.kind, str(array.dtype))
    hint = "; pass sequences of different lengths as a list" if array.dtype.kind == "O" else ""
    raise ValueError(f"{what} holds {content} ({array.dtype}); real numbers are needed{hint}")


def _float_dtype(*arrays: NDArray[Any]) -> np.dtype[Any]:
    """float32 if all are float32, in whatever byte order; float64 for everything else."""
    single = all(a.dtype.kind == "f" and a.dtype.itemsize == 4 for a in arrays)
    return np.dtype(np.float32 if single else np.float64)


def _as_floats(array: NDArray[Any], dtype: np.dtype[Any] | None) -> Floats:
    """Native, aligned and C-contiguous; a copy only where the array is not already so."""
    if dtype is None:
        dtype = _float_dtype(array)
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    with np.errstate(over="ignore"):  # becomes inf, which the check for finite values names
        return np.require(array, dtype=dtype, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _check_shape(shape: tuple[int, ...], what: str, n_features: int | None,
                 whose: str = "RAE is expecting") -> None:
    if shape[0] == 0:
        raise ValueError(f"{what} has length zero; every sequence needs at least one step")
    if shape[1] == 0:
        raise ValueError(f"{what} has 0 feature(s) (shape={shape}) while a minimum of 1 is required.")
    if n_features is not None and shape[1] != n_features:
        raise ValueError(f"{what} has {shape[1]} features, but {whose} {n_features} features as input")
    _blas.check_size(shape[1], f"the number of features of {what}")


def _first_not_finite(flat: Floats) -> int | None:
    limit = _MOST[flat.dtype]
    for start in range(0, flat.size, _CHECK_AT_ONCE):
        part = flat[start:start + _CHECK_AT_ONCE]
        found = _kernels.first_beyond_(part, limit)
        if found < part.size:
            return start + int(found)
    return None


def _check_finite(batch: Batch) -> None:
    position = _first_not_finite(batch.data.reshape(-1))
    if position is None:
        return
    row, feature = divmod(position, batch.n_features)
    n = int(np.searchsorted(batch.offsets, row, side="right")) - 1
    value = batch.data[row, feature]
    name, as_dtype = ("NaN", "") if np.isnan(value) else (f"{value}", f" as {batch.data.dtype}")
    raise ValueError(f"sequence {n} has {name} at step {row - int(batch.offsets[n])}, feature {feature}"
                     f"{as_dtype}; remove or fill such values first")


def check_distributions(batch: Batch) -> None:
    """Raise ValueError unless every step is a distribution: not negative, sum 1 within rounding."""
    limit = 8 * float(np.finfo(batch.data.dtype).eps) * max(8, batch.n_features)
    limit = max(limit, 1e-6 if batch.data.dtype == np.float64 else 1e-4)
    at_once = max(1, _CHECK_AT_ONCE // batch.n_features)
    for start in range(0, len(batch.data), at_once):
        part = batch.data[start:start + at_once]
        wrong = (np.abs(part.sum(axis=1) - 1) > limit) | (part < 0).any(axis=1)
        if wrong.any():
            row = start + int(wrong.argmax())
            n = int(np.searchsorted(batch.offsets, row, side="right")) - 1
            raise ValueError(f"step {row - int(batch.offsets[n])} of sequence {n} is not a distribution (sum "
                             f"{batch.data[row].sum():.6g}, least {batch.data[row].min():.6g}); with "
                             "output='softmax' every step must be non-negative and sum to 1")


def as_matrix(value: Any, what: str, n_columns: int, dtype: np.dtype[Any]) -> Floats:
    """A finite (n, n_columns) float array of the model's dtype, such as codes."""
    array = _as_numbers(value, what)
    if array.ndim != 2 or array.shape[1] != n_columns or array.shape[0] == 0:
        raise ValueError(f"{what} has shape {array.shape}; expected (n, {n_columns}) with n >= 1")
    floats = _as_floats(array, dtype)
    position = _first_not_finite(floats.reshape(-1))
    if position is not None:
        row, column = divmod(position, n_columns)
        raise ValueError(f"{what} has {floats[row, column]} in row {row}, column {column}")
    return floats


def as_weights(sample_weight: Any, n: int, dtype: np.dtype[Any]) -> Floats | None:
    """One finite, non-negative weight per sequence; None stays None."""
    if sample_weight is None:
        return None
    array = _as_numbers(sample_weight, "sample_weight")
    if array.shape != (n,):
        raise ValueError(f"sample_weight has shape {array.shape}; expected ({n},), one weight per sequence")
    weights = _as_floats(array, dtype)
    position = _first_not_finite(weights)
    if position is not None:
        raise ValueError(f"sample_weight[{position}] is {weights[position]}; weights must be finite")
    if not weights.any():
        raise ValueError("sample_weight is zero for every sequence")
    if (weights < 0).any():
        position = int(np.argmax(weights < 0))
        raise ValueError(f"sample_weight[{position}] is {weights[position]}; weights must not be negative")
    return weights


def as_lengths(lengths: Any, n: int) -> tuple[Integers, bool]:
    """Offsets for one length or one per code, and whether there was one each (a list results)."""
    if isinstance(lengths, Integral) and not isinstance(lengths, bool):
        each = np.full(n, lengths, dtype=object)
        as_list = False
    else:
        array = np.asarray(lengths)
        if array.shape != (n,) or array.dtype.kind not in "iu":
            raise ValueError(f"lengths must be one integer or {n} of them, one per code; "
                             f"got {lengths!r}")
        each, as_list = array.astype(object), True
    if min(each) < 1:
        raise ValueError(f"lengths must be at least 1; got {min(each)}")
    if sum(each) > np.iinfo(np.intp).max:
        raise ValueError(f"the lengths add up to {sum(each)} steps, more than an array can hold")
    offsets = np.zeros(n + 1, dtype=np.intp)
    np.cumsum(each.astype(np.intp), out=offsets[1:])
    return offsets, as_list
