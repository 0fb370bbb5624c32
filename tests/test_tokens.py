"""Token ids and sparse rows: the same model, losses, gradients and updates as those of the rows written out."""

import copy
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from problems import everything, pairwise

from rae_fast import RAE, _cell, _codes, _objectives, inputs, parameters, relative_rates
from rae_fast._batch import Batch, SparseBatch
from rae_fast._form import Form
from rae_fast.inputs import as_batch

RNG = np.random.default_rng(0)
IDS = [RNG.integers(0, 12, n) for n in (3, 1, 5, 2, 5, 4, 7, 6, 3, 2)]
ONE_HOT = [np.eye(12)[x] for x in IDS]
SPARSE = [scipy.sparse.random_array((n, 9), density=0.25, rng=RNG, format="csr") for n in (3, 1, 5, 2, 5, 4, 7)]
DENSE = [x.toarray() for x in SPARSE]


def ids_batch(V, lengths, dtype, rng):
    offsets = np.cumsum([0, *lengths])
    return SparseBatch(rng.integers(0, V, offsets[-1]), offsets, V, dtype, True)


def sparse_batch(V, lengths, dtype, rng):
    """Rows of up to five non-zeros, some of none."""
    offsets = np.cumsum([0, *lengths])
    counts = rng.integers(0, min(V, 5) + 1, offsets[-1])
    columns = [np.sort(rng.choice(V, n, replace=False)) for n in counts]
    values = rng.standard_normal(counts.sum()).astype(dtype)
    return SparseBatch(np.concatenate([[], *columns]).astype(int), offsets, V, dtype, True, values,
                       np.cumsum([0, *counts]))


def written_out(batch):
    return Batch(batch.data, batch.offsets, True)


def loss_and_grad(theta, batch, form, **options):
    objective = _objectives.objective_of(form, batch, **options)
    grad = objective.new_gradient()
    return objective.loss_and_grad(theta, grad), grad.memory


FORMS = {
    "unfold": {"objective": "unfold", "decoder": "tanh"}, "linear": {"objective": "unfold", "decoder": "linear"},
    "tied": {"objective": "unfold", "decoder": "tanh", "tied": True},
    "code": {"objective": "unfold", "decoder": "tanh", "n_code": 3},
    "stepwise": {"objective": "stepwise", "reconstruct_h0": True},
    "stepwise tied": {"objective": "stepwise", "decoder": "tanh", "tied": True, "hidden_weight": 0.3},
}
SIZES = {"small": (8, 24, [3]), "one": (40, 5, [1]), "ragged": (50, 8, [3, 1, 4, 4, 2, 9, 5, 5, 6]),
         "wide": (2000, 24, [4, 6, 3]), "many": (7, 3, RNG.integers(1, 6, 60).tolist()),
         "long": (5, 17, [700]), "units": (60, 64, [12, 9])}


@pytest.mark.parametrize("name, size, output, dtype",
                         pairwise(list(FORMS), list(SIZES),
                                  ["ids softmax", "ids linear", "rows linear", "ids spherical"],
                                  ["float32", "float64"]))
def test_loss_gradient_and_states_are_those_of_the_rows_written_out(name, size, output, dtype, isa, gemm, seed):
    kind, output = output.split()
    dtype = np.dtype(dtype).type
    V, H, lengths = SIZES[size]
    rng = np.random.default_rng([seed, V])
    batch = (ids_batch if kind == "ids" else sparse_batch)(V, lengths, dtype, rng)
    dense = written_out(batch)
    form = Form(V, H, output=output, **FORMS[name])
    theta = form.empty(dtype)
    theta[:] = rng.standard_normal(form.size) / np.sqrt(H)
    tolerance = 1e-9 if dtype is np.float64 else 1e-4
    weights = rng.random(len(lengths)).astype(dtype) + dtype(0.1)
    for options in ({}, {"sample_weight": weights}, {"max_memory": 0}):
        loss, grad = loss_and_grad(theta, batch, form, **options)
        expected, expected_grad = loss_and_grad(theta, dense, form, **options)
        assert abs(loss - expected) <= tolerance * abs(expected)
        assert np.abs(grad - expected_grad).max() <= tolerance * np.abs(expected_grad).max()
        several, several_grad = loss_and_grad(theta, batch, form, n_jobs=3, **options)
        assert several == loss
        np.testing.assert_array_equal(several_grad, grad)
    states, expected = (_codes.encode(theta, x, form) for x in (batch, dense))
    np.testing.assert_allclose(states, expected, atol=tolerance)
    np.testing.assert_array_equal(_codes.encode(theta, batch, form, n_jobs=3), states)


