"""Values made of bytes: what reads a user's input gives what it promises, or one sentence.

Values are arrays of all kinds and layouts, lists and tuples of them, containers of other packages, and objects that lie
about what they are. What is right is judged by NumPy: a batch holds the numbers that np.asarray finds.
"""

import array
import collections
import decimal
import fractions
import importlib
import sys
import warnings

import numpy as np
from drive import Bytes, run, sentence

from rae_fast import RAE, _batch, inputs

FRAMES = []
for _name in ("pandas", "polars"):
    try:
        FRAMES.append(importlib.import_module(_name))
    except ImportError:  # then there are none
        pass
WATCHED = ["rae_fast.inputs", "rae_fast.sparse_inputs", "rae_fast._messages"]
DTYPES = ["f8", "f4", "f2", "g", ">f8", ">f4", "i1", "i8", "u8", ">i2", "?", "c8", "c16", "O", "S3", "U2", "M8[D]",
          "m8[s]", "V5", [("a", "f8"), ("b", "i4")]]
SIZES = [0, 1, 1, 2, 2, 3, 3, 4, 5]
NUMBERS = [0, 1, -1, 2, 0.5, -0.25, 1e-320, 1e30, 1e39, 1e300, float("nan"), float("inf"), -float("inf"), True, 2**31,
           2**63, 2**64, 10**400, fractions.Fraction(1, 3), decimal.Decimal("0.1"), 1j, np.float32(3),
           np.float64(1e200), np.longdouble("1e4000"), np.int8(-3), np.datetime64("2020-01-01"), None, "1.5", "x",
           b"2", "nan"]
MODELS = {d: RAE(3, max_iter=0, random_state=0).fit(np.eye(2, dtype=d)) for d in ("f4", "f8")}


class Liar:
    """Has every attribute that is asked for, or raises at each."""

    def __init__(self, kind, value):
        self.__dict__.update(kind=kind, value=value)

    def __getattr__(self, name):
        kind = self.__dict__["kind"]
        if kind == 0 or name.startswith("__"):
            raise AttributeError(name)
        if kind == 1:
            raise RuntimeError("a\nb")
        return self.__dict__["value"] if kind == 2 else lambda *given, **options: self.__dict__["value"]


class Convertible(Liar):
    def __array__(self, dtype=None, copy=None):
        if self.kind == 3:
            raise KeyError("x" * 10_000)
        return self.value


class OddList(list):
    """Tells another length than it has, or gives other elements."""

    def __init__(self, elements, length):
        super().__init__(elements)
        self.length = length

    def __len__(self):
        return self.length

    def __repr__(self):
        raise RuntimeError


class OddArray(np.ndarray):
    """A subclass, as packages with units have them."""


class Interface:
    def __init__(self, value, shape):
        self.value = value
        self.__array_interface__ = {**value.__array_interface__, "shape": shape}


def numbers(source, n):
    return [source.of(NUMBERS) for _ in range(n)]


def an_array(source):
    dtype = np.dtype(source.of(DTYPES))
    shape = tuple(source.of(SIZES) for _ in range(source.of([2, 2, 3, 3, 1, 0, 4])))
    kind = source.below(4)
    if kind == 0:  # any bits at all
        n = int(np.prod(shape)) * dtype.itemsize
        made = np.zeros(shape, dtype) if dtype.hasobject else np.frombuffer(source.take(n), dtype).reshape(shape)
    else:
        made = np.zeros(shape, dtype)
        if made.size and kind > 1:
            try:
                with np.errstate(all="ignore"):
                    made.reshape(-1)[source.below(made.size)] = source.of(NUMBERS)
            except (ValueError, TypeError, OverflowError, Warning):
                pass
    layout = source.below(10)
    if layout == 1:
        made = made.T
    elif layout == 2 and made.ndim:
        made = made[::-1]
    elif layout == 3:
        made = np.asfortranarray(made)
    elif layout == 4 and made.ndim:
        made = made[..., ::2]
    elif layout == 5:
        made = np.broadcast_to(made, (2, *made.shape))
    elif layout == 6:  # not aligned
        memory = np.zeros(made.nbytes + 1, np.uint8)[1:]
        made = made if dtype.hasobject else np.ndarray(made.shape, dtype, memory.data)
    elif layout == 7:
        made = made.view(OddArray)
    elif layout == 8:
        made = np.ma.MaskedArray(made, mask=source.below(2) == 1)
    elif layout == 9 and made.flags.owndata:
        made.flags.writeable = False
    return made


def a_value(source, depth=0):
    """A value of some kind."""
    kind = source.below(16) if depth < 5 else 0
    if kind < 5:
        return an_array(source)
    several = [lambda: a_value(source, depth + 1)] * source.of(SIZES)
    if kind < 8:
        return [make() for make in several]
    if kind == 8:
        return tuple(make() for make in several)
    if kind == 9:
        return [numbers(source, source.of(SIZES)) for _ in several]
    if kind == 10:
        return source.of(NUMBERS)
    inner = a_value(source, depth + 1)
    if kind == 11:
        return Convertible(source.below(5), inner)
    if kind == 12:
        return Liar(source.below(4), inner)
    if kind == 13:
        return OddList([make() for make in several], source.of(SIZES))
    return a_container(source, inner)


