"""Fixtures that force an implementation, and put it back."""

import pytest

from rae_fast import _kernels, _products


@pytest.fixture(params=_kernels.known_isas())
def isa(request):
    """Every instruction set of the build; one that this CPU lacks is skipped with that reason."""
    if request.param not in _kernels.usable_isas():
        pytest.skip(f"this CPU has no {request.param}")
    before = _kernels.isa()
    _kernels.use_isa(request.param)
    yield request.param
    _kernels.use_isa(before)


@pytest.fixture(params=["own", "blas"])
def gemm(request):
    """Both ways of multiplying matrices."""
    before = _products.use_gemm(request.param)
    yield request.param
    _products.use_gemm(before)
