"""Syntax trees of programs: functions of Python's own library, kinds of syntax nodes as tokens.

    python benchmarks/programs.py [--picture FILE]

A node becomes its kind and then its children, joined from left to right. Learned on four fifths of the functions; of
the others, how many tokens come back, and whether the nearest code among those learned from is a near-duplicate, where
there is one: a function of which at least nine tenths of the tokens are the same, in the same order.
"""

import argparse
import ast
import difflib
import os
import sysconfig
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

from rae_fast import TreeRAE, Vocabulary, plotting, show_config  # noqa: E402

FEWEST, MOST, FUNCTIONS, QUERIES = 12, 60, 6000, 400
ALIKE = 0.9


def binary_tree(root):
    """Tokens and children of a syntax tree; None where it has too many nodes."""
    tokens, inner = [], []

    def leaf(node):
        tokens.append(type(node).__name__)
        return len(tokens) - 1

    # Children are joined after their own are done: post-order, without recursion.
    stack, done = [(root, None, None)], []
    while stack:
        node, at, rest = stack.pop()
        if at is None:
            if len(tokens) > MOST:
                return None
            at = leaf(node)
            rest = [c for c in ast.iter_child_nodes(node) if not isinstance(c, (ast.expr_context, ast.operator))]
        elif done:
            inner.append((at, done.pop()))
            at = -len(inner)
        if rest:
            stack += [(node, at, rest[1:]), (rest[0], None, None)]
        else:
            done.append(at)
    n = len(tokens)
    children = [[x if x >= 0 else n - x - 1 for x in pair] for pair in inner]
    return tokens, np.array(children, dtype=np.intp).reshape(-1, 2)


def functions():
    """Those of the standard library with 12 to 60 tokens: name, tokens, children; each kind of tree once."""
    found, seen = [], set()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("**/*.py")):
        if "site-packages" in path.parts or "test" in path.parts or "tests" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and (made := binary_tree(node)) is not None:
                tokens, children = made
                key = (*tokens, children.tobytes())
                if FEWEST <= len(tokens) <= MOST and key not in seen:
                    seen.add(key)
                    found.append((f"{path.stem}.{node.name}", tokens, children))
    return found


def near_duplicates(query, learned, counts_of_query, counts):
    """Which of the learned token lists are alike."""
    few = np.abs(counts - counts_of_query).sum(axis=1) <= 2 * (1 - ALIKE) * (counts.sum(axis=1) + len(query)) / 2
    return [i for i in np.flatnonzero(few)
            if difflib.SequenceMatcher(None, query, learned[i], autojunk=False).ratio() >= ALIKE]


def nearest(index, queries):
    index, queries = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (index, queries))
    return (queries @ index.T).argmax(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    show_config()
    found = functions()
    order = np.random.default_rng(0).permutation(len(found))[:FUNCTIONS]
    cut = len(order) * 4 // 5
    learn, held_out = ([found[i] for i in part] for part in (order[:cut], order[cut:]))
    vocabulary = Vocabulary("tokens").fit([f[1] for f in learn])
    X, unseen = (vocabulary.encode([f[1] for f in part]) for part in (learn, held_out))
    trees, new = ([f[2] for f in part] for part in (learn, held_out))
    print(f"\n{len(found):,} functions of {FEWEST} to {MOST} tokens; {len(learn):,} to learn from, "
          f"{len(held_out):,} held out; {len(vocabulary)} kinds of nodes")
    model = TreeRAE(64, n_features=len(vocabulary), dtype="float32", objective="unfold", max_iter=20,
                    learning_rate=0.003, random_state=0)
    start = time.perf_counter()
    model.fit(X, trees=trees)
    seconds = time.perf_counter() - start
    back = model.reconstruct(unseen, trees=new)
    right = np.concatenate([a == b for a, b in zip(back, unseen)])
    most = np.bincount(np.concatenate(X)).argmax()
    always = np.concatenate([x == most for x in unseen]).mean()
    print(f"TreeRAE(64), {model.n_iter_} passes in {seconds:.1f} s; unrolled from the root {right.mean():.1%} of the "
          f"tokens of functions never seen come back\n(always the most frequent one: {always:.1%})")
    counts, new_counts = (np.array([np.bincount(x, minlength=len(vocabulary)) for x in part]) for part in (X, unseen))
    tokens = [f[1] for f in learn]
    alike = [near_duplicates(f[1], tokens, c, counts) for f, c in zip(held_out[:QUERIES], new_counts)]
    some = [i for i, a in enumerate(alike) if a]
    for name, index, queries in (
            ("codes of roots", model.transform(X, trees=trees), model.transform(unseen[:QUERIES], trees=new[:QUERIES])),
            ("counts of tokens", counts, new_counts[:QUERIES])):
        hits = nearest(index, queries)
        print(f"  nearest by {name:17} is a near-duplicate for {np.mean([hits[i] in alike[i] for i in some]):.1%} of "
              f"the {len(some)} of {QUERIES} functions that have one")
    hits = nearest(model.transform(X, trees=trees), model.transform(unseen[:QUERIES], trees=new[:QUERIES]))
    for i in [i for i in some if hits[i] in alike[i]][:5]:
        print(f"    {held_out[i][0]:40} {learn[hits[i]][0]}")
    if options.picture:
        _, words, children = min(held_out, key=lambda f: len(f[1]))
        plotting.tree(children, words).figure.savefig(options.picture, dpi=100)
        print(f"wrote {options.picture}")


if __name__ == "__main__":
    main()
