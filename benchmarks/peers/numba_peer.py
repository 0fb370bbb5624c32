"""Numba: the whole training loop compiled, products over all steps hoisted, everything else in fused loops.

Two forms: products by BLAS; by BLAS except the recurrence of one sequence, which is a loop over the rows of W_hh.
(With loops instead of all products, even with their inner sums unrolled, case A took longer.) Sizes are constants
of the compiled code. fastmath is on, except where tanh counts on the order of operations: the rivals may use it,
although rae_fast does not. tanh is written out, because Numba calls libm's for each element (8 ns; this one takes
1 ns or less, errors below 2 eps). Numba's own threads are not used: BLAS's are, as many as everyone has.
"""

import math

import llvmlite
import numba
import numpy as np
from numba import njit

from peers.layout import stacked

loops = njit(fastmath=True, error_model="numpy")


def about():
    return {"numba": numba.__version__, "llvmlite": llvmlite.__version__,
            "CPU": numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()}


def make_tanh(real):
    """tanh x = -(e - 1) / (e + 1), e = exp(-2 |x|) = 2^k exp r, by a polynomial in r, as LLVM can vectorise it."""
    if real is np.float64:
        integer, bias, shift, degree, largest = np.int64, 1023, 52, 13, 20.0
        ln2_high, ln2_low, to_integer = 6.93145751953125e-1, 1.42860682030941723212e-6, 1.5 * 2.0**52
    else:
        integer, bias, shift, degree, largest = np.int32, 127, 23, 7, 10.0
        ln2_high, ln2_low, to_integer = 0.693359375, -2.12194440e-4, 1.5 * 2.0**23
    ln2_high, ln2_low, to_integer, largest = map(real, (ln2_high, ln2_low, to_integer, largest))
    log2_e, one, two = real(1 / math.log(2)), real(1), real(2)
    bias, shift = integer(bias), integer(shift)
    coefficients = tuple(real(1 / math.factorial(k)) for k in range(degree, 1, -1))

    @njit(fastmath={"contract", "nsz"}, error_model="numpy")
    def tanh(x):
        y = -two * min(abs(x), largest)
        n = y * log2_e + to_integer
        k = real(n).view(integer)
        n -= to_integer
        r = y - n * ln2_high - n * ln2_low
        q = coefficients[0]
        for c in coefficients[1:]:
            q = q * r + c
        q = q * r * r + r
        power = integer(integer(k + bias) << shift).view(real)
        e_minus_1 = power * q + (power - one)
        return math.copysign(-e_minus_1 / (e_minus_1 + two), x)

    return tanh


@loops
def add_rows(vector, matrix, out):
    """out += vector matrix, eight rows of the matrix in one pass over out."""
    n, m = matrix.shape
    i = 0
    while i + 8 <= n:
        s0, s1, s2, s3 = vector[i], vector[i + 1], vector[i + 2], vector[i + 3]
        s4, s5, s6, s7 = vector[i + 4], vector[i + 5], vector[i + 6], vector[i + 7]
        for j in range(m):
            out[j] += (s0 * matrix[i, j] + s1 * matrix[i + 1, j] + s2 * matrix[i + 2, j] + s3 * matrix[i + 3, j]
                       + s4 * matrix[i + 4, j] + s5 * matrix[i + 5, j] + s6 * matrix[i + 6, j]
                       + s7 * matrix[i + 7, j])
        i += 8
    while i < n:
        for j in range(m):
            out[j] += vector[i] * matrix[i, j]
        i += 1


@loops
def transpose(matrix, out):
    n, m = matrix.shape
    for i0 in range(0, n, 16):
        for j in range(m):
            for i in range(i0, min(i0 + 16, n)):
                out[j, i] = matrix[i, j]


