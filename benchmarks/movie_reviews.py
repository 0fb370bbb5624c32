"""Sentences of movie reviews (Pang & Lee 2005), ten folds: recursive auto-encoders with labels, and bags of words.

    python benchmarks/movie_reviews.py FOLDER [--seeds 3] [--part recipes baselines lbfgs defaults leaves]

FOLDER holds rt-polarity.neg and rt-polarity.pos. The settings are those of docs/quality.md, "Movie reviews", fixed
before these folds were looked at; nothing is chosen here.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # a process for each core

import numpy as np  # noqa: E402
import scipy.sparse  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import StratifiedKFold  # noqa: E402
from sklearn.naive_bayes import MultinomialNB  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from rae_fast import TreeRAE, TreeRAEClassifier, show_config  # noqa: E402

FEATURES = "root+leaves+inner"
# B: identity start, nothing normalised, labels of all nodes by squared error. A: the start and the lengths of Socher's
# release.
B = {"dtype": "float32", "tree": "greedy", "label_loss": "squared", "batch_size": 100, "max_iter": 4,
     "learning_rate": 1e-3, "pooling": FEATURES}
A = B | {"init": "uniform", "normalize_codes": True, "normalize_reconstruction": True}
RECIPES = {"B, greedy trees": B, "B, balanced trees": B | {"tree": "balanced"}, "A, codes of length 1": A,
           "paper: children by their words": A | {"word_weights": True}}
LBFGS = A | {"solver": "lbfgs", "max_iter": 70}
ENSEMBLE = 5
# Without labels: how leaves are given back, on three folds. A fixed embedding is one of untrained vectors.
LEAVES = {"softmax": {"output": "softmax"}, "as codes": {"output": "code"},
          "as codes of length 1": {"output": "code", "normalize_codes": True, "normalize_reconstruction": True},
          "not trained": {"max_iter": 0}}


def reviews(folder):
    lines, y = [], []
    for label, name in enumerate(("rt-polarity.neg", "rt-polarity.pos")):
        for line in (Path(folder) / name).read_text(encoding="latin-1").splitlines():
            if line.strip():
                lines.append(line.strip())
                y.append(label)
    return np.array(lines, dtype=object), np.array(y)


def folds(lines, y):
    return list(StratifiedKFold(10, shuffle=True, random_state=0).split(lines, y))


def one_fold(job):
    """Accuracy of the read-out and of the model's own root, probabilities of the read-out, seconds of fit and
    read-out."""
    folder, fold, recipe, seed = job
    lines, y = reviews(folder)
    learn, held_out = folds(lines, y)[fold]
    known, new = lines[learn].tolist(), lines[held_out].tolist()
    start = time.perf_counter()
    model = TreeRAEClassifier(random_state=seed, **recipe).fit(known, y[learn])
    fitted = time.perf_counter()
    scaler = StandardScaler()
    read_out = LogisticRegression(C=0.001, max_iter=1000).fit(scaler.fit_transform(model.transform(known)), y[learn])
    p = read_out.predict_proba(scaler.transform(model.transform(new)))[:, 1]
    done = time.perf_counter()
    right = ((p > 0.5) == y[held_out]).mean()
    return right, model.score(new, y[held_out]), p, fitted - start, done - fitted


def without_labels(job):
    """Accuracy of the read-out of a model that has seen no labels, the size of its embedding, and seconds."""
    folder, fold, settings = job
    lines, y = reviews(folder)
    learn, held_out = folds(lines, y)[fold]
    known, new = lines[learn].tolist(), lines[held_out].tolist()
    start = time.perf_counter()
    options = {"dtype": "float32", "tree": "balanced", "batch_size": 100, "max_iter": 10, "pooling": FEATURES}
    model = TreeRAE(random_state=0, **options | settings).fit(known)
    took = time.perf_counter() - start
    scaler = StandardScaler()
    read_out = LogisticRegression(C=0.001, max_iter=1000).fit(scaler.fit_transform(model.transform(known)), y[learn])
    right = read_out.score(scaler.transform(model.transform(new)), y[held_out])
    return right, float(np.abs(model.parameters_["W_xh"]).mean()), took


def words_of(line):
    return line.split()


def bags(lines, learn, held_out, ngrams):
    counter = CountVectorizer(analyzer="word", tokenizer=words_of, token_pattern=None, lowercase=False, binary=True,
                              ngram_range=(1, ngrams), min_df=2 if ngrams > 1 else 1)
    return counter.fit_transform(lines[learn]), counter.transform(lines[held_out])


def mean_of_vectors(X, y, X_new, seed, d=50, passes=6, rate=2e-3):
    """Word vectors and a logistic regression on their mean, trained jointly by Adam in batches of 32: probabilities."""
    rng = np.random.default_rng(seed)
    X, X_new = (scipy.sparse.diags(1 / np.maximum(np.asarray(Z.sum(axis=1)).ravel(), 1)) @ Z for Z in (X.tocsr(),
                                                                                                       X_new))
    parts = [rng.uniform(-0.05, 0.05, (X.shape[1], d)), rng.uniform(-0.05, 0.05, d), np.zeros(1)]
    parts = [p.astype(np.float32) for p in parts]
    state, t, steps = [(np.zeros_like(p), np.zeros_like(p)) for p in parts], 0, passes * -(-X.shape[0] // 32)
    for _ in range(passes):
        order = rng.permutation(X.shape[0])
        for i in range(0, len(order), 32):
            Z, target = X[order[i:i + 32]], y[order[i:i + 32]]
            E, w, b = parts
            h = Z @ E
            g = (1 / (1 + np.exp(-(h @ w + b))) - target) / len(target)
            t += 1
            for p, grad, (m, s) in zip(parts, (Z.T @ np.outer(g, w), h.T @ g, np.array([g.sum()])), state):
                m += 0.1 * (grad - m)
                s += 0.001 * (grad**2 - s)
                p -= rate * (1 - t / steps) * m / (1 - 0.9**t) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
    return 1 / (1 + np.exp(-(X_new @ parts[0] @ parts[1] + parts[2])))


def baselines(job):
    folder, fold = job
    lines, y = reviews(folder)
    learn, held_out = folds(lines, y)[fold]
    found = {}
    for ngrams, name in ((1, "words"), (2, "bigrams")):
        X, X_new = bags(lines, learn, held_out, ngrams)
        found[f"{name}, naive Bayes"] = MultinomialNB().fit(X, y[learn]).predict_proba(X_new)[:, 1]
        found[f"{name}, logistic regression"] = LogisticRegression(C=0.3, max_iter=1000).fit(X, y[learn]).predict_proba(
            X_new)[:, 1]
        if ngrams == 1:
            found["mean of word vectors, trained jointly"] = mean_of_vectors(X, y[learn], X_new, 0)
    return found


def by_defaults(job):
    """On 2,400 random reviews, judged on 4,000 others: a bag of words with logistic regression (scikit-learn's
    defaults), and TreeRAEClassifier with all of its own."""
    folder, split = job
    lines, y = reviews(folder)
    order = np.random.default_rng(split).permutation(len(y))
    learn, held_out = order[:2400], order[2400:6400]
    X, X_new = bags(lines, learn, held_out, 1)
    bag = LogisticRegression(max_iter=1000).fit(X, y[learn]).score(X_new, y[held_out])
    model = TreeRAEClassifier(random_state=0).fit(lines[learn].tolist(), y[learn])
    return bag, model.score(lines[held_out].tolist(), y[held_out])


def percent(values):
    return " ".join(f"{100 * value:5.1f}" for value in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, default=3)
    parts = ["recipes", "baselines", "lbfgs", "defaults", "leaves"]
    parser.add_argument("--split", type=int, default=100, help="the first of five random splits for the defaults")
    parser.add_argument("--part", nargs="+", default=parts, choices=parts)
    args = parser.parse_args()
    show_config()
    lines, y = reviews(args.folder)
    held_out = [fold[1] for fold in folds(lines, y)]
    found, bag = {}, None
    print(f"\n{len(lines)} sentences, ten stratified folds; % right in each fold, and their mean. Logistic regression "
          "on [root;\nmean of leaves; mean of inner nodes], beside it the model's own label of the root.")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        if "baselines" in args.part:
            bag = list(pool.map(baselines, [(args.folder, k) for k in range(10)]))
            for name in bag[0]:
                right = [((p[name] > 0.5) == y[k]).mean() for p, k in zip(bag, held_out)]
                print(f"  {name:38}{percent(right)}   {100 * np.mean(right):.2f}", flush=True)
        for name, recipe in RECIPES.items() if "recipes" in args.part else ():
            n_seeds = max(args.seeds, ENSEMBLE) if name.startswith("B, greedy") else 1
            for seed in range(n_seeds):
                start = time.perf_counter()
                cells = list(pool.map(one_fold, [(args.folder, k, recipe, seed) for k in range(10)]))
                wall = time.perf_counter() - start
                found.setdefault(name, []).append([cell[2] for cell in cells])
                right, root = [cell[0] for cell in cells], np.mean([cell[1] for cell in cells])
                fit, read_out = np.mean([cell[3] for cell in cells]), np.mean([cell[4] for cell in cells])
                print(f"  {name + f', seed {seed}':38}{percent(right)}   {100 * np.mean(right):.2f}   "
                      f"root {100 * root:.2f}   {wall:.1f} s (a fold: {fit:.2f} + {read_out:.2f})", flush=True)
        if "defaults" in args.part:
            cells = list(pool.map(by_defaults, [(args.folder, args.split + k) for k in range(5)]))
            for name, right in zip(("2,400 reviews: bag of words", "2,400 reviews: defaults"), zip(*cells)):
                print(f"  {name:38}{percent(right)}{'':30}   {100 * np.mean(right):.2f}", flush=True)
        if "leaves" in args.part:
            for name, settings in LEAVES.items():
                cells = list(pool.map(without_labels, [(args.folder, k, settings) for k in range(3)]))
                print(f"  {'no labels, leaves ' + name:38}{percent([cell[0] for cell in cells])}{'':42}   "
                      f"{100 * np.mean([cell[0] for cell in cells]):.2f}   embedding "
                      f"{np.mean([cell[1] for cell in cells]):.5f}   {np.mean([cell[2] for cell in cells]):.1f} s",
                      flush=True)
        if "lbfgs" in args.part:
            right, root, _, fit, _ = one_fold((args.folder, 0, LBFGS, 0))
            print(f"  {'A by L-BFGS, 70 iterations, fold 0':38}{100 * right:5.1f}   root {100 * root:.1f}   "
                  f"{fit:.1f} s", flush=True)
    several = found.get("B, greedy trees")
    if several:
        mean = [np.mean([of_seed[k] for of_seed in several[:ENSEMBLE]], axis=0) for k in range(10)]
        right = [((p > 0.5) == y[k]).mean() for p, k in zip(mean, held_out)]
        print(f"  {f'B, {ENSEMBLE} seeds averaged':38}{percent(right)}   {100 * np.mean(right):.2f}")
        if bag is not None:
            both = [(p + b["bigrams, naive Bayes"] + b["bigrams, logistic regression"]) / 3 for p, b in zip(mean, bag)]
            right = [((p > 0.5) == y[k]).mean() for p, k in zip(both, held_out)]
            print(f"  {'... with bigrams (naive Bayes, log. reg.)':38}{percent(right)}   {100 * np.mean(right):.2f}")


if __name__ == "__main__":
    main()