def test_several_buckets():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 7, 20)
    form = Form(6, 5, "unfold", "tanh", "softmax")
    batch = ids_batch(6, lengths, np.float64, rng)
    theta = form.empty(np.float64)
    theta[:] = rng.standard_normal(form.size)
    before = _cell.use_buckets(3)
    try:
        found, expected = loss_and_grad(theta, batch, form), loss_and_grad(theta, written_out(batch), form)
    finally:
        _cell.use_buckets(before)
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-12 * np.abs(expected[1]).max())


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.01}, {"clip_norm": 0.5}], ids=str)
@pytest.mark.parametrize("V, H, form", [(8, 24, {}), (300, 8, {"n_code": 3}), (50, 64, {"objective": "stepwise"})])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [ids_batch, sparse_batch])
def test_a_thousand_updates_are_those_of_the_rows_written_out(make, dtype, V, H, form, options):
    rng = np.random.default_rng(V)
    batch = make(V, rng.integers(1, 6, 10), dtype, rng)
    sparse, dense = as_passed(batch), as_passed(written_out(batch))
    model = RAE(H, n_features=V, dtype=str(np.dtype(dtype)), output="linear", max_iter=0, init="orthogonal",
                solver="sgd", learning_rate=5e-4, relative_rates=False, schedule="constant", random_state=0, **form,
                **options)
    model.fit(sparse)
    model.theta_[:] += 0.02 * rng.standard_normal(len(model.theta_)).astype(dtype)
    start, other = model.theta_.copy(), copy.deepcopy(model)
    for _ in range(100):
        for x, y in zip(sparse, dense):
            model.partial_fit([x])
            other.partial_fit([y])
    assert model.n_updates_ == 1000 and np.abs(model.theta_ - start).max() > 1e-3
    limit = 1e-9 if dtype is np.float64 else 1e-4
    assert np.abs(model.theta_ - other.theta_).max() <= limit * np.abs(other.theta_).max()


def as_passed(batch):
    """The sequences as a user would pass them."""
    if not isinstance(batch, SparseBatch):
        return np.split(batch.data, batch.offsets[1:-1])
    if batch.is_ids:
        return np.split(batch.columns, batch.offsets[1:-1])
    return [batch.matrix()[a:b] for a, b in zip(batch.offsets[:-1], batch.offsets[1:])]


@pytest.mark.parametrize("solver", ["adam", "rmsprop", "sgd", "rprop", "lbfgs"])
@pytest.mark.parametrize("options", [{}, {"n_code": 2}, {"objective": "stepwise"}, {"output": "linear"},
                                     {"init": "orthogonal"}, {"tied": True}], ids=str)
def test_a_fit_is_that_of_the_rows_written_out(solver, options):
    params = {"n_hidden": 6, "solver": solver, "max_iter": 12, "random_state": 0} | options
    found = RAE(**params).fit(IDS)
    expected = RAE(**{"output": "softmax"} | params).fit(ONE_HOT)
    assert found._learned.form == expected._learned.form and found.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(found.reconstruction_error(IDS), expected.reconstruction_error(ONE_HOT), rtol=1e-5)
    np.testing.assert_array_equal(found.reconstruction_error(IDS), found.reconstruction_error(ONE_HOT))
    np.testing.assert_allclose(found.transform(IDS), found.transform(ONE_HOT), rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"n_jobs": 2}, {"dtype": "float32"}], ids=str)
def test_sparse_rows_train_as_dense_ones(options):
    params = {"n_hidden": 5, "max_iter": 8, "random_state": 0} | options
    found, expected = RAE(**params).fit(SPARSE), RAE(**params).fit(DENSE)
    np.testing.assert_allclose(found.theta_, expected.theta_, rtol=1e-4, atol=1e-9 if "dtype" not in options else 1e-4)
    assert found.theta_.dtype == options.get("dtype", "float64")
    for x, y in zip(found.reconstruct(SPARSE), expected.reconstruct(DENSE)):
        assert x.shape == y.shape and x.dtype == found.theta_.dtype


# ---- what a user passes, and gets ------------------------------------------------------------------


