"""What holds the numbers: whatever NumPy makes real numbers of is taken, all else gets one sentence with the remedy."""

import collections
import re

import numpy as np
import pytest

from rae_fast import RAE

F = np.arange(12.0).reshape(4, 3) / 10


@pytest.fixture(scope="module")
def model():
    return RAE(3, max_iter=1, random_state=0).fit(np.array([F, F + 1]))


class Fails:
    """A container whose conversion raises what it likes."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


class Text:
    def __array__(self, dtype=None, copy=None):
        return "abc"


class Interface:
    @property
    def __array_interface__(self):
        raise KeyError("of its own")


class Everything:
    """It has every attribute, or so it seems."""

    def __getattr__(self, name):
        raise RuntimeError(name)


class Half:
    """A sequence by half."""

    def __len__(self):
        raise OSError("no length")

    def __getitem__(self, i):
        raise OSError("no items")


@pytest.mark.parametrize("given", [
    F.tolist(), tuple(map(tuple, F)), F.astype("f2"), F.astype("g"), F.astype(">f4"), (10 * F).astype(int), F > 0.5,
    np.asfortranarray(F), F[::-1], np.ma.masked_array(F), memoryview(F), collections.deque([F, F]),
], ids=lambda given: type(given).__name__)
def test_numbers_are_taken(given, model):
    if isinstance(given, (list, tuple)):
        given = [given]
    assert model.transform(given).shape[1] == 3


class OtherSparse:
    """A sparse matrix of another package than SciPy."""

    def tocsr(self):
        raise NotImplementedError


REFUSED = [
    (None, "X is None, which is no array; pass an array"), (object(), "of type object, which is no array"),
    ((F for _ in range(2)), r"of type generator, which is no array; pass list\(X\)"),
    (iter([F]), r"pass list\(X\) if it gives one sequence after the other"), (map(np.asarray, [F]), r"pass list\(X\)"),
    ({"a": F}, r"of type dict, which is no array; pass list\(X.values\(\)\)"), ({1.0}, r"of type set.*list\(X\)"),
    (len, "no array"), (int, "no array"), ("abc", "holds strings"), (b"abc", "holds byte strings"),
    (3.0, "0 dimensions"),
    (np.ones(4), r"1 dimension;.*np.asarray\(X\)\[:, None\]"), (np.ones((1, 2, 3, 4)), "4 dimensions"),
    ([np.ones(4), np.ones(5)], r"sequence 0 has 1 dimension;.*\[np.asarray\(x\)\[:, None\] for x in X\]"),
    ([[[1, 2, 3], [1, 2]]], "sequence 0 cannot be made an array of real numbers: its rows differ in length"),
    (np.array([F, F[:2]], dtype=object), "holds objects.*as a list"), (F * 1j, "Complex data not supported"),
    (np.zeros((3, 3), "M8[s]"), "holds dates"), (np.zeros(3, [("a", "f8")]), "holds records"),
    (OtherSparse(), r"sparse matrix; convert it with .toarray\(\)"),
    (np.ma.masked_array(F, mask=F > 0.5), "masked values"), (Text(), "cannot be made an array"),
    (Interface(), "cannot be made an array of real numbers .KeyError"), (Half(), "no array"),
    (Everything(), "cannot be made"),
    *[(Fails(error), f"cannot be made an array of real numbers .{type(error).__name__}")
      for error in (RuntimeError("x" * 10**6), TypeError("two\nlines"), AttributeError("a"), RecursionError("deep"))],
]
# Arrays and numbers mean something else there.
REFUSED += [([given], message.replace("X is", "sequence 0 is")) for given, message in REFUSED
            if not isinstance(given, (list, np.ndarray, float))]


@pytest.mark.parametrize("given, message", REFUSED, ids=lambda value: type(value).__name__)
def test_all_else_gets_a_sentence(given, message, model):
    with pytest.raises(ValueError) as caught:
        model.transform(given)
    text = str(caught.value)
    assert re.search(message, text) and "\n" not in text and len(text) < 500


def test_memory_errors_are_not_hidden(model):
    with pytest.raises(MemoryError):
        model.transform(Fails(MemoryError()))


def test_padding_with_nan_gets_its_remedy(model):
    padded = np.array([F, F])
    padded[1, 2:] = np.nan
    with pytest.raises(ValueError, match="sequence 1 has NaN at step 2, feature 0; if that is padding, pass a list"):
        model.transform(padded)
    assert model.transform([x[~np.isnan(x).all(axis=1)] for x in padded]).shape == (2, 3)
    padded[1, 3] = 1
    with pytest.raises(ValueError, match="feature 0; remove or fill such values first"):
        model.transform(padded)


def test_ids_where_distributions_are_needed():
    ids = np.array([[1, 2, 0, 0], [3, 1, 2, 0]])
    with pytest.raises(ValueError, match="pass token ids as a list of sequences without padding.* or with n_features"):
        RAE(3, output="softmax").fit(ids)
    RAE(3, output="softmax", max_iter=1).fit(np.eye(4)[ids])
    one_hot = np.eye(4)[ids]
    one_hot[0, 1] = 0
    with pytest.raises(ValueError, match="must be non-negative and sum to 1$"):
        RAE(3, output="softmax").fit(one_hot)


@pytest.mark.parametrize("dtype, expected", [("float64", "f8"), ("float32", "f4"), ("Float64", "f8"), ("Float32", "f4"),
                                             ("Int64", "f8"), ("int8", "f8"), ("boolean", "f8")])
def test_frames(dtype, expected):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pd.DataFrame((F > 0.5).astype(int) if dtype == "boolean" else np.rint(F), columns=list("abc")).astype(dtype)
    model = RAE(3, max_iter=1, random_state=0).fit([frame, frame[:2]])
    assert model.theta_.dtype == expected
    plain = RAE(3, max_iter=1, random_state=0).fit([frame.to_numpy(expected), frame[:2].to_numpy(expected)])
    np.testing.assert_array_equal(model.transform(frame), plain.transform(frame.to_numpy(expected)))


def test_frames_that_are_no_sequence(model):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pd.DataFrame(F)
    missing = frame.astype("Float64")
    missing.iloc[1, 2] = pd.NA
    X = pd.concat({"x": frame, "y": frame[:2]})
    categories = frame.assign(d=pd.Categorical(list("abca")))
    for given, message in ((missing, "NaN at step 1, feature 2"), (categories, "holds"),
                           (frame[0], r"np.asarray\(X\)\[:, None\]"), (frame.assign(d="text"), "holds"),
                           (X, r"several levels; pass one array a sequence, .*groupby"), (X.groupby(level=0), "X ")):
        with pytest.raises(ValueError, match=message):
            model.transform(given)
    assert model.transform([x.to_numpy() for _, x in X.groupby(level=0)]).shape == (2, 3)
    weights = pd.Series([1, 2], dtype="Int64")
    assert RAE(3, max_iter=1).fit([F, F], sample_weight=weights).n_iter_ == 1
    assert len(model.inverse_transform(np.ones((2, 3)), pd.Series([1, 2]))) == 2


def test_other_libraries_arrays(model):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    xr = pytest.importorskip("xarray", reason="xarray is not installed")
    expected = model.transform(F)
    for given in (pl.DataFrame(F), [pl.DataFrame(F)], xr.DataArray(F), [xr.DataArray(F)]):
        np.testing.assert_array_equal(model.transform(given), expected)
    for given, message in ((pl.DataFrame(F).lazy(), "of type LazyFrame, which is no array"),
                           (pl.DataFrame({"a": [1.0, None], "b": [1, 2], "c": [1, 2]}), "NaN at step 1"),
                           (pl.DataFrame({"a": ["x"]}), "X "), (xr.Dataset({"a": (("x", "y"), F)}), "cannot be made"),
                           (pl.Series([1.0, 2.0]), "1 dimension;")):
        with pytest.raises(ValueError, match=message):
            model.transform(given)
