"""Sentences a second of models of trees: rae_fast, PyTorch and a plain recursion in NumPy, one thread each.

    python benchmarks/tree_speed.py                       # needs torch; --no-torch for NumPy alone
    python benchmarks/tree_speed.py --json FILE           # what was measured, for docs/performance.md

Sentences of 20 words out of 1,000, float32; an update is that of plain gradient descent, every node giving back the
codes of its children. Given trees are random; PyTorch computes them level by level over the batch: in training the
levels have been worked out beforehand, and are not timed, and sentences to be encoded are new. Greedy ones it finds in
lock-step rounds over the batch, scoring the two new pairs of each. First all are held to the same loss, gradient and
codes. All take turns in each round; figures are medians.
"""

import argparse
import json
import time

import numpy as np
from limits import gemm_rate, peak_rate
from threadpoolctl import threadpool_limits

from rae_fast import TreeRAE

WORDS, V, SENTENCES = 20, 1000, 400
BATCHES = (1, 32, 100)


def random_tree(rng, n):
    nodes, children = list(range(n)), []
    while len(nodes) > 1:
        i = int(rng.integers(len(nodes) - 1))
        children.append(nodes[i:i + 2])
        nodes[i:i + 2] = [n + len(children) - 1]
    return np.array(children, dtype=np.intp)


# ---- a recursion in NumPy --------------------------------------------------------------------------


def recursive(p, ids, children, train):
    """Codes of one sentence by recursion from the root, and (train) its loss and gradient."""
    n = len(ids)
    codes = [None] * (2 * n - 1)
    greedy = children is None
    if greedy:
        children = greedy_numpy(p, ids)

    def down(node):
        if node < n:
            codes[node] = p["W_xh"][ids[node]]
        else:
            left, right = children[node - n]
            codes[node] = np.tanh(down(left) @ p["W_hh"] + down(right) @ p["W_rh"] + p["b_h"])
        return codes[node]

    down(2 * n - 2)
    if not train:
        return codes, 0.0, None
    grad = {name: np.zeros_like(view) for name, view in p.items()}
    d = [np.zeros_like(codes[0]) for _ in codes]
    loss = 0.0

    def back(node):
        nonlocal loss
        if node < n:
            grad["W_xh"][ids[node]] += d[node]
            return
        left, right = children[node - n]
        h = codes[node]
        dh = d[node]
        for child, V, c in ((left, "V_hh", "c_h"), (right, "V_hr", "c_r")):
            out = np.tanh(h @ p[V] + p[c])
            error = (out - codes[child]) / (n - 1)
            loss += float(error @ (out - codes[child]))
            g = 2 * error * (1 - out * out)
            grad[V] += np.outer(h, g)
            grad[c] += g
            dh = dh + p[V] @ g
            d[child] -= 2 * error
        da = dh * (1 - h * h)
        for child, W in ((left, "W_hh"), (right, "W_rh")):
            grad[W] += np.outer(codes[child], da)
            d[child] += p[W] @ da
        grad["b_h"] += da
        back(left)
        back(right)

    # Errors of a node's children come before what these say of themselves: from the root down.
    back(2 * n - 2)
    return codes, loss, grad


def greedy_numpy(p, ids):
    """The greedy tree of one sentence; pairs that have not changed are not scored again."""
    n = len(ids)
    nodes = [(i, p["W_xh"][w]) for i, w in enumerate(ids)]
    children = []

    def scored(left, right):
        h = np.tanh(left @ p["W_hh"] + right @ p["W_rh"] + p["b_h"])
        a, b = np.tanh(h @ p["V_hh"] + p["c_h"]) - left, np.tanh(h @ p["V_hr"] + p["c_r"]) - right
        return float(a @ a + b @ b), h

    pairs = [scored(nodes[i][1], nodes[i + 1][1]) for i in range(n - 1)]
    while len(nodes) > 1:
        i = min(range(len(pairs)), key=lambda i: pairs[i][0])
        h = pairs[i][1]
        children.append((nodes[i][0], nodes[i + 1][0]))
        nodes[i:i + 2] = [(n + len(children) - 1, h)]
        del pairs[i]
        if i > 0:
            pairs[i - 1] = scored(nodes[i - 1][1], h)
        if i < len(pairs):
            pairs[i] = scored(h, nodes[i + 1][1])
    return np.array(children)