def a_container(source, inner):
    """A value of another type that may hold numbers."""
    kind = source.below(16)
    if kind == 0:
        return {"x": inner}
    if kind == 1:
        return (x for x in [inner, inner])
    if kind == 2:
        return collections.deque([inner])
    if kind == 3:
        return array.array("d", [1.0, 2.0])
    if kind == 4:
        return memoryview(b"12345678").cast("d")
    if kind == 5:
        return source.take(5)
    if kind == 6 and isinstance(inner, list):
        inner[:] = [inner]  # holds itself; of two such elements NumPy would look at 2 to the power of 64
        return inner
    if kind == 7:
        for _ in range(100 * source.below(256)):
            inner = [inner]
        return inner
    if kind == 8:
        return Interface(np.zeros((2, 2)), source.of([(2, 2), (1, 2), (4,), (0, 2), (-1, 2), (2, 2, "x"), None]))
    if kind == 9:
        return np.broadcast_to(np.zeros((1, 2)), (source.of([2, 300]), source.of([1, 4]), 2))
    if kind == 10:
        return range(source.below(9))
    if kind == 11 and isinstance(inner, np.ndarray) and inner.ndim == 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one advises against matrices
            return np.matrix(inner)
    if kind > 11 and FRAMES:
        return a_frame(source, source.of(FRAMES))
    return {1, 2}


def a_frame(source, library):
    """A frame of columns that need not be of one kind."""
    n, names = source.of([0, 1, 2, 3]), source.of([["a", "b"], ["a"], ["b", "a", "c"], [0, 1], []])
    columns = {name: library.Series([source.of(NUMBERS[:15])] * n) if source.below(2) else numbers(source, n)
               for name in names}
    try:
        frame = library.DataFrame(columns)
        if library.__name__ == "pandas" and source.below(3) == 0:
            kinds = ["Float32", "category", "object"]
            frame = frame.convert_dtypes() if source.below(2) else frame.astype(source.of(kinds))
        return frame if source.below(4) else frame[names[0]]
    except Exception:  # of the library's own judgement of such columns
        return library.DataFrame({"a": [1.0]})


def check(data):
    source = Bytes(data)
    what, dtype = source.below(8), source.of([None, None, np.dtype("f4"), np.dtype("f8")])
    try:
        value = a_value(source)
    except RecursionError:
        return
    try:
        if what < 4:
            check_batch(value, dtype, source.of([None, None, 1, 2, 3]))
        elif what == 4:
            check_model(value, MODELS[source.of(["f4", "f8"])])
        elif what == 5:
            batch = _batch.Batch(np.eye(2), [0, 1, 2])
            weights = inputs.as_weights(value, batch)
            assert weights is None or (weights.shape == (2,) and np.isfinite(weights).all() and (weights >= 0).all())
        elif what == 6:
            lengths = inputs.as_lengths(value, 2)
            assert lengths >= 1 if isinstance(lengths, int) else (np.diff(lengths) >= 1).all() and len(lengths) == 3
        else:
            names = inputs.feature_names(value)
            assert names is None or all(isinstance(name, str) for name in names)
    except ValueError as error:
        sentence(error)


def check_batch(value, dtype, n_features):
    batch = inputs.as_batch(value, dtype, n_features)
    if isinstance(batch, _batch.SparseBatch):
        check_ids(value, batch, dtype, n_features)
        return
    found, offsets = batch.data, batch.offsets
    assert found.dtype == dtype if dtype else found.dtype.char in "fd"
    assert found.flags.c_contiguous and found.flags.aligned and np.isfinite(found).all()
    assert n_features in (None, found.shape[1])
    assert offsets[0] == 0 and offsets[-1] == len(found) and (np.diff(offsets) >= 1).all()
    parts = [found[start:end] for start, end in zip(offsets[:-1], offsets[1:])]
    if type(value) in (list, tuple):
        assert len(value) == len(parts)
        for given, part in zip(value, parts):
            same(given, part)
    elif isinstance(value, np.ndarray):
        same(value, found.reshape(len(parts), -1, found.shape[1]))


def check_ids(value, batch, dtype, n_features):
    """Rows of no more than one number, which is never written out here: the largest id may be any."""
    assert batch.is_ids and batch.dtype == (dtype or np.float64)
    rows = [value] if isinstance(value, np.ndarray) and value.ndim == 1 else value
    assert [len(row) for row in rows] == batch.lengths().tolist()
    np.testing.assert_array_equal(np.concatenate([np.asarray(row) for row in rows]), batch.columns)
    assert 0 <= batch.columns.min() and batch.columns.max() < batch.n_features
    assert batch.n_features == (n_features or batch.columns.max() + 1)


def same(given, found):
    if isinstance(given, (np.ndarray, list)):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(np.asarray(given).astype(found.dtype).reshape(found.shape), found)


def check_model(value, model):
    """The short way for what is ready, and the long one, are of one mind."""
    ready = _batch.ready(value, model.theta_, model._fitted().form)
    if ready is not None:
        slow = inputs.as_batch(value, model.theta_.dtype, 2)
        assert slow.data.tobytes() == ready.data.tobytes() and slow.offsets.tolist() == ready.offsets.tolist()
    codes = model.transform(value)
    assert np.isfinite(codes).all() and codes.shape[1] == 3


def seeds():
    """Each kind of value in each use, and some bytes after it."""
    for what in range(8):
        for kind in range(16):
            for rest in range(0, 240, 30):
                yield bytes([what, 0, kind, rest % 20, 0, 3, 3, rest % 7, rest % 10, *range(rest, rest + 15)])


if __name__ == "__main__":
    sys.setrecursionlimit(2000)
    run(WATCHED, check, seeds)