def test_containers():
    model = RAE(4, max_iter=2, random_state=0).fit(IDS)
    assert model.n_features_in_ == 12 and model.n_steps_ is None and model._learned.form.output == "softmax"
    back = model.reconstruct(IDS)
    assert [x.shape for x in back] == [x.shape for x in IDS] and all(x.dtype == np.intp for x in back)
    assert not any(np.shares_memory(x, y) for x in back for y in back if x is not y)
    for same in ([x.tolist() for x in IDS], tuple(IDS), [x.astype(np.uint8) for x in IDS]):
        np.testing.assert_array_equal(model.transform(same), model.transform(IDS))
    one = model.reconstruct(IDS[2])
    np.testing.assert_array_equal(one, back[2][None])
    table = np.array([x[:2] for x in IDS if len(x) > 1])
    assert model.reconstruct(table).shape == table.shape
    np.testing.assert_array_equal(model.transform(table), model.transform(list(table)))
    dense = model.reconstruct(IDS, symbols=False)
    assert dense[0].shape == (3, 12) and np.allclose(dense[0].sum(axis=1), 1)
    assert model.reconstruct(IDS, logits=True)[0].shape == (3, 12)
    codes = model.transform(IDS)
    assert model.inverse_transform(codes, 4).shape == (10, 4)
    for x, y in zip(model.inverse_transform(codes, [len(x) for x in IDS]), back):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(dense, back):
        np.testing.assert_array_equal(x.argmax(axis=1), y)
    assert [h.shape for h in model.hidden_states(IDS)] == [(len(x), 4) for x in IDS]


def test_a_table_of_integers_is_ids_where_n_features_says_so():
    table = RNG.integers(0, 5, (6, 4))
    assert RAE(3, max_iter=0).fit(table).n_features_in_ == 4        # one dense sequence
    model = RAE(3, n_features=5, max_iter=0).fit(table)
    assert model.n_features_in_ == 5 and model.n_steps_ == 4 and model.reconstruct(table).shape == (6, 4)
    assert RAE(3, n_features=9, max_iter=0).fit(IDS[0] % 9).n_features_in_ == 9
    with pytest.raises(ValueError, match="X has 3 features, but RAE is expecting 5 features"):
        RAE(3, n_features=5).fit(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="n_features was changed from 5 to 6"):
        model.set_params(n_features=6).partial_fit(table)


def test_output_and_dtype_choose_themselves():
    assert RAE(3, max_iter=0).fit(IDS)._learned.form.output == "softmax"
    assert RAE(3, max_iter=0).fit(SPARSE)._learned.form.output == "linear"
    assert RAE(3, max_iter=0).fit(ONE_HOT)._learned.form.output == "linear"
    assert RAE(3, max_iter=0, output="linear").fit(IDS)._learned.form.output == "linear"
    for X, dtype, expected in ((IDS, "auto", "float64"), (IDS, "float32", "float32"), (ONE_HOT, "float32", "float32"),
                               ([x.astype(np.float32) for x in SPARSE], "auto", "float32")):
        model = RAE(3, max_iter=1, dtype=dtype).fit(X)
        assert model.theta_.dtype == model.transform(X).dtype == expected
    with pytest.raises(ValueError, match="dtype was changed from 'float32' to 'float64'"):
        model.set_params(dtype="float64").partial_fit(SPARSE)


def test_scipy_formats_and_duplicates():
    model = RAE(3, max_iter=2, random_state=0).fit(SPARSE)
    for kind in ("csr", "csc", "coo", "lil", "dok", "bsr"):
        X = [x.asformat(kind) for x in SPARSE]
        np.testing.assert_array_equal(model.transform(X), model.transform(SPARSE))
        np.testing.assert_array_equal(model.transform(X[4]), model.transform(SPARSE[4:5]))
    matrices = [scipy.sparse.csr_matrix(x) for x in SPARSE]
    np.testing.assert_array_equal(model.transform(matrices), model.transform(SPARSE))
    twice = scipy.sparse.coo_array(([1.0, 2.0, 4.0], ([0, 0, 1], [3, 3, 0])), shape=(2, 9))
    np.testing.assert_allclose(model.transform(twice), model.transform(twice.toarray()), rtol=1e-12)
    doubled = scipy.sparse.csr_array((twice.data.copy(), np.array([3, 3, 0]), np.array([0, 2, 3])), shape=(2, 9))
    before = doubled.data.copy(), doubled.indices.copy()
    np.testing.assert_allclose(model.transform(doubled), model.transform(twice), rtol=1e-12)
    np.testing.assert_array_equal(doubled.data, before[0])   # a user's matrix stays as it is
    np.testing.assert_array_equal(doubled.indices, before[1])
    np.testing.assert_array_equal(model.transform(scipy.sparse.csr_array((3, 9))), model.transform(np.zeros((3, 9))))


