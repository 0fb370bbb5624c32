"""Real sequences for benchmarks: digits from scikit-learn, the others from the files inside the aeon package.

aeon is not imported (it would bring numba and more); `pip install --no-deps aeon` is enough.
"""

import importlib.util
from pathlib import Path

import numpy as np

NAMES = ("digits", "JapaneseVowels", "BasicMotions", "ItalyPowerDemand", "GunPoint")
MORE = ("ArrowHead", "OSULeaf", "PickupGestureWiimoteZ")


def load(name):
    """All sequences of a data set, a list of (T_n, I) arrays, in their own units."""
    if name == "digits":
        from sklearn.datasets import load_digits

        return list(load_digits().images)
    spec = importlib.util.find_spec("aeon")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{name} ships inside the aeon package: pip install --no-deps aeon")
    folder = Path(spec.origin).parent / "datasets" / "data" / name
    return [x for part in ("TRAIN", "TEST") for x in read_ts(folder / f"{name}_{part}.ts")]


def read_ts(path):
    """The sequences of a .ts file: after @data one per line, dimensions and then the class between colons."""
    lines = iter(path.read_text().splitlines())
    for line in lines:
        if line.strip().lower() == "@data":
            break
    return [np.array([[float(v) for v in dimension.split(",")] for dimension in line.split(":")[:-1]]).T
            for line in lines if line.strip()]


def split(X, seed=0):
    """Three quarters to learn from and the rest held out, by a random order."""
    order = np.random.default_rng(seed).permutation(len(X))
    n = round(0.75 * len(X))
    return [X[i] for i in order[:n]], [X[i] for i in order[n:]]
