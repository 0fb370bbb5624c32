"""Long runs: validation, callbacks, checkpoints that survive kill -9, fits that are taken up again, L-BFGS."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from problems import PLAIN, UNLABELLED, everything, form_id, ragged_lengths

from rae_fast import (
    RAE,
    _objectives,
    closed_form,
    hyperparameters,
    lbfgs,
    persistence,
    reference,
    relative_rates,
    training,
)
from rae_fast.inputs import as_batch
from rae_fast.solvers import SOLVERS

RNG = np.random.default_rng(0)
X3 = RNG.standard_normal((12, 5, 3))
RAGGED = [X3[i % 12, :n] for i, n in enumerate(ragged_lengths(5, 14))]
BY_UPDATE = [name for name in SOLVERS if name != "lbfgs"]


def settings(solver, **params):
    rate = {"adadelta": 1.0, "sgd": 0.02, "momentum": 2e-3, "nesterov": 2e-3}.get(solver, 0.01)
    return {**PLAIN, "n_hidden": 6, "solver": solver, "learning_rate": rate, "batch_size": 4, "max_iter": 8, "tol": 0,
            "random_state": 0, **params}


# ---- early stopping --------------------------------------------------------------------------------------

@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("X", [X3, RAGGED], ids=["3-D", "list"])
def test_the_best_parameters_on_held_out_sequences_come_back(X, solver):
    model = RAE(**settings(solver, early_stopping=True, validation_fraction=0.3, max_iter=40,
                           n_iter_no_change=40)).fit(X)
    assert len(model.validation_scores_) == model.n_iter_ == len(model.loss_curve_) == 40
    batch = as_batch(X)
    chosen = training.draw_held_out(batch.n_sequences, 0.3, np.random.default_rng(0))
    out = batch.select(chosen)
    assert out.n_sequences == round(0.3 * len(X))
    held_out = out.in_container(out.data) if isinstance(X, list) else out.data.reshape(-1, 5, 3)
    at_the_start = RAE(**settings(solver, early_stopping=True, validation_fraction=0.3, max_iter=0)).fit(X)
    best = max(*model.validation_scores_, at_the_start.score(held_out))
    assert model.score(held_out) == pytest.approx(best, rel=1e-12)


def test_a_training_that_only_harms_leaves_the_start():
    bad = RAE(**settings("sgd", learning_rate=0.5, clip_norm=1.0, early_stopping=True, init="linear", max_iter=5))
    start = copy.deepcopy(bad).set_params(max_iter=0).fit(X3)
    np.testing.assert_array_equal(bad.set_params(decoder="linear").fit(X3).theta_,
                                  start.set_params(decoder="linear").fit(X3).theta_)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_early_stopping_stops_n_iter_no_change_passes_after_the_best(solver):
    model = RAE(**settings(solver, early_stopping=True, tol=1e-3, n_iter_no_change=5, max_iter=3000,
                           learning_rate=0.05)).fit(X3)
    scores = np.array(model.validation_scores_)
    assert 5 <= model.n_iter_ < 3000
    best = np.maximum.accumulate(scores)
    assert not (scores[-5:] > best[-6:-1] + 1e-3 * np.abs(best[-6:-1])).any()


def test_early_stopping_needs_two_sequences():
    with pytest.raises(ValueError, match="at least 2 sequences"):
        RAE(early_stopping=True).fit(X3[0])
    with pytest.raises(ValueError, match="at least 2 sequences that weigh anything"):
        RAE(early_stopping=True, random_state=0).fit(X3, sample_weight=[1] + 11 * [0])
    RAE(early_stopping=True, max_iter=2, random_state=0).fit(X3, sample_weight=[1, 1e-9] + 10 * [0])
    model = RAE(**settings("adam", early_stopping=True)).fit(X3[:2])
    assert len(model.validation_scores_) == 8


def test_what_is_held_out_is_checked_too():
    X = np.eye(4)[np.random.default_rng(1).integers(0, 4, (12, 5))]
    for n in range(12):
        bad = X.copy()
        bad[n] = -7.0
        with pytest.raises(ValueError, match=f"step 0 of sequence {n} is not a distribution"):
            RAE(4, output="softmax", early_stopping=True, random_state=0).fit(bad)
    lengths = [5] * 12
    lengths[training.draw_held_out(12, 0.1, np.random.default_rng(0))[0]] = 3
    model = RAE(4, early_stopping=True, max_iter=1, random_state=0).fit([x[:n] for x, n in zip(X3, lengths)])
    assert model.n_steps_ is None


# ---- callbacks -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("early", [False, True])
def test_callbacks_see_whole_passes_and_may_stop(solver, early):
    seen = []

    def look(model):
        assert len(model.loss_curve_) == model.n_iter_
        assert np.isfinite(model.transform(X3)).all()
        seen.append(model.n_iter_)

    model = RAE(**settings(solver, callbacks=look, report_every=3, max_iter=8, early_stopping=early)).fit(X3)
    assert seen == [3, 6, 8] and model.n_iter_ == 8
    seen.clear()
    model.set_params(callbacks=[look, lambda m: m.n_iter_ >= 6, lambda m: "not True"], max_iter=1000).fit(X3)
    assert seen == [3, 6] and model.n_iter_ == 6


def test_by_default_callbacks_are_called_every_tenth_of_a_second(monkeypatch):
    """By a clock that stands still but for what a pass takes."""
    clock = [1000.0]

    class OnePass(training.ByUpdates):
        def advance(self, most, after):
            clock[0] += 0.03
            super().advance(1, after)

    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(training, "ByUpdates", OnePass)
    seen = []
    RAE(**settings("sgd", callbacks=lambda model: seen.append(model.n_iter_), max_iter=11)).fit(X3)
    assert seen == [4, 8, 11]  # every fourth pass ends at least 0.1 s after the last report; and the last one


def test_a_callback_that_raises_leaves_a_usable_model():
    def fail(model):
        raise RuntimeError("enough")

    model = RAE(**settings("adam", callbacks=fail, report_every=2))
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X3)
    assert model.n_iter_ == 2 and np.isfinite(model.score(X3))


# ---- checkpoints and resuming ----------------------------------------------------------------------------

class Stop(Exception):
    pass


def interrupted_at(passes, X, weights=None, **params):
    """A fit that an exception ends after so many passes; the checkpoint is what it leaves."""

    def stop(model):
        if model.n_iter_ >= passes:
            raise Stop

    with pytest.raises(Stop):
        RAE(**params, callbacks=stop, report_every=1).fit(X, sample_weight=weights)


def same(a, b):
    np.testing.assert_array_equal(a.theta_, b.theta_)
    assert a._learned.solver.unit == b._learned.solver.unit
    np.testing.assert_equal(a.rate_scale_, b.rate_scale_)
    assert a.loss_curve_ == b.loss_curve_ and a.validation_scores_ == b.validation_scores_
    assert (a.n_iter_, a.n_updates_, a.n_steps_) == (b.n_iter_, b.n_updates_, b.n_steps_)
    np.testing.assert_equal(a.solver_state_, b.solver_state_)


@pytest.mark.parametrize("solver", BY_UPDATE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("extra", [{}, {"early_stopping": True, "relative_rates": True},
                                   {"init": "linear", "tol": 1e-9}], ids=["plain", "early", "linear"])
def test_a_resumed_fit_gives_the_bits_of_an_unbroken_one(solver, dtype, extra, tmp_path):
    X = [x.astype(dtype) for x in RAGGED]
    params = settings(solver, schedule="cosine", checkpoint=tmp_path / "fit", **extra)
    if extra:
        params["learning_rate"] /= 20
    weights = np.random.default_rng(2).uniform(0.1, 0.4, len(X))
    for w in (None, weights):
        unbroken = RAE(**params).fit(X, sample_weight=w)
        interrupted_at(3, X, w, **params)
        resumed = RAE(**{**params, "verbose": 0, "random_state": 5}).fit(X, sample_weight=w, resume=True)
        same(resumed, unbroken)
        assert resumed.score(X) == unbroken.score(X)
        same(resumed.partial_fit(X), unbroken.partial_fit(X))


@pytest.mark.parametrize("make", [lambda: np.random.RandomState(3), lambda: np.random.Generator(np.random.Philox(3)),
                                  lambda: np.random.Generator(np.random.SFC64(3)), lambda: np.random.PCG64(3)])
def test_any_random_stream_is_taken_up(make, tmp_path):
    params = settings("adam", checkpoint=tmp_path / "fit")
    unbroken = RAE(**{**params, "random_state": make()}).fit(X3)
    interrupted_at(3, X3, **{**params, "random_state": make()})
    same(RAE(**{**params, "random_state": make()}).fit(X3, resume=tmp_path / "fit"), unbroken)
    interrupted_at(3, X3, **{**params, "random_state": make()})
    if not isinstance(make(), np.random.PCG64):
        with pytest.raises(ValueError, match="cannot be used"):
            RAE(**{**params, "random_state": 0}).fit(X3, resume=True)


# Between open() and with, Ctrl-C leaves the closing of a file to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("early", [False, True])
def test_interrupted_anywhere_and_taken_up_again(early, tmp_path):
    """Ctrl-C at many moments, Python's bookkeeping between two passes among them, gives the unbroken bits."""
    params = settings("adam", max_iter=300, n_iter_no_change=300, early_stopping=early, report_every=1,
                      callbacks=lambda m: None, checkpoint=tmp_path / "fit")
    unbroken = RAE(**params).fit(X3)
    heard = 0
    rng = np.random.default_rng(0)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        while heard < 40:
            (tmp_path / "fit").unlink(missing_ok=True)
            model, done, longest = RAE(**params), False, 0.012
            while not done:
                longest *= 1.1  # so that the slowest machine gets to the end
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, longest))
                    model.fit(X3, resume=True)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    done = True
                except KeyboardInterrupt:
                    heard += 1
            same(model, unbroken)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("patience, rate", [(6, 0.01), (2, 0.5)])
