"""The Stanford sentiment treebank (Socher et al., EMNLP 2013): given trees, labels of five classes at every node.

    python benchmarks/treebank.py FOLDER [--seeds 5] [--part test dev]

FOLDER holds train.txt, dev.txt and test.txt, a bracketed tree a line. Settings are chosen on dev (docs/quality.md,
"Treebank"); test is only read for the table. The model is trained on five classes; of two, p3 + p4 > p0 + p1 is
positive, and neutral nodes are left out.
"""

import argparse
import os
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

from rae_fast import TreeRAEClassifier, Vocabulary, read_tree, show_config  # noqa: E402

SETTINGS = {"n_hidden": 30, "dtype": "float32", "alpha": 0.0, "inner_weight": 1.0, "root_weight": 1.0,
            "solver": "adagrad", "learning_rate": 0.1, "batch_size": 27, "max_iter": 5}
# What else was tried on dev, and what larger codes, reconstruction and averaging give.
TRIED = {"as chosen": {}, "4 passes": {"max_iter": 4}, "6 passes": {"max_iter": 6},
         "rate 0.05": {"learning_rate": 0.05}, "rate 0.15": {"learning_rate": 0.15},
         "constant rate 0.05": {"schedule": "constant", "learning_rate": 0.05},
         "50 numbers a code": {"n_hidden": 50}, "reconstruction, alpha 0.1": {"alpha": 0.1},
         "reconstruction, alpha 0.3": {"alpha": 0.3}, "root counts 2 times": {"root_weight": 2.0},
         "root counts 4 times": {"root_weight": 4.0}, "dropout 0.2": {"dropout": 0.2},
         "dropout 0.2, 8 passes": {"dropout": 0.2, "max_iter": 8},
         "60 numbers, dropout 0.4, 8 passes": {"n_hidden": 60, "dropout": 0.4, "max_iter": 8},
         "words decay by 1e-4": {"weight_decay": {"W_xh": 1e-4}},
         "composition decays by 1e-4": {"weight_decay": {"W_hh": 1e-4, "W_rh": 1e-4}},
         "labels decay by 1e-3": {"weight_decay": {"W_hy": 1e-3}}, "rare words shared": {"min_count": 2},
         "squared loss of labels": {"label_loss": "squared", "learning_rate": 0.2},
         "adam, rate 0.005": {"solver": "adam", "learning_rate": 0.005}}
PUBLISHED = {"RNN (Socher et al. 2013)": (79.0, 43.2, 86.1, 82.4), "tensor network, RNTN": (80.7, 45.7, 87.6, 85.4)}


def read(path):
    return [read_tree(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def fitted(trees, seed, min_count=1, **settings):
    vocabulary = Vocabulary("tokens", min_count=min_count).fit([tree.words for tree in trees])
    X = vocabulary.encode([tree.words for tree in trees])
    labels = [[int(label) for label in tree.labels] for tree in trees]
    model = TreeRAEClassifier(n_features=len(vocabulary), random_state=seed, **SETTINGS | settings)
    start = time.perf_counter()
    model.fit(X, labels, trees=[tree.children for tree in trees])
    return model, vocabulary, time.perf_counter() - start


def probabilities(model, vocabulary, trees):
    """Of all nodes of each tree."""
    codes = model.node_codes(vocabulary.encode([tree.words for tree in trees]), trees=[tree.children for tree in trees])
    logits = [h @ model.parameters_["W_hy"] + model.parameters_["b_y"] for h in codes]
    return [np.exp(a - a.max(axis=1, keepdims=True)) / np.exp(a - a.max(axis=1, keepdims=True)).sum(axis=1,
                                                                                                    keepdims=True)
            for a in logits]


def judged(found, trees):
    """Five classes of all nodes and of roots, two classes of all nodes and of roots: % right."""
    labels = [np.array([int(label) for label in tree.labels]) for tree in trees]
    p, y = np.concatenate(found), np.concatenate(labels)
    root = np.cumsum([len(a) for a in labels]) - 1
    two, some = p[:, 3] + p[:, 4] > p[:, 0] + p[:, 1], y != 2
    right, sign = p.argmax(axis=1) == y, two == (y > 2)
    return 100 * np.array([right.mean(), right[root].mean(), sign[some].mean(), sign[root][some[root]].mean()])


def row(name, values, seconds=None):
    print(f"  {name:34}" + "".join(f"{value:12.2f}" for value in values)
          + ("" if seconds is None else f"{seconds:12.2f} s"), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", nargs="+", default=["test"], choices=["test", "dev"])
    args = parser.parse_args()
    show_config()
    learn, dev, test = (read(args.folder / f"{name}.txt") for name in ("train", "dev", "test"))
    heads = f"\n  {'':34}{'all, 5':>12}{'root, 5':>12}{'all, 2':>12}{'root, 2':>12}{'fit':>12}"
    if "dev" in args.part:
        print(f"{heads}\n  dev, mean of {args.seeds} seeds")
        for name, settings in TRIED.items():
            found = []
            for seed in range(args.seeds):
                model, vocabulary, seconds = fitted(learn, seed, **settings)
                found.append(judged(probabilities(model, vocabulary, dev), dev))
            row(name, np.mean(found, axis=0), seconds)
    if "test" in args.part:
        print(f"{heads}\n  test")
        found, several = [], []
        for seed in range(args.seeds):
            model, vocabulary, seconds = fitted(learn, seed)
            several.append(probabilities(model, vocabulary, test))
            found.append(judged(several[-1], test))
            row(f"seed {seed}", found[-1], seconds)
        row(f"mean of {args.seeds} seeds", np.mean(found, axis=0))
        row("their probabilities averaged", judged([np.mean(p, axis=0) for p in zip(*several)], test))
        for name, values in PUBLISHED.items():
            row(name, values)


if __name__ == "__main__":
    main()
