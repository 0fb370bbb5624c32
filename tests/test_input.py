"""What users pass: everything reasonable works, everything else gets one sentence and changes nothing."""

import re

import numpy as np
import pytest
import scipy.sparse
from problems import everything

from rae_fast import RAE, _blas, _kernels, inputs

RNG = np.random.default_rng(0)
X3 = RNG.standard_normal((4, 5, 3))


@pytest.fixture
def model():
    return RAE(n_hidden=6, max_iter=2, random_state=0).fit(X3)


def nan_at(n, t, value=np.nan):
    X = [x.copy() for x in X3]
    X[n][t, 1] = value
    return X


BAD = {
    "empty list": ([], "empty"),
    "empty array": (np.empty((0, 5, 3)), "empty"),
    "zero-length sequence": ([X3[0], X3[1][:0]], "sequence 1 has length zero"),
    "zero-length 2-D": (np.empty((0, 3)), "length zero"),
    "zero-length 3-D": (np.empty((2, 0, 3)), "length zero"),
    "no features": (np.empty((4, 0)), "0 feature(s)"),
    "features differ": ([X3[0], X3[1][:, :2]], "sequence 1 has 2 features"),
    "NaN": (nan_at(2, 3), "sequence 2 has NaN at step 3, feature 1"),
    "inf": (nan_at(1, 0, np.inf), "sequence 1 has inf at step 0"),
    "-inf in 3-D": (np.array(nan_at(3, 4, -np.inf)), "sequence 3 has -inf at step 4"),
    "NaN in 2-D": (nan_at(0, 2)[0], "sequence 0 has NaN at step 2"),
    "object array": (np.array([X3[0], X3[1][:3]], dtype=object), "objects"),
    "object numbers": (np.array([[1, 2, 3]], dtype=object), "objects"),
    "strings": (np.array([["a", "b", "c"]]), "strings"),
    "list of strings": (["abc", "def"], "sequence 0 holds strings"),
    "bytes": (np.array([[b"a", b"b", b"c"]]), "byte strings"),
    "complex": (X3 + 0j, "Complex data not supported"),
    "complex in list": ([X3[0], X3[1] + 1j], "Complex data not supported: sequence 1"),
    "dates": (np.zeros((5, 3), "datetime64[s]"), "dates"),
    "1-D floats": (X3[0, 0], "1 dimension"),
    "scalar": (1.0, "0 dimensions"),
    "4-D": (np.zeros((2, 2, 2, 3)), "4 dimensions"),
    "list of rows": ([[1, 2, 3.0], [4, 5, 6]], "sequence 1 is a sequence of token ids, but sequence 0 is not"),
    "list of 3-D": ([X3], "sequence 0 has 3 dimensions"),
    "uneven nested list": ([[[1, 2, 3], [4, 5]]], "sequence 0 cannot be made an array"),
    "sparse of one dimension": (scipy.sparse.coo_array(X3[0, 0]), "X is sparse with 1 dimension"),
    "masked": (np.ma.masked_less(X3[0], 0), "masked"),
    "None": (None, "X is None, which is no array"),
    "dict": ({"a": 1}, "X is of type dict, which is no array"),
    "beyond the BLAS integer": (np.broadcast_to(np.float64(0), (1, _blas.BLAS_INT_MAX + 1)), "BLAS integer"),
}
CALLS = ["fit", "partial_fit", "transform", "hidden_states", "reconstruct", "reconstruction_error", "score",
         "loss_and_grad"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", BAD)
def test_bad_sequences(model, name, call):
    X, message = BAD[name]
    before = everything(model)
    with pytest.raises(ValueError) as caught:
        getattr(model, call)(X)
    text = str(caught.value)
    if call != "fit" and name == "beyond the BLAS integer":
        message = "features"
    assert re.search(re.escape(message), text), text
    assert "\n" not in text
    np.testing.assert_equal(everything(model), before)


@pytest.mark.parametrize("call", CALLS[1:])
def test_wrong_number_of_features_names_both(model, call):
    for X in (X3[:, :, :2], [X3[0, :, :2]], X3[0, :, :2]):
        with pytest.raises(ValueError, match="(X|sequence 0) has 2 features, but RAE is expecting 3 features"):
            getattr(model, call)(X)


def unaligned(X):
    memory = np.empty(X.nbytes + 1, np.uint8)
    view = memory[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    assert not view.flags.aligned
    return view


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "byte-swapped": lambda X: X.astype(X.dtype.newbyteorder()),
    "reversed view": lambda X: X[::-1, ::-1, ::-1][::-1, ::-1, ::-1],
    "every second": lambda X: np.repeat(np.repeat(X, 2, axis=1), 2, axis=2)[:, ::2, ::2],
    "transposed": lambda X: np.ascontiguousarray(X.transpose(2, 0, 1)).transpose(1, 2, 0),
    "unaligned": unaligned,
    "array subclass": lambda X: X.view(type("Sub", (np.ndarray,), {})),
    "list of views": list,
    "tuple": tuple,
    "nested lists": lambda X: X.tolist(),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts_give_the_same_bits(layout, dtype):
    X = X3.astype(dtype)
    expected = RAE(n_hidden=6, max_iter=3, random_state=0).fit(X)
    given = LAYOUTS[layout](X)
    if layout == "nested lists":
        expected = RAE(n_hidden=6, max_iter=3, random_state=0).fit(X.astype(np.float64))
    model = RAE(n_hidden=6, max_iter=3, random_state=0).fit(given)
    np.testing.assert_array_equal(model.theta_, expected.theta_)
    np.testing.assert_array_equal(model.transform(given), expected.transform(X))


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "i8", "?", "f2", "g", ">i2"])
def test_other_numbers_become_float64(dtype):
    X = (np.abs(X3) > 0.5).astype(dtype)
    batch = inputs.as_batch(X)
    assert batch.data.dtype == np.float64
    np.testing.assert_array_equal(batch.data, X.reshape(-1, 3).astype(np.float64))


