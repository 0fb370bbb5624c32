"""From what a user passes to what the kernels read: the only place that coerces input.

Everything becomes a Batch (_batch.pyx): one C-contiguous float array with the sequences one after the other, and the
offsets between them. A 3-D array is re-shaped, not copied, where its memory already fits. What is ready as it is skips
this module (_batch.ready) and takes the same way through a call as what comes out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _blas
from rae_fast._batch import Batch, SparseBatch, first_not_finite_in
from rae_fast._messages import shown
from rae_fast.sparse_inputs import as_sparse_batch

Floats = NDArray[Any]
Integers = NDArray[np.intp]

_KINDS = {"O": "objects", "S": "byte strings", "U": "strings", "T": "strings",
          "M": "dates", "m": "time differences", "V": "records"}

# Elements checked at a time: about 50 ms, so that Ctrl-C is heard in between.
_CHECK_AT_ONCE = 1 << 25
# How many steps, numbers and sequences of the data judge a choice that is made for a model.
_JUDGED_STEPS, _JUDGED_NUMBERS, _JUDGED_SEQUENCES = 20_000, 1 << 23, 256


def as_batch(X: Any, dtype: np.dtype[Any] | None = None, n_features: int | None = None,
             name: str = "the model", ids: bool | None = False, missing: str = "error") -> Batch:
    """Validate and convert sequences. For those of a fitted model that need neither, `_batch.ready` is quicker.

    Parameters
    ----------
    X : array-like of shape (T, I), ONE sequence; array-like of shape (N, T, I); or list or tuple
        of N array-likes of shape (T_n, I); token ids and sparse rows: sparse_inputs.py
    dtype : the model's dtype; None keeps float32 and makes all else float64
    n_features : the model's number of features; None accepts any
    name : the estimator's, for messages
    ids : whether integer arrays with two dimensions are token ids; None: there are none
    missing : what NaN is, as in gaps.MISSING: with "ignore" the batch has 0 there, and says so; with "padding" it lacks
        rows of nothing but NaN at the end of sequences as well, and results are lists

    Raises
    ------
    ValueError
        For wrong shapes, empty input, NaN or infinity (the message names the sequence and step),
        sizes beyond the BLAS integer, and for anything that is not an array of real numbers:
        objects, strings, complex numbers, arrays with masked values.

    Examples
    --------
    >>> import numpy as np
    >>> batch = as_batch([np.eye(3), np.eye(3)[:2]])
    >>> batch.data.shape, batch.offsets.tolist(), batch.common_length
    ((5, 3), [0, 3, 5], None)
    """
    if ids is not None and (sparse := as_sparse_batch(X, dtype, n_features, name, ids)) is not None:
        _blas.check_size(sparse.n_features, "the number of different ids or features")
        return sparse
    convert = _from_list if isinstance(X, (list, tuple)) else _from_array
    batch = convert(X, dtype, n_features, name)
    position = batch.first_not_finite()
    if missing == "padding":
        batch = _without_padding(batch, position >= 0)
        position = batch.first_not_finite()
    if position >= 0 and missing != "error" and (gone := np.isnan(batch.data)).any():
        batch = Batch(np.where(gone, 0, batch.data), batch.offsets, batch.is_list, gone)
        position = batch.first_not_finite()
    if position >= 0:
        raise _not_finite(batch, position)
    return batch


def feature_names(X: Any) -> tuple[str, ...] | None:
    """The names of a frame's columns, or of all frames' in a list, where they are strings."""
    if isinstance(X, (list, tuple)):
        several = [None if isinstance(x, (list, tuple)) else feature_names(x) for x in X]
        for i, names in enumerate(several):
            if names is not None and several[0] is not None and names != several[0]:
                raise ValueError(f"sequence {i} has the columns {shown(list(names))}, but sequence 0 has "
                                 f"{shown(list(several[0]))}")
        return several[0] if several and all(names is not None for names in several) else None
    if isinstance(X, np.ndarray) or not _has(X, "columns"):
        return None
    try:
        names = tuple(X.columns)
    except Exception:  # whatever else has such an attribute
        return None
    return names if names and all(isinstance(name, str) for name in names) else None


def check_feature_names(X: Any, expected: tuple[str, ...] | None, owner: str) -> None:
    """ValueError where X has columns of other names, or in another order, than a fitted model's."""
    found = None if expected is None else feature_names(X)
    if found is not None and found != expected:
        what = "in another order" if sorted(found) == sorted(expected or ()) else "of other names"
        raise ValueError(f"The feature names should match those that were passed during fit: X has columns {what}, "
                         f"{shown(list(found))}, but {owner} was fitted with {shown(list(expected or ()))}")