def test_top_k():
    model = RAE(6, max_iter=30, random_state=0).fit(IDS)
    codes, lengths = model.transform(IDS), [len(x) for x in IDS]
    dense = model.reconstruct(IDS, symbols=False)
    for k in (1, 2, 12):
        symbols, probabilities = model.top_k(codes, lengths, k)
        for s, p, d in zip(symbols, probabilities, dense):
            assert s.shape == p.shape == (len(d), k)
            np.testing.assert_array_equal(np.take_along_axis(d, s, axis=1), p)
            np.testing.assert_allclose(p, -np.sort(-d, axis=1)[:, :k])
    symbols, probabilities = model.top_k(codes, 3, k=2)
    assert symbols.shape == probabilities.shape == (10, 3, 2)
    for k, message in ((0, "k must be at least 1"), (13, "k=13 is more than the 12"), (1.5, "k must be one integer")):
        with pytest.raises(ValueError, match=message):
            model.top_k(codes, lengths, k)
    with pytest.raises(ValueError, match="pass lengths"):
        model.top_k(codes)
    with pytest.raises(ValueError, match="top_k is for categorical outputs"):
        RAE(3, max_iter=0).fit(SPARSE).top_k(np.zeros((1, 3)), 2)
    with pytest.raises(ValueError, match="exclude each other"):
        model.reconstruct(IDS, logits=True, symbols=True)
    only = RAE(2, max_iter=0).fit(np.zeros(3, int))
    assert only.top_k(only.transform(np.zeros(3, int)), 3, 1)[1].tolist() == [[[1.0]] * 3]


def test_many_sequences_are_given_back_in_pieces(monkeypatch):
    from rae_fast import coding
    model = RAE(6, max_iter=3, random_state=0).fit(IDS)
    whole = model.reconstruct(IDS), model.reconstruction_error(IDS), model.top_k(model.transform(IDS), [3] * 10, 2)[1]
    monkeypatch.setattr(coding, "_UNROLLED", 50)
    for x, y in zip(model.reconstruct(IDS), whole[0]):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_allclose(model.reconstruction_error(IDS), whole[1], rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(model.top_k(model.transform(IDS), [3] * 10, 2)[1]),
                               np.concatenate(whole[2]), rtol=1e-12)


def test_files_pickles_and_checkpoints(tmp_path):
    model = RAE(4, max_iter=6, random_state=0, checkpoint=tmp_path / "fit", batch_size=3)
    whole = RAE(4, max_iter=6, random_state=0, batch_size=3).fit(IDS)
    model.set_params(report_every=1, callbacks=lambda m: m.n_iter_ == 2).fit(IDS)
    resumed = RAE(4, max_iter=6, random_state=0, checkpoint=tmp_path / "fit", batch_size=3).fit(IDS, resume=True)
    np.testing.assert_equal(everything(resumed), everything(whole))
    with pytest.raises(ValueError, match="other data"):
        RAE(4, max_iter=6, random_state=0, checkpoint=tmp_path / "fit", batch_size=3).fit(
            [x[::-1] for x in IDS], resume=True)
    whole.save(tmp_path / "model")
    for again in (RAE.load(tmp_path / "model"), pickle.loads(pickle.dumps(whole)), copy.deepcopy(whole)):
        for x, y in zip(again.reconstruct(IDS), whole.reconstruct(IDS)):
            np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(again.partial_fit(IDS).theta_, copy.deepcopy(whole).partial_fit(IDS).theta_)


