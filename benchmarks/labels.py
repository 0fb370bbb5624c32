"""Sequences with labels: RAEClassifier, the two stages, and plain baselines, on real data sets.

    python benchmarks/labels.py                  # splits 0 to 4, as docs/quality.md has them
    python benchmarks/labels.py --choose         # splits 5 to 9, by which the defaults were chosen

Three quarters of a data set to learn from, stratified, all channels standardised by these. "Few" has a tenth of their
labels, at least two of a class.
"""

import argparse
import time
import warnings

import numpy as np
from datasets import MORE, NAMES, labels_of, load
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rae_fast import RAE, RAEClassifier

CHOICES = {"defaults": {}, "alpha=0.05": {"alpha": 0.05}, "alpha=0.5": {"alpha": 0.5},
           "rate 0.1": {"learning_rate": 0.1}, "rate 1": {"learning_rate": 1.0}, "n_code=16": {"n_code": 16},
           "48 units": {"n_hidden": 48}, "50 passes": {"max_iter": 50}, "200 passes": {"max_iter": 200}}


def moments(X):
    """Mean, deviation, first and last step of each channel, and the length."""
    return np.array([np.concatenate([x.mean(0), x.std(0), x[0], x[-1], [len(x)]]) for x in X])


def standardised(learn, test):
    rows = np.concatenate(learn)
    mean, scale = rows.mean(0), np.maximum(rows.std(0), 1e-12)
    return [(x - mean) / scale for x in learn], [(x - mean) / scale for x in test]


def readout():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))


def two_stages(learn, y, test):
    codes = RAE(random_state=0).fit(learn)
    known = [i for i, label in enumerate(y) if label is not None]
    X = codes.transform([learn[i] for i in known])
    return readout().fit(X, [y[i] for i in known]).predict(codes.transform(test))


def of_moments(learn, y, test):
    known = [i for i, label in enumerate(y) if label is not None]
    return readout().fit(moments([learn[i] for i in known]), [y[i] for i in known]).predict(moments(test))


OTHERS = {"two stages": two_stages, "moments": of_moments}


def models(choices):
    """By name: a function of sequences and their labels, some None, and of sequences to label."""
    def joint(options):
        def run(learn, y, test):
            return RAEClassifier(random_state=0, **options).fit(learn, y).predict(test)
        return run

    if choices:
        return {name: joint(options) for name, options in CHOICES.items()} | OTHERS
    return {"RAEClassifier": joint({})} | OTHERS


def run(name, splits, choices):
    """Accuracies (models, splits) with all labels and with few, and seconds."""
    X, y = load(name), labels_of(name)
    known = models(choices)
    found, seconds = np.zeros((2, len(known), len(splits))), np.zeros(len(known))
    for s, seed in enumerate(splits):
        learn, test, y_learn, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
        learn, test = standardised(learn, test)
        rng = np.random.default_rng(seed)
        few = [None] * len(learn)
        for label in np.unique(y_learn):
            at = np.flatnonzero(y_learn == label)
            for i in rng.permutation(at)[:max(2, len(at) // 10)]:
                few[i] = y_learn[i]
        for part, labels in enumerate((list(y_learn), few)):
            for m, (_, model) in enumerate(known.items()):
                start = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found[part, m, s] = np.mean(model(learn, labels, test) == y_test)
                seconds[m] += time.perf_counter() - start
    return list(known), found, seconds / len(splits) / 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choose", action="store_true", help="other settings too, on splits 5 to 9")
    parser.add_argument("--data", nargs="*", default=[*NAMES, *MORE], help="names of data sets")
    options = parser.parse_args()
    splits = range(5, 10) if options.choose else range(5)
    means = []
    for name in options.data:
        known, found, seconds = run(name, splits, options.choose)
        means.append(found.mean(axis=2))
        print(f"{name}\n  {'accuracy, mean and each split of all labels':48}{'few':>7}{'seconds':>9}")
        for m, model in enumerate(known):
            each = " ".join(f"{a:.3f}" for a in found[0, m])
            few = found[1, m].mean()
            print(f"  {model:14}{found[0, m].mean():.3f}   {each}{few:>7.3f}{seconds[m]:>9.2f}", flush=True)
    print("mean of all data sets")
    for m, model in enumerate(known):
        print(f"  {model:14}{np.mean([a[0, m] for a in means]):.3f}{np.mean([a[1, m] for a in means]):>36.3f}")


if __name__ == "__main__":
    main()
