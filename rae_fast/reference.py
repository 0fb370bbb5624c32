"""The specification in NumPy: every driver of _sequence.pyx, _codes.pyx and _training.pyx, same names and order.

Written to be read, one sequence at a time, with no care for speed. Tests measure the compiled code
against it, and check it in turn by the complex step, for which it keeps clear of operations that
are not analytic. The mathematics and its sources: docs/design.md.

`data` (sum T_n, I) holds the sequences one after the other, sequence n in rows
offsets[n]:offsets[n+1]; theta is laid out as a Form says (_form.pyx). `missing`, of the shape of data
or None, says where outputs are not judged.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._form import SMOOTHING, Form
from rae_fast.parameters import code_maps, stacked
from rae_fast.solvers import Solver

Floats = NDArray[Any]
Integers = NDArray[np.intp]


def sequences(data: Floats, offsets: Integers) -> list[Floats]:
    """The single sequences, each (T_n, I)."""
    return [data[a:b] for a, b in zip(offsets[:-1], offsets[1:])]


def encode_sequence(theta: Floats, X: Floats, form: Form) -> Floats:
    """h_0 ... h_T of one sequence, (T+1, H): h_t = tanh([h_{t-1}, x_t] W + b_h)."""
    W, b_h, h0, _, _ = stacked(theta, form)
    h = [h0]
    for x in X:
        h.append(np.tanh(np.concatenate([h[-1], x]) @ W + b_h))
    return np.array(h)


def hidden_states(theta: Floats, data: Floats, offsets: Integers, form: Form,
                  last_only: bool = False) -> Floats:
    """h_t of every step, (rows of data, H), h_0 left out; with last_only the last ones, (N, H)."""
    states = [encode_sequence(theta, X, form)[1:] for X in sequences(data, offsets)]
    return np.array([h[-1] for h in states]) if last_only else np.concatenate(states)


def codes_of(theta: Floats, states: Floats, form: Form) -> Floats:
    """The codes (N, C) of states (N, H): h W_hc + b_c, or the states themselves where a code has no size of its own."""
    if not form.n_code:
        return states
    W_hc, b_c, _, _ = code_maps(theta, form)
    codes: Floats = states @ W_hc + b_c
    return codes


def first_states(theta: Floats, codes: Floats, form: Form) -> Floats:
    """y_1 (N, H) of codes (N, C): code V_ch + c_1, or the code itself."""
    if not form.n_code:
        return codes
    _, _, V_ch, c_1 = code_maps(theta, form)
    y_1: Floats = codes @ V_ch + c_1
    return y_1


def step(theta: Floats, state: Floats, x: Floats, form: Form) -> Floats:
    """One step of B streams: state (B, H), x (B, I) -> (B, H)."""
    W, b_h, _, _, _ = stacked(theta, form)
    h: Floats = np.tanh(np.concatenate([state, x], axis=1) @ W + b_h)
    return h


def decode(a: Floats, form: Form) -> Floats:
    """The reconstructed code from its linear part y V_hh + c_h: itself, or its tanh."""
    y: Floats = np.tanh(a) if form.decoder == "tanh" else a
    return y


def decode_slope(y: Floats, form: Form) -> Any:
    """Derivative of `decode`, from its value."""
    return 1 - y * y if form.decoder == "tanh" else 1.0


def log_sum_exp(z: Floats) -> Floats:
    """log sum_i exp z_i of each row, without overflow."""
    top = z.real.max(axis=-1, keepdims=True)
    total: Floats = np.log(np.exp(z - top).sum(axis=-1, keepdims=True)) + top
    return total


def softmax(z: Floats) -> Floats:
    """exp z_i / sum_j exp z_j of each row."""
    p: Floats = np.exp(z - log_sum_exp(z))
    return p


def residual(z: Floats, X: Floats, missing: Floats | None) -> Floats:
    """z - X, 0 where X is missing."""
    return z - X if missing is None else np.where(missing, 0, z - X)


def output_loss(z: Floats, X: Floats, form: Form, missing: Floats | None = None) -> Any:
    """Loss of the outputs z (rows, I) against X: squared error, or cross-entropy of softmax(z) or of squares of z."""
    if form.output == "softmax":
        return (X * (log_sum_exp(z) - z)).sum()
    if form.output == "spherical":
        squares = z * z + SMOOTHING / z.shape[-1]
        return (X * (np.log(squares.sum(-1, keepdims=True)) - np.log(squares))).sum()
    error = residual(z, X, missing)
    return (error * error).sum()


def output_grad(z: Floats, X: Floats, form: Form, missing: Floats | None = None) -> Floats:
    """Its gradient with respect to z; rows of X sum to 1 where the output is softmax."""
    if form.output == "spherical":
        q, mass = (z * z).sum(-1, keepdims=True) + SMOOTHING, X.sum(-1, keepdims=True)
        spherical: Floats = 2 * z * (mass / q - X / (z * z + SMOOTHING / z.shape[-1]))
        return spherical
    grad: Floats = softmax(z) - X if form.output == "softmax" else 2 * residual(z, X, missing)
    return grad


def unfold_sequence(theta: Floats, code: Floats, n_steps: int, form: Form) -> Floats:
    """y_1 ... y_n, (n, H), with y_1 of the code and y_{k+1} = decode(y_k V_hh + c_h)."""
    _, _, _, V, c = stacked(theta, form)
    H = form.n_hidden
    y = [first_states(theta, code, form)]
    for _ in range(n_steps - 1):
        y.append(decode(y[-1] @ V[:, :H] + c[:H], form))
    return np.array(y)


Label = tuple[int, float] | None    # of a code: its class, and the weight of that


def label_loss(theta: Floats, code: Floats, label: Label, form: Form) -> Any:
    """Weighted cross-entropy of softmax(code W_hy + b_y) against a label."""
    p, (y, weight) = blocks_of(theta, form), label or (0, 0.0)
    scores = code @ p["W_hy"] + p["b_y"]
    return weight * (log_sum_exp(scores)[0] - scores[y])


def label_grad(theta: Floats, code: Floats, label: Label, form: Form) -> tuple[Floats, Floats]:
    """Its gradient with respect to the scores, and to the code."""
    p, (y, weight) = blocks_of(theta, form), label or (0, 0.0)
    G: Floats = weight * (softmax(code @ p["W_hy"] + p["b_y"]) - np.eye(form.n_classes)[y])
    return G, p["W_hy"] @ G


def sequence_loss(theta: Floats, X: Floats, form: Form, missing: Floats | None = None, label: Label = None) -> Any:
    """E(X) of one sequence; with labels alpha E(X) / loss_unit + (1 - alpha) times the loss of its label, where hidden
    terms of E count over hidden_unit.

    stepwise: sum_t loss(x^_t, x_t) + hidden_weight sum_{t>=2} |h^_{t-1} - h_{t-1}|^2, where [h^_{t-1},
    x^_t] is decoded from h_t: what the step read is what it must give back.
    unfold: sum_k loss(y_k V_hx + c_x, x_{T+1-k}), the whole sequence unrolled from its last code.
    """
    _, _, _, V, c = stacked(theta, form)
    H = form.n_hidden
    h = encode_sequence(theta, X, form)
    if form.n_classes:
        E = sequence_loss(theta[:form.without_labels().size], X, form.without_labels(), missing)
        return (form.alpha / form.loss_unit * E
                + (1 - form.alpha) * label_loss(theta, codes_of(theta, h[-1], form), label, form))
    if form.objective == "unfold":
        y = unfold_sequence(theta, codes_of(theta, h[-1], form), len(X), form)
        return output_loss(y @ V[:, H:] + c[H:], X[::-1], form, None if missing is None else missing[::-1])
    a = h[1:] @ V + c
    D_h = decode(a[:, :H], form) - h[:-1]
    if not form.reconstruct_h0:
        D_h = D_h[1:]
    return output_loss(a[:, H:], X, form, missing) + form.hidden_weight * (D_h * D_h).sum()


def parts(data: Floats, offsets: Integers, missing: Floats | None) -> list[tuple[Floats, Floats | None]]:
    """The single sequences, and what of each is missing."""
    absent = [None] * (len(offsets) - 1) if missing is None else sequences(missing, offsets)
    return list(zip(sequences(data, offsets), absent))


def loss(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None, form: Form,
         missing: Floats | None = None, labels: list[Label] | None = None) -> Any:
    """sum_n w_n E(X_n); weights None means 1 / N each."""
    n = len(offsets) - 1
    w = np.full(n, 1 / n) if weights is None else weights
    return sum(w_n * sequence_loss(theta, X, form, M, label)
               for w_n, (X, M), label in zip(w, parts(data, offsets, missing), labels or [None] * n))


def stepwise_decoder_grad(h: Floats, X: Floats, V: Floats, c: Floats, form: Form,
                          missing: Floats | None = None) -> tuple[Floats, Floats]:
    """G (T, H+I), the gradient of the decoder's linear parts, and the pull (T, H) on its targets h_{t-1}."""
    H = form.n_hidden
    a = h[1:] @ V + c
    back = decode(a[:, :H], form)
    D = 2 * form.hidden_weight * (back - h[:-1])
    if not form.reconstruct_h0:
        D[0] = 0
    return np.concatenate([D * decode_slope(back, form), output_grad(a[:, H:], X, form, missing)], axis=1), D