class NumPy:
    name = "NumPy"

    def __init__(self, model, X, trees):
        self.p = {name: view.copy() for name, view in model.parameters_.items()}
        self.X, self.trees = X, trees

    def gradient(self, some):
        loss, total = 0.0, None
        for i in some:
            _, one, grad = recursive(self.p, self.X[i], None if self.trees is None else self.trees[i], True)
            loss += one / len(some)
            total = grad if total is None else {name: total[name] + grad[name] for name in grad}
        return loss, {name: g / len(some) for name, g in total.items()}

    def update(self, some, rate=1e-3):
        for name, g in self.gradient(some)[1].items():
            self.p[name] -= rate * g

    def encode(self, some):
        return np.array([recursive(self.p, self.X[i], None if self.trees is None else self.trees[i], False)[0][-1]
                         for i in some])


# ---- PyTorch ---------------------------------------------------------------------------------------


class Torch:
    name = "PyTorch"

    def __init__(self, model, X, trees):
        import torch

        torch.set_num_threads(1)
        self.torch, self.X, self.trees = torch, torch.tensor(np.array(X)), trees
        p = model.parameters_
        self.E, self.b, self.c_l, self.c_r = (torch.tensor(p[name]) for name in ("W_xh", "b_h", "c_h", "c_r"))
        self.W = torch.tensor(np.vstack([p["W_hh"], p["W_rh"]]))
        self.V = torch.tensor(np.hstack([p["V_hh"], p["V_hr"]]))
        self.c = torch.cat([self.c_l, self.c_r])
        self.all = [self.E, self.W, self.b, self.V, self.c]
        for x in self.all:
            x.requires_grad_(True)
        self.plans = {}

    def plan(self, some, children):
        """Levels of a batch: places of the children of each level's nodes among all codes, in the order in which these
        are made; those of all nodes' children; and places of the roots."""
        n, B = WORDS, len(some)
        children, row = np.asarray(children), np.arange(B)
        height = np.zeros((B, 2 * n - 1), dtype=int)
        for k in range(n - 1):
            height[:, n + k] = 1 + np.maximum(height[row, children[:, k, 0]], height[row, children[:, k, 1]])
        order = np.argsort(height[:, n:].ravel(), kind="stable")
        at = np.empty((B, 2 * n - 1), dtype=int)
        at[:, :n] = np.arange(B * n).reshape(B, n)
        sentence, node = np.divmod(order, n - 1)
        at[sentence, n + node] = B * n + np.arange(len(order))
        pairs = self.torch.tensor(at[sentence[:, None], children[sentence, node]].T)
        sizes = np.bincount(height[:, n:].ravel())[1:].tolist()
        levels = list(zip(pairs[0].split(sizes), pairs[1].split(sizes)))
        return levels, pairs[0], pairs[1], self.torch.tensor(at[:, -1])

    def planned(self, some, kept=True):
        if self.trees is None:
            return self.plan(some, self.greedy(some)[0])
        if not kept:
            return self.plan(some, [self.trees[i] for i in some])
        key = (int(some[0]), len(some))
        if key not in self.plans:
            self.plans[key] = self.plan(some, [self.trees[i] for i in some])
        return self.plans[key]

    def codes(self, some, plan):
        torch = self.torch
        codes = self.E[self.X[some].reshape(-1)]
        for left, right in plan[0]:
            new = torch.tanh(torch.addmm(self.b, torch.cat([codes[left], codes[right]], 1), self.W))
            codes = torch.cat([codes, new])
        return codes

    def loss(self, some):
        torch = self.torch
        plan = self.planned(some)
        codes = self.codes(some, plan)
        inner = codes[len(some) * WORDS:]
        out = torch.tanh(torch.addmm(self.c, inner, self.V))
        error = out - torch.cat([codes[plan[1]], codes[plan[2]]], 1)
        return (error * error).sum() / (len(some) * (WORDS - 1))

    def gradient(self, some):
        grads = self.torch.autograd.grad(self.loss(some), self.all)
        E, W, b, V, c = (g.numpy() for g in grads)
        H = len(b)
        return self.loss(some).item(), {"W_xh": E, "W_hh": W[:H], "W_rh": W[H:], "b_h": b, "V_hh": V[:, :H],
                                        "V_hr": V[:, H:], "c_h": c[:H], "c_r": c[H:]}

    def update(self, some, rate=1e-3):
        grads = self.torch.autograd.grad(self.loss(some), self.all)
        with self.torch.no_grad():
            self.torch._foreach_add_(self.all, grads, alpha=-rate)

    def encode(self, some):
        with self.torch.inference_mode():
            if self.trees is None:
                return self.greedy(some)[1].numpy()
            plan = self.planned(some, kept=False)
            return self.codes(some, plan)[plan[3]].numpy()

    def greedy(self, some):
        """Trees, (B, n - 1, 2), and codes of roots: in rounds over the batch, in which the two new pairs are scored."""
        torch = self.torch
        with torch.no_grad():
            B, n, H = len(some), WORDS, len(self.b)
            codes = self.E[self.X[some]]
            number = torch.arange(n).repeat(B, 1)
            row = torch.arange(B)
            W_l, W_r = self.W[:H], self.W[H:]
            sides_l, sides_r = codes @ W_l, codes @ W_r

            def score(left, right, l_part, r_part):
                h = torch.tanh(l_part + r_part + self.b)
                error = torch.tanh(torch.addmm(self.c, h, self.V)) - torch.cat([left, right], 1)
                return (error * error).sum(1), h

            scores, pairs = score(codes[:, :-1].reshape(-1, H), codes[:, 1:].reshape(-1, H),
                                  sides_l[:, :-1].reshape(-1, H), sides_r[:, 1:].reshape(-1, H))
            scores, pairs = scores.reshape(B, n - 1), pairs.reshape(B, n - 1, H).clone()
            children = torch.empty((B, n - 1, 2), dtype=torch.int64)
            for k in range(n - 1):
                m = n - k
                i = scores.argmin(1)
                h = pairs[row, i]
                children[:, k, 0], children[:, k, 1] = number[row, i], number[row, i + 1]
                # The pair's left place takes the new node, and what is right of it moves up.
                move = torch.arange(m - 1).repeat(B, 1)
                move = move + (move > i[:, None])
                codes, number = codes[row[:, None], move], number[row[:, None], move]
                sides_l, sides_r = sides_l[row[:, None], move], sides_r[row[:, None], move]
                codes[row, i], number[row, i] = h, n + k
                sides_l[row, i], sides_r[row, i] = h @ W_l, h @ W_r
                if m == 2:
                    break
                move = torch.arange(m - 2).repeat(B, 1)
                move = move + (move >= i[:, None])
                scores, pairs = scores[row[:, None], move], pairs[row[:, None], move]
                before, after = torch.clamp(i - 1, 0), torch.clamp(i, max=m - 3)
                at = torch.cat([before, after])
                both = row.repeat(2)
                found, made = score(codes[both, at], codes[both, at + 1], sides_l[both, at], sides_r[both, at + 1])
                scores[both, at], pairs[both, at] = found, made
            return children.numpy(), codes[:, 0]