def test_dtypes_of_lists():
    single = [x.astype(np.float32) for x in X3]
    assert inputs.as_batch(single).data.dtype == np.float32
    assert inputs.as_batch([single[0], X3[1]]).data.dtype == np.float64
    assert inputs.as_batch([single[0], X3[1].astype(int)]).data.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_fit_stays(dtype):
    model = RAE(n_hidden=4, max_iter=1, random_state=0).fit(X3.astype(dtype))
    other = X3.astype(np.float64 if dtype is np.float32 else np.float32)
    assert model.theta_.dtype == model.transform(other).dtype == dtype
    assert model.reconstruct(other).dtype == model.hidden_states(list(other))[0].dtype == dtype
    assert model.partial_fit(other).theta_.dtype == dtype


def test_a_value_too_large_for_the_model_dtype_is_named(model):
    single = RAE(n_hidden=4, max_iter=0, random_state=0).fit(X3.astype(np.float32))
    X = X3.copy()
    X[2, 1, 0] = 1e300
    with pytest.raises(ValueError, match="sequence 2 has inf at step 1, feature 0 as float32"):
        single.transform(X)
    model.transform(X)


def test_a_fitting_array_is_not_copied():
    assert np.shares_memory(inputs.as_batch(X3).data, X3)
    assert np.shares_memory(inputs.as_batch(X3[0]).data, X3)


def test_two_dimensions_are_one_sequence(model):
    np.testing.assert_array_equal(model.transform(X3[0]), model.transform(X3[:1]))
    assert model.hidden_states(X3[0]).shape == (1, 5, 6)
    assert model.reconstruct(X3[0]).shape == (1, 5, 3)


def test_results_mirror_the_container(model):
    assert model.hidden_states(X3).shape == (4, 5, 6)
    ragged = [X3[0], X3[1, :2], X3[2, :1]]
    for found, F in ((model.hidden_states(ragged), 6), (model.reconstruct(ragged), 3)):
        assert isinstance(found, list) and [f.shape for f in found] == [(5, F), (2, F), (1, F)]
    assert isinstance(model.reconstruct(tuple(X3)), list)
    assert model.transform(ragged).shape == (3, 6)


def test_a_list_may_hold_anything_that_converts(model):
    class Frame:
        def __array__(self, dtype=None, copy=None):
            return X3[0]

    np.testing.assert_array_equal(model.transform([Frame(), X3[1].tolist()]), model.transform(X3[:2]))
    np.testing.assert_array_equal(model.transform(Frame()), model.transform(X3[:1]))


