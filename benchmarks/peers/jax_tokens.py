"""JAX on token ids with a softmax over the vocabulary: one compiled update, with the weights of a model."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from functools import partial  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from peers.jax_peer import about  # noqa: E402

__all__ = ["Tokens", "about"]


def loss_of(p, ids):
    B, T = ids.shape
    a = p["W_xh"][ids.T] + p["b_h"]
    first = jnp.broadcast_to(p["h0"], (B, len(p["h0"])))
    code, _ = jax.lax.scan(lambda h, a_t: (jnp.tanh(h @ p["W_hh"] + a_t), None), first, a)

    def step(y, _):
        y = jnp.tanh(y @ p["V_hh"] + p["c_h"])
        return y, y

    _, states = jax.lax.scan(step, code, None, length=T - 1)
    y = jnp.concatenate([code[None], states]).reshape(T * B, -1)
    logits = y @ p["V_hx"] + p["c_x"]
    targets = ids.T[::-1].reshape(-1)
    return (jax.nn.logsumexp(logits, axis=1) - jnp.take_along_axis(logits, targets[:, None], 1)[:, 0]).sum() / B


@partial(jax.jit, static_argnums=2, donate_argnums=0)
def update(p, ids, rate):
    grad = jax.grad(loss_of)(p, ids)
    return {name: x - rate * grad[name] for name, x in p.items()}


class Tokens:
    """Cross-entropy of a softmax."""

    def __init__(self, model, rate):
        self.p, self.rate = {name: jnp.array(view) for name, view in model.parameters_.items()}, rate

    def loss_and_gradient(self, ids):
        """The loss and that of the output weights."""
        loss, grad = jax.jit(jax.value_and_grad(loss_of))(self.p, ids)
        return float(loss), np.asarray(grad["V_hx"])

    def update(self, ids):
        self.p = update(self.p, ids, self.rate)
        jax.block_until_ready(self.p)
