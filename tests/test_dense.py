"""Linear algebra by the package's own kernels: against LAPACK, and the same bits for any number of threads."""

import os
import subprocess
import sys

import numpy as np
import pytest

from rae_fast import dense

SIZES = [1, 2, 3, 5, 31, 32, 33, 64, 65, 97, 200]


def symmetric(n, rank=None):
    factor = np.random.default_rng(n).standard_normal((n, 2 * n + 3 if rank is None else rank))
    return factor @ factor.T


SPECIAL = {"identity": np.eye(70), "zeros": np.zeros((50, 50)), "ones": np.ones((70, 70)),
           "diagonal": np.diag(np.arange(90.)),
           "blocks": np.kron(np.eye(9), np.ones((9, 9))), "of low rank": symmetric(80, 3),
           "graded": symmetric(60) * np.outer(*[10.0 ** -np.arange(0, 15, 0.25)] * 2)}


def check_eigen(matrix, values, rows, tolerance):
    n, scale = len(values), max(np.abs(matrix).max(), np.finfo(float).tiny) * len(matrix)
    exact = np.linalg.eigvalsh(matrix / scale)[::-1][:n] * scale
    np.testing.assert_allclose(values / scale, exact / scale, rtol=0, atol=tolerance)
    np.testing.assert_allclose(rows @ rows.T, np.eye(n), rtol=0, atol=1e-12)
    np.testing.assert_allclose((matrix / scale) @ rows.T, rows.T * (values / scale), rtol=0, atol=tolerance)


@pytest.mark.parametrize("n", SIZES)
def test_eigenvectors_by_reduction(n, isa):
    for k in {1, (n + 1) // 2, n}:
        check_eigen(symmetric(n), *dense.reduced(symmetric(n), k), 1e-13)


@pytest.mark.parametrize("matrix", SPECIAL.values(), ids=SPECIAL)
def test_eigenvectors_of_special_matrices(matrix, monkeypatch):
    monkeypatch.setattr(dense, "_CYCLES", 100)
    for factor in (1, 1e290, 1e-290):
        check_eigen(matrix * factor, *dense.reduced(matrix * factor, 12), 1e-13)
    check_eigen(matrix, *dense.largest(matrix, 4, np.random.default_rng(0), 1e-10, 0), 1e-4)


@pytest.mark.parametrize("n", [1, 4, 30])
@pytest.mark.parametrize("kind", ["slow", "clusters", "low rank"])
def test_eigenvectors_by_blocks(n, kind):
    size = 400
    if kind == "slow":
        q = dense.orthonormal_rows(np.random.default_rng(1).standard_normal((size, size)), np.random.default_rng(0))
        matrix = q.T @ (np.linspace(1, 2, size)[:, None] * q)
    else:
        matrix = np.kron(np.diag(np.arange(1.0, 21)), np.eye(20)) if kind == "clusters" else symmetric(size, 17)
    counted = []

    def multiply(rows):
        counted.append(len(rows))
        return dense.product(rows, matrix)

    values, rows = dense.krylov(multiply, size, n, np.random.default_rng(0), 1e-6)
    assert len(counted) <= dense.most_products(n, size)
    exact = np.linalg.eigvalsh(matrix)[::-1][:n]
    assert (values <= exact * (1 + 1e-12) + 1e-9 * exact[0]).all()
    # Where eigenvalues lie too close to be told apart, vectors that are nearly as good are found; of one that is there
    # more often than a block has vectors, the next.
    np.testing.assert_allclose(values, exact, rtol=0, atol={"slow": 0.02, "clusters": 0.06}.get(kind, 1e-5) * exact[0])
    np.testing.assert_allclose(rows @ rows.T, np.eye(n), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", SIZES)
def test_orthonormal_rows_are_those_of_qr(n):
    for m in (n, n + 7):
        a = np.random.default_rng(n).standard_normal((n, m))
        found = dense.orthonormal_rows(a, np.random.default_rng(0))
        q, r = np.linalg.qr(a.T)
        np.testing.assert_allclose(found, (q * np.sign(np.diag(r))).T, atol=1e-11 * np.linalg.cond(a))
        np.testing.assert_allclose(found @ found.T, np.eye(n), rtol=0, atol=1e-13)


@pytest.mark.parametrize("rows", [np.ones((5, 8)), np.zeros((40, 60)), np.vander(np.linspace(0, 1, 50), 50)], ids=len)
def test_rows_that_depend_on_each_other_are_replaced(rows):
    found = dense.orthonormal_rows(rows, np.random.default_rng(0))
    np.testing.assert_allclose(found @ found.T, np.eye(len(rows)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("k, n", [(1, 1), (5, 3), (30, 191), (7, 192), (50, 193), (3, 400)])
@pytest.mark.parametrize("threads", [1, 3])
def test_gram_matrices(k, n, threads):
    a = np.zeros((k, dense.padded(n)))
    a[:, :n] = np.random.default_rng(0).standard_normal((k, n))
    total = np.ones((n, n))
    dense.add_gram(a, total, threads)
    dense.mirror(total)
    np.testing.assert_allclose(total, 1 + a[:, :n].T @ a[:, :n], rtol=0, atol=1e-13 * k)
    np.testing.assert_array_equal(total, total.T)


def everything(threads):
    """Bits of all that there is, at sizes at which BLAS has threads."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((700, 700))
    yield dense.product(a, a.T, threads)
    yield dense.orthonormal_rows(a[:300], rng, threads)
    matrix = dense.product(a, a.T, threads)
    yield from dense.reduced(matrix, 20, threads)
    yield from dense.largest(matrix, 9, rng, 1e-6, 0, threads)


def test_threads_change_no_bit():
    for one, three in zip(everything(1), everything(3)):
        np.testing.assert_array_equal(one, three)


SAME_BITS = """
import hashlib, sys
import numpy as np
from rae_fast import RAE
rng = np.random.default_rng(0)
words = np.eye(2500, dtype=np.float32)[rng.integers(0, 2500, (40, 10))]
whole, blocks, convolved, flat = (rng.standard_normal(shape).cumsum(axis=1) for shape in
                                  ((40, 60, 6), (20, 60, 20), (4, 600, 8), (1, 60, 50)))
for X, options in ((whole, {}), (blocks, {}), (convolved, {"n_hidden": 8}), (flat, {}), (words, {"output": "softmax"}),
                   (whole, {"init": "orthogonal", "n_hidden": 200})):
    options = {"n_hidden": 24, "max_iter": 1 if X.shape[-1] < 9 else 0, "random_state": 0, **options}
    model = RAE(n_jobs=int(sys.argv[1]), **options).fit(X)
    print(hashlib.sha256(model.theta_.tobytes() + model.transform(X).tobytes()).hexdigest()[:12])
"""


def test_neither_blas_threads_nor_n_jobs_change_a_bit_of_a_fit():
    """Whole processes, as joblib's workers are: all ways to the closed form, and the orthogonal start."""
    found = set()
    for blas, n_jobs in (("1", "1"), ("2", "1"), ("4", "3")):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
        found.add(subprocess.run([sys.executable, "-c", SAME_BITS, n_jobs], capture_output=True, text=True, check=True,
                                 env={**os.environ, **dict.fromkeys(names, blas)}).stdout)
    assert len(found) == 1 and len(found.pop().split()) == 6