PARAMETERS = {
    "n_hidden": [0, -1, 2.0, "8", True, 2**40, 2**70],
    "objective": ["fold", None, 1, ["stepwise"]],
    "decoder": ["relu"],
    "output": ["sigmoid", None],
    "tied": [1, None],
    "init": ["zeros"],
    "relative_rates": [None, 1],
    "early_stopping": ["yes", 1],
    "validation_fraction": [0, 1, -0.5, None],
    "callbacks": [3, "print", [print, 3]],
    "report_every": [0, 1.5, -1],
    "checkpoint": [3, "", b"file", ".", "/no/such/folder/file"],
    "checkpoint_seconds": [-1, None, np.inf],
    "solver": ["lion", ""],
    "schedule": ["linear", None],
    "momentum_schedule": ["none"],
    "momentum": [1, -0.1, None],
    "rho": [1.0],
    "beta_1": [1],
    "beta_2": [2],
    "epsilon": [0, -1],
    "clip_norm": [0, -1, np.nan, "1"],
    "weight_decay": [-1, None],
    "hidden_weight": [-1, np.nan, np.inf, "1", None, True, 1j],
    "reconstruct_h0": [0, None, "no"],
    "init_scale": [-0.1, np.nan, "a", 1e308 * 10],
    "learning_rate": [0, -1e-3, np.inf, np.nan, None, "fast", 10**400],
    "batch_size": [0, 1.5, None, -3],
    "max_iter": [-1, 1.0, None, "many"],
    "tol": [-1, np.nan, None],
    "n_iter_no_change": [0, None],
    "shuffle": [None, 1, "yes"],
    "n_jobs": [0, True, "all", 1.5],
    "max_memory": [-1, None, 1e9, "1 GB"],
    "random_state": [-1, 1.5, "seed", [-1]],
    "verbose": [-1, 0.5, None],
}


@pytest.mark.parametrize("name, value", [(n, v) for n, values in PARAMETERS.items() for v in values],
                         ids=lambda value: repr(value)[:20])
def test_bad_hyperparameters(model, name, value):
    theta = model.theta_.copy()
    model.set_params(**{name: value})
    assert model.get_params()[name] is value
    with pytest.raises(ValueError, match=name) as caught:
        model.fit(X3)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(model.theta_, theta)


@pytest.mark.parametrize("name", ["objective", "decoder", "output", "init", "solver"])
def test_an_unknown_choice_lists_the_valid_ones(name):
    valid = RAE().get_params()[name]
    with pytest.raises(ValueError, match=f"must be one of .*'{valid}'.*; got 'x'"):
        RAE(**{name: "x"}).fit(X3)


def test_init_scale_that_overflows_is_refused():
    with pytest.raises(ValueError, match="init_scale"):
        RAE(init="normal", init_scale=1e300).fit(X3.astype(np.float32))


def test_numpy_scalars_are_fine_hyperparameters():
    RAE(n_hidden=np.int32(3), learning_rate=np.float32(1e-3), batch_size=np.int64(2), max_iter=np.uint8(1),
        shuffle=np.bool_(False), tol=0, random_state=np.int64(3), verbose=False).fit(X3)


@pytest.mark.parametrize("weights, message", [
    ([1, 2, 3], "shape"), ([[1, 2, 3, 4]], "shape"), (1.0, "shape"), ([1, 2, np.nan, 4], r"sample_weight\[2\]"),
    ([1, -2, 3, 4], r"sample_weight\[1\]"), (["a"] * 4, "strings"), ([1j] * 4, "Complex"),
    ([0, 0, 0, 0], "zero for every"),
])
@pytest.mark.parametrize("call", ["fit", "partial_fit", "loss_and_grad"])
def test_bad_weights(model, call, weights, message):
    theta = model.theta_.copy()
    with pytest.raises(ValueError, match=message):
        getattr(model, call)(X3, sample_weight=weights)
    np.testing.assert_array_equal(model.theta_, theta)