@pytest.mark.parametrize("X, message", [
    ([np.array([3, 1]), np.array([0, -2])], "sequence 1 has the id -2 at step 1, but ids count from 0"),
    ([np.array([3, 1]), np.array([12])], r"sequence 1 has the id 12 at step 0, but RAE knows 12, from 0 to 11"),
    (np.array([2**63 + 5], np.uint64), "sequence 0 has the id 9223372036854775813 at step 0, but RAE knows 12"),
    ([[0, 10**30]], "sequence 0 has the id 1000000000000000000000000000000 at step 1"),
    ([np.array([1, 2]), np.array([], int)], "sequence 1 has length zero"),
    ([[0, 1], []], "sequence 1 has length zero"), ([np.array([0, 1]), np.array([])], "sequence 1 has length zero"),
    ([[2**63], [1]], "sequence 0 has the id 9223372036854775808 at step 0, which is too large"),
    (np.ma.masked_equal([1, 2, 0], 0), "masked values"), ([np.ma.masked_equal([1, 2, 0], 0)], "masked values"),
    (np.ma.masked_equal([[1, 2, 0], [2, 0, 0]], 0), "masked values"),
    (np.array([], int), "X is empty"),
    ([[1, 2], [1.0, 2.0]], "sequence 0 is a sequence of token ids, but sequence 1 is not"),
    ([np.eye(12), [1, 2]], "sequence 1 is a sequence of token ids, but sequence 0 is not"),
    ([np.eye(12), scipy.sparse.eye_array(12)], "sequence 1 is a sparse matrix, but sequence 0 is not"),
    (np.array([1.0, 2.0]), r"np.asarray\(X\).astype\(int\)"),
    ([np.array([1.0, 2.0])], r"\[np.asarray\(x\)\[:, None\] for x in X\], of token ids .*astype\(int\)"),
    ([1, 2, 3], r"of one sequence of token ids pass np.asarray\(X\)"),
    ([np.array([True, False])], "dimension"),
    (scipy.sparse.csr_array(np.full((2, 12), np.nan)), "sequence 0 has NaN at step 0, feature 0"),
    ([scipy.sparse.eye_array(12, format="csr"), scipy.sparse.csr_array(np.diag([1.0] * 11 + [np.inf]))],
     "sequence 1 has inf.* at step 11, feature 11"),
    (scipy.sparse.eye_array(5), "X has 5 features, but RAE is expecting 12 features"),
    (scipy.sparse.csr_array((0, 12)), "at least one step"),
    (scipy.sparse.csr_array(np.eye(12) * 1j), "real numbers are needed"),
    ([np.array([[1, 2], [3]], dtype=object)], "objects"),
], ids=str)
def test_bad_input_is_named_and_changes_nothing(X, message):
    model = RAE(3, max_iter=1, random_state=0).fit(IDS)
    before = everything(model)
    for call in (model.transform, model.partial_fit, model.reconstruction_error):
        with pytest.raises(ValueError, match=message):
            call(X)
    np.testing.assert_equal(everything(model), before)


def test_bad_input_of_a_first_fit():
    with pytest.raises(ValueError, match=r"1000000000 features and n_hidden=64 make .* takes .* GB"):
        RAE(64, n_features=10**9).fit(IDS)
    with pytest.raises(ValueError, match="X holds token ids, but RAE was fitted on rows of numbers"):
        RAE(3, max_iter=0).fit(ONE_HOT).transform(IDS)
    with pytest.raises(ValueError, match="patch_length=2 is for dense rows"):
        RAE(3, patch_length=2, n_code=2).fit(IDS)
    with pytest.raises(ValueError, match="not a distribution"):
        RAE(3, output="softmax").fit(SPARSE)
    with pytest.raises(ValueError, match="without padding"):
        RAE(3, output="softmax").fit(np.array([[1, 2, 3], [4, 5, 0]]))
    for huge in (np.array([2**63 - 1]), np.array([2**64 - 1], np.uint64), [[2**31]], np.array([2**31])):
        with pytest.raises(ValueError, match="which is too large for an id"):
            RAE(3).fit(huge)
    with pytest.raises(ValueError, match="must be non-negative and sum to 1$"):
        RAE(3, output="softmax").fit([scipy.sparse.csr_array(2 * np.eye(3))])
    assert RAE(3, max_iter=1, output="softmax").fit([scipy.sparse.csr_array(x) for x in ONE_HOT]).n_features_in_ == 12


@pytest.mark.parametrize("arguments, message", [
    (([0, 5], [0, 2], 5, "f8"), "column 5 is not within 5"), (([0, -1], [0, 2], 5, "f8"), "column -1"),
    (([0, 1], [0, 3], 5, "f8"), "does not fit its offsets"), (([0, 1], [0, 0, 2], 5, "f8"), "sequence 0 has no steps"),
    (([0.5, 1], [0, 2], 5, "f8"), "must be a vector of integers"), (([0, 1], [0, 2], 0, "f8"), "at least one feature"),
    (([0, 1], [0, 2], 5, "i8"), "of float32 or float64"), (([1, 0], [0, 1], 5, "f8", True, np.ones(2), [0, 2]), "rise"),
    (([1, 1], [0, 1], 5, "f8", True, np.ones(2), [0, 2]), "rise"),
    (([0, 1], [0, 1], 5, "f8", True, np.ones(3), [0, 2]), "one value for each"),
    (([0, 1], [0, 1], 5, "f8", True, np.ones(2), [0, 3]), "do not fit the starts"),
    (([0, 1], [0, 2], 5, "f8", True, np.ones(2), [0, 2, 1]), "do not fit the starts"),
    (([0, 1], [0, 1], 5, "f8", True, np.array([1, np.nan]), [0, 2]), "must be finite"),
    (([0, 1], [0, 1], 5, "f4", True, np.ones(2), [0, 2]), "vector of float32"),
], ids=str)
def test_a_batch_that_would_read_elsewhere_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SparseBatch(*arguments)


