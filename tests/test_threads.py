"""Threads and bounded memory: neither changes a bit; nothing hangs, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from problems import FORMS, encode, form_id, form_of, problem, solver_of, train
from problems import gradient as loss_and_gradient

from rae_fast import RAE, _codes, _objectives
from rae_fast._form import Form

DTYPES = [np.float32, np.float64]
# (I, H, T, B): several parts of equal and of ragged batches, more parts than threads, one part of large models.
SHAPES = [(3, 5, 40, 64), (8, 24, 8, 300), (2, 33, 60, 50), (5, 200, 9, 1), (2, 257, 7, 5), (4, 192, 30, 64)]
KEEP = 2**30


def gradient(form, shape, dtype, ragged, n_jobs, max_memory=KEEP):
    I, H, T, B = shape
    theta, data, offsets, weights = problem(form, T, B, ragged)
    theta, data, weights = (a.astype(dtype) for a in (theta, data, weights))
    loss, grad = loss_and_gradient(theta, data, offsets, weights, form, max_memory, n_jobs)
    return np.append(grad, loss)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_threads_change_no_bit_of_a_gradient(isa, dtype, ragged, shape):
    for objective in _objectives.NAMES:
        form = Form(shape[0], shape[1], objective, decoder="tanh")
        alone = gradient(form, shape, dtype, ragged, 1)
        for n_jobs in (2, 3, 5):
            np.testing.assert_array_equal(gradient(form, shape, dtype, ragged, n_jobs), alone)


@pytest.mark.parametrize("options", FORMS, ids=form_id)
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit_of_any_form(gemm, dtype, options):
    for shape in [(3, 7, 50, 40), (3, 193, 9, 2), (3, 193, 9, 1)]:
        form = form_of(shape[0], shape[1], **options)
        np.testing.assert_array_equal(gradient(form, shape, dtype, True, 3), gradient(form, shape, dtype, True, 1))


@pytest.mark.parametrize("options", FORMS, ids=form_id)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bounded_memory_changes_no_bit(gemm, dtype, options):
    """Nothing may be kept: every span's hidden states are computed twice. Rows this wide make spans of 256 to 434."""
    for shape in [(600, 9, 520, 1), (600, 5, 80, 7), (2, 200, 440, 1), (2, 200, 150, 3), (1, 1, 1, 1)]:
        form = form_of(shape[0], shape[1], **options)
        for n_jobs in (1, 2):
            np.testing.assert_array_equal(gradient(form, shape, dtype, True, n_jobs, 0),
                                          gradient(form, shape, dtype, True, n_jobs))