def unfold_decoder_grad(y: Floats, X: Floats, V: Floats, c: Floats, form: Form,
                        missing: Floats | None = None) -> tuple[Floats, Floats]:
    """G (T, H+I): row k the gradients of y_{k+1}'s linear part and of x^_k; and that of the code."""
    H = form.n_hidden
    G = np.zeros((len(y), H + X.shape[1]), dtype=y.dtype)
    G[:, H:] = output_grad(y @ V[:, H:] + c[H:], X[::-1], form, None if missing is None else missing[::-1])
    for k in range(len(y) - 1, 0, -1):
        G[k - 1, :H] = (G[k] @ V.T) * decode_slope(y[k], form)
    return G, G[0] @ V.T


def sequence_grad(theta: Floats, X: Floats, form: Form, missing: Floats | None = None, label: Label = None) -> Floats:
    """Gradient of E(X), flat like theta: back-propagation through time, moving targets included."""
    H, T = form.n_hidden, len(X)
    W, _, _, V, c = stacked(theta, form)
    h = encode_sequence(theta, X, form)
    dH = np.zeros((T, H), dtype=theta.dtype)    # what flows into h_t from the decoder
    pull = np.zeros((T, H), dtype=theta.dtype)  # row t: on h_{t-1} as the target of step t
    maps: list[Floats] = []                     # gradients of W_hc, b_c, V_ch, c_1, W_hy', b_y
    code = codes_of(theta, h[-1], form)
    head, of_label = [], np.zeros_like(code)
    share = form.alpha / form.loss_unit
    if form.n_classes:
        scores, of_label = label_grad(theta, code, label, form)
        head = [(1 - form.alpha) * np.outer(scores, code).ravel(), (1 - form.alpha) * scores]
        of_label = (1 - form.alpha) * of_label
    if form.objective == "unfold":
        y = unfold_sequence(theta, code, T, form)
        G, dH[-1] = unfold_decoder_grad(y, X, V, c, form, missing)
        G, dH[-1] = share * G, share * dH[-1]
        if form.n_code:
            W_hc, _, V_ch, _ = code_maps(theta, form)
            dy_1, dcode = dH[-1].copy(), V_ch @ dH[-1] + of_label
            maps = [np.outer(h[-1], dcode).ravel(), dcode, np.outer(code, dy_1).ravel(), dy_1]
            dH[-1] = W_hc @ dcode
        else:
            dH[-1] += of_label
    else:
        y = h[1:]
        G, pull = stepwise_decoder_grad(h, X, V, c, form.without_labels(), missing)
        G, pull = share * G, share * pull
        dH = G @ V.T
        dH[-1] += of_label
    dA = np.zeros_like(dH)
    later = np.zeros(H, dtype=theta.dtype)  # what step t + 1 sends back into h_t
    for t in range(T - 1, -1, -1):
        dA[t] = (dH[t] + later) * (1 - h[t + 1] ** 2)
        later = dA[t] @ W[:H].T - pull[t]
    Z = np.concatenate([h[:-1], X], axis=1)
    dW, db, dh0, dV, dc = Z.T @ dA, dA.sum(0), later, y.T @ G, G.sum(0)
    if form.tied:
        return np.concatenate([(dW + dV.T).ravel(), db, dh0, dc, *maps, *head])
    return np.concatenate([dW.ravel(), db, dh0, dV.T.ravel(), dc, *maps, *head])