def test_a_batch_selects_pickles_and_is_written_out():
    rng = np.random.default_rng(0)
    for make in (ids_batch, sparse_batch):
        batch = make(11, [2, 4, 1, 3], np.float32, rng)
        chosen = np.array([3, 0, 3])
        np.testing.assert_array_equal(batch.select(chosen).data, written_out(batch).select(chosen).data)
        again = pickle.loads(pickle.dumps(batch))
        np.testing.assert_array_equal(again.data, batch.data)
        np.testing.assert_array_equal(batch.matrix().toarray(), batch.data)
        rows = np.array([[3, 0], [9, 9]])
        np.testing.assert_array_equal(batch.dense_rows(rows), batch.data[rows])
        assert as_batch([batch.matrix()]).data.shape == batch.data.shape


def test_memory_of_a_call_is_not_lent_to_the_other_kind():
    model = RAE(3, max_iter=1, random_state=0).fit(IDS)
    for _ in range(3):  # the memory of a small call waits for the next
        first, second = model.loss_and_grad(IDS), model.loss_and_grad(ONE_HOT)
        assert first[0] == pytest.approx(second[0], rel=1e-12)
        for name in first[1]:
            np.testing.assert_allclose(first[1][name], second[1][name], atol=1e-12)


def test_ctrl_c_is_heard():
    X = [np.random.default_rng(0).integers(0, 500, 200) for _ in range(200)]
    model = RAE(32, init="orthogonal", max_iter=10**6, random_state=0, report_every=1,
                callbacks=lambda m: signal.setitimer(signal.ITIMER_REAL, 0.05))
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert model.n_updates_ > 0 and np.isfinite(model.theta_).all()


def test_streams_of_ids():
    model = RAE(4, max_iter=2, random_state=0).fit(IDS)
    rows = np.eye(12)
    state, other = model.initial_state(), model.initial_state()
    for i in IDS[2]:
        state, other = model.step(state, i), model.step(other, rows[i])
        np.testing.assert_allclose(state, other, rtol=1e-12)
    np.testing.assert_allclose(state, model.hidden_states(IDS)[2][-1], rtol=1e-12)
    for n in (1, 3, 40):
        states = model.initial_state(n)
        ids = RNG.integers(0, 12, n)
        np.testing.assert_allclose(model.step(states, ids), model.step(states, rows[ids]), rtol=1e-12)
        np.testing.assert_array_equal(model.step(states.tolist(), ids.tolist()), model.step(states, ids))
    out = model.initial_state(3)
    assert model.step(out, [1, 2, 3], out) is out
    for x, message in (([1, 2], "state holds 3 streams, but x holds 2 ids"), ([1, 2, 12], "id 12 of stream 2"),
                       ([-1, 2, 1], "id -1 of stream 0")):
        with pytest.raises(ValueError, match=message):
            model.step(model.initial_state(3), x)
    np.testing.assert_array_equal(model.step(model.initial_state(), rows[2].astype(int)),
                                  model.step(model.initial_state(), rows[2]))
    for x in (None, "a", [None]):
        with pytest.raises(ValueError):
            model.step(model.initial_state(), x)
    with pytest.raises(ValueError):
        RAE(4, max_iter=0).fit(ONE_HOT).step(np.zeros(4), 3)


def test_integers_are_numbers_to_a_model_of_numbers():
    """Only a model that was fitted on ids takes an array of integers for these."""
    one = RAE(4, max_iter=1, random_state=0).fit(RNG.standard_normal((5, 6, 1)))
    three = RAE(4, max_iter=1, random_state=0).fit(RNG.standard_normal((5, 6, 3)))
    for x in ([0], [3]):
        np.testing.assert_array_equal(one.step(np.zeros(4), np.array(x)), one.step(np.zeros(4), np.array(x, float)))
    np.testing.assert_array_equal(three.step(np.zeros(4), np.array([0, 1, 0])),
                                  three.step(np.zeros(4), np.array([0.0, 1, 0])))
    with pytest.raises(ValueError, match="both be vectors or both matrices"):
        one.step(np.zeros((2, 4)), np.array([0, 1]))
    patches = RAE(4, n_code=2, patch_length=2, max_iter=0).fit(RNG.standard_normal((5, 6, 1)))
    np.testing.assert_array_equal(patches.step(np.zeros(4), np.array([[0], [1]])),
                                  patches.step(np.zeros(4), np.array([[0.0], [1.0]])))


