"""The best NumPy we know for this model: nothing allocated, everything that can be is hoisted.

Same mathematics as rae_fast.reference for B sequences of equal length, but all steps of all
sequences go through one product wherever the recurrence allows it, every result lands in a buffer
made beforehand, and views are taken once instead of in each update.
"""

import numpy as np

from peers.layout import stacked


def about():
    return {}


class TunedNumPy:
    def __init__(self, theta, X, n_hidden, threads):
        B, T, I = X.shape
        H, K, R = n_hidden, n_hidden + I, B * T
        dtype = theta.dtype
        self.theta = theta = theta.copy()
        self.B, self.H = B, H
        W, self.b, self.h0, self.V, self.c = stacked(theta, I, H)
        self.W_hh, self.W_xh = W[:H], W[H:]
        self.W_hh_T, self.V_T = self.W_hh.T, self.V.T
        self.grad = np.empty_like(theta)
        dW, self.db, self.dh0, self.dV, self.dc = stacked(self.grad, I, H)
        self.dW_hh, self.dW_xh = dW[:H], dW[H:]
        self.scratch = np.empty_like(theta)

        # One sequence: vectors and np.dot's matrix-vector product; more: (B, H) matrices.
        step = (H,) if B == 1 else (B, H)
        self.x = np.ascontiguousarray(X.transpose(1, 0, 2)).reshape(R, I)  # time-major, once
        self.h = np.empty((T + 1, B, H), dtype)
        self.p = np.empty((R, H), dtype)
        self.g = np.empty((R, K), dtype)
        self.slope = np.empty((R, H), dtype)
        self.dh = np.empty((R, H), dtype)
        self.da = np.empty((R, H), dtype)
        self.a_t = np.empty(step, dtype)
        self.h_now, self.h_before = self.h[1:].reshape(R, H), self.h[:-1].reshape(R, H)
        self.x_T, self.h_now_T, self.h_before_T = self.x.T, self.h_now.T, self.h_before.T
        self.g_h, self.g_x, self.g_h_first = self.g[:, :H], self.g[:, H:], self.g[:B, :H]
        self.g_h_later, self.dh_earlier, self.g_flat = self.g[B:, :H], self.dh[:-B], self.g.ravel()
        rows = [slice(t * B, (t + 1) * B) for t in range(T)]
        self.forward = [(self.h[t].reshape(step), self.p[rows[t]].reshape(step),
                         self.h[t + 1].reshape(step)) for t in range(T)]
        self.backward = [(self.da[rows[t + 1]].reshape(step), self.dh[rows[t]].reshape(step),
                          self.slope[rows[t]].reshape(step), self.da[rows[t]].reshape(step))
                         for t in range(T - 2, -1, -1)]
        self.last = rows[-1]

    def forms(self):
        return ["everything hoisted"]

    def loss_and_grad(self, form):
        return self._loss_and_grad(), self.grad

    def parameters(self, form):
        return self.theta

    def update(self, form, n, rate):
        for _ in range(n):
            self._loss_and_grad()
            np.multiply(self.grad, rate, out=self.scratch)
            self.theta -= self.scratch

    def _loss_and_grad(self):
        dot, a_t, g = np.dot, self.a_t, self.g
        self.h[0] = self.h0
        dot(self.x, self.W_xh, out=self.p)
        self.p += self.b
        for h_before, p_t, h_t in self.forward:
            dot(h_before, self.W_hh, out=a_t)
            np.add(a_t, p_t, out=a_t)
            np.tanh(a_t, out=h_t)
        dot(self.h_now, self.V, out=g)
        g += self.c
        self.g_h -= self.h_before
        self.g_x -= self.x
        self.g_h_first[:] = 0
        loss = float(dot(self.g_flat, self.g_flat)) / self.B
        g *= 2 / self.B
        dot(g, self.V_T, out=self.dh)
        self.dh_earlier -= self.g_h_later
        np.multiply(self.h_now, self.h_now, out=self.slope)
        np.subtract(1, self.slope, out=self.slope)
        np.multiply(self.dh[self.last], self.slope[self.last], out=self.da[self.last])
        for da_next, dh_t, slope_t, da_t in self.backward:
            dot(da_next, self.W_hh_T, out=a_t)
            np.add(a_t, dh_t, out=a_t)
            np.multiply(a_t, slope_t, out=da_t)
        dot(self.x_T, self.da, out=self.dW_xh)
        dot(self.h_before_T, self.da, out=self.dW_hh)
        dot(self.h_now_T, g, out=self.dV)
        np.add.reduce(self.da, axis=0, out=self.db)
        np.add.reduce(g, axis=0, out=self.dc)
        np.dot(self.da[:self.B].sum(axis=0), self.W_hh_T, out=self.dh0)
        return loss
