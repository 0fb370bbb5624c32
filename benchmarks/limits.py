"""What the machine could do: the multiply-add peak, and the matrix product of the BLAS that rae_fast uses."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rae_fast import _blas, _kernels


def peak_rate(dtype, threads):
    """Multiply-add peak of all threads together, FLOP/s, by the C loop in csrc: best of five."""
    rounds = 30_000_000
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            flops = sum(pool.map(lambda _: _kernels.peak_flops(dtype, rounds), range(threads)))
            best = max(best, flops / (time.perf_counter() - start))
    return best


def gemm_rate(dtype):
    """Rate of 1024 x 1024 matrix products with BLAS's own number of threads, FLOP/s: best of seven."""
    A, B, C = np.random.default_rng(0).standard_normal((3, 1024, 1024)).astype(dtype)
    best = 0.0
    for _ in range(7):
        start = time.perf_counter()
        _blas.gemm(A, B, C)
        best = max(best, 2 * 1024**3 / (time.perf_counter() - start))
    return best
