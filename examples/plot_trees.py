"""
Trees with labels: what "not" does
==================================

A tree is read from its leaves to its root. Here expressions are written as brackets with a label at every node, as in
the Stanford sentiment treebank: "good" and "fine" are 1, "dull" and "slow" 0, "and" takes the label of what it begins
with, and "not" turns the one behind it around, whatever that is.
"""

import numpy as np

from rae_fast import TreeRAEClassifier, plotting
from rae_fast.trees import draw, read_tree

rng = np.random.default_rng(0)


def expression(depth):
    """Brackets and the label of their root."""
    if depth == 0:
        word = rng.choice(["good", "fine", "dull", "slow"])
        label = int(word in ("good", "fine"))
        return f"({label} {word})", label
    inner, label = expression(depth - 1)
    if rng.random() < 0.4:
        return f"({1 - label} (1 not) {inner})", 1 - label
    other, _ = expression(int(rng.integers(depth)))
    return f"({label} {inner} ({label} (1 and) {other}))", label


found = [expression(int(rng.integers(1, 5))) for _ in range(800)]
X, y = [brackets for brackets, _ in found], np.array([label for _, label in found])
learn, held_out = slice(0, 500), slice(500, None)
tree = read_tree(X[7])
print(draw(tree.children, tree.words))

# %%
# Learned along the trees that are written, along trees that the model finds, and word by word from the left. Labels of
# inner nodes are known in the first case alone; in the others the root's is.

options = {"max_iter": 100, "learning_rate": 0.02, "alpha": 0.05, "random_state": 0}
lines = [" ".join(read_tree(brackets).words) for brackets in X]
given = TreeRAEClassifier(16, **options).fit(X[learn])
print(f"trees as written {given.score(X[held_out], y[held_out].astype(str)):.1%}")
for kind in ("greedy", "left"):
    model = TreeRAEClassifier(16, tree=kind, **options).fit(lines[learn], y[learn])
    print(f"{kind:16} {model.score(lines[held_out], y[held_out]):.1%}")

# %%
# An expression that was never seen, with what the model says of each node.

unseen = read_tree(X[507])
plotting.tree(unseen.children, unseen.words, notes=given.predict_nodes([X[507]])[0])
