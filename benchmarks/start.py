"""python benchmarks/start.py: what the closed-form start costs. Figures: docs/performance.md.

Whole starts, RAE(24, max_iter=0).fit(X), in seconds of CPU; how the products with Xi are made, in nanoseconds; and the
eigenvectors of dense.py beside LAPACK's. `--table` prints the first only: with another checkout on PYTHONPATH it is
that one's.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import time  # noqa: E402
from functools import partial  # noqa: E402

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402

from rae_fast import RAE  # noqa: E402


def series(n, T, I, rank=40, seed=0):
    """Smooth sequences of some rank and noise."""
    rng = np.random.default_rng(seed)
    waves = np.cumsum(rng.standard_normal((rank, T, I)), axis=1) / np.sqrt(T)
    X = np.einsum("nr,rti->nti", rng.standard_normal((n, rank)) / np.arange(1, rank + 1), waves)
    return X + 0.05 * rng.standard_normal((n, T, I))


def words(n, T, V, seed=0):
    """One-hot rows of V words, as often as Zipf's law has them."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, V + 1)
    return [np.eye(V)[rng.choice(V, size=T, p=p / p.sum())] for _ in range(n)]


CASES = {
    "1,000 of 8 x 8": lambda: series(1000, 8, 8),
    "500 of 140 x 1": lambda: series(500, 140, 1),
    "200 of 128 x 8": lambda: series(200, 128, 8),
    "300 of 200 x 16": lambda: series(300, 200, 16),
    "100 of 1,000 x 8": lambda: series(100, 1000, 8),
    "one of 20,000 x 1": lambda: series(1, 20000, 1),
    "100,000 of 50 x 16": lambda: np.concatenate([series(5000, 50, 16, seed=s) for s in range(20)]),
    "670 of 20 of 5,000 words": lambda: words(670, 20, 5000),
}


def starts(names):
    print(f"RAE(24, max_iter=0).fit(X), least of three\n{'sequences':28}{'CPU s':>8}{'error / variance':>18}")
    for name in names:
        X = CASES[name]()
        spent = []
        for _ in range(3):
            model = RAE(24, max_iter=0, random_state=0)
            begun = time.process_time()
            model.fit(X)
            spent.append(time.process_time() - begun)
        some = X[:500]
        mean = np.average(np.concatenate(list(X)), axis=0)
        variance = sum(float(np.square(x - mean).sum()) for x in some)
        print(f"{name:28}{min(spent):8.2f}{model.reconstruction_error(some).sum() / variance:18.6f}", flush=True)


def least(rounds, work, *arguments):
    """The least time of some calls, in seconds."""
    return min((begun := time.perf_counter(), work(*arguments), time.perf_counter() - begun)[2] for _ in range(rounds))


def ways():
    """Nanoseconds of each way for one step and one vector: what the constants in closed_form.py are."""
    from rae_fast import closed_form
    from rae_fast.inputs import as_batch

    rng = np.random.default_rng(0)
    print("\nXi^T Xi times 8 vectors: ns for a step and a vector")
    print(f"{'data':28}{'looked up':>11}{'an element':>12}{'product':>9}{'an element':>12}{'convolution':>13}")
    for n, T, I, filled in ((670, 20, 5000, 1 / 5000), (200, 20, 500, 1 / 500), (200, 20, 500, 0.05),
                            (100, 100, 100, 1), (20, 20, 2000, 1), (20, 1000, 4, 1), (20, 1000, 32, 1),
                            (1, 20000, 1, 1), (4, 5000, 2, 1)):
        X = rng.standard_normal((n, T, I))
        if filled < 1:
            keep = np.zeros((n * T, I), bool)
            each = max(1, round(filled * I))
            keep[np.arange(n * T)[:, None], rng.integers(0, I, size=(n * T, each))] = True
            X *= keep.reshape(X.shape)
        batch = as_batch(X)
        lags = min(T, max(1, closed_form._MOST_COLUMNS // I))
        prefixes = closed_form._Prefixes(batch, batch.data.mean(axis=0), np.ones(n), lags, 1)
        v = rng.standard_normal((lags, I, 8))
        scale = 1e9 / (n * T * 8)
        text = f"{n} of {T} x {I}, {lags} lags"
        if filled < 1:
            looked = least(5, closed_form._BySteps(prefixes, True), v) * scale
            text = f"{text:28}{looked:11.0f}{looked / (lags * max(1, round(filled * I))):12.2f}"
        else:
            text = f"{text:28}{'':23}"
        if lags <= 1000:
            product = least(2, closed_form._BySteps(prefixes, False), v) * scale
            text += f"{product:9.0f}{product / (lags * I):12.3f}"
        else:
            text += " " * 21
        convolution = least(2, closed_form._ByConvolution(prefixes), v) * scale
        print(f"{text}{convolution:13.0f}", flush=True)


def vectors():
    """24 largest eigenvectors of a Gram matrix: dense.py's against all and some of LAPACK's, one thread each."""
    from rae_fast import dense

    print(f"\n24 largest eigenvectors: ms\n{'columns':>8}{'dense.py':>10}{'syevr':>10}{'eigh of 24':>12}")
    for size in (16, 64, 140, 512, 1024):
        X = series(2 * size, size, 1)[:, :, 0]
        G = X.T @ X
        n = min(24, size)
        ours = least(5, dense.largest, G, n, np.random.default_rng(0), 1e-4, 1024, 1)
        whole = least(5, partial(scipy.linalg.eigh, G, driver="evr"))
        some = least(5, partial(scipy.linalg.eigh, G, subset_by_index=[size - n, size - 1]))
        print(f"{size:8d}{ours * 1e3:10.2f}{whole * 1e3:10.2f}{some * 1e3:12.2f}")
    size = 3000
    X = series(size, size, 1)[:, :, 0]
    G = X.T @ X
    for tolerance in (1e-2, 1e-4, 1e-8):
        begun = time.perf_counter()
        values, found = dense.largest(G, 24, np.random.default_rng(0), tolerance, 1024, 1)
        spent = time.perf_counter() - begun
        held = float(np.einsum("ij,jk,ik->", found, G, found)) / np.trace(G)
        print(f"{size} columns by blocks, tolerance {tolerance:g}: {spent:.2f} s, {held:.10f} of the variance")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="whole starts only")
    parser.add_argument("--cases", type=int, default=len(CASES), help="so many of the cases")
    options = parser.parse_args()
    starts(list(CASES)[:options.cases])
    if not options.table:
        ways()
        vectors()