def test_the_record_settles_wherever_ctrl_c_comes(patience, rate, tmp_path):
    """An exception before every single line of the bookkeeping in turn; then the fit is taken up again."""
    params = settings("adam", max_iter=6, n_iter_no_change=patience, early_stopping=True, report_every=1,
                      learning_rate=rate, checkpoint=tmp_path / "fit")
    unbroken = RAE(**params).fit(X3)
    assert (unbroken.n_iter_ < 6) == (patience == 2)
    places, broken = 0, True
    while broken:
        (tmp_path / "fit").unlink(missing_ok=True)
        broken, left = False, [places]

        def line(frame, event, argument):
            nonlocal broken
            if event == "line":
                left[0] -= 1  # noqa: B023
                if left[0] < 0:  # noqa: B023
                    sys.settrace(None)
                    broken = True
                    raise KeyboardInterrupt
            return line

        def call(frame, event, argument):
            if frame.f_code.co_name in ("advance", "_settle", "_validate", "_after_pass", "_passes_to_do"):
                return line
            return None

        model = RAE(**params)
        sys.settrace(call)
        try:
            model.fit(X3)
        except KeyboardInterrupt:
            model = RAE(**params).fit(X3, resume=True)
        finally:
            sys.settrace(None)
        same(model, unbroken)
        places += 1
    assert places > 50