def test_columns_of_frames_are_ids():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    model = RAE(3, max_iter=1, random_state=0).fit(IDS)
    series = [pd.Series(x) for x in IDS]
    np.testing.assert_array_equal(model.transform(series), model.transform(IDS))
    np.testing.assert_array_equal(model.transform([series[0], IDS[1]]), model.transform(IDS[:2]))
    np.testing.assert_array_equal(model.transform(series[2]), model.transform(IDS[2]))


def test_a_code_has_the_same_signs_of_ids_and_of_rows_written_out():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = [rng.integers(0, 9, n) for n in rng.integers(2, 7, 60)]
        options = {"n_code": 4, "output": "linear", "max_iter": 0, "random_state": 0}
        codes = RAE(10, n_features=9, **options).fit(X).transform(X)
        rows = [np.eye(9)[x] for x in X]
        np.testing.assert_allclose(codes, RAE(10, **options).fit(rows).transform(rows), atol=1e-6)


def test_a_long_sequence_is_not_written_out_to_be_judged():
    X = np.random.default_rng(0).integers(0, 20_000, 30_000)
    judged, weights = inputs.sample(as_batch(X, np.float32), None)
    assert judged.n_rows == (1 << 23) // 20_000 and weights.tolist() == [1.0]
    np.testing.assert_array_equal(judged.data.argmax(axis=1), X[-judged.n_rows:])
    some = inputs.latest(as_batch(IDS), 3)
    assert some.lengths().tolist() == [min(3, len(x)) for x in IDS]
    np.testing.assert_array_equal(some.columns, np.concatenate([x[-3:] for x in IDS]))


def test_score_tells_what_is_recalled():
    model = RAE(4, max_iter=30, random_state=0).fit(IDS)
    right = [x == y for x, y in zip(model.reconstruct(IDS), IDS)]
    assert 0.3 < np.concatenate(right).mean() < 1
    weights = np.arange(10.0)
    for X in (IDS, ONE_HOT, [scipy.sparse.csr_array(x) for x in ONE_HOT]):
        assert model.score(X, metric="symbols") == pytest.approx(np.concatenate(right).mean())
        assert model.score(X, metric="sequences") == pytest.approx(np.mean([x.all() for x in right]))
        assert model.score(X, sample_weight=weights, metric="sequences") == pytest.approx(
            np.average([x.all() for x in right], weights=weights))
        assert model.score(X, sample_weight=weights, metric="symbols") == pytest.approx(
            sum(w * x.sum() for w, x in zip(weights, right)) / sum(w * len(x) for w, x in zip(weights, right)))
        assert model.score(X) == -model.reconstruction_error(X).mean()
    with pytest.raises(ValueError, match="metric must be"):
        model.score(IDS, metric="recall")
    with pytest.raises(ValueError, match="is for categorical outputs"):
        RAE(3, max_iter=0).fit(SPARSE).score(SPARSE, metric="symbols")
    linear = RAE(8, output="linear", max_iter=0, random_state=0).fit(IDS)
    found = np.concatenate(linear.reconstruct(IDS)) == np.concatenate(IDS)
    assert linear.score(IDS, metric="symbols") == pytest.approx(found.mean()) and found.mean() > 0.2


def test_a_start_at_a_large_vocabulary(monkeypatch):
    """Of many features those that occur most, of many sequences some: the rest of W_xh and V_hx starts at 0."""
    from rae_fast import closed_form
    rng = np.random.default_rng(0)
    V = 20_000
    X = [np.minimum(rng.zipf(1.3, n), V) - 1 for n in rng.integers(2, 9, 400)]
    model = RAE(8, n_features=V, max_iter=0, random_state=0).fit(X)
    kept = model.parameters_["W_xh"].any(axis=1)
    assert kept.sum() == closed_form._FEWEST_FEATURES and kept[:20].all()
    assert (model.parameters_["V_hx"].any(axis=0) == kept).all() and np.isfinite(model.theta_).all()
    share = np.maximum(np.bincount(np.concatenate(X), minlength=V) / sum(map(len, X)), 1e-6)
    assert model.reconstruction_error(X).sum() < -np.log(share[np.concatenate(X)]).sum()
    # The same as of rows written out, where all is looked at; nearly as good where some is.
    V = 600
    X = [x % V for x in X]
    whole = RAE(8, n_features=V, max_iter=0, random_state=0, output="linear").fit(X)
    rows = [np.eye(V)[x] for x in X]
    assert whole.score(X) == pytest.approx(RAE(8, max_iter=0, random_state=0).fit(rows).score(rows), rel=1e-6)
    monkeypatch.setattr(closed_form, "_MOST_LOOKED_UP", 4000)
    monkeypatch.setattr(closed_form, "_FEWEST_FEATURES", 300)
    monkeypatch.setattr(closed_form, "_MOST_COLUMNS", 2000)
    some = RAE(8, n_features=V, max_iter=0, random_state=0, output="linear").fit(X)
    assert 0.99 * whole.score(X) > some.score(X) > 1.2 * whole.score(X)


