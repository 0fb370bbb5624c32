"""JAX on the path of the defaults: the whole training loop is one compiled function.

Sequences lie at the end of a padded array, so that all end together and unrolling starts for all at once; a mask
is needed only where lengths differ. Products over all steps are hoisted out of the scans. Back-propagation is written
out by hand, or left to jax.grad; recurrences of few steps are unrolled.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from peers.jax_peer import UNROLL_UP_TO, Forms, about
from peers.layout import from_names, named

__all__ = ["JaxDefaults", "about"]

BETA_1, BETA_2 = 0.9, 0.999


def encode(p, x, mask, unroll):
    """h_1 ... h_T (T, B, H) of x (T, B, I); where mask (T, B, 1) is 0 the state is still h0."""
    T, B, I = x.shape
    first = jnp.broadcast_to(p["h0"], (B, len(p["h0"])))
    a = (x.reshape(T * B, I) @ p["W_xh"] + p["b_h"]).reshape(T, B, -1)

    def step(h, row):
        a_t, m = row
        new = jnp.tanh(h @ p["W_hh"] + a_t)
        new = new if m is None else jnp.where(m, new, h)
        return new, new

    return first, lax.scan(step, first, (a, mask), unroll=unroll)[1]


def first_state(p, h):
    """The code, and y_1 of it."""
    if "W_hc" not in p:
        return h, h
    code = h @ p["W_hc"] + p["b_c"]
    return code, code @ p["V_ch"] + p["c_1"]


def decode(p, y_1, T, unroll):
    """y_1 ... y_T, (T, B, H)."""
    def step(y, _):
        y = jnp.tanh(y @ p["V_hh"] + p["c_h"])
        return y, y

    return jnp.concatenate([y_1[None], lax.scan(step, y_1, None, length=T - 1, unroll=unroll)[1]])


def residuals(p, y, x, mask):
    T, B, I = x.shape
    d = (y.reshape(T * B, -1) @ p["V_hx"] + p["c_x"]).reshape(T, B, I) - x[::-1]
    return d if mask is None else d * mask[::-1]


def by_autodiff(unroll):
    def loss(p, x, mask):
        _, h = encode(p, x, mask, unroll)
        d = residuals(p, decode(p, first_state(p, h[-1])[1], len(x), unroll), x, mask)
        return (d * d).sum() / x.shape[1]

    return jax.value_and_grad(loss)


def by_hand(copies, unroll):
    """Back-propagation through time by hand; transposes as copies, or left to XLA."""
    turned = (lambda W: lax.optimization_barrier(W.T)) if copies else (lambda W: W.T)

    def loss_and_grad(p, x, mask):
        T, B, I = x.shape
        first, h = encode(p, x, mask, unroll)
        code, y_1 = first_state(p, h[-1])
        y = decode(p, y_1, T, unroll)
        d = residuals(p, y, x, mask)
        loss = (d * d).sum() / B
        g = (d * (2 / B)).reshape(T * B, I)
        dy = (g @ p["V_hx"].T).reshape(y.shape)
        V_T, W_T = turned(p["V_hh"]), turned(p["W_hh"])

        def back(later, row):
            dy_k, y_k = row
            da = (dy_k + later) * (1 - y_k * y_k)
            return da @ V_T, da

        later, da = lax.scan(back, jnp.zeros_like(y_1), (dy[1:], y[1:]), reverse=True, unroll=unroll)
        dy_1 = dy[0] + later
        flat = da.reshape((T - 1) * B, -1)
        grad = {"V_hh": y[:-1].reshape(flat.shape).T @ flat, "c_h": flat.sum(axis=0),
                "V_hx": y.reshape(T * B, -1).T @ g, "c_x": g.sum(axis=0)}
        dh = dy_1
        if "W_hc" in p:
            dcode = dy_1 @ p["V_ch"].T
            grad |= {"V_ch": code.T @ dy_1, "c_1": dy_1.sum(axis=0), "W_hc": h[-1].T @ dcode, "b_c": dcode.sum(axis=0)}
            dh = dcode @ p["W_hc"].T

        def back_in_time(later, row):
            h_t, m = row
            da = later * (1 - h_t * h_t)
            if m is None:
                return da @ W_T, da
            da = da * m
            return jnp.where(m, da @ W_T, later), da

        later, da = lax.scan(back_in_time, dh, (h, mask), reverse=True, unroll=unroll)
        flat = da.reshape(T * B, -1)
        before = jnp.concatenate([first[None], h[:-1]]).reshape(flat.shape)
        grad |= {"W_hh": before.T @ flat, "W_xh": x.reshape(T * B, I).T @ flat, "b_h": flat.sum(axis=0),
                 "h0": later.sum(axis=0)}
        return loss, grad

    return loss_and_grad


def training_loop(loss_and_grad, scale, unit, epsilon):
    """Adam on parameters over `scale` and the loss over `unit`."""
    def run(state, x, mask, n, rate):
        def body(_, state):
            p, m, v, t = state
            _, grad = loss_and_grad(p, x, mask)
            t = t + 1
            first, second = 1 - BETA_1**t, 1 - BETA_2**t
            for name in p:
                g = grad[name] * (scale[name] / unit)
                m = {**m, name: BETA_1 * m[name] + (1 - BETA_1) * g}
                v = {**v, name: BETA_2 * v[name] + (1 - BETA_2) * g * g}
            p = {name: (p[name] - (rate * scale[name] / first) * m[name] / (jnp.sqrt(v[name] / second) + epsilon)
                        ).astype(p[name].dtype) for name in p}
            return p, m, v, t

        return lax.fori_loop(0, n, body, state)

    return run


class JaxDefaults(Forms):
    def __init__(self, case, theta, X, lengths, scale, unit, threads):
        B, T, I = X.shape
        self.start = {name: np.array(view) for name, view in named(theta, I, case.H, case.C).items()}
        late = np.zeros_like(X)
        for n, length in enumerate(lengths):
            late[n, T - length:] = X[n, :length]
        self.x = jnp.asarray(np.ascontiguousarray(late.transpose(1, 0, 2)))
        mask = (np.arange(T)[:, None] >= T - lengths)[:, :, None]
        self.mask = None if mask.all() else jnp.asarray(mask)
        self.dtype, self.scale, self.unit, self.epsilon = theta.dtype, scale, unit, case.solver(1.0).epsilon
        self.states, self.loops = {}, {}
        unroll = T if T <= UNROLL_UP_TO else 1
        self.gradients = {"by hand": by_hand(False, 1), "by hand, transposed copies": by_hand(True, 1),
                          "jax.grad": by_autodiff(unroll), "jax.grad, 4 unrolled": by_autodiff(min(4, T)),
                          "by hand, unrolled": by_hand(False, min(8, T) if unroll == 1 else unroll)}

    def loss_and_grad(self, form):
        loss, grad = self._compiled(form, lambda f: f)({k: jnp.asarray(v) for k, v in self.start.items()}, self.x,
                                                       self.mask)
        return float(loss), from_names({k: np.asarray(v) for k, v in grad.items()})

    def update(self, form, n, rate):
        if form not in self.loops:
            self.loops[form] = self._compiled(
                form, lambda f: training_loop(f, self.scale, self.unit, self.epsilon), donate_argnums=0)
            zeros = {k: np.zeros_like(v) for k, v in self.start.items()}
            self.states[form] = jax.tree.map(jnp.array, (self.start, zeros, zeros, np.zeros((), self.dtype)))
        self.states[form] = jax.block_until_ready(
            self.loops[form](self.states[form], self.x, self.mask, n, np.asarray(rate, self.dtype)))

    def parameters(self, form):
        return from_names({k: np.asarray(v) for k, v in self.states[form][0].items()})
