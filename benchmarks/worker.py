"""One contestant in a process of its own: a request a line on standard input, an answer a line on standard output.

Started by contest.py as `worker.py NAME THREADS`. Between two requests it waits for the pipe, and every answer
says how much processor time went by since the answer before: a contestant whose threads spin while another one
is timed is found out.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

import environment

if __name__ == "__main__":
    environment.stay_on(int(sys.argv[2]))  # before anyone starts a thread

# Where libraries print what they like: their standard output is this process's standard error.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import numpy as np  # noqa: E402
import peers  # noqa: E402
from cases import CASES  # noqa: E402
from peers import layout  # noqa: E402

from rae_fast import _config, reference  # noqa: E402

RATE = 1e-5            # of the updates that are timed: small, so that no run overflows
SAMPLE = 0.05          # seconds that one timing should last
WARM_UP = 0.01         # seconds before the first timing of a turn, for updates that take less
SETTLE = 0.5           # seconds at most that threads may take to fall asleep after a turn
QUICK_SAMPLES = 3      # of every form, to choose the forms that take part
CHECKED_UPDATES = 2    # the second one starts from what the first left


class WrongResult(Exception):
    pass


def expected(case, dtype, folder):
    """What every form must compute, by the reference in float64: made by whoever needs it first."""
    path = Path(folder) / f"{case.name}-{dtype}.npz"
    if not path.exists():
        theta, X, offsets = case.data(dtype)
        theta, data = case.as_ours(theta.astype(np.float64)), case.rows(X).astype(np.float64)
        loss, grad = reference.loss_and_grad(theta, data, offsets, None, case.form)
        rate = case.check_rate(theta, grad)
        moved = case.moved(theta, data, offsets, rate, CHECKED_UPDATES) - theta
        grad, moved = (layout.from_names(case.form.views(x)) for x in (grad, moved))
        np.savez(path, loss=loss, grad=grad, rate=rate, moved=moved)
    return np.load(path)


def check(peer, form, case, dtype, theta, truth):
    """Largest disagreement with the reference as a fraction of what rounding allows; WrongResult beyond."""
    # As in tests/problems.py; some add the loss up in float32, hence the factor.
    allowed = 64 * np.finfo(dtype).eps * (np.sqrt(case.T * (case.H + case.I)) + np.sqrt(case.T * case.B))
    loss, grad = peer.loss_and_grad(form)
    errors = {"loss": abs(loss - truth["loss"]) / abs(truth["loss"])}
    grads, scale = layout.named(truth["grad"], case.I, case.H, case.C), np.abs(truth["grad"]).max()
    for name, view in layout.named(np.asarray(grad), case.I, case.H, case.C).items():
        errors[f"gradient of {name}"] = np.abs(view - grads[name]).max() / scale
    peer.update(form, CHECKED_UPDATES, float(truth["rate"]))
    moved = np.asarray(peer.parameters(form), np.float64) - theta
    rounding = CHECKED_UPDATES * np.finfo(dtype).eps * np.abs(theta).max()
    error = max(0.0, np.abs(moved - truth["moved"]).max() - rounding)
    errors[f"theta after {CHECKED_UPDATES} updates"] = error / np.abs(truth["moved"]).max()
    for name, error in errors.items():
        if not error < allowed:
            raise WrongResult(f"wrong {name}: relative error {error:.2g}, allowed {allowed:.2g}")
    return max(errors.values()) / allowed


class Contestant:
    def __init__(self, name, threads):
        self.threads = threads
        self.name, (self.make, self.about) = name, peers.load(name)
        self.peer = None
        self.once = {}

    def describe(self):
        return {"config": _config.config(), "about": self.about()}

    def limits(self, dtype):
        import limits

        return {"peak": limits.peak_rate(dtype, self.threads), "gemm": limits.gemm_rate(dtype)}

    def prepare(self, case, dtype, folder):
        """Build, check and shortly time every form; a form that cannot be built is left out with its reason."""
        case = CASES[case]
        answer = {"forms": {}, "failed": {}, "wrong": {}, "error": 0.0}
        if case.path == peers.DEFAULTS and self.name not in peers.OF_DEFAULTS:
            return answer  # takes no part
        theta = case.data(dtype)[0]
        truth = expected(case, dtype, folder)
        self.peer = None  # memory of the case before
        self.peer = case.make(peers.load(self.name, case.path)[0], dtype, self.threads)
        for form in self.peer.forms():
            try:
                answer["error"] = max(answer["error"], check(self.peer, form, case, dtype, theta, truth))
                start = time.perf_counter()
                self.peer.update(form, 1, RATE)
                self.once[form] = time.perf_counter() - start
                answer["forms"][form] = min(self.time(form, QUICK_SAMPLES * SAMPLE)["seconds"])
            except WrongResult as wrong:
                answer["wrong"][form] = str(wrong)
            except Exception as error:
                traceback.print_exc()
                answer["failed"][form] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return answer

    def time(self, form, seconds):
        """Timings of about SAMPLE seconds each, `seconds` in all and at least one; seconds per update."""
        n = max(1, min(100_000, int(SAMPLE / self.once[form])))
        if self.once[form] < WARM_UP:
            self.peer.update(form, max(1, int(WARM_UP / self.once[form])), RATE)
        samples, cpu, start = [], time.process_time(), time.perf_counter()
        while not samples or time.perf_counter() - start + n * samples[-1] < seconds:
            before = time.perf_counter()
            self.peer.update(form, n, RATE)
            samples.append((time.perf_counter() - before) / n)
        self.once[form] = min(samples)
        return {"seconds": samples, "cores": (time.process_time() - cpu) / (time.perf_counter() - start)}


def settle():
    """Wait until no thread of this process computes: OpenBLAS's spin for a tenth of a second after a product."""
    end = time.perf_counter() + SETTLE
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.01)
        if time.process_time() - before < 0.001:
            return


def answer(content):
    print(json.dumps(content), file=ANSWERS, flush=True)


def main(name, threads):
    try:
        contestant = Contestant(name, threads)
    except ImportError as error:
        return answer({"missing": str(error)})
    answer({})
    at_answer = time.process_time()
    for line in sys.stdin:
        idle = time.process_time() - at_answer
        request = json.loads(line)
        content = getattr(contestant, request.pop("do"))(**request)
        settle()
        at_answer = time.process_time()
        answer({**content, "idle_cpu": idle})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
