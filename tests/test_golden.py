"""Stored results of a fixed problem: that nothing drifts; and what a process's arithmetic keeps."""

import ctypes
import ctypes.util
import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from problems import solver_of

import rae_fast
from rae_fast import RAE, reference

# The objective before each of 20 updates by Adam, first computed by reference.py in float64 on 26 November 2026.
GOLDEN = [13.105150595075, 12.7829594907635, 12.4903495607963, 12.2210222900157, 11.9668790091928, 11.7230173772392,
          11.4873582337446, 11.2587058661739, 11.0361877336291, 10.8191417016069, 10.6070687321055, 10.3995514163377,
          10.1960829056134, 9.99592358246273, 9.79812594877594, 9.60167002736492, 9.40557603597777, 9.20890657779746,
          9.01065656654194, 8.80975407320876]
RATE = 0.01


def fixed_problem(dtype):
    """Six waves of seven steps, and a model drawn from a generator of its own."""
    rng = np.random.Generator(np.random.PCG64(20140601))
    speed, phase = rng.random((6, 1, 3)), rng.random((6, 1, 3))
    X = np.sin(speed * 2 + np.arange(7)[:, None] * (0.3 + phase)).astype(dtype)
    params = {"solver": "adam", "relative_rates": False, "learning_rate": RATE, "init": "normal", "init_scale": 0.3,
              "schedule": "constant", "max_iter": 0, "objective": "unfold"}
    return RAE(4, random_state=np.random.Generator(np.random.PCG64(7)), **params).fit(X), X


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_the_golden_run(isa, dtype, tolerance):
    model, X = fixed_problem(dtype)
    for _ in GOLDEN:
        model.partial_fit(X)
    np.testing.assert_allclose(model.loss_curve_, GOLDEN, rtol=tolerance)


def test_the_reference_s_golden_run():
    model, X = fixed_problem(np.float64)
    theta, form, losses = model.theta_.copy(), model._learned.form, []
    state = [np.zeros_like(theta), np.zeros_like(theta)]
    for t in range(len(GOLDEN)):
        loss, grad = reference.loss_and_grad(theta, X.reshape(-1, 3), np.arange(0, 43, 7), None, form)
        reference.update(solver_of("adam", RATE), RATE, grad, state, None, 1.0, t + 1, theta)
        losses.append(loss)
    np.testing.assert_allclose(losses, GOLDEN, rtol=1e-12)


def test_the_rounding_mode_stays():
    """And whatever mode a process has is put back after every call."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    nearest, upward = libm.fegetround(), {"x86_64": 0x800, "aarch64": 0x400000}.get(platform.machine())
    if upward is None:
        pytest.skip("the number of FE_UPWARD is not known for this machine")
    X = np.random.default_rng(0).standard_normal((4, 5, 3))
    assert nearest == 0
    RAE(3, max_iter=5, random_state=0).fit(X).partial_fit(X).transform(X)
    assert libm.fegetround() == nearest
    try:
        assert libm.fesetround(upward) == 0
        model = RAE(3, max_iter=5, random_state=0, init="normal").fit(X).partial_fit(X)
        assert libm.fegetround() == upward and np.isfinite(model.transform(X)).all()
    finally:
        libm.fesetround(nearest)


def test_wide_registers_are_used_only_where_the_cpu_was_asked():
    """A wheel built on one machine runs on all: no AVX outside of the kernels that are chosen at import."""
    if platform.machine() != "x86_64" or shutil.which("objdump") is None:
        pytest.skip("needs objdump, and x86-64")
    modules = sorted(Path(rae_fast.__file__).parent.glob("*.so"))
    if any("asan" in subprocess.run(["nm", "-D", path], capture_output=True, text=True).stdout for path in modules):
        pytest.skip("sanitizers have code of their own")
    found = set()
    for path in modules:
        listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True,
                                 check=True)
        symbol = ""
        for line in listing.stdout.splitlines():
            if head := re.match(r"[0-9a-f]+ <(.*)>:", line):
                symbol = head[1]
            elif re.search(r"%[yz]mm", line):
                found.add((path.name.split(".")[0], symbol))
    assert found, "no kernel with wide registers at all"
    elsewhere = {(name, symbol) for name, symbol in found if name != "_kernels" or not re.search("avx2|avx512", symbol)}
    assert not elsewhere
