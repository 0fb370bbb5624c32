"""Dense linear algebra in float64 by the package's own kernels: products, symmetric eigenvectors, orthonormal rows.

What NumPy and SciPy would leave to BLAS and LAPACK, whose threads change bits and take every core. Here `threads` says
how many there are, and their number changes no bit. Householder's reduction to a tridiagonal matrix, in panels: Golub &
Van Loan, Matrix Computations, 8.3 and 5.2.3. That small problem is LAPACK's (stemr), which calls nothing that has
threads; it is solved on one core in a hundredth of the time of the reduction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rae_fast._kernels import outer_, product_, vector_lanes

Floats = NDArray[Any]

# Columns of a panel in which vectors are reflected, or made orthogonal, one by one before they are applied together.
_PANEL = 32
# Columns of a strip of a Gram matrix, of which only the blocks on and below the diagonal are computed.
_STRIP = 192
# Vectors that are multiplied at once: at least, and as a part of those that are looked for; and how many times a basis
# is extended at most, before what has been found must do.
_BLOCK, _BLOCK_PART, _CYCLES = 8, 8, 6
# What is left of a vector is rounding if it is shorter than this part of it.
_ROUNDING = 1e-12


def product(a: Floats, b: Floats, threads: int = 1) -> Floats:
    """a @ b for matrices (m, k) and (k, n) of one type."""
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    a = np.ascontiguousarray(a)
    if b.flags.f_contiguous and not b.flags.c_contiguous:
        product_(a, b, out, None, "transposed", threads, False)
    else:
        product_(a, np.ascontiguousarray(b), out, None, "packed", threads, False)
    return out


def times(v: Floats, a: Floats) -> Floats:
    """v @ a for a vector and a matrix that need not be in one piece: its rows are read as they lie."""
    out: Floats = np.empty(a.shape[1])
    product_(v[None], a, out[None], None, "bare")
    return out


def padded(n: int) -> int:
    """n up to a full vector."""
    lanes = vector_lanes("float64")
    return -(-n // lanes) * lanes


def add_gram(rows: Floats, total: Floats, threads: int = 1) -> None:
    """total += rows.T @ rows, on and below the blocks of its diagonal; `mirror` does the rest.

    rows: (k, padded(n)), total: (n, n).
    """
    n = len(total)
    for first in range(0, n, _STRIP):
        width = min(_STRIP, n - first)
        strip = np.empty((n - first, width))
        b = np.zeros((len(rows), padded(width)))
        b[:, :width] = rows[:, first:first + width]
        outer_(np.ascontiguousarray(rows[:, first:n]), b, strip, False, threads)
        total[first:, first:first + width] += strip


def add_product(a: Floats, b: Floats, total: Floats, threads: int = 1) -> None:
    """total += a.T @ b for a (k, m) and b (k, n)."""
    wide = np.zeros((len(b), padded(b.shape[1])))
    wide[:, :b.shape[1]] = b
    outer_(np.ascontiguousarray(a), wide, total, True, threads)


def mirror(total: Floats) -> None:
    """Make a matrix symmetric whose upper triangle is not set."""
    for first in range(0, len(total), _STRIP):
        end = min(first + _STRIP, len(total))
        total[first:end, end:] = total[end:, first:end].T
        block = total[first:end, first:end]
        block[...] = np.tril(block) + np.tril(block, -1).T


def orthonormal_rows(rows: Floats, rng: np.random.Generator, threads: int = 1) -> Floats:
    """Rows (n, m), n <= m, made orthonormal from the first on: of linearly independent ones Q' of the QR factorisation
    of rows.T, R's diagonal positive. One that depends on those before it is replaced by a random one.
    """
    return _orthonormal_to(np.empty((0, rows.shape[1])), rows, rng, threads)


def _orthonormal_to(known: Floats, rows: Floats, rng: np.random.Generator, threads: int) -> Floats:
    """The same of rows that are to be orthogonal to orthonormal ones as well, which with them are at most m."""
    q = np.concatenate([known, np.empty(rows.shape)])
    for first in range(0, len(rows), _PANEL):
        panel = np.array(rows[first:first + _PANEL])
        lengths = np.sqrt(np.einsum("ij,ij->i", panel, panel))
        done = len(known) + first
        _orthogonal_to(q[:done], panel, threads)
        for i, length in enumerate(lengths):
            q[done + i] = panel[i] = _next_orthonormal(q[:done], panel[:i], panel[i], length, rng)
    return q[len(known):]


def _orthogonal_to(q: Floats, rows: Floats, threads: int) -> None:
    """Take their part in the space of q out of some rows: twice is enough (Giraud et al. 2005)."""
    if len(q):
        for _ in range(2):
            rows -= product(product(rows, q.T, threads), q, threads)


def _next_orthonormal(q: Floats, panel: Floats, row: Floats, before: float, rng: np.random.Generator) -> Floats:
    """A row that is orthogonal to q, also made orthogonal to those of its panel before it, of length 1.

    before: its length when it was not yet orthogonal to q.
    """
    while True:
        for _ in range(2):
            row = row - np.einsum("i,ij->j", np.einsum("ij,j->i", panel, row), panel)
        length = _length(row)
        if length > _ROUNDING * before:
            row = row / length
            if length > 1e-3 * before or not len(q):
                return row
            # Little is left of it, so that rounding has a part in q.
            row, before = row[None], 1.0
        else:
            row, before = rng.standard_normal((1, len(row))), 1.0
        _orthogonal_to(q, row, 1)
        row = row[0]


def _length(v: Floats) -> float:
    return float(np.sqrt(np.einsum("i,i->", v, v)))


# ---- eigenvectors --------------------------------------------------------------------------------------


def largest(matrix: Floats, n: int, rng: np.random.Generator, tolerance: float, most_dense: int,
            threads: int = 1) -> tuple[Floats, Floats]:
    """The n largest eigenvalues of a symmetric matrix, falling, and their vectors in rows (n, size).

    By `reduced` up to most_dense columns, or where many vectors are looked for; else by `krylov`, to that tolerance.
    """
    size = len(matrix)
    if size <= most_dense or 4 * n > size:
        return reduced(matrix, n, threads)
    return krylov(lambda rows: product(rows, matrix, threads), size, n, rng, tolerance, threads)


def reduced(matrix: Floats, n: int, threads: int = 1) -> tuple[Floats, Floats]:
    """All by reduction to a tridiagonal matrix; for `largest`."""
    size, scale = len(matrix), float(np.abs(matrix).max())
    if scale == 0:
        return np.zeros(n), np.eye(n, size)
    exponent = np.frexp(scale)[1]  # squares of very small or large numbers are none, and LAPACK scales such matrices
    diagonal, beside, panels = _tridiagonal(np.ldexp(matrix, -exponent), threads)
    values, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside, select="i", select_range=(size - n, size - 1),
                                                    lapack_driver="stemr")
    rows = np.ascontiguousarray(vectors.T[::-1])
    # Back through the reflections I - V T V', the last panel first.
    for start, V, T in reversed(panels):
        part = rows[:, start:]
        rows[:, start:] -= product(product(product(part, V, threads), np.ascontiguousarray(T.T), threads), V.T, threads)
    return np.ldexp(values[::-1], exponent), rows


def _tridiagonal(matrix: Floats, threads: int) -> tuple[Floats, Floats, list[tuple[int, Floats, Floats]]]:
    """A symmetric matrix as Q' tridiagonal Q: its diagonal, what is beside it, and Q as a product of I - V T V' on the
    coordinates from `start` on: (start, V, T)."""
    size = len(matrix)
    diagonal, beside = np.zeros(size), np.zeros(max(0, size - 1))
    panels = []
    a = np.ascontiguousarray(matrix)  # what is left to reduce, from `start` on in both directions
    for start in range(0, size, _PANEL):
        width, left = min(_PANEL, size - start), size - start
        # a - V W' - W V' is what the reflections of this panel make of a.
        VW = np.zeros((left, 2 * _PANEL))
        WV = np.zeros((left, 2 * _PANEL))
        taus = np.zeros(width)
        for j in range(width):
            column = a[j, j:] - np.einsum("ij,j->i", VW[j:], WV[j])
            diagonal[start + j] = column[0]
            if j + 1 == left:
                break
            v, taus[j], beside[start + j] = _reflection(column[1:])
            below = VW[j + 1:]
            w = times(v, a[j + 1:, j + 1:]) - np.einsum("ij,j->i", below, np.einsum("ij,i->j", WV[j + 1:], v))
            w *= taus[j]
            w -= 0.5 * taus[j] * np.einsum("i,i->", w, v) * v
            VW[j + 1:, j] = WV[j + 1:, _PANEL + j] = v
            VW[j + 1:, _PANEL + j] = WV[j + 1:, j] = w
        V = np.ascontiguousarray(VW[:, :width])
        panels.append((start, V, _block_reflector(V, taus)))
        if left > _PANEL:
            rest = np.empty((left - _PANEL, left - _PANEL))
            product_(np.ascontiguousarray(-VW[_PANEL:]), WV[_PANEL:].T, rest,
                     np.ascontiguousarray(a[_PANEL:, _PANEL:]), "transposed", threads, False)
            a = rest
    return diagonal, beside, panels


def _reflection(x: Floats) -> tuple[Floats, float, float]:
    """v, tau and b with (I - tau v v') x = (b, 0, ..., 0), v beginning with 1."""
    v = x.copy()
    tail = _length(x[1:])
    if tail == 0:
        v[0] = 1
        return v, 0.0, float(x[0])
    b = -np.copysign(np.hypot(x[0], tail), x[0])
    v /= x[0] - b
    v[0] = 1
    return v, float((b - x[0]) / b), float(b)


def _block_reflector(V: Floats, taus: Floats) -> Floats:
    """T such that the product of the reflections I - tau v v', the first leftmost, is I - V T V'."""
    T = np.zeros((len(taus), len(taus)))
    inner = np.einsum("ki,kj->ij", V, V)
    for j, tau in enumerate(taus):
        T[:j, j] = -tau * np.einsum("ij,j->i", T[:j, :j], inner[:j, j])
        T[j, j] = tau
    return T


def most_products(n: int, size: int) -> int:
    """How many times `krylov` multiplies at most."""
    block, keep, whole = _krylov_sizes(n)
    return 1 if whole >= size else (whole + (_CYCLES - 1) * (whole - keep)) // block


def _krylov_sizes(n: int) -> tuple[int, int, int]:
    """Vectors multiplied at once, those of a basis that are kept, and of a whole one: multiples of the first."""
    block = max(_BLOCK, -(-n // _BLOCK_PART))
    keep = (-(-n // block) + 1) * block
    return block, keep, keep + (-(-n // block) + 1) * block


def krylov(multiply: Callable[[Floats], Floats], size: int, n: int, rng: np.random.Generator, tolerance: float,
           threads: int = 1) -> tuple[Floats, Floats]:
    """The n largest eigenvalues of a symmetric operator, falling, and their vectors in rows, from the spaces of blocks
    multiplied again and again; begun anew with the best of them (Stewart 2001, Zhou & Saad 2008).

    multiply: rows (b, size) -> the operator's rows. Work is bounded: after `most_products` what has been found is
    returned, the best in the space of all of them.
    """
    block, keep, whole = _krylov_sizes(n)
    if whole >= size:
        return reduced(_symmetric(multiply(np.eye(size))), n, threads)
    q, aq = np.empty((whole, size)), np.empty((whole, size))
    next_rows = orthonormal_rows(rng.standard_normal((block, size)), rng, threads)
    filled = 0
    for cycle in range(_CYCLES):
        while True:
            q[filled:filled + block] = next_rows
            aq[filled:filled + block] = next_rows = multiply(next_rows)
            filled += block
            if filled == whole:
                break
            next_rows = _orthonormal_to(q[:filled], next_rows, rng, threads)
        values, vectors = reduced(_symmetric(product(q, aq.T, threads)), keep, threads)
        best, a_best = product(vectors, q, threads), product(vectors, aq, threads)
        residual = a_best[:n] - values[:n, None] * best[:n]
        errors = np.sqrt(np.einsum("ij,ij->i", residual, residual))
        if cycle + 1 == _CYCLES or (errors <= tolerance * values[0]).all():
            break
        # A quarter of them new ones: of the space of a multiple eigenvalue, a block and its products hold no more
        # dimensions than the block has vectors.
        next_rows[-(block // 4):] = rng.standard_normal((block // 4, size))
        next_rows = _orthonormal_to(q, next_rows, rng, threads)
        filled = keep
        q[:keep], aq[:keep] = best, a_best
    return values[:n], best[:n]


def _symmetric(a: Floats) -> Floats:
    return (a + a.T) / 2
