"""A system that refuses memory or threads: an error or the right result, no crash, and never half a model."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from compiled_c import NATIVE, build, environment

import rae_fast


@pytest.fixture
def refusing(tmp_path):
    """Runs Python with tests/native/refuse.c in front of the C library."""
    if sys.platform != "linux" or not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        pytest.skip("the shim in front of malloc is for glibc")
    if "san" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a sanitizer has a malloc of its own")
    shim = build(tmp_path / "refuse.so", [NATIVE / "refuse.c"], "-O1", "-shared", "-fPIC", "-ldl")

    def run(*words, seconds=600):
        # Our package must be the one that is tested, from wherever it was imported here.
        path = os.pathsep.join([str(Path(rae_fast.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
        found = subprocess.run([sys.executable, "-X", "faulthandler", *words], capture_output=True, text=True,
                               timeout=seconds, env=environment(LD_PRELOAD=str(shim), PYTHONMALLOC="malloc",
                                                                OPENBLAS_NUM_THREADS="1",
                                                                PYTHONPATH=path.rstrip(os.pathsep)))
        assert found.returncode == 0, found.stdout[-1000:] + found.stderr[-4000:]
        return found.stdout
    return run


def refused(refusing, folder, stride, *calls):
    (folder / "files").mkdir()
    found = refusing(Path(__file__).parent / "refused_calls.py", str(stride), str(folder / "files"), *calls,
                     seconds=600 if stride > 1 or calls else 3600)  # every one of every call
    assert found.endswith("whole\n")
    print(found)


def test_every_allocation_refused_once(refusing, tmp_path):
    """Where compiled code works: a refused allocation is a MemoryError."""
    refused(refusing, tmp_path, 1, "transform", "transform a list", "reconstruct", "loss_and_grad", "partial_fit")


def test_one_allocation_of_many_refused(refusing, tmp_path):
    refused(refusing, tmp_path, 293)


@pytest.mark.slow
def test_every_allocation_of_every_call_refused_once(refusing, tmp_path):
    refused(refusing, tmp_path, 1)


def test_threads_that_cannot_be_started(refusing):
    """From the n-th on none starts: the same bits by those that there are, and the refused ones are not missed."""
    found = refusing("-c", textwrap.dedent("""
        import ctypes
        import numpy as np
        from rae_fast import RAE
        shim = ctypes.CDLL(None)
        shim.refuse_threads.argtypes, shim.allow.restype = [ctypes.c_long], ctypes.c_long
        many, long = np.random.default_rng(0).standard_normal((200, 30, 4)), np.zeros((1, 50, 4))
        for X, units in ((many, 32), (long, 200)):
            expected = RAE(units, max_iter=2, random_state=0, init="normal", batch_size=len(X)).fit(X)
            for n in (1, 2, 3):
                model = RAE(units, max_iter=2, random_state=0, init="normal", batch_size=len(X), n_jobs=4)
                shim.refuse_threads(n)
                model.fit(X)
                codes, loss = model.transform(X), model.loss_and_grad(X)[0]
                assert shim.allow() > 0, "every thread was started"
                assert np.array_equal(model.theta_, expected.theta_) and loss == expected.loss_and_grad(X)[0]
                assert np.array_equal(codes, expected.transform(X))
        print("the same")
    """))
    assert found == "the same\n"