# ---- rae_fast --------------------------------------------------------------------------------------


class Ours:
    name = "rae_fast"

    def __init__(self, model, X, trees):
        self.model, self.X, self.trees = model, X, trees

    def given(self, some):
        return {} if self.trees is None else {"trees": [self.trees[i] for i in some]}

    def gradient(self, some):
        return self.model.loss_and_grad([self.X[i] for i in some], **self.given(some))

    def encode(self, some):
        return self.model.transform([self.X[i] for i in some], **self.given(some))


def new_model(H, X, trees, **settings):
    options = {"n_features": V, "dtype": "float32", "tree": "greedy" if trees is None else "given", "output": "code",
               "solver": "sgd", "learning_rate": 1e-3, "schedule": "constant", "shuffle": False, "random_state": 0,
               "embedding_scale": 0.5, "init": "uniform"}
    model = TreeRAE(H, **options | settings)
    return model.fit(X, **({} if trees is None else {"trees": trees}))


def check(ours, rival, some):
    """The same loss, gradient and codes, or an error."""
    loss, grad = ours.gradient(some)
    theirs, their_grad = rival.gradient(some)
    assert abs(loss - theirs) < 1e-4 * abs(loss), (rival.name, loss, theirs)
    for name, g in grad.items():
        assert np.abs(g - their_grad[name]).max() < 1e-3 * max(np.abs(g).max(), 1e-6), (rival.name, name)
    assert np.abs(ours.encode(some) - rival.encode(some)).max() < 1e-4, rival.name