def test_lbfgs_is_taken_up_at_the_end_of_a_round(tmp_path, monkeypatch):
    monkeypatch.setattr(lbfgs, "LBFGS_ROUND", 10)
    params = settings("lbfgs", max_iter=60, relative_rates=True, init="orthogonal", checkpoint=tmp_path / "fit",
                      checkpoint_seconds=0)
    unbroken = RAE(**params).fit(RAGGED)
    assert unbroken.n_iter_ == 60 and unbroken.loss_curve_ == sorted(unbroken.loss_curve_, reverse=True)
    interrupted_at(34, RAGGED, **params)
    assert RAE.load(tmp_path / "fit").n_iter_ == 30
    same(RAE(**params).fit(RAGGED, resume=True), unbroken)


def test_a_finished_fit_resumes_to_itself_and_a_missing_one_starts_afresh(tmp_path):
    params = settings("adam", checkpoint=str(tmp_path / "fit"), early_stopping=True)
    first = RAE(**params).fit(X3, resume=True)
    same(RAE(**params).fit(X3, resume=True), first)
    same(RAE.load(tmp_path / "fit"), first)
    assert [p.name for p in tmp_path.iterdir()] == ["fit"]


def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "fit"
    params = settings("adam", checkpoint=path)
    interrupted_at(3, X3, **params)
    model = RAE(**params).fit(X3[:5])
    interrupted_at(3, X3, **params)
    before = everything(model)
    refused = [
        ({"max_iter": 9}, X3, "with max_iter=8, not 9"), ({"solver": "sgd"}, X3, "solver='adam'"),
        ({}, X3 + 1, "other data"), ({}, X3[:, :, :2], "3 features"), ({}, X3.astype(np.float32), "float64 data"),
        ({}, list(X3[:11]), "other data"),
    ]
    for change, X, message in refused:
        with pytest.raises(ValueError, match=message):
            copy.deepcopy(model).set_params(**change).fit(X, resume=path)
        with pytest.raises(ValueError, match=message):
            model.set_params(**change).fit(X, resume=path)
        model.set_params(**{name: params[name] for name in change})
        np.testing.assert_equal(everything(model), before)
    model.save(tmp_path / "model")
    for resume, message in [(tmp_path / "model", "not a checkpoint"), (3, "resume must be"), (None, "resume must be")]:
        with pytest.raises(ValueError, match=message):
            model.fit(X3, resume=resume)
    with pytest.raises(ValueError, match="checkpoint is None"):
        RAE().fit(X3, resume=True)
    with pytest.raises(FileNotFoundError):
        model.fit(X3, resume=tmp_path / "nothing")
    np.testing.assert_equal(everything(model), before)