def loss_and_grad(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None, form: Form,
                  missing: Floats | None = None, labels: list[Label] | None = None) -> tuple[Any, Floats]:
    """sum_n w_n E(X_n) and its gradient, flat like theta; weights None means 1 / N each."""
    n = len(offsets) - 1
    w = np.full(n, 1 / n) if weights is None else weights
    grad = np.zeros_like(theta)
    for w_n, (X, M), label in zip(w, parts(data, offsets, missing), labels or [None] * n):
        grad += w_n * sequence_grad(theta, X, form, M, label)
    return loss(theta, data, offsets, weights, form, missing, labels), grad


def unroll(theta: Floats, codes: Floats, offsets: Integers, form: Form, chronological: bool) -> Floats:
    """Unroll code n for offsets[n+1] - offsets[n] steps, (offsets[-1], I), latest input first.

    Outputs are y_k V_hx + c_x of `unfold_sequence`; for softmax these are logits.
    """
    _, _, _, V, c = stacked(theta, form)
    H = form.n_hidden
    out = []
    for code, length in zip(codes, np.diff(offsets)):
        x = unfold_sequence(theta, code, length, form) @ V[:, H:] + c[H:]
        out.append(x[::-1] if chronological else x)
    return np.concatenate(out)


def shuffle(n: int, rng: np.random.Generator) -> Integers:
    """A random order of 0..n-1: Fisher-Yates, each index from the low bits of a 64-bit draw."""
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        while (j := int(rng.integers(2**64, dtype=np.uint64)) & mask) > i:
            pass
        order[i], order[j] = order[j], order[i]
    return order


