"""Fixtures that force an implementation, and put it back."""

import os
import signal

import pytest
from threadpoolctl import threadpool_limits

from rae_fast import _kernels, _products

# A shell's background job ignores Ctrl-C, and would wait for ever in the tests that press it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--store-instructions", action="store_true", help="store what test_instructions.py counts")


def seeds():
    """RAE_FAST_TEST_SEEDS, as 3, 0-99 or 3,7,10-19; without it one."""
    ends = [part.partition("-") for part in os.environ.get("RAE_FAST_TEST_SEEDS", "0").split(",")]
    return [n for first, _, last in ends for n in range(int(first), int(last or first) + 1)]


@pytest.fixture(scope="session", params=seeds())
def seed(request):
    """What random data of a test of mathematics begin with: it must hold for any. `make seeds` tries a hundred."""
    return request.param


@pytest.fixture(autouse=True)
def as_it_was():
    """A test that left another implementation in use would change what all after it test."""
    before = _kernels.isa(), _products.use_gemm("auto"), _products.use_weights("auto")
    _products.use_gemm(before[1])
    _products.use_weights(before[2])
    yield
    now = _kernels.isa(), _products.use_gemm(before[1]), _products.use_weights(before[2])
    assert now == before


@pytest.fixture(params=_kernels.known_isas())
def isa(request):
    """Every instruction set of the build; one that this CPU lacks is skipped with that reason."""
    if request.param not in _kernels.usable_isas():
        pytest.skip(f"this CPU has no {request.param}")
    before = _kernels.isa()
    _kernels.use_isa(request.param)
    yield request.param
    _kernels.use_isa(before)


@pytest.fixture(params=["panels", "bare", "blas"])
def gemm(request):
    """Every way of multiplying matrices: C kernels with a single sequence's weights in panels or as they lie, BLAS.

    BLAS gets one thread: where others use the cores, each of its thousands of small calls would wait for a second one.
    """
    own = request.param != "blas"
    before = _products.use_gemm("own" if own else "blas"), _products.use_weights(request.param if own else "auto")
    with threadpool_limits(1, "blas"):
        yield request.param
    _products.use_gemm(before[0])
    _products.use_weights(before[1])