def _from_array(X: Any, dtype: np.dtype[Any] | None, n_features: int | None, name: str) -> Batch:
    array = as_numbers(X, "X")
    if array.ndim not in (2, 3):
        if array.ndim == 1:
            hint = (". Reshape your data: a sequence of scalars is np.asarray(X)[:, None], a single step "
                    "np.asarray(X)[None], a sequence of token ids np.asarray(X).astype(int)")
        else:
            hint = ""
        raise ValueError(f"X has {_dimensions(array.ndim)}; expected one "
                         "sequence (n_steps, n_features), an array (n_sequences, n_steps, n_features) "
                         f"or a list of (n_steps, n_features) arrays{hint}")
    if array.ndim == 2:
        array = array[None]
    if array.shape[0] == 0:
        raise ValueError("X is empty: it holds no sequence")
    _check_shape(array.shape[1:], "X", n_features, f"{name} is expecting")
    offsets = np.arange(0, array.shape[0] * array.shape[1] + 1, array.shape[1], dtype=np.intp)
    return Batch(_as_floats(array, dtype).reshape(-1, array.shape[2]), offsets)


def _from_list(X: Any, dtype: np.dtype[Any] | None, n_features: int | None, name: str) -> Batch:
    elements = list(X)  # a class of lists may tell another length than it has
    if not elements:
        raise ValueError("X is empty: it holds no sequence")
    arrays = []
    for i, element in enumerate(elements):
        array = as_numbers(element, f"sequence {i}")
        if array.ndim != 2:
            remedy = "to pass a single sequence, make it a 2-D array"
            if array.ndim == 1:
                remedy = ("of sequences of scalars pass [np.asarray(x)[:, None] for x in X], of token ids "
                          f"[np.asarray(x).astype(int) for x in X]; {remedy}")
            if array.ndim == 0 and array.dtype.kind in "iu":
                remedy = f"of one sequence of token ids pass np.asarray(X); {remedy}"
            raise ValueError(f"sequence {i} has {_dimensions(array.ndim)}; every element of a list must be one "
                             f"sequence (n_steps, n_features): {remedy}")
        n_features = array.shape[1] if n_features is None and i == 0 else n_features
        _check_shape(array.shape, f"sequence {i}", n_features,
                     "sequence 0 has" if dtype is None else f"{name} is expecting")
        arrays.append(array)
    if dtype is None:
        dtype = _float_dtype(*arrays)
    offsets = np.zeros(len(arrays) + 1, dtype=np.intp)
    np.cumsum([len(a) for a in arrays], out=offsets[1:])
    data = np.empty((int(offsets[-1]), arrays[0].shape[1]), dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # the check for finite values names it
        for a, start, end in zip(arrays, offsets[:-1], offsets[1:]):
            data[start:end] = a
    return Batch(data, offsets, is_list=True)


def as_numbers(value: Any, what: str) -> NDArray[Any]:
    """value as an array of real numbers of any kind; `what` names it in messages."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    if isinstance(value, np.ma.MaskedArray) and value.dtype.names is None and np.ma.is_masked(value):
        raise ValueError(f"{what} has masked values; fill them or cut the sequence first")
    if _has(value, "tocsr") or _has(value, "tocoo"):
        raise ValueError(f"{what} is a sparse matrix; convert it with .toarray(), or pass sequences of sparse rows as "
                         "scipy.sparse.csr_array, which models that read row by row take")
    if _has(value, "index") and getattr(value.index, "nlevels", 1) > 1:
        raise ValueError(f"{what} is a frame whose index has several levels; pass one array a sequence, "
                         "[x.to_numpy() for _, x in X.groupby(level=0)] if the first level tells the sequences apart")
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and _has(value, "to_numpy") and _has(value, "convert_dtypes"):
            array = _of_nullable(value, array)
    except MemoryError:
        raise
    except Exception as error:  # whatever the value's own conversion raises
        ragged = isinstance(value, (list, tuple)) and isinstance(error, ValueError)
        why = ": its rows differ in length or depth" if ragged else ""
        raise ValueError(f"{what} cannot be made an array of real numbers{why} ({type(error).__name__}: "
                         f"{' '.join(str(error).split())[:150]}); convert it with np.asarray first") from None
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {what} holds {array.dtype} numbers")
    if array.ndim == 0 and array.dtype.kind == "O":
        kind = "None" if value is None else f"of type {type(value).__name__[:100]}"
        raise ValueError(f"{what} is {kind}, which is no array; {_remedy(value)}")
    content = _KINDS.get(array.dtype.kind, str(array.dtype))
    hint = "; pass sequences of different lengths as a list" if array.dtype.kind == "O" else ""
    raise ValueError(f"{what} holds {content} ({str(array.dtype)[:100]}); real numbers are needed{hint}")


def _of_nullable(value: Any, array: NDArray[Any]) -> NDArray[Any]:
    """A pandas frame or series with columns that can hold missing values as floats, these as NaN; else as it was."""
    kinds = {str(dtype) for dtype in np.atleast_1d(np.asarray(getattr(value, "dtypes", None), dtype=object))}
    if any(kind.startswith(("object", "string", "str", "category", "datetime", "period", "complex")) for kind in kinds):
        return array
    single = kinds <= {"Float32", "float32"}
    found: NDArray[Any] = value.to_numpy(dtype=np.float32 if single else np.float64, na_value=np.nan)
    return found


def _has(value: Any, name: str) -> bool:
    """Whether a value has such an attribute; one that raises anything else than AttributeError has not."""
    try:
        return hasattr(value, name)
    except Exception:
        return False


def _remedy(value: Any) -> str:
    """What to pass in place of a value that NumPy makes no array of."""
    if isinstance(value, Mapping):
        return "pass list(X.values()) if its values are the sequences"
    if isinstance(value, Iterable):
        return "pass list(X) if it gives one sequence after the other"
    return "pass an array, or a list of arrays"


def _dimensions(n: int) -> str:
    return f"{n} dimension{'' if n == 1 else 's'}"


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
    with np.errstate(over="ignore", invalid="ignore"):  # the check for finite values names it
        return np.require(array, dtype=dtype, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _check_shape(shape: tuple[int, ...], what: str, n_features: int | None, whose: str) -> None:
    if shape[0] == 0:
        raise ValueError(f"{what} has length zero; every sequence needs at least one step")
    if shape[1] == 0:
        raise ValueError(f"{what} has 0 feature(s) (shape={shape}) while a minimum of 1 is required.")
    if n_features is not None and shape[1] != n_features:
        raise ValueError(f"{what} has {shape[1]} features, but {whose} {n_features} features as input")
    _blas.check_size(shape[1], f"the number of features of {what}")


def _without_padding(batch: Batch, some: bool) -> Batch:
    """The sequences as a list, without rows of nothing but NaN at their ends if there are some."""
    if not some:
        return Batch(batch.data, batch.offsets, True)
    something = np.maximum.accumulate(np.where(np.isnan(batch.data).all(axis=1), -1, np.arange(batch.n_rows)))
    first, ends = batch.offsets[:-1], np.maximum(something[batch.offsets[1:] - 1] + 1, batch.offsets[:-1])
    if (ends == first).any():
        raise ValueError(f"sequence {int(np.argmax(ends == first))} is nothing but NaN, which is padding and no step; "
                         "leave it out")
    offsets = np.concatenate([[0], np.cumsum(ends - first)])
    kept = np.arange(batch.n_rows) < np.repeat(ends, batch.lengths())
    return Batch(batch.data[kept], offsets, True)


def _not_finite(batch: Batch, position: int) -> ValueError:
    """The error for NaN or infinity at that position of the data."""
    row, feature = divmod(position, batch.n_features)
    n = int(np.searchsorted(batch.offsets, row, side="right")) - 1
    value = batch.data[row, feature]
    what, as_dtype = ("NaN", "") if np.isnan(value) else (f"{value}", f" as {batch.data.dtype}")
    remedy = "remove or fill such values first"
    if np.isnan(batch.data[row:int(batch.offsets[n + 1])]).all():
        remedy = ("if that is padding, pass a list of the sequences without it, "
                  "[x[~np.isnan(x).all(axis=1)] for x in X], or choose missing='padding' where a model has that")
    return ValueError(f"sequence {n} has {what} at step {row - int(batch.offsets[n])}, feature {feature}"
                      f"{as_dtype}; {remedy}")


def largest(batch: Batch) -> float:
    """The largest absolute value."""
    if isinstance(batch, SparseBatch):
        return 1.0 if batch.values is None else float(np.abs(batch.values).max(initial=0))
    return max(float(batch.data.max()), -float(batch.data.min()))


def way_to_scale(batch: Batch) -> str:
    """"up" or "down": whether sums of squares of the values are nearer to the smallest or the largest numbers."""
    return "up" if 0 < largest(batch) < 1 else "down"


def sample(batch: Batch, weights: Floats | None) -> tuple[Batch, Floats]:
    """Sequences evenly spread over the batch, in float64: few enough to be judged quickly, at least one. And their
    weights, the mean of which is 1."""
    steps = min(_JUDGED_STEPS, _JUDGED_NUMBERS // batch.n_features)
    chosen, w = _spread(batch, weights, steps)
    if isinstance(chosen, SparseBatch) and chosen.longest > steps:  # rows written out take a number for each feature
        chosen = latest(chosen, max(1, steps))
    return Batch(chosen.data.astype(np.float64), chosen.offsets, True, chosen.missing), w


def sample_sparse(batch: SparseBatch, weights: Floats | None) -> tuple[SparseBatch, Floats]:
    """The same without writing rows out, in the batch's type."""
    chosen, w = _spread(batch, weights, _JUDGED_STEPS)
    assert isinstance(chosen, SparseBatch)
    return chosen, w


def _spread(batch: Batch, weights: Floats | None, steps: int) -> tuple[Batch, Floats]:
    """Sequences of about so many steps in all, and their weights, the mean of which is 1."""
    n = int(min(batch.n_sequences, _JUDGED_SEQUENCES, max(1, steps // (batch.n_rows / batch.n_sequences))))
    places = np.linspace(0, batch.n_sequences - 1, n).astype(np.intp)
    w = np.ones(n) if weights is None else weights[places].astype(np.float64) / weights[places].max()
    return batch.select(places), w / w.mean()


def latest(batch: SparseBatch, most: int) -> SparseBatch:
    """Of each sequence the last steps, up to `most`, as sequences of their own."""
    ends, kept = batch.offsets[1:], np.minimum(batch.lengths(), most)
    bounds = np.unique(np.concatenate([batch.offsets, ends - kept]))
    pieces = np.searchsorted(bounds, ends) - 1
    return batch.cut(bounds).select(pieces)


def check_distributions(batch: Batch) -> None:
    """Raise ValueError unless every step is a distribution: not negative, sum 1 within rounding."""
    if batch.surely_distributions():
        return
    limit = 8 * float(np.finfo(batch.dtype).eps) * max(8, batch.n_features)
    limit = max(limit, 1e-6 if batch.dtype == np.float64 else 1e-4)
    for start, sums, least, ids in _row_sums(batch):
        wrong = (np.abs(sums - 1) > limit) | (least < 0)
        if wrong.any():
            at = int(wrong.argmax())
            n = int(np.searchsorted(batch.offsets, start + at, side="right")) - 1
            raise ValueError(f"step {start + at - int(batch.offsets[n])} of sequence {n} is not a distribution (sum "
                             f"{sums[at]:.6g}, least {least[at]:.6g}); with categorical outputs (softmax, spherical) "
                             "every step must be non-negative and sum to 1"
                             + ("; pass token ids as a list of sequences without padding, [x[:n] for x, n in zip(X, "
                                "lengths)], or with n_features" if ids else ""))


def _row_sums(batch: Batch) -> Iterator[tuple[int, Floats, Floats, bool]]:
    """Of some rows after the others: the first, the sum and the least number of each, whether they look like ids."""
    if isinstance(batch, SparseBatch):
        rows = batch.matrix(np.float64)
        yield 0, np.asarray(rows.sum(axis=1)).ravel(), rows.min(axis=1).toarray().ravel(), False
        return
    at_once = max(1, _CHECK_AT_ONCE // batch.n_features)
    for start in range(0, batch.n_rows, at_once):
        part = batch.dense_rows(slice(start, min(start + at_once, batch.n_rows)))
        yield start, part.sum(axis=1), part.min(axis=1), bool((part == np.floor(part)).all() and part.max() > 1)


def as_matrix(value: Any, what: str, n_columns: int, dtype: np.dtype[Any]) -> Floats:
    """A finite (n, n_columns) float array of the model's dtype, such as codes."""
    array = as_numbers(value, what)
    if array.ndim != 2 or array.shape[1] != n_columns or array.shape[0] == 0:
        raise ValueError(f"{what} has shape {array.shape}; expected (n, {n_columns}) with n >= 1")
    floats = _as_floats(array, dtype)
    position = first_not_finite_in(floats)
    if position >= 0:
        row, column = divmod(position, n_columns)
        raise ValueError(f"{what} has {floats[row, column]} in row {row}, column {column}")
    return floats


def as_streams(state: Any, x: Any, n_hidden: int, n_inputs: int, dtype: np.dtype[Any]) -> tuple[Floats, Floats]:
    """States and inputs of streams: of one, (H,) and (I,), or of N, (N, H) and (N, I)."""
    state, x = as_numbers(state, "state"), as_numbers(x, "x")
    one = state.ndim == 1
    if one != (x.ndim == 1):
        raise ValueError(f"state and x must both be vectors or both matrices; they have {state.ndim} and "
                         f"{x.ndim} dimensions")
    if one:
        state, x = state[None], x[None]
    states, inputs = as_matrix(state, "state", n_hidden, dtype), as_matrix(x, "x", n_inputs, dtype)
    if len(states) != len(inputs):
        raise ValueError(f"state holds {len(states)} streams, but x holds {len(inputs)}")
    return (states[0], inputs[0]) if one else (states, inputs)


def as_patches(x: Any, ndim: int, length: int, n_features: int) -> NDArray[Any]:
    """One patch of each stream as what `as_streams` takes: of one stream (k, I), or of N, (N, k, I). ndim: state's."""
    array = as_numbers(x, "x")
    if array.ndim != ndim + 1 or array.shape[-2:] != (length, n_features):
        streams = "" if ndim == 1 else "N, "
        raise ValueError(f"x has shape {array.shape}; expected ({streams}{length}, {n_features}), the {length} rows "
                         "that the model reads as one step (patch_length)")
    return array.reshape(*array.shape[:-2], length * n_features)


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """ValueError unless out is an array that can take a result."""
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out must be a {dtype} array of shape {shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")


def as_weights(sample_weight: Any, batch: Batch) -> Floats | None:
    """One finite, non-negative weight per sequence, of the batch's dtype; None stays None."""
    if sample_weight is None:
        return None
    n = batch.n_sequences
    array = as_numbers(sample_weight, "sample_weight")
    if array.shape != (n,):
        raise ValueError(f"sample_weight has shape {array.shape}; expected ({n},), one weight per sequence")
    weights = _as_floats(array, batch.dtype)
    position = first_not_finite_in(weights)
    if position >= 0:
        where = f"sample_weight[{position}] is {array[position]}"
        as_dtype = f", {weights[position]} as {batch.dtype}" if np.isfinite(array[position]) else ""
        raise ValueError(f"{where}{as_dtype}; weights must be finite")
    if not weights.any():
        raise ValueError("sample_weight is zero for every sequence")
    if (weights < 0).any():
        position = int(np.argmax(weights < 0))
        raise ValueError(f"sample_weight[{position}] is {weights[position]}; weights must not be negative")
    return weights


def as_weighted(sample_weight: Any, batch: Batch) -> tuple[Batch, Floats | None]:
    """The batch and its weights, without the sequences that weigh nothing."""
    weights = as_weights(sample_weight, batch)
    if weights is None or weights.all():
        return batch, weights
    chosen = np.flatnonzero(weights)
    return batch.select(chosen), weights[chosen]


def as_length(name: str, value: Any, n: int) -> int:
    """One number of steps for n codes, at least 1; `name` is the argument's."""
    if type(value) is int and 0 < value < 2**31 > n:
        return value
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be one integer of at least 1; got {shown(value)}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {shown(value)}")
    if n * int(value) > np.iinfo(np.intp).max:
        raise ValueError(f"{name}={shown(value)} steps of {n} codes are more than an array can hold")
    return int(value)


def as_lengths(lengths: Any, n: int) -> int | Integers:
    """One length for n codes, or of one length each the offsets, (n + 1,)."""
    if type(lengths) is int or isinstance(lengths, Integral):
        return as_length("lengths", lengths, n)
    try:
        array = np.asarray(lengths)
    except MemoryError:
        raise
    except Exception:  # of rows that differ in length, or of the value's own making
        array = np.empty(0)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ValueError(f"lengths must be one integer or {n} of them, one per code; got {shown(lengths)}")
    each = array.astype(object)
    if min(each) < 1:
        raise ValueError(f"lengths must be at least 1; got {shown(min(each))}")
    if sum(each) > np.iinfo(np.intp).max:
        raise ValueError(f"the lengths add up to {shown(sum(each))} steps, more than an array can hold")
    offsets = np.zeros(n + 1, dtype=np.intp)
    np.cumsum(each.astype(np.intp), out=offsets[1:])
    return offsets
