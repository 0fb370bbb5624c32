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
    return [np.array([[float(v) for v in dimension.split(",")] for dimension in line.split(":")[:-1]]).T
            for line in lines_of(name)]


def labels_of(name):
    """The class of each of these sequences, a vector of str."""
    if name == "digits":
        from sklearn.datasets import load_digits

        return load_digits().target.astype(str)
    return np.array([line.split(":")[-1].strip() for line in lines_of(name)])


def lines_of(name):
    """The lines of both .ts files of a data set: after @data one a sequence, dimensions and then the class between
    colons."""
    spec = importlib.util.find_spec("aeon")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{name} ships inside the aeon package: pip install --no-deps aeon")
    folder = Path(spec.origin).parent / "datasets" / "data" / name
    for part in ("TRAIN", "TEST"):
        lines = iter((folder / f"{name}_{part}.ts").read_text().splitlines())
        for line in lines:
            if line.strip().lower() == "@data":
                break
        yield from (line for line in lines if line.strip())


def split(X, seed=0):
    """Three quarters to learn from and the rest held out, by a random order."""
    order = np.random.default_rng(seed).permutation(len(X))
    n = round(0.75 * len(X))
    return [X[i] for i in order[:n]], [X[i] for i in order[n:]]