KILLED = """
import numpy as np, sys
from rae_fast import RAE
X = np.random.default_rng(0).standard_normal((40, 5, 3))
RAE(200, max_iter=10**9, checkpoint=sys.argv[1], checkpoint_seconds=0, random_state=0, learning_rate=1e-3).fit(X)
"""


def test_kill_9_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "fit"
    passes = 0
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
        deadline = time.monotonic() + 60
        while not (path.exists() and RAE.load(path).n_iter_) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05 + 0.0371 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        model = RAE.load(path)
        assert np.isfinite(model.theta_).all() and model.n_iter_ == len(model.loss_curve_)
        at = model.n_iter_
        resumed = RAE(200, max_iter=10**9, random_state=0, learning_rate=1e-3, report_every=1,
                      callbacks=lambda m, at=at: m.n_iter_ >= at + 2)
        resumed.fit(np.random.default_rng(0).standard_normal((40, 5, 3)), resume=path)
        assert resumed.n_iter_ == at + 2
        passes = max(passes, model.n_iter_)
    assert passes > 0


def test_a_fit_that_a_callback_ended_goes_on(tmp_path):
    params = settings("adam", checkpoint=tmp_path / "fit")
    unbroken = RAE(**params).fit(X3)
    RAE(**params, report_every=1, callbacks=lambda m: m.n_iter_ == 3).fit(X3)
    same(RAE(**params).fit(X3, resume=True), unbroken)


