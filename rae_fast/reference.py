"""The specification in NumPy: every driver of _sequence.pyx, same names and argument order.

Written to be read, one sequence at a time, with no care for speed. Tests measure the compiled code
against it, and check it in turn by the complex step, for which it keeps clear of operations that
are not analytic. The mathematics and its sources: docs/design.md.

`data` (sum T_n, I) holds the sequences one after the other, sequence n in rows
offsets[n]:offsets[n+1]; theta is laid out as in parameters.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast.parameters import stacked

Floats = NDArray[Any]
Integers = NDArray[np.intp]


def sequences(data: Floats, offsets: Integers) -> list[Floats]:
    """The single sequences, each (T_n, I)."""
    return [data[a:b] for a, b in zip(offsets[:-1], offsets[1:])]


def encode_sequence(theta: Floats, X: Floats, n_hidden: int) -> Floats:
    """h_0 ... h_T of one sequence, (T+1, H): h_t = tanh([h_{t-1}, x_t] W + b_h)."""
    W, b_h, h0, _, _ = stacked(theta, X.shape[1], n_hidden)
    h = [h0]
    for x in X:
        h.append(np.tanh(np.concatenate([h[-1], x]) @ W + b_h))
    return np.array(h)


def hidden_states(theta: Floats, data: Floats, offsets: Integers, n_hidden: int,
                  last_only: bool = False) -> Floats:
    """h_t of every step, (rows of data, H), h_0 left out; with last_only the codes, (N, H)."""
    states = [encode_sequence(theta, X, n_hidden)[1:] for X in sequences(data, offsets)]
    return np.array([h[-1] for h in states]) if last_only else np.concatenate(states)


def step(theta: Floats, state: Floats, x: Floats) -> Floats:
    """One step of B streams: state (B, H), x (B, I) -> (B, H)."""
    W, b_h, _, _, _ = stacked(theta, x.shape[1], state.shape[1])
    h: Floats = np.tanh(np.concatenate([state, x], axis=1) @ W + b_h)
    return h


def sequence_loss(theta: Floats, X: Floats, n_hidden: int, hidden_weight: float,
                  reconstruct_h0: bool) -> Any:
    """E(X) = sum_t |D_x,t|^2 + hidden_weight sum_{t>=2} |D_h,t|^2, with D = H V + c - Z.

    Row t of Z is [h_{t-1}, x_t]: what the step read is what it must give back.
    """
    _, _, _, V, c = stacked(theta, X.shape[1], n_hidden)
    h = encode_sequence(theta, X, n_hidden)
    Z = np.concatenate([h[:-1], X], axis=1)
    D = h[1:] @ V + c - Z
    D_h, D_x = D[:, :n_hidden], D[:, n_hidden:]
    if not reconstruct_h0:
        D_h = D_h[1:]
    return (D_x * D_x).sum() + hidden_weight * (D_h * D_h).sum()


def loss(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None, n_hidden: int,
         hidden_weight: float, reconstruct_h0: bool) -> Any:
    """sum_n w_n E(X_n); weights None means 1 / N each."""
    n = len(offsets) - 1
    w = np.full(n, 1 / n) if weights is None else weights
    return sum(w_n * sequence_loss(theta, X, n_hidden, hidden_weight, reconstruct_h0)
               for w_n, X in zip(w, sequences(data, offsets)))


def sequence_grad(theta: Floats, X: Floats, n_hidden: int, hidden_weight: float,
                  reconstruct_h0: bool) -> Floats:
    """Gradient of E(X), flat like theta: back-propagation through time, targets included."""
    H = n_hidden
    W, _, _, V, c = stacked(theta, X.shape[1], H)
    h = encode_sequence(theta, X, H)
    Z = np.concatenate([h[:-1], X], axis=1)
    G = 2 * (h[1:] @ V + c - Z)
    G[:, :H] *= hidden_weight
    if not reconstruct_h0:
        G[0, :H] = 0
    dH = G @ V.T
    dA = np.zeros_like(dH)
    later = np.zeros(H, dtype=theta.dtype)  # what step t + 1 sends back into h_t
    for t in range(len(X) - 1, -1, -1):
        dA[t] = (dH[t] + later) * (1 - h[t + 1] ** 2)
        later = dA[t] @ W[:H].T - G[t, :H]  # through the recurrence; as the target of step t
    dW, db, dh0, dV, dc = Z.T @ dA, dA.sum(0), later, h[1:].T @ G, G.sum(0)
    return np.concatenate([dW.ravel(), db, dh0, dV.ravel(), dc])


def loss_and_grad(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None,
                  n_hidden: int, hidden_weight: float, reconstruct_h0: bool) -> tuple[Any, Floats]:
    """sum_n w_n E(X_n) and its gradient, flat like theta; weights None means 1 / N each."""
    n = len(offsets) - 1
    w = np.full(n, 1 / n) if weights is None else weights
    grad = np.zeros_like(theta)
    for w_n, X in zip(w, sequences(data, offsets)):
        grad += w_n * sequence_grad(theta, X, n_hidden, hidden_weight, reconstruct_h0)
    return loss(theta, data, offsets, weights, n_hidden, hidden_weight, reconstruct_h0), grad


def unroll(theta: Floats, codes: Floats, offsets: Integers, n_inputs: int,
           chronological: bool) -> Floats:
    """Unroll code n for offsets[n+1] - offsets[n] steps, (offsets[-1], I).

    y_1 = code; x_k = y_k V_hx + c_x; y_{k+1} = y_k V_hh + c_h: no tanh, latest input first.
    """
    H = codes.shape[1]
    _, _, _, V, c = stacked(theta, n_inputs, H)
    out = []
    for y, length in zip(codes, np.diff(offsets)):
        steps = []
        for _ in range(length):
            z = y @ V + c
            y, x = z[:H], z[H:]
            steps.append(x)
        out.extend(steps[::-1] if chronological else steps)
    return np.array(out)


def shuffle(n: int, rng: np.random.Generator) -> Integers:
    """A random order of 0..n-1: Fisher-Yates, each index from the low bits of a 64-bit draw."""
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        while (j := int(rng.integers(2**64, dtype=np.uint64)) & mask) > i:
            pass
        order[i], order[j] = order[j], order[i]
    return order


def train(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None, n_hidden: int,
          hidden_weight: float, reconstruct_h0: bool, learning_rate: float, batch_size: int,
          rng: np.random.Generator | None, max_iter: int, tol: float,
          n_iter_no_change: int) -> list[float]:
    """Plain SGD on theta, in place; returns the mean loss of each pass, before its updates."""
    n = len(offsets) - 1
    parts = sequences(data, offsets)
    curve: list[float] = []
    best, stalled = np.inf, 0
    for _ in range(max_iter):
        order = np.arange(n) if rng is None else shuffle(n, rng)
        losses = []
        for start in range(0, n, batch_size):
            chosen = order[start:start + batch_size]
            batch = np.concatenate([parts[i] for i in chosen])
            bounds = np.cumsum([0] + [len(parts[i]) for i in chosen])
            w = None if weights is None else weights[chosen]
            value, grad = loss_and_grad(theta, batch, bounds, w, n_hidden, hidden_weight,
                                        reconstruct_h0)
            theta -= learning_rate * grad
            losses.append(value)
        curve.append(float(np.mean(losses)))
        stalled = stalled + 1 if len(curve) > 1 and not best - curve[-1] >= tol * best else 0
        best = min(best, curve[-1])
        if tol > 0 and stalled >= n_iter_no_change:
            break
    return curve