@pytest.mark.parametrize("call, args", [
    ("unroll", (np.zeros((2, 5)), 3)), ("unroll", (np.zeros(6), 3)), ("unroll", (np.zeros((2, 6)), 0)),
    ("unroll", (np.zeros((2, 6)), 1.5)), ("unroll", (np.zeros((2, 6)), [1, 2])),
    ("unroll", (np.zeros((0, 6)), 2)),
    ("unroll", (np.full((2, 6), np.nan), 2)), ("unroll", (np.zeros((2, 6)), 2**70)),
    ("inverse_transform", (np.zeros((2, 6)), [1, 0])), ("inverse_transform", (np.zeros((2, 6)), [1])),
    ("inverse_transform", (np.zeros((2, 6)), "ab")), ("inverse_transform", (np.zeros((2, 6)), [2**62, 2**62])),
    ("inverse_transform", (np.zeros((2, 6), complex), 2)), ("inverse_transform", (np.zeros((2, 6)), True)),
    ("initial_state", (0,)), ("initial_state", (1.5,)), ("initial_state", (True,)),
    ("step", (np.zeros(5), np.zeros(3))), ("step", (np.zeros(6), np.zeros(4))),
    ("step", (np.zeros(6), np.zeros((1, 3)))), ("step", (np.zeros((2, 6)), np.zeros((3, 3)))),
    ("step", (np.zeros(6), [0, np.nan, 0])), ("step", (np.zeros((2, 2, 6)), np.zeros((2, 2, 3)))),
    ("step", (np.zeros(6), np.zeros(3), np.zeros(5))), ("step", (np.zeros(6), np.zeros(3), [0] * 6)),
    ("step", (np.zeros(6), np.zeros(3), np.zeros(6, np.float32))),
    ("step", (np.zeros(6), np.zeros(3), np.broadcast_to(0.0, 6))),
])
def test_bad_arguments_of_the_other_methods(model, call, args):
    with pytest.raises(ValueError) as caught:
        getattr(model, call)(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("theta", [
    np.zeros(3), np.zeros((1, 1)), None, [0.0], np.zeros(129, np.float16), np.zeros(258)[::2],
    np.zeros(129, ">f8"), np.broadcast_to(0.0, 129), np.zeros(129, complex),
])
def test_a_replaced_theta_is_checked(model, theta):
    assert model.theta_.shape == (129,)
    before = model.theta_
    with pytest.raises(ValueError, match="theta_ must be"):
        model.theta_ = theta
    assert model.theta_ is before
    model._learned.theta = theta  # compiled code does not rely on that
    for call in CALLS[1:]:
        with pytest.raises(ValueError, match="theta_ must be"):
            getattr(model, call)(X3)
    with pytest.raises(ValueError, match="theta_ must be"):
        model.step(np.zeros(6), np.zeros(3))


def test_checks_look_beyond_their_first_part(monkeypatch):
    """33,554,432 numbers at a time, between which Ctrl-C is heard."""
    X = np.zeros((1, 2**25 + 5, 1), np.float32)
    X[0, -2] = np.nan
    for given in (X, [X[0]]):
        with pytest.raises(ValueError, match=f"sequence 0 has NaN at step {2**25 + 3}, feature 0"):
            inputs.as_batch(given)
    X[0] = 1
    model = RAE(1, output="softmax", init="normal", max_iter=0).fit(X[:, :1])
    assert model._read_targets(X, model._learned).n_rows == 2**25 + 5
    X[0, -2] = 2
    with pytest.raises(ValueError, match=f"step {2**25 + 3} of sequence 0 is not a distribution"):
        model.loss_and_grad(X)
    monkeypatch.setattr(inputs, "_CHECK_AT_ONCE", 7)
    codes = np.zeros((9, 3))
    codes[7, 2] = np.inf
    with pytest.raises(ValueError, match="codes has inf in row 7, column 2"):
        inputs.as_matrix(codes, "codes", 3, np.dtype(float))


def test_every_isa_finds_the_same_nan():
    before = _kernels.isa()
    try:
        for isa in _kernels.usable_isas():
            _kernels.use_isa(isa)
            with pytest.raises(ValueError, match="sequence 2 has NaN at step 3, feature 1"):
                inputs.as_batch(nan_at(2, 3))
    finally:
        _kernels.use_isa(before)


def test_a_read_only_theta_reads_but_does_not_learn(model):
    codes = model.transform(X3)
    model.theta_.flags.writeable = False
    np.testing.assert_array_equal(model.transform(X3), codes)
    with pytest.raises(ValueError, match="writeable"):
        model.partial_fit(X3)