def test_two_writers_of_one_checkpoint_never_tear_it(tmp_path):
    model = RAE(40, max_iter=1, random_state=0).fit(X3)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            model.save(tmp_path / "model")

    threads = [threading.Thread(target=write) for _ in range(2)]
    model.save(tmp_path / "model")
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            RAE.load(tmp_path / "model")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_file_that_a_sweeper_has_locked_before_its_writer_is_begun_again(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    lock, is_still, taken = persistence._lock, persistence._is_still, []

    def lock_second(descriptor, *args, **options):
        if not taken:  # between a writer's open and its lock a sweeper locks the file
            part, = tmp_path.glob(".*.part")
            taken.append((part, os.open(part, os.O_RDONLY)))
            fcntl.flock(taken[0][1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock(descriptor, *args, **options)

    def look_first(path, descriptor):  # and removes it when the writer has looked whether it is there
        found = is_still(path, descriptor)
        if path == taken[0][0]:
            os.unlink(path)
        return found

    monkeypatch.setattr(persistence, "_lock", lock_second)
    monkeypatch.setattr(persistence, "_is_still", look_first)
    RAE(2, max_iter=0, random_state=0).fit(X3).save(tmp_path / "model")
    os.close(taken[0][1])
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    RAE.load(tmp_path / "model")


def test_links_that_others_laid_out_are_not_followed_and_ones_own_are(tmp_path):
    precious, target = tmp_path / "precious", tmp_path / "target"
    precious.write_text("mine")
    (tmp_path / "model.part").symlink_to(precious)
    (tmp_path / "model").symlink_to(target)
    RAE(2, max_iter=0, random_state=0).fit(X3).save(tmp_path / "model")
    assert precious.read_text() == "mine" and (tmp_path / "model").is_symlink()
    RAE.load(target)


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    model = RAE(**settings("adam", checkpoint=folder / "fit", callbacks=lambda m: folder.rmdir()))
    with pytest.raises(OSError):
        model.fit(X3)
    assert np.isfinite(model.theta_).all()


# ---- L-BFGS ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", UNLABELLED, ids=form_id)
@pytest.mark.parametrize("relative", [False, True])
def test_lbfgs_descends_on_the_loss_of_every_form(options, relative):
    X = reference.softmax(X3) if options["output"] != "linear" else X3
    model = RAE(**settings("lbfgs", max_iter=25, relative_rates=relative, **options)).fit(X)
    assert model.loss_curve_ == sorted(model.loss_curve_, reverse=True) and len(model.loss_curve_) == 25
    assert model.n_iter_ == model.n_updates_ == 25
    assert model.loss_and_grad(X)[0] == pytest.approx(model.loss_curve_[-1], rel=1e-9)
    start = RAE(**settings("lbfgs", max_iter=0, **options)).fit(X).loss_and_grad(X)[0]
    assert model.loss_curve_[-1] < (0.98 if "n_code" in options else 0.9) * start


def test_lbfgs_finds_what_adam_finds_in_the_end():
    X = X3[:4]
    long = {"n_hidden": 2, "init": "orthogonal", "objective": "unfold", "random_state": 0, "decoder": "linear"}
    lbfgs = RAE(**{**settings("lbfgs", max_iter=2000), **long}).fit(X)
    adam = RAE(**{**settings("adam", max_iter=20_000, schedule="cosine"), **long}).fit(X)
    assert lbfgs.loss_curve_[-1] == pytest.approx(adam.loss_curve_[-1], rel=0.02)


def test_lbfgs_weight_decay_weights_and_single_precision():
    weights = np.random.default_rng(3).uniform(0.1, 1, 12)
    model = RAE(**settings("lbfgs", max_iter=3000, weight_decay=0.5, objective="unfold")).fit(X3, sample_weight=weights)
    _, grad = model.loss_and_grad(X3, sample_weight=weights)
    assert max(np.abs(grad[name] + 0.5 * view).max() for name, view in model.parameters_.items()) < 1e-3
    single = RAE(**settings("lbfgs", max_iter=50)).fit(X3.astype(np.float32))
    assert single.theta_.dtype == np.float32 and single.loss_curve_[-1] < single.loss_curve_[0]


def test_lbfgs_stops_by_tol_and_where_nothing_is_gained():
    model = RAE(**settings("lbfgs", max_iter=100_000, tol=1e-3, n_iter_no_change=3)).fit(X3)
    assert model.n_iter_ < 1000
    zeros = np.zeros((2, 3, 1))
    done = RAE(**settings("lbfgs", max_iter=1000, init="linear", objective="unfold")).fit(zeros)
    assert done.n_iter_ < 1000 and np.allclose(done.reconstruct(zeros), 0)


def test_lbfgs_is_for_fit_only():
    with pytest.raises(ValueError, match="use fit"):
        RAE(solver="lbfgs").partial_fit(X3)
    model = RAE(**settings("lbfgs")).fit(X3)
    model.set_params(solver="adam").partial_fit(X3)
    assert list(model.solver_state_) == ["mean", "square"]


def test_other_units_start_the_solver_anew():
    for solver in BY_UPDATE:
        model = RAE(8, solver=solver, learning_rate=0.01, max_iter=20, random_state=0).fit(X3)
        theta = model.theta_.copy()
        model.set_params(relative_rates=False, learning_rate=1e-30).partial_fit(X3)
        assert model.n_updates_ == 1 and model.rate_scale_ is None
        limit = 2e-6 if solver == "rprop" else 1e-12  # whose least step is 1e-6
        np.testing.assert_allclose(model.theta_, theta, rtol=0, atol=limit)


def test_ctrl_c_in_the_start_leaves_the_old_model_or_none(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for module, name in ((closed_form, "initialise"), (relative_rates, "units"), (closed_form, "sample")):
        model = RAE(5, max_iter=2, random_state=0).fit(X3)
        before = everything(model)
        monkeypatch.setattr(module, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X3[:, :, :2])
        np.testing.assert_equal(everything(model), before)
        with pytest.raises(KeyboardInterrupt):
            RAE(5).fit(X3)
        monkeypatch.undo()


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path):
    model = RAE(3, max_iter=1, random_state=0).fit(X3)
    for change in ({"learning_rate": -1}, {"n_hidden": "3"}):
        with pytest.raises(ValueError):
            copy.deepcopy(model).set_params(**change).save(tmp_path / "model")
    other = copy.deepcopy(model)
    other.theta_[0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        other.save(tmp_path / "model")
    for path in ("", 3, b"x", None, "a\0b"):
        for call in (model.save, RAE.load):
            with pytest.raises(ValueError, match="path is needed"):
                call(path)
    assert not list(tmp_path.iterdir())
    model.set_params(learning_rate=Fraction(1, 4), tol=np.longdouble(0.5), random_state=-1).save(tmp_path / "model")
    again = RAE.load(tmp_path / "model")
    assert (again.learning_rate, again.tol, again.random_state) == (0.25, 0.5, None)


def test_a_vanished_checkpoint_folder_matters_to_fit_only(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    model = RAE(3, max_iter=2, checkpoint=folder / "fit", random_state=0).fit(X3)
    (folder / "fit").unlink()
    folder.rmdir()
    model.loss_and_grad(X3)
    model.partial_fit(X3)
    with pytest.raises(ValueError, match="checkpoint="):
        model.fit(X3)


def test_lbfgs_that_starts_beyond_all_numbers_says_so():
    model = RAE(**settings("lbfgs", init_scale=1e200, objective="unfold"))
    with pytest.raises(FloatingPointError, match="beyond what lbfgs"):
        model.fit(X3)
    assert np.isfinite(model.theta_).all()


# ---- the defaults ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("n_hidden", [2, 8])
@pytest.mark.parametrize("output", ["linear", "softmax"])
def test_the_default_fit_ends_below_its_closed_form_start(n_hidden, output):
    t = np.arange(10)[:, None]
    rng = np.random.default_rng(4)
    X = [np.sin(rng.uniform(0.3, 1) * t[:n] + rng.uniform(0, 6, 2)) for n in rng.integers(4, 11, 300)]
    if output == "softmax":
        X = [reference.softmax(3 * x) for x in X]
    start = RAE(n_hidden, output=output, max_iter=0, random_state=0).fit(X[:200])
    model = RAE(n_hidden, output=output, max_iter=200, random_state=0).fit(X[:200])
    assert model.score(X[:200]) > start.score(X[:200]) and model.score(X[200:]) > start.score(X[200:])


@pytest.mark.parametrize("n, batch_size, solver, passes", [
    (1, 32, "sgd", 500), (1600, 32, "sgd", 500), (3200, 32, "sgd", 250), (3201, 32, "sgd", 248),
    (100_000, 32, "sgd", 20), (100_000, 512, "sgd", 128), (10, 32, "lbfgs", 500)])
def test_max_iter_auto_is_a_number_of_updates(n, batch_size, solver, passes):
    checked = hyperparameters.check(RAE(batch_size=batch_size, solver=solver))
    assert training.with_amounts(checked, n).max_iter == passes
    assert training.with_amounts(hyperparameters.check(RAE(max_iter=7)), n).max_iter == 7


def test_max_iter_auto_in_a_fit_and_its_checkpoint(tmp_path):
    model = RAE(2, random_state=0, checkpoint=tmp_path / "fit", callbacks=lambda m: m.n_iter_ >= 5, report_every=1)
    model.fit(X3)
    assert model.n_iter_ == 5 and model.max_iter == "auto" == RAE.load(tmp_path / "fit").max_iter
    assert RAE(2, random_state=0).fit(X3).n_iter_ == 500


def test_a_pickle_in_the_middle_of_learning_goes_on(tmp_path):
    model = RAE(**settings("adam", relative_rates=True, init="linear")).fit(X3)
    model.save(tmp_path / "model")
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model), RAE.load(tmp_path / "model")]
    for _ in range(3):
        for one in (model, *copies):
            one.partial_fit(X3)
    for one in copies:
        same(one, model)
    os.unlink(tmp_path / "model")


# ---- subnormal numbers -----------------------------------------------------------------------------------

def subnormals_count():
    """Whether this thread's arithmetic knows numbers below the smallest normal one."""
    return sys.float_info.min * np.random.default_rng(0).uniform(0.1, 0.4) > 0


def test_subnormal_numbers_are_flushed_inside_the_loop_only():
    seen = []

    def handler(signum, frame):
        seen.append(subnormals_count())
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            RAE(64, init="normal", max_iter=10**6).fit(np.random.default_rng(5).standard_normal((1, 200_000, 2)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen == [True] and subnormals_count()
    RAE(4, callbacks=lambda m: seen.append(subnormals_count()), report_every=1, max_iter=2).fit(X3)
    assert seen == [True] * 3 and subnormals_count()
    with pytest.raises(FloatingPointError):
        RAE(4, **{**PLAIN, "learning_rate": 100.0, "tol": 0, "max_iter": 1000}).fit(100 * X3)
    assert subnormals_count()


def test_what_would_become_subnormal_becomes_zero():
    """Adam's mean square of a gradient that has become 0 decays below the smallest normal number."""
    X = X3.copy()
    X[:, :, 1] = 0  # so that this row of W_xh has no gradient
    for dtype in (np.float32, np.float64):
        model = RAE(4, **{**PLAIN, "solver": "adam", "max_iter": 0}).fit(X.astype(dtype))
        square = model.solver_state_["square"]["W_xh"]
        square[1] = np.finfo(dtype).tiny
        model.partial_fit(X)
        assert (square[1] == 0).all() and (square[0] > 0).all()


def test_a_fit_with_numbers_of_any_kind_is_taken_up(tmp_path):
    params = settings("adam", checkpoint=tmp_path / "fit", learning_rate=Fraction(1, 97), n_hidden=np.int8(6),
                      tol=np.longdouble(0.1) / 10**9, shuffle=np.True_)
    unbroken = RAE(**params).fit(X3)
    interrupted_at(3, X3, **params)
    same(RAE(**params).fit(X3, resume=True), unbroken)


def test_an_update_that_fails_leaves_the_model_as_it_was():
    plain = {"init": "normal", "relative_rates": False, "max_iter": 0, "random_state": 0}
    model = RAE(3, **plain).fit(X3).partial_fit(X3)
    theta, state = model.theta_.copy(), copy.deepcopy(model.solver_state_)
    with pytest.raises(FloatingPointError):
        model.set_params(solver="momentum", learning_rate=1.7e308).partial_fit(X3 * 100)
    np.testing.assert_array_equal(model.theta_, theta)
    assert list(model.solver_state_) == ["mean", "square"] and model.n_updates_ == 1 and len(model.loss_curve_) == 1
    for name, blocks in model.solver_state_.items():
        for block, array in blocks.items():
            np.testing.assert_array_equal(array, state[name][block])
    np.testing.assert_array_equal(model.set_params(solver="adam", learning_rate=0.3).partial_fit(X3).theta_,
                                  RAE(3, **plain).fit(X3).partial_fit(X3).partial_fit(X3).theta_)
    new = RAE(3, **{**plain, "solver": "sgd"})
    with pytest.raises(FloatingPointError):
        new.partial_fit(X3 * 1e200)
    assert not new.__sklearn_is_fitted__() and new.partial_fit(X3).n_updates_ == 1


def test_a_report_that_never_comes_takes_no_memory():
    assert RAE(3, max_iter=2, report_every=10**15, random_state=0).fit(X3).n_iter_ == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("objective", _objectives.NAMES)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}, {"weight_decay": 0.5}, {"relative_rates": True},
                                     {"clip_norm": 0.1, "weight_decay": 0.5}, {"tied": True}, {"reconstruct_h0": True}],
                         ids=str)
def test_what_plain_descent_leaves_out_makes_a_gradient(options, objective, dtype):
    """Theta takes the sums of a gradient at once where nothing else is to be done to it, and only there."""
    params = {"init": "normal", "solver": "sgd", "relative_rates": False, "learning_rate": 0.01, "max_iter": 0}
    model = RAE(5, **{**params, **options}, objective=objective, random_state=0).fit(X3.astype(dtype))
    theta, (_, grad) = model.theta_.astype(np.float64), model.loss_and_grad(X3)
    views = {name: view.astype(np.float64) for name, view in model.parameters_.items()}
    norm = np.sqrt(sum(float((g.astype(np.float64)**2).sum()) for name, g in grad.items()
                       if not (model.tied and name in ("V_hh", "V_hx"))))
    factor = min(1.0, options.get("clip_norm", np.inf) / norm)
    model.partial_fit(X3)
    # With relative rates the solver works on theta / scale and on the loss over its unit.
    scale, unit = model.rate_scale_ or {}, model._learned.solver.unit
    for name, view in model.parameters_.items():
        step = factor * grad[name].astype(np.float64) + options.get("weight_decay", 0.0) * views[name]
        expected = views[name] - 0.01 / unit * np.float64(scale.get(name, 1.0))**2 * step
        np.testing.assert_allclose(view, expected, rtol=1e-5, atol=1e-6 if dtype == np.float32 else 1e-12)
    assert (model.theta_ != theta).any()


@pytest.mark.parametrize("unit", [2.0**-12, 2.0**12])
@pytest.mark.parametrize("options", [{"clip_norm": 0.5}, {"weight_decay": 0.3},
                                     {"clip_norm": 0.2, "weight_decay": 0.1}], ids=str)
def test_clipping_and_decay_are_in_the_units_of_the_gradient_that_a_user_sees(options, unit):
    """Also where residuals are measured in another unit. clip_norm: part of the norm; decay: of norm over theta's."""
    X = unit * X3
    model = RAE(5, max_iter=0, solver="sgd", relative_rates=True, learning_rate=0.01, random_state=0).fit(X)
    assert model._learned.solver.residual_unit(model._learned.form) != 1

    def parameters(model):
        return np.concatenate([view.ravel() for view in model.parameters_.values()])

    before, (_, grads) = parameters(model), model.loss_and_grad(X)
    grad = np.concatenate([grads[name].ravel() for name in model.parameters_])
    norm = np.linalg.norm(grad)
    clip = options.get("clip_norm", np.inf) * norm
    decay = options.get("weight_decay", 0.0) * norm / np.linalg.norm(before)
    plain = parameters(copy.deepcopy(model).partial_fit(X)) - before
    model.set_params(weight_decay=decay, clip_norm=clip if np.isfinite(clip) else None).partial_fit(X)
    seen = np.abs(grad) > 1e-6 * np.abs(grad).max()
    expected = plain[seen] * (grad * min(1.0, clip / norm) + decay * before)[seen] / grad[seen]
    assert seen.sum() > 50
    np.testing.assert_allclose((parameters(model) - before)[seen], expected, rtol=1e-6, atol=1e-9 * np.abs(plain).max())
