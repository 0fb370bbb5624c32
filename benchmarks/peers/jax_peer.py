"""JAX: the whole training loop is one compiled function, with nothing of Python between two updates.

Products over all steps are hoisted out of the scans. Back-propagation is written out by hand, or left to
jax.grad; the recurrence of few steps is unrolled. XLA prefers vectors of 256 bits on many CPUs with 512, and
which is faster depends on the case, so both are tried. Number of threads: environment.py, and the cores that
the process may use.
"""

import os

import environment
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from peers.layout import stacked

jax.config.update("jax_enable_x64", True)

UNROLL_UP_TO = 16  # steps; beyond, unrolled scans were slower in every case


def about():
    return {"jax": jax.__version__, "on": jax.default_backend(), "XLA_FLAGS": os.environ.get("XLA_FLAGS")}


def encode(W_hh, W_xh, b, h0, x, unroll):
    """h_0 (step shape) and h_1 ... h_T; vectors for one sequence, (B, H) matrices for more."""
    T, B, I = x.shape
    first = h0 if B == 1 else jnp.broadcast_to(h0, (B, len(h0)))
    p = (x.reshape(T * B, I) @ W_xh + b).reshape(T, *first.shape)

    def step(h, p_t):
        h = jnp.tanh(h @ W_hh + p_t)
        return h, h

    return first, lax.scan(step, first, p, unroll=unroll)[1]


def by_hand(copy_of_transpose, unroll):
    """Back-propagation through time by hand; W_hh^T as a copy, or left to XLA."""

    def loss_and_grad(parameters, x):
        W_hh, W_xh, b, h0, V, c = parameters
        T, B, I = x.shape
        R, H = T * B, len(b)
        first, h = encode(W_hh, W_xh, b, h0, x, unroll)
        before = jnp.concatenate([first[None], h[:-1]]).reshape(R, H)
        now, xs = h.reshape(R, H), x.reshape(R, I)
        d = now @ V + c
        d = jnp.concatenate([(d[:, :H] - before).at[:B].set(0), d[:, H:] - xs], axis=1)
        loss = (d * d).sum() / B
        g = d * (2 / B)
        dh = g @ V.T
        dh = jnp.concatenate([dh[:-B] - g[B:, :H], dh[-B:]]).reshape(h.shape)
        W_T = lax.optimization_barrier(W_hh.T) if copy_of_transpose else W_hh.T

        def step(da_next, row):
            dh_t, h_t = row
            da = (da_next @ W_T + dh_t) * (1 - h_t * h_t)
            return da, da

        da = lax.scan(step, jnp.zeros_like(first), (dh, h), reverse=True, unroll=unroll)[1].reshape(R, H)
        dh0 = da[:B].sum(axis=0) @ W_hh.T
        return loss, (before.T @ da, xs.T @ da, da.sum(axis=0), dh0, now.T @ g, g.sum(axis=0))

    return loss_and_grad


def by_autodiff(unroll):
    def loss(parameters, x):
        W_hh, W_xh, b, h0, V, c = parameters
        T, B, I = x.shape
        R, H = T * B, len(b)
        h = encode(W_hh, W_xh, b, h0, x, unroll)[1].reshape(R, H)
        back = h @ V + c
        d_h, d_x = back[B:, :H] - h[:-B], back[:, H:] - x.reshape(R, I)
        return ((d_h * d_h).sum() + (d_x * d_x).sum()) / B

    return jax.value_and_grad(loss)


def training_loop(loss_and_grad):
    def run(parameters, x, n, rate):
        def body(_, parameters):
            _, grad = loss_and_grad(parameters, x)
            return jax.tree.map(lambda p, g: p - rate * g, parameters, grad)

        return lax.fori_loop(0, n, body, parameters)

    return run


def flat(parts):
    return np.concatenate([np.asarray(part).ravel() for part in parts])


class Forms:
    """Ways to a gradient, each compiled for vectors of 256 and of 512 bits; `gradients` has them by name."""

    def forms(self):
        widths = (256,) if environment.held_to_avx2() else (256, 512)
        return [f"{name}, {width} bits" for name in self.gradients for width in widths]

    def _compiled(self, form, make, **more):
        name, width = form.removesuffix(" bits").rsplit(", ", 1)
        return jax.jit(make(self.gradients[name]), compiler_options={"xla_cpu_prefer_vector_width": int(width)}, **more)


class JaxPeer(Forms):
    def __init__(self, theta, X, n_hidden, threads):
        B, T, I = X.shape
        W, b, h0, V, c = stacked(theta, I, n_hidden)
        self.start = (W[:n_hidden], W[n_hidden:], b, h0, V, c)
        self.x = jnp.asarray(np.ascontiguousarray(X.transpose(1, 0, 2)))
        self.dtype, self.moved, self.loops = theta.dtype, {}, {}
        unroll = T if T <= UNROLL_UP_TO else 1
        self.gradients = {"by hand": by_hand(False, 1), "by hand, transposed copy": by_hand(True, 1),
                          "jax.grad": by_autodiff(unroll)}
        if unroll > 1:
            self.gradients["by hand, unrolled"] = by_hand(False, unroll)

    def loss_and_grad(self, form):
        loss, grad = self._compiled(form, lambda f: f)(tuple(map(jnp.asarray, self.start)), self.x)
        return float(loss), flat(grad)

    def update(self, form, n, rate):
        if form not in self.loops:
            self.loops[form] = self._compiled(form, training_loop, donate_argnums=0)
            self.moved[form] = tuple(map(jnp.array, self.start))
        self.moved[form] = jax.block_until_ready(
            self.loops[form](self.moved[form], self.x, n, np.asarray(rate, self.dtype)))

    def parameters(self, form):
        return flat(self.moved[form])