def make_loss_and_grad(I, H, T, B, real, own_recurrence):
    """The compiled function, and what makes its buffers. Row r of h belongs to step r // B, row r + B to the next."""
    K, R = H + I, T * B
    tanh, zero, one, two_over_B = make_tanh(real), real(0), real(1), real(2 / B)

    @loops
    def encode_step(p, h_next):
        for r in range(p.shape[0]):
            for j in range(p.shape[1]):
                h_next[r, j] = tanh(h_next[r, j] + p[r, j])

    @loops
    def tanh_backward(dh, h, da):
        for r in range(dh.shape[0]):
            for j in range(dh.shape[1]):
                da[r, j] = (da[r, j] + dh[r, j]) * (one - h[r, j] * h[r, j])

    @loops
    def residual(g, c, h, x):
        """From the decoder's output to G, in place; returns the loss."""
        loss = 0.0
        for r in range(R):
            of_row = zero
            for j in range(H):
                d = g[r, j] + c[j] - h[r, j] if r >= B else zero
                of_row += d * d
                g[r, j] = d * two_over_B
            for j in range(I):
                d = g[r, H + j] + c[H + j] - x[r, j]
                of_row += d * d
                g[r, H + j] = d * two_over_B
            loss += of_row
        return loss / B

    @loops
    def column_sums(x, out):
        out[:] = zero
        for r in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[j] += x[r, j]

    @loops
    def loss_and_grad(weights, grads, x, buffers):
        W, b, h0, V, c = weights
        dW, db, dh0, dV, dc = grads
        h, g, da, p, dh, W_T = buffers
        W_hh, W_xh = W[:H], W[H:]
        now, before = h[B:], h[:R]
        transpose(W_hh, W_T)
        np.dot(x, W_xh, p)
        for r in range(R):
            for j in range(H):
                p[r, j] += b[j]
        for r in range(B):
            h[r] = h0
        for r in range(0, R, B):
            if own_recurrence:
                h[r + B] = zero
                add_rows(h[r], W_hh, h[r + B])
            elif B == 1:
                np.dot(h[r], W_hh, h[r + B])
            else:
                np.dot(h[r:r + B], W_hh, h[r + B:r + 2 * B])
            encode_step(p[r:r + B], h[r + B:r + 2 * B])
        np.dot(now, V, g)
        loss = residual(g, c, h, x)
        np.dot(g, V.T, dh)
        for r in range(R - B):
            for j in range(H):
                dh[r, j] -= g[r + B, j]
        for r in range(R - B, -1, -B):
            if r == R - B:
                da[r:] = zero
            elif own_recurrence:
                da[r] = zero
                add_rows(da[r + B], W_T, da[r])
            elif B == 1:
                np.dot(da[r + B], W_T, da[r])
            else:
                np.dot(da[r + B:r + 2 * B], W_T, da[r:r + B])
            tanh_backward(dh[r:r + B], now[r:r + B], da[r:r + B])
        np.dot(before.T, da, dW[:H])
        np.dot(x.T, da, dW[H:])
        np.dot(now.T, g, dV)
        column_sums(da, db)
        column_sums(g, dc)
        dh0[:] = zero
        for r in range(B):
            add_rows(da[r], W_T, dh0)
        return loss

    def buffers():
        shapes = (R + B, H), (R, K), (R, H), (R, H), (R, H), (H, H)
        return tuple(np.zeros(shape, real) for shape in shapes)

    return loss_and_grad, buffers


def training_loop(loss_and_grad):
    @loops
    def run(n, rate, theta, weights, grad, grads, x, buffers):
        for _ in range(n):
            loss_and_grad(weights, grads, x, buffers)
            for i in range(len(theta)):
                theta[i] -= rate * grad[i]

    return run


class NumbaPeer:
    def __init__(self, theta, X, n_hidden, threads):
        B, T, I = X.shape
        self.theta, self.T, self.B, self.sizes = theta, T, B, (I, n_hidden)
        self.x = np.ascontiguousarray(X.transpose(1, 0, 2)).reshape(T * B, I)
        self.made = {}

    def forms(self):
        return ["BLAS", "BLAS, loops in time"] if self.B == 1 else ["BLAS"]

    def _make(self, form):
        """The compiled functions of a form, with parameters, gradient and buffers of its own."""
        if form not in self.made:
            function, buffers = make_loss_and_grad(*self.sizes, self.T, self.B,
                                                   self.theta.dtype.type, form == "BLAS, loops in time")
            theta, grad = self.theta.copy(), np.zeros_like(self.theta)
            self.made[form] = (function, training_loop(function), theta, stacked(theta, *self.sizes), grad,
                               stacked(grad, *self.sizes), buffers())
        return self.made[form]

    def loss_and_grad(self, form):
        function, _, _, weights, grad, grads, buffers = self._make(form)
        return float(function(weights, grads, self.x, buffers)), grad

    def update(self, form, n, rate):
        _, run, theta, weights, grad, grads, buffers = self._make(form)
        run(n, theta.dtype.type(rate), theta, weights, grad, grads, self.x, buffers)

    def parameters(self, form):
        return self._make(form)[2]