def learning_rate_at(solver: Solver, n_updates: int, total: int) -> float:
    """Learning rate of update n_updates (from 0) of a run of `total`."""
    done = n_updates / total
    if solver.schedule == "cosine":
        return solver.learning_rate * (1 + math.cos(math.pi * done)) / 2
    if solver.schedule == "step":
        return solver.learning_rate * (1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01)
    if solver.schedule == "inverse":
        return solver.learning_rate / (1 + 10 * done)
    return solver.learning_rate


def update(solver: Solver, rate: float, grad: Floats, state: list[Floats], scale: Floats | None, unit: float,
           t: int, theta: Floats) -> None:
    """One update of theta and the solver's state, in place; t counts updates from 1. Formulas: solvers.py.

    With a scale the solver works on theta / scale and on the loss over `unit`: its gradient is scale g / unit,
    and its step counts scale times.
    """
    g = grad
    if solver.clip_norm is not None and (norm := np.sqrt((g * g).sum())) > solver.clip_norm:
        g = g * (solver.clip_norm / norm)
    g = g + solver.weight_decay * theta
    if scale is not None:
        step = np.zeros_like(theta)
        update(replace(solver, clip_norm=None, weight_decay=0.0), rate, scale * g / unit, state, None, 1.0, t, step)
        theta += scale * step
        return
    rho, eps = solver.rho, solver.epsilon
    if solver.name == "sgd":
        theta -= rate * g
    elif solver.name in ("momentum", "nesterov"):
        v, = state
        mu = solver.momentum
        if solver.momentum_schedule == "sutskever":
            mu = min(1 - 3 / (t + 4), mu)
        v *= mu
        v -= rate * g
        theta += v if solver.name == "momentum" else mu * v - rate * g
    elif solver.name == "adagrad":
        s, = state
        s += g * g
        theta -= rate * g / (np.sqrt(s) + eps)
    elif solver.name == "rmsprop":
        s, = state
        s *= rho
        s += (1 - rho) * g * g
        theta -= rate * g / (np.sqrt(s) + eps)
    elif solver.name == "adadelta":
        s, d = state
        s *= rho
        s += (1 - rho) * g * g
        step = np.sqrt((d + eps) / (s + eps)) * g
        d *= rho
        d += (1 - rho) * step * step
        theta -= rate * step
    elif solver.name == "adam":
        m, s = state
        m *= solver.beta_1
        m += (1 - solver.beta_1) * g
        s *= solver.beta_2
        s += (1 - solver.beta_2) * g * g
        theta -= rate / (1 - solver.beta_1**t) * m / (np.sqrt(s / (1 - solver.beta_2**t)) + eps)
    else:  # rprop
        previous, step = state
        turn = g * previous
        step *= np.where(turn > 0, 1.2, np.where(turn < 0, 0.5, 1))
        np.clip(step, 1e-6, 50, out=step)
        previous[:] = np.where(turn < 0, 0, g)
        theta -= np.sign(previous) * step


