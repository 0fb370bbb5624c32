"""Codes as features of others: a linear classifier and k-means behind them, as they are, standardised and whitened.

    python benchmarks/features.py

RAE() of all sequences of a data set, channels standardised; its last codes, their means over steps, both, codes of 4, 8
and 16 numbers, and moments of the sequences themselves. Part that a logistic regression gets right (four folds, C = 1)
and the adjusted Rand index of k-means with as many clusters as classes; means of three seeds of the model and, of
k-means, three for each.
"""

import os
import warnings

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from datasets import labels_of, load  # noqa: E402
from labels import moments, standardised  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import adjusted_rand_score  # noqa: E402
from sklearn.model_selection import StratifiedKFold, cross_val_score  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from rae_fast import RAE  # noqa: E402

SETS = ("JapaneseVowels", "PickupGestureWiimoteZ", "BasicMotions", "ItalyPowerDemand")
FEATURES = {"last": {}, "mean": {"pooling": "mean"}, "both": {"pooling": "last+mean"}, "n_code=4": {"n_code": 4},
            "n_code=8": {"n_code": 8}, "n_code=16": {"n_code": 16}}
WAYS = {"as they are": {}, "standardised": {"standardize_codes": True}, "whitened": {"whiten": True}}
OF_MOMENTS = {"as they are": None, "standardised": StandardScaler(), "whitened": PCA(whiten=True)}
SEEDS = (0, 1, 2)


def judged(Z, y):
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    right = cross_val_score(LogisticRegression(max_iter=3000), Z, y, cv=folds).mean()
    clusters = [KMeans(len(np.unique(y)), n_init=5, random_state=seed).fit_predict(Z) for seed in SEEDS]
    return right, np.mean([adjusted_rand_score(y, found) for found in clusters])


def main():
    warnings.simplefilter("ignore")
    print(f"{'':36}" + "".join(f"{way:>18}" for way in WAYS))
    for name in SETS:
        X, _ = standardised(load(name), [])
        y = labels_of(name)
        rows = {}
        for what, options in FEATURES.items():
            rows[what] = [np.mean([judged(RAE(random_state=seed, **options, **way).fit_transform(X), y)
                                   for seed in SEEDS], axis=0) for way in WAYS.values()]
        Z = moments(X)
        rows["moments"] = [judged(Z if way is None else way.fit_transform(Z), y) for way in OF_MOMENTS.values()]
        for what, cells in rows.items():
            print(f"{name + ', ' + what:36}" + "".join(f"{a:>11.3f} / {b:.2f}" for a, b in cells), flush=True)


if __name__ == "__main__":
    main()
