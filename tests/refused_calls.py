"""Run by test_refusals.py in a process that loads tests/native/refuse.c: refused_calls.py STRIDE FOLDER CALL ...

Every STRIDE-th allocation of each call fails once: the result is right or there is an error, and the model is as it
was, or as it is after the call, and goes on learning. Prints for each call how many allocations it makes.
"""

import copy
import ctypes
import gc
import os
import sys
import warnings

import numpy as np

from rae_fast import RAE

X = np.random.default_rng(0).standard_normal((16, 50, 3))  # two parts, for a team of two
PARAMS = {"n_jobs": 2, "max_iter": 2, "random_state": 0}
# CPython 3.11 loses a MemoryError on some of its ways: "returned NULL without setting an exception".
LOST = (MemoryError, SystemError, RuntimeError, TypeError)

shim = ctypes.CDLL(None)
shim.refuse_allocation.argtypes, shim.allow.restype = [ctypes.c_long, ctypes.c_int], ctypes.c_long


def content(model):
    """All that was learned, to be compared."""
    if not model.__sklearn_is_fitted__():
        return None
    state = [block.tobytes() for blocks in model.solver_state_.values() for block in blocks.values()]
    return model.theta_.tobytes(), state, model.n_updates_, model.n_iter_, list(model.loss_curve_)


def bits(result):
    return np.asarray(result).tobytes()


def save(model):
    try:
        model.save("model")
        # What an earlier call could not clean up is swept, as that of a killed writer is.
        assert sorted(os.listdir()) == ["model", "other"]
    finally:
        if os.path.exists("model"):
            assert os.path.getsize("model") == os.path.getsize("other")  # no half of a file
    return model.theta_


fresh, fitted = RAE(5, **PARAMS), RAE(5, **PARAMS).fit(X)
plain = RAE(5, init="normal", relative_rates=False, **PARAMS)
# The model, the call, and what it may raise: only a MemoryError where we take the memory, or have NumPy take it. The
# other calls go far into NumPy, whose ufuncs die without memory: its own allocations are not refused there.
CALLS = {
    "transform": (fitted, lambda model: model.transform(X), MemoryError),
    "transform a list": (fitted, lambda model: np.concatenate(model.transform(list(X))), MemoryError),
    "reconstruct": (fitted, lambda model: model.reconstruct(X), MemoryError),
    "loss_and_grad": (fitted, lambda model: model.loss_and_grad(X)[1]["W_hh"], MemoryError),
    "partial_fit": (fitted, lambda model: model.partial_fit(X).theta_, MemoryError),
    "first partial_fit": (plain, lambda model: model.partial_fit(X).theta_, LOST),
    "fit": (plain, lambda model: model.fit(X).theta_, LOST),
    "fit from the closed form": (fresh, lambda model: model.fit(X).theta_, LOST),
    "fit by lbfgs": (RAE(5, solver="lbfgs", **PARAMS), lambda model: model.fit(X).theta_, LOST),
    "save": (fitted, save, LOST),
    "load": (fitted, lambda _: RAE.load("other").theta_, LOST),
    "deepcopy": (fitted, lambda model: copy.deepcopy(model).theta_, LOST),
}


def refuse(model, call, n, numpy):
    """The result, or the error, of the call whose n-th allocation fails; and whether one did."""
    try:
        shim.refuse_allocation(n, numpy)
        found = call(model)
    except Exception as error:
        found = error.with_traceback(None)
    try:
        refused = shim.allow()
    except MemoryError:  # the call had made fewer
        refused = shim.allow()
    return found, refused


def check(name, stride):
    before, call, allowed = CALLS[name]
    after = copy.deepcopy(before)
    expected = bits(call(after))
    was, becomes, n, refused = content(before), content(after), 1, 1
    next_time = bits(call(copy.deepcopy(after)))
    while refused:
        model = copy.deepcopy(before)
        found, refused = refuse(model, call, n, allowed is MemoryError)
        where = f"{name}, allocation {n}: {found!r}"
        if isinstance(found, Exception):
            assert isinstance(found, allowed), where
            now = content(model)
            # A fit ends between two updates, and afresh it is the same.
            assert now in (was, becomes) or name.startswith("fit") and len(now[4]) == now[2] <= 2, where
            assert bits(call(model)) == (next_time if now == becomes else expected), where
        else:
            assert bits(found) == expected, where
        n += stride
    print(name, n, flush=True)


stride, folder, *names = sys.argv[1:]
os.chdir(folder)
fitted.save("other")
warnings.simplefilter("ignore")
threads = len(os.listdir("/proc/self/task"))
for name in names or CALLS:
    check(name, int(stride))
gc.collect()  # closures of lbfgs hold theirs in a circle
assert len(os.listdir("/proc/self/task")) <= threads  # teams went home
print("whole")