def train(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None, form: Form,
          solver: Solver, state: list[Floats], scale: Floats | None, unit: float, batch_size: int,
          rng: np.random.Generator | None, max_iter: int, tol: float, n_iter_no_change: int) -> list[float]:
    """Updates of theta and the solver's state, in place; returns the mean loss of each pass, before its updates."""
    n = len(offsets) - 1
    parts = sequences(data, offsets)
    curve: list[float] = []
    best, stalled, t = np.inf, 0, 0
    total = max_iter * -(-n // batch_size)
    for _ in range(max_iter):
        order = np.arange(n) if rng is None else shuffle(n, rng)
        losses = []
        for start in range(0, n, batch_size):
            chosen = order[start:start + batch_size]
            batch = np.concatenate([parts[i] for i in chosen])
            bounds = np.cumsum([0] + [len(parts[i]) for i in chosen])
            w = None if weights is None else weights[chosen]
            value, grad = loss_and_grad(theta, batch, bounds, w, form)
            update(solver, learning_rate_at(solver, t, total), grad, state, scale, unit, t + 1, theta)
            t += 1
            losses.append(value)
        curve.append(float(np.mean(losses)))
        stalled = stalled + 1 if len(curve) > 1 and not best - curve[-1] >= tol * best else 0
        best = min(best, curve[-1])
        if tol > 0 and stalled >= n_iter_no_change:
            break
    return curve


# ---- trees -----------------------------------------------------------------------------------------
#
# One item at a time, one node at a time. A tree over n leaves has the nodes 0 to n - 1, its leaves, and n to 2 n - 2,
# whose two children are the rows of `children`; the last one is the root.


def blocks_of(theta: Any, form: Any) -> dict[str, Any]:
    """The named parameters as views into theta, of any element type."""
    found = {}
    for block in form.blocks:
        view = theta[block.start:block.start + int(np.prod(block.shape))].reshape(block.shape)
        vector = 1 in block.shape and block.name[0] in "bc"
        found[block.name] = view.ravel() if vector else view.T if block.turned else view
    return found


def _joined(p: dict[str, Any], form: Any, left: Any, right: Any) -> Any:
    """The code of a node with these children."""
    h = np.tanh(left @ p["W_hh"] + right @ p["W_rh"] + p["b_h"])
    return h / np.sqrt(np.sum(h * h)) if form.normalize_codes else h


def _decoded(p: dict[str, Any], form: Any, h: Any, side: str, is_leaf: bool) -> Any:
    """What a node's code gives back of a child, by the decoder."""
    out = h @ p["V_hh"] + p["c_h"] if side == "left" else h @ p["V_hr"] + p["c_r"]
    if form.decoder == "tanh" and not (is_leaf and form.output == "linear" and not form.embeds):
        out = np.tanh(out)
    if form.normalize_reconstruction and (not is_leaf or form.output == "code"):
        out = out / np.sqrt(np.sum(out * out))
    return out


def greedy_tree(theta: Any, form: Any, leaves: Any) -> NDArray[np.intp]:
    """The tree that joins the two neighbours with the smallest error of their codes, of those equal up to rounding the
    leftmost (Socher et al., EMNLP 2011); leaves: the codes, (n, H)."""
    p = blocks_of(theta, form)
    nodes = [(i, code, 1) for i, code in enumerate(leaves)]
    n = len(leaves)
    children: list[tuple[int, int]] = []
    while len(nodes) > 1:
        best: Any = None
        for i, ((a, left, below_l), (b, right, below_r)) in enumerate(zip(nodes, nodes[1:])):
            h = _joined(p, form, left, right)
            errors = [np.sum((_decoded(p, form, h, side, node < n) - code) ** 2)
                      for side, node, code in (("left", a, left), ("right", b, right))]
            if form.word_weights:
                errors = [error * below / (below_l + below_r) for error, below in zip(errors, (below_l, below_r))]
            if best is None or sum(errors) < best[0]:
                # Below this another error is smaller beyond the rounding of codes and differences.
                eps, size = 16 * np.finfo(theta.dtype).eps, np.sum(left * left) + np.sum(right * right)
                root = np.sqrt(sum(errors)) * (1 - eps) - eps * np.sqrt(size)
                best = (max(root, 0) ** 2, i, h)
        _, i, h = best
        (a, _, below_l), (b, _, below_r) = nodes[i:i + 2]
        nodes[i:i + 2] = [(n + len(children), h, below_l + below_r)]
        children.append((a, b))
    return np.array(children, dtype=np.intp).reshape(-1, 2)


def grown_tree(kind: str, n: int) -> NDArray[np.intp]:
    """The tree over n leaves that is "left"- or "right"-branching, or "balanced"."""
    nodes = list(range(n))
    children: list[tuple[int, int]] = []
    while len(nodes) > 1:
        pairs: Any = {"left": [0], "right": [len(nodes) - 2], "balanced": range(0, len(nodes) - 1, 2)}[kind]
        new = list(nodes)
        for i in reversed(pairs):
            new[i:i + 2] = [n + len(children) + i // 2 if kind == "balanced" else n + len(children)]
        children += [(nodes[i], nodes[i + 1]) for i in pairs]
        nodes = new
    return np.array(children, dtype=np.intp).reshape(-1, 2)


def tree_codes(theta: Any, form: Any, rows: Any, children: Any = None) -> tuple[Any, NDArray[np.intp]]:
    """Codes of all nodes of one item, (2 n - 1, H), and its tree, which the form may find. rows: (n, I)."""
    p = blocks_of(theta, form)
    codes = list(rows @ p["W_xh"] if form.embeds else rows + 0 * theta[:1])
    if form.tree == "greedy":
        children = greedy_tree(np.real(theta), form, np.real(np.array(codes)))
    elif form.tree != "given":
        children = grown_tree(form.tree, len(rows))
    for left, right in children:
        codes.append(_joined(p, form, codes[left], codes[right]))
    return np.array(codes), children


def tree_loss(theta: Any, form: Any, rows: Any, children: Any = None, labels: Any = None,
              label_weights: Any = None) -> Any:
    """The loss of one item: see _tree.pyx.

    labels: a class, or one for each node, -1 for none; label_weights: as many weights, or None.
    """
    p, n = blocks_of(theta, form), len(rows)
    codes, children = tree_codes(theta, form, rows, children)
    targets = np.real(codes) if form.stop_targets else codes
    below: list[Any] = [1] * n
    reconstruction = supervised = 0.0
    for pair in children:
        below.append(below[pair[0]] + below[pair[1]])
    tops = {"unfold": [2 * n - 2] if n > 1 else [], "unfold_all": range(n, 2 * n - 1)}.get(form.objective)
    # What each node is decoded from: its own code, or what comes back from the top that is unfolded.
    for top in [None] if tops is None else tops:
        unfolded = {} if top is None else {top: codes[top]}
        for node in range(2 * n - 2, n - 1, -1):
            if top is not None and node not in unfolded:
                continue
            for side, child in zip(("left", "right"), children[node - n].tolist()):
                h = codes[node] if top is None else unfolded[node]
                decoded = unfolded[child] = _decoded(p, form, h, side, child < n)
                if top is not None and child >= n:
                    continue
                share = below[child] / below[node] if form.word_weights and top is None else 1.0
                if child < n and "V_hx" in p:
                    out = decoded @ p["V_hx"] + p["c_x"]
                    error = (np.sum(rows[child] * (log_sum_exp(out) - out)) if form.output == "softmax"
                             else np.sum((out - rows[child]) ** 2))
                else:
                    error = np.sum((decoded - targets[child]) ** 2) * (1.0 if child < n else form.hidden_weight)
                reconstruction = reconstruction + share * error
    if form.reduction == "mean" and n > 1:
        reconstruction = reconstruction / (n - 1)
    if not form.n_classes or labels is None:
        return form.alpha * reconstruction
    of_nodes = np.broadcast_to(labels, (2 * n - 1,))
    weights = np.broadcast_to(1.0 if label_weights is None else label_weights, (2 * n - 1,))
    for node in np.flatnonzero(of_nodes >= 0).tolist():
        own = form.root_weight if node == 2 * n - 2 else form.leaf_weight if node < n else form.inner_weight
        out = codes[node] @ p["W_hy"] + p["b_y"]
        probabilities = np.exp(out - log_sum_exp(out))
        if form.label_loss == "squared":
            loss = np.sum((probabilities - np.eye(form.n_classes)[of_nodes[node]]) ** 2) / 2
        else:
            loss = -np.log(probabilities[of_nodes[node]])
        supervised = supervised + own * weights[node] * loss
    return form.alpha * reconstruction + (1 - form.alpha) * supervised