def test_bounded_memory_is_bounded():
    """A million steps of 64 units are 256 MB of hidden states, and as many of unrolled codes."""
    code = """
        import resource
        import numpy as np
        from rae_fast import _objectives, parameters
        from rae_fast._batch import Batch
        from rae_fast._form import Form
        form, T = Form(1, 64, "unfold"), 1_000_000
        theta = parameters.initialise(form, 0.05, np.random.default_rng(0), np.dtype(np.float32))
        data, offsets = np.zeros((T, 1), np.float32), np.array([0, T])
        few = _objectives.objective_of(form, Batch(data[:2000], [0, 2000]), max_memory=2**22)
        few.loss_and_grad(theta, few.new_gradient())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        all = _objectives.objective_of(form, Batch(data, offsets), max_memory=2**22)
        all.loss_and_grad(theta, all.new_gradient())
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    unit = 1 if sys.platform == "darwin" else 1024
    grown = unit * int(subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True,
                               text=True).stdout)
    assert grown < 64e6, grown


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + [(3, 40, 30, 2000)], ids=str)
def test_threads_change_no_bit_of_codes(dtype, shape):
    I, H, T, B = shape
    for decoder in ("linear", "tanh"):
        form = Form(I, H, decoder=decoder)
        theta, data, offsets, _ = problem(form, T, B, True)
        theta, data = 0.1 * theta.astype(dtype), data.astype(dtype)
        results = []
        for n_jobs in (1, 2, 3):
            states = encode(theta, data, offsets, form, False, n_jobs)
            codes = encode(theta, data, offsets, form, True, n_jobs)
            results.append([states, codes, _codes.unroll(theta, codes, offsets, form, True, n_jobs)])
        for found in results[1:]:
            for a, b in zip(found, results[0]):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sgd", "adam", "rprop"])
def test_threads_change_no_bit_of_a_training(dtype, name):
    form = Form(3, 9, "unfold")
    theta, data, offsets, _ = problem(form, 30, 100, ragged=True)
    data = data.astype(dtype)

    def trained(n_jobs):
        found = train(theta.astype(dtype), data, offsets, None, form, solver_of(name, 1e-2), None, 1.0, 48,
                      np.random.default_rng(1).bit_generator, 6, max_memory=KEEP, n_jobs=n_jobs)
        return np.concatenate([found.theta, np.array(found.losses, dtype), *found.state])

    alone = trained(1)
    for n_jobs in (2, 4):
        np.testing.assert_array_equal(trained(n_jobs), alone)


def test_n_jobs_of_a_model():
    X = np.random.default_rng(0).standard_normal((200, 30, 4))
    results = []
    for n_jobs in (None, 1, 2, -1):
        model = RAE(32, n_jobs=n_jobs, max_iter=3, random_state=0).fit(X)
        codes, back = model.transform(X), model.reconstruct(X)
        results.append([codes, back, model.partial_fit(X).theta_, model.loss_and_grad(X)[1]["V_hh"]])
    for found in results[1:]:
        for a, b in zip(found, results[0]):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_no_thread_is_left():
    X = np.random.default_rng(0).standard_normal((400, 50, 4))
    before = len(os.listdir("/proc/self/task"))
    model = RAE(32, n_jobs=3, max_iter=1, random_state=0).fit(X)
    model.transform(X)
    model.loss_and_grad(X)
    assert len(os.listdir("/proc/self/task")) <= before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("n_hidden, n_sequences", [(32, 64), (200, 1)], ids=["parts of a batch", "one sequence"])
def test_threads_there_are(n_hidden, n_sequences):
    """Without any, all of this file would pass: both kinds of work start a team, and its other member computes."""
    X = np.random.default_rng(0).standard_normal((n_sequences, 100, 4))
    before, seen, times = set(os.listdir("/proc/self/task")), [], []

    def look(model):
        seen.append(set(os.listdir("/proc/self/task")) - before)
        for member in seen[-1]:
            # nanoseconds on a CPU, where the kernel counts them
            schedstat = Path(f"/proc/self/task/{member}/schedstat")
            times.append(int(schedstat.read_text().split()[0]) if schedstat.exists() else len(times))

    RAE(n_hidden, n_jobs=2, max_iter=40, init="normal", batch_size=64, callbacks=look, report_every=1,
        random_state=0).fit(X)
    assert seen and all(len(members) == 1 for members in seen)
    assert times[-1] > times[0]


def test_many_python_threads_share_a_model():
    X = np.random.default_rng(0).standard_normal((300, 30, 4))
    model = RAE(48, n_jobs=2, max_iter=1, random_state=0).fit(X)
    codes, (loss, grad) = model.transform(X), model.loss_and_grad(X)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: model.transform(X), range(32)):
            np.testing.assert_array_equal(found, codes)
        for found_loss, found in pool.map(lambda _: model.loss_and_grad(X), range(16)):
            assert found_loss == loss
            np.testing.assert_array_equal(found["W_hh"], grad["W_hh"])


def run_code(code, seconds=60):
    return subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True,
                          timeout=seconds)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_and_in_the_middle_of_a_fit():
    """The child of a fork has no threads but its own: it computes alone, the same bits, and does not hang."""
    result = run_code("""
        import os
        import numpy as np
        from rae_fast import RAE
        X = np.random.default_rng(0).standard_normal((200, 30, 4))
        expected = RAE(32, n_jobs=1, max_iter=4, random_state=0).fit(X)
        child = None

        def fork(model):
            global child
            if child is None:
                child = os.fork()

        model = RAE(32, n_jobs=2, max_iter=4, random_state=0, callbacks=fork, report_every=1).fit(X)
        same = np.array_equal(model.theta_, expected.theta_)
        same = same and np.array_equal(model.transform(X), expected.transform(X))
        if child == 0:
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(model.fit(X).theta_, expected.theta_) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and same
        print("same")
    """)
    assert result.stdout.strip() == "same", result.stderr


@pytest.mark.parametrize("call", ["model.fit(X)", "model.loss_and_grad(X)", "model.transform(X)"])
def test_ctrl_c_with_threads(call):
    """KeyboardInterrupt comes out, the members of the team come home, and the model goes on working."""
    result = run_code(f"""
        import signal, time
        import numpy as np
        from rae_fast import RAE
        X = np.random.default_rng(0).standard_normal((3000, 200, 8))
        model = RAE(200, n_jobs=2, max_iter=0, random_state=0, init="normal").fit(X[:2])
        model.set_params(max_iter=100)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for _ in range(100):  # some minutes
                {call}
        except KeyboardInterrupt:
            model.transform(X[:50])
            print("interrupted")
    """)
    assert result.stdout.strip() == "interrupted", result.stderr


def test_a_failing_signal_handler_with_threads():
    """An exception of a handler, on the main thread in the middle of the team's work, is the one that comes out."""
    def handler(*_):
        raise LookupError("from the handler")

    def after_a_pass(model):
        if model.n_iter_ == 1:
            signal.setitimer(signal.ITIMER_REAL, 0.02)

    X = np.random.default_rng(0).standard_normal((600, 100, 8))
    model = RAE(64, n_jobs=2, max_iter=1000, random_state=0, init="normal", callbacks=after_a_pass, report_every=1)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(LookupError, match="from the handler"):
            model.fit(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 1 <= model.n_iter_ < 1000 and np.isfinite(model.transform(X)).all()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_no_thread_waits_with_what_an_exception_keeps(solver):
    """A debugger, or sys.last_traceback, holds the frames of a fit that has failed; its team has gone home."""
    def fail(model):
        raise RuntimeError("stop")

    X = np.random.default_rng(0).standard_normal((200, 30, 4))
    before = len(list(Path("/proc/self/task").iterdir()))
    with pytest.raises(RuntimeError) as kept:
        RAE(32, solver=solver, batch_size=200, n_jobs=3, max_iter=50, report_every=1, callbacks=fail).fit(X)
    assert kept.value.__traceback__ is not None
    assert len(list(Path("/proc/self/task").iterdir())) <= before