def sentences_a_second(rival, B, train, seconds):
    """Of so long a time."""
    parts = [list(range(a, a + B)) for a in range(0, SENTENCES - B + 1, B)]
    done, start = 0, time.perf_counter()
    while True:
        for some in parts:
            if train:
                rival.update(some)
            else:
                rival.encode(some)
            done += B
            if (took := time.perf_counter() - start) > seconds:
                return done / took


def ours_in_training(H, X, trees, B, seconds):
    """A fit's sentences a second, its start left out."""
    n = SENTENCES // B * B
    given = X[:n], None if trees is None else trees[:n]
    passes = 1
    while True:
        start = time.perf_counter()
        new_model(H, *given, batch_size=B, max_iter=0)
        begun = time.perf_counter()
        new_model(H, *given, batch_size=B, max_iter=passes)
        took = time.perf_counter() - begun - (begun - start)
        if took > seconds:
            return n * passes / took
        passes *= max(2, min(10, int(seconds / max(took, 1e-3)) + 1))


def operations(H, greedy, train):
    """Multiplications and additions in products, of a sentence."""
    inner, each = WORDS - 1, 4 * H * H  # a product of H by 2 H numbers
    made = each * inner                 # codes
    if greedy:  # what nodes add as children, and what pairs give back: three for a leaf
        made = each * (2 * WORDS - 1) + each * (3 * WORDS - 5)
    if not train:
        return made
    return made + each * inner * (4 if greedy else 5)  # decoded (known of greedy trees), and four products backwards


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-torch", action="store_true", help="compare with NumPy alone")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--json", help="a file for what was measured")
    options = parser.parse_args()
    with threadpool_limits(1):
        limit, gemm = peak_rate("float32", 1), gemm_rate("float32")
    print(f"one thread, float32: peak {limit / 1e9:.0f}, GEMM {gemm / 1e9:.0f} GFLOP/s")
    rivals = [NumPy] if options.no_torch else [NumPy, Torch]
    rng = np.random.default_rng(0)
    X = [rng.integers(0, V, WORDS) for _ in range(SENTENCES)]
    given = [random_tree(rng, WORDS) for _ in range(SENTENCES)]
    found = []
    for trees in ("given", "greedy"):
        of_model = given if trees == "given" else None
        names = "".join(f"{r.name:>11}{'':9}" for r in rivals)
        print(f"\n{trees} trees, sentences a second{'':14}rae_fast  of GEMM{names}")
        for H in (50, 100):
            ours = Ours(new_model(H, X, of_model, max_iter=0), X, of_model)
            others = [rival(ours.model, X, of_model) for rival in rivals]
            for other in others:
                check(ours, other, list(range(32)))
            for task in ("training", "encoding"):
                for B in BATCHES:
                    rates = np.zeros((options.rounds, 1 + len(others)))
                    for r in range(options.rounds):
                        train = task == "training"
                        rates[r, 0] = (ours_in_training(H, X, of_model, B, options.seconds) if train
                                       else sentences_a_second(ours, B, False, options.seconds))
                        for k, other in enumerate(others):
                            rates[r, 1 + k] = sentences_a_second(other, B, train, options.seconds)
                    middle = np.median(rates, axis=0)
                    share = middle[0] * operations(H, trees == "greedy", task == "training") / gemm
                    print(f"  {task}, H = {H:<4} batches of {B:<4}{middle[0]:>19,.0f}{share:>9.0%}"
                          + "".join(f"{m:>11,.0f}{middle[0] / m:>8.1f}x" for m in middle[1:]), flush=True)
                    found.append({"trees": trees, "H": H, "task": task, "batch": B, "share": share,
                                  "rates": dict(zip(["rae_fast", *(o.name for o in others)], rates.T.tolist()))})
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"peak": limit, "gemm": gemm, "found": found}, file, indent=1)


if __name__ == "__main__":
    main()