def test_the_scale_of_a_start_is_that_of_what_was_looked_at(monkeypatch):
    from rae_fast import closed_form
    rng = np.random.default_rng(0)
    X = [np.cumsum(rng.integers(0, 3, 20)) % 60 for _ in range(400)]
    states = []
    for most in (1 << 30, 1 << 12):
        monkeypatch.setattr(closed_form, "_GRAM_COLUMNS", 1000)
        monkeypatch.setattr(closed_form, "_MOST_LOOKED_UP", most)
        model = RAE(16, n_features=60, max_iter=0, random_state=0).fit(X)
        states.append(np.sqrt(np.mean(model.transform(X) ** 2)))
    assert 0.7 < states[1] / states[0] < 1.4


@pytest.mark.parametrize("output", ["softmax", "linear", "spherical"])
def test_one_long_sequence_is_looked_at_in_pieces(output, monkeypatch):
    from rae_fast import coding
    X = [RNG.integers(0, 50, n) for n in (4, 300, 2)]
    model = RAE(6, n_features=50, output=output, init="normal", init_scale=0.5, max_iter=0, random_state=0).fit(X)
    found = []
    for most in (1 << 22, 500):
        monkeypatch.setattr(coding, "_UNROLLED", most)
        found.append((model.reconstruction_error(X), np.concatenate(model.reconstruct(X, symbols=True))))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-11)
    np.testing.assert_array_equal(found[1][1], found[0][1])


def test_units_of_many_features_are_those_of_the_rows_written_out(monkeypatch):
    """Without the rows: deviation, offsets, codes and lengths of the same sample."""
    rng = np.random.default_rng(5)
    for batch, output in ((sparse_batch(60, rng.integers(1, 7, 30), np.float64, rng), "linear"),
                          (ids_batch(60, rng.integers(1, 7, 30), np.float64, rng), "spherical")):
        form = Form(60, 7, "unfold", "tanh", output)
        theta = parameters.initialise(form, 0.3, rng, np.dtype(np.float64))
        weights = rng.random(30)
        found = []
        for many, numbers in ((1 << 13, 1 << 22), (10, 100)):
            monkeypatch.setattr(relative_rates, "_MANY_FEATURES", many)
            monkeypatch.setattr(relative_rates, "_MANY_NUMBERS", numbers)
            scale, unit = relative_rates.units(theta, form, batch, weights)
            found.append(np.r_[scale.memory, unit])
        np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


def test_a_model_too_large_for_a_second_one_has_no_guard(monkeypatch):
    from rae_fast import sequence_model
    X = [RNG.integers(0, 30, 5) for _ in range(20)]
    guarded = RAE(6, n_features=30, max_iter=3, learning_rate=50.0, random_state=0).fit(X)
    monkeypatch.setattr(sequence_model, "_MOST_GUARDED", 0)
    free = RAE(6, n_features=30, max_iter=3, learning_rate=50.0, random_state=0).fit(X)
    closed = RAE(6, n_features=30, max_iter=0, random_state=0).fit(X)
    np.testing.assert_array_equal(guarded.theta_, closed.theta_)  # what such a rate makes is worse
    assert free.score(X) < closed.score(X)
    monkeypatch.undo()
    monkeypatch.setattr(sequence_model, "_MOST_JUDGED", 10)
    again = RAE(6, n_features=30, max_iter=3, learning_rate=50.0, random_state=0).fit(X)
    np.testing.assert_array_equal(again.theta_, free.theta_)


@pytest.mark.slow
@pytest.mark.parametrize("relative_rates", [True, False])
def test_a_million_ids_take_less_than_1500_megabytes(relative_rates):
    code = f"""
import resource, numpy as np
from rae_fast import RAE
rng = np.random.default_rng(0)
X = list(np.minimum((10**6 ** rng.random((2000, 64))).astype(int), 10**6 - 1))
model = RAE(128, n_features=10**6, dtype="float32", output="linear", solver="sgd", relative_rates={relative_rates},
            learning_rate={0.3 if relative_rates else 1e-3}, batch_size=16, max_iter=3, random_state=0).fit(X)
assert model.output_update_ == "factored" and np.isfinite(model.reconstruction_error(X[:500])).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if __import__("sys").platform == "darwin" else 1024))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.5e9
