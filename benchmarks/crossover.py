"""python benchmarks/crossover.py: own C kernels or BLAS, by size; sets OWN_MAX_BYTES in _sequence.pyx.

One training update, n_inputs = H / 2, T = 20, one BLAS thread, best of interleaved rounds.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time  # noqa: E402

import numpy as np  # noqa: E402

from rae_fast import _kernels, _products, _training, parameters  # noqa: E402
from rae_fast.parameters import Form  # noqa: E402
from rae_fast.solvers import Solver  # noqa: E402

T = 20


def update_time(theta, data, offsets, form, B, n):
    run, losses = _training.Training(offsets, B), np.empty(n)
    start = time.perf_counter()
    _training.train(theta, data, offsets, None, form, Solver(learning_rate=1e-6), [], None, 1.0, 0, None, n, 0.0, 1,
                    run, losses, 1e9)
    return (time.perf_counter() - start) / n


def main():
    print(f"kernels {_kernels.isa()}; microseconds per update; above 1 the own kernels are faster")
    print(f"{'dtype':9}{'B':>4}{'H':>6}{'KiB':>7}{'own':>12}{'BLAS':>12}{'BLAS/own':>10}")
    for dtype in (np.float64, np.float32):
        for B in (1, 32):
            for H in (8, 16, 24, 48, 64, 96, 128, 160, 192, 256, 384):
                I = H // 2
                rng = np.random.default_rng(0)
                theta = parameters.initialise(Form(I, H), 0.5 / np.sqrt(H + I), rng, np.dtype(dtype))
                data = 0.3 * rng.standard_normal((B * T, I)).astype(dtype)
                offsets = np.arange(0, B * T + 1, T)
                n = max(1, int(4e7 / (B * T * (12 * H * H + 10 * H * I))))
                best = {"own": np.inf, "blas": np.inf}
                for _ in range(7):
                    for choice in best:
                        _products.use_gemm(choice)
                        best[choice] = min(best[choice], update_time(theta, data, offsets, Form(I, H), B, n))
                kib = 2 * (H + I) * H * np.dtype(dtype).itemsize / 1024
                print(f"{np.dtype(dtype).name:9}{B:>4}{H:>6}{kib:>7.0f}{best['own'] * 1e6:>12.1f}"
                      f"{best['blas'] * 1e6:>12.1f}{best['blas'] / best['own']:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
