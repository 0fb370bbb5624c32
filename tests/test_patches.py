"""Several rows as one step: an exactly invertible grouping, which nothing outside of the model sees."""

import pickle

import numpy as np
import pytest
from problems import everything, gradient

from rae_fast import RAE, persistence
from rae_fast._batch import Batch
from rae_fast._form import Form
from rae_fast.inputs import as_batch
from rae_fast.patches import Patches

RNG = np.random.default_rng(0)
EQUAL = RNG.standard_normal((7, 11, 2)).cumsum(axis=1)
RAGGED = [RNG.standard_normal((T, 2)).cumsum(axis=0) for T in (1, 2, 3, 4, 5, 9, 10, 6)]


def by_hand(x, k, fill):
    """One sequence's patches (number, k I), and which of their numbers are no data."""
    absent = -len(x) % k
    data = np.vstack([np.tile(fill, (absent, 1)), x])
    missing = np.zeros(data.shape, bool)
    missing[:absent] = True
    return data.reshape(-1, k * x.shape[1]), missing.reshape(-1, k * x.shape[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("X", [EQUAL, RAGGED, EQUAL[:, :8], EQUAL[0]], ids=["equal", "ragged", "whole", "one"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 20])
def test_grouping_is_undone_exactly(X, k, dtype):
    X = [x.astype(dtype) for x in X] if isinstance(X, list) else X.astype(dtype)
    batch = as_batch(X)
    patches = Patches.of(batch, None, k)
    np.testing.assert_allclose(patches.fill, batch.data.mean(axis=0, dtype=float), rtol=1e-6)
    read = patches.read(batch)
    assert read.is_list == batch.is_list and read.dtype == dtype and patches.fill.dtype == dtype
    np.testing.assert_array_equal(read.offsets, patches.offsets(batch.offsets))
    for n, (first, end) in enumerate(zip(read.offsets[:-1], read.offsets[1:])):
        x = batch.data[batch.offsets[n]:batch.offsets[n + 1]]
        data, missing = by_hand(x, k, patches.fill)
        np.testing.assert_array_equal(read.data[first:end], data)
        if read.missing is None:
            assert not missing.any()
        else:
            np.testing.assert_array_equal(read.missing[first:end], missing)
    np.testing.assert_array_equal(patches.rows(read.data, batch.offsets), batch.data)
    if batch.common_length:
        latest_first = read.data.reshape(batch.n_sequences, -1, read.n_features)[:, ::-1]
        for n_steps in {1, min(3, batch.longest), batch.longest}:
            expected = batch.data.reshape(batch.n_sequences, batch.longest, -1)[:, ::-1][:, :n_steps]
            np.testing.assert_array_equal(patches.rows_latest_first(latest_first, n_steps), expected)


def test_the_mean_is_that_of_the_weighted_rows():
    weights = np.array([1.0, 2, 3, 1, 1, 2, 5, 1])
    repeated = [x for x, w in zip(RAGGED, weights) for _ in range(int(w))]
    fill = Patches.of(as_batch(RAGGED), weights, 3).fill
    np.testing.assert_allclose(fill, np.concatenate(repeated).mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("options", [{"n_code": 3}, {}, {"tied": True}, {"decoder": "linear"},
                                     {"objective": "stepwise"}, {"solver": "lbfgs"}, {"early_stopping": True}])
def test_a_model_of_patches_is_a_model_of_longer_rows(k, options):
    """Where k divides every length: the same bits as the user's own reshaping, in the user's rows."""
    X = EQUAL[:, :, :][:, -k * (11 // k):]
    options |= {"n_hidden": 6, "max_iter": 3, "random_state": 0, "batch_size": 3}
    model = RAE(patch_length=k, **options).fit(X)
    twin = RAE(patch_length=1, **options).fit(X.reshape(len(X), -1, 2 * k))
    np.testing.assert_array_equal(model.theta_, twin.theta_)
    assert model.loss_curve_ == twin.loss_curve_
    assert (model.n_features_in_, model.n_steps_) == (2, X.shape[1])
    W = X.reshape(len(X), -1, 2 * k)
    codes = model.transform(X)
    np.testing.assert_array_equal(codes, twin.transform(W))
    np.testing.assert_array_equal(model.hidden_states(X), twin.hidden_states(W))
    np.testing.assert_array_equal(model.reconstruct(X), twin.reconstruct(W).reshape(X.shape))
    np.testing.assert_array_equal(model.inverse_transform(codes), model.reconstruct(X))
    np.testing.assert_array_equal(model.unroll(codes, X.shape[1]), model.reconstruct(X)[:, ::-1])
    np.testing.assert_array_equal(model.unroll(codes, 1)[:, 0], model.reconstruct(X)[:, -1])
    np.testing.assert_array_equal(model.reconstruction_error(X), twin.reconstruction_error(W))
    loss, grad = model.loss_and_grad(X)
    expected, their = twin.loss_and_grad(W)
    assert loss == expected
    for name, array in grad.items():
        np.testing.assert_array_equal(array, their[name])
    state = model.initial_state()
    for x in X[0].reshape(-1, k, 2):
        state = model.step(state, x)
    np.testing.assert_allclose(model.encode_states(state), codes[0], rtol=1e-12)
    states = model.step(model.initial_state(len(X)), X[:, :k])
    np.testing.assert_allclose(states, model.hidden_states(X)[:, 0], rtol=1e-12)


@pytest.mark.parametrize("X", [EQUAL, RAGGED], ids=["equal", "ragged"])
@pytest.mark.parametrize("options", [{"n_code": 2}, {}, {"objective": "stepwise", "hidden_weight": 0.0}])
def test_what_is_not_there_is_read_as_the_mean_and_counts_nowhere(X, options):
    model = RAE(5, patch_length=3, max_iter=0, random_state=0, **options).fit(X)
    fill = model._learned.patches.fill
    error, back = model.reconstruction_error(X), model.reconstruct(X)
    assert [len(x) for x in back] == [len(x) for x in X]
    np.testing.assert_allclose(error, [((b - x)**2).sum() for b, x in zip(back, X)], rtol=1e-12)
    if model.objective == "unfold":
        np.testing.assert_allclose(model.loss_and_grad(X)[0], error.mean(), rtol=1e-12)
        lengths = [len(x) for x in X]
        for a, b in zip(model.inverse_transform(model.transform(X), lengths), back):
            np.testing.assert_array_equal(a, b)
    # The exact gradient: any stand-in's own error is not in it.
    loss, grad = model.loss_and_grad(X)
    for name in ("W_xh", "V_hx", "c_x", "b_h"):
        p = model.parameters_[name]
        place = tuple(0 for _ in p.shape)
        before = p[place]
        p[place] = before + 1e-6
        above = model.loss_and_grad(X)[0]
        p[place] = before - 1e-6
        slope = (above - model.loss_and_grad(X)[0]) / 2e-6
        p[place] = before
        np.testing.assert_allclose(grad[name][place], slope, rtol=1e-4, atol=1e-6 * max(1, abs(loss)))
    # The same model read by hand.
    twin = RAE(5, patch_length=1, max_iter=0, random_state=0, **options).fit(np.zeros((1, 4, 6)))
    twin.theta_ = model.theta_
    W = [by_hand(x, 3, fill)[0] for x in X]
    np.testing.assert_allclose(model.transform(X), twin.transform(W), rtol=1e-12)


def test_training_takes_no_notice_of_the_stand_in():
    """With a decoder that reads nothing else, another stand-in in the first patch must not move its target."""
    model = RAE(6, n_code=2, patch_length=4, random_state=0, max_iter=50).fit(RAGGED)
    start = RAE(6, n_code=2, patch_length=4, random_state=0, max_iter=0).fit(RAGGED)
    assert model.reconstruction_error(RAGGED).sum() <= start.reconstruction_error(RAGGED).sum()
    assert model.loss_curve_[-1] == pytest.approx(model.reconstruction_error(RAGGED).mean(), rel=0.2)


def test_files_pickles_and_checkpoints_keep_how_rows_are_read(tmp_path):
    options = {"n_hidden": 5, "n_code": 2, "patch_length": 3, "random_state": 0, "max_iter": 4, "batch_size": 3}
    model = RAE(**options, checkpoint=tmp_path / "fit").fit(RAGGED)
    model.save(tmp_path / "model")
    for again in (RAE.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), RAE.load(tmp_path / "fit")):
        for a, b in zip(again.reconstruct(RAGGED), model.reconstruct(RAGGED)):
            np.testing.assert_array_equal(a, b)
        again.partial_fit(RAGGED)
        assert again.n_features_in_ == 2
    half = RAE(**options, checkpoint=tmp_path / "half", report_every=1, callbacks=lambda m: m.n_iter_ == 2).fit(RAGGED)
    assert half.n_iter_ == 2
    resumed = RAE(**options, checkpoint=tmp_path / "half").fit(RAGGED, resume=True)
    np.testing.assert_equal(everything(resumed), everything(model))


def test_what_does_not_fit_is_refused():
    model = RAE(4, n_code=2, patch_length=3, max_iter=0, random_state=0).fit(EQUAL)
    before = everything(model)
    with pytest.raises(ValueError, match=r"x has shape \(2,\); expected \(3, 2\), the 3 rows"):
        model.step(model.initial_state(), np.zeros(2))
    with pytest.raises(ValueError, match=r"x has shape \(5, 2\); expected \(N, 3, 2\)"):
        model.step(model.initial_state(5), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="state holds 4 streams, but x holds 5"):
        model.step(model.initial_state(4), np.zeros((5, 3, 2)))
    with pytest.raises(ValueError, match="expecting 2 features"):
        model.transform(np.zeros((3, 4, 6)))
    with pytest.raises(ValueError, match="needs output='linear'"):
        RAE(4, patch_length=3, output="softmax").fit(np.eye(3))
    for wrong in (0, -1, 1.5, "both", True, None):
        with pytest.raises(ValueError, match="patch_length must be"):
            RAE(4, patch_length=wrong).fit(EQUAL)
    with pytest.raises(ValueError, match="missing only where outputs are judged by squared errors"):
        gradient(np.zeros(Form(2, 3, output="softmax").size), np.full((2, 2), 0.5), [0, 2], None,
                 Form(2, 3, output="softmax"), missing=np.ones((2, 2), bool))
    for wrong in (np.ones((1, 2), bool), np.ones((2, 2)), [[True, False]] * 2):
        with pytest.raises(ValueError, match="missing must be a C-contiguous matrix of booleans"):
            Batch(np.zeros((2, 2)), [0, 2], False, wrong)
    model.patch_length = 4
    with pytest.raises(ValueError, match="patch_length was changed from 3 to 4"):
        model.partial_fit(EQUAL)
    np.testing.assert_equal(everything(model), before)
    model.patch_length = "auto"
    model.partial_fit(EQUAL)


def altered(path, change):
    """The file at path with its arrays and JSON changed."""
    arrays, metadata = persistence.read(path)
    change(arrays, metadata)
    persistence.write(path, arrays, metadata)


@pytest.mark.parametrize("length", ["2", "1", "4", '"3"', "-3"])
def test_a_file_whose_patches_do_not_fit_is_refused(tmp_path, length):
    RAE(4, patch_length=3, max_iter=0, random_state=0).fit(EQUAL).save(tmp_path / "model")

    def change(arrays, metadata):
        assert '"patch_length": 3' in metadata["record"]
        metadata["record"] = metadata["record"].replace('"patch_length": 3', f'"patch_length": {length}')

    altered(tmp_path / "model", change)
    with pytest.raises(ValueError, match="patch_"):
        RAE.load(tmp_path / "model")


def test_a_file_without_the_mean_row_is_refused(tmp_path):
    RAE(4, patch_length=3, max_iter=0, random_state=0).fit(EQUAL).save(tmp_path / "model")
    altered(tmp_path / "model", lambda arrays, metadata: arrays.pop("patch_fill"))
    with pytest.raises(ValueError, match="patch_length is 3, which does not fit"):
        RAE.load(tmp_path / "model")


@pytest.mark.parametrize("stop_at", ['"7"', "-1", "1e300", "true"])
def test_a_checkpoint_whose_end_is_no_count_is_refused(tmp_path, stop_at):
    options = {"n_hidden": 4, "max_iter": 3, "random_state": 0, "checkpoint": tmp_path / "fit"}
    RAE(**options).fit(EQUAL)
    altered(tmp_path / "fit", lambda arrays, metadata: metadata.update(
        fit=metadata["fit"].replace('"stop_at": null', f'"stop_at": {stop_at}')))
    with pytest.raises(ValueError, match="stop_at is .*, not a count"):
        RAE(**options).fit(EQUAL, resume=True)
