"""Anomalies among sequences: RAEDetector's definitions of a score against PCA, IsolationForest, pyod and a GRU.

    python benchmarks/anomalies.py                    # needs aeon's files, scikit-learn, torch and pyod
    python benchmarks/anomalies.py --rivals pca forest
    python benchmarks/anomalies.py --choose           # what else RAEDetector could be, on other seeds

Each class of a data set in turn is the normal one: three quarters of it are learned from, without labels, the rest and
all other classes (at most 400) are ranked; area under the ROC curve (AUC), mean over the classes. Beside these: heart
beats that are broad, raised, late or small, and sensors with single wrong values (point), a channel upside down for
twelve steps or at another frequency for twenty-five (contextual), of 60 steps and of 30 to 200. All settings are
defaults. Rivals that need rows of one length get all sequences resampled to the mean one; every channel is standardised
for all.
"""

import argparse
import os
import time
import warnings

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from datasets import labels_of, load  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.ensemble import IsolationForest  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from sklearn.neighbors import NearestNeighbors  # noqa: E402

from rae_fast import RAE, RAEDetector  # noqa: E402
from rae_fast.detector import Codes, code_size  # noqa: E402

SETS = ("ItalyPowerDemand", "GunPoint", "JapaneseVowels", "BasicMotions", "ArrowHead", "digits",
        "PickupGestureWiimoteZ")
WAVES = ((0.18, 0.03, 0.12), (0.37, 0.012, -0.15), (0.4, 0.014, 1.2), (0.43, 0.014, -0.3), (0.62, 0.05, 0.3))
GRU_SECONDS = 2.0


def beats(rng, n, kind):
    """Heart beats as sums of five waves (place, width, height) of 140 steps."""
    t, waves = np.linspace(0, 1, 140), list(WAVES)
    if kind == "broad":
        waves = [(0.36, 0.05, 1.1), (0.5, 0.06, -0.6), (0.7, 0.06, 0.2)]
    elif kind == "raised":
        waves[3:] = [(0.43, 0.014, 0.02), (0.55, 0.08, 0.35)]
    elif kind == "late":
        waves = [(place + 0.06, width, height) for place, width, height in waves]
    elif kind == "small":
        waves = [(place, width, 0.6 * height) for place, width, height in waves]
    found = []
    for _ in range(n):
        shift, heights, width = rng.normal(0, 0.015), rng.normal(1, 0.08, len(waves)), rng.normal(1, 0.06)
        x = sum(a * h * np.exp(-((t - place - shift) / (w * width)) ** 2) for a, (place, w, h) in zip(heights, waves))
        found.append((x + rng.normal(0, 0.03, len(t)) + rng.normal(0, 0.05))[:, None])
    return found


def sensors(rng, n, kind, shortest=60, longest=60):
    """Four channels of an oscillation and what drifts beside it."""
    found = []
    for _ in range(n):
        t = np.arange(rng.integers(shortest, longest + 1))
        phase, rate, drift = rng.uniform(0, 2 * np.pi), rng.uniform(0.18, 0.22), np.cumsum(rng.normal(0, 0.05, len(t)))
        a = np.sin(rate * t + phase)
        b = 0.5 * np.cos(rate * t + phase) + 0.3 * a
        x = np.stack([a, b, 0.7 * a + 0.3 * drift, b - a], axis=1) + rng.normal(0, 0.08, (len(t), 4))
        if kind == "point":
            for step in rng.integers(0, len(t), 2):
                x[step, rng.integers(4)] += rng.choice([-1, 1]) * rng.uniform(1.2, 2)
        elif kind == "upside down":
            step = rng.integers(0, len(t) - 12)
            x[step:step + 12, 1] *= -1
        elif kind == "frequency":
            step = rng.integers(0, len(t) - 25)
            x[step:step + 25, 0] = np.sin(0.45 * t[step:step + 25] + phase) + rng.normal(0, 0.08, 25)
        found.append(x)
    return found


def tasks(rng):
    """Name of a data set, and of each task in it: normal sequences and strange ones."""
    for name in SETS:
        X, y = load(name), labels_of(name)
        yield name, [([x for x, own in zip(X, y) if own == label], [x for x, own in zip(X, y) if own != label])
                     for label in np.unique(y)]
    yield "beats", [(beats(rng, 300, "normal"), beats(rng, 100, kind)) for kind in ("broad", "raised", "late", "small")]
    kinds = ("point", "upside down", "frequency")
    yield "sensors", [(sensors(rng, 300, ""), sensors(rng, 100, kind)) for kind in kinds]
    yield "sensors, 30 to 200 steps", [(sensors(rng, 300, "", 30, 200), sensors(rng, 100, kind, 30, 200))
                                       for kind in kinds]


def standardised(learn, judged):
    rows = np.concatenate(learn)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[scale == 0] = 1
    return [(x - mean) / scale for x in learn], [(x - mean) / scale for x in judged]


def as_rows(X, length):
    """All resampled to so many steps, one row each."""
    at = np.linspace(0, 1, length)
    return np.array([np.concatenate([np.interp(at, np.linspace(0, 1, len(x)), channel) for channel in x.T]) for x in X])


# ---- scores: higher is stranger ----------------------------------------------------------------------


def rae(learn, judged, seed, score="both"):
    return -RAEDetector(score_by=score, random_state=seed).fit(learn).score_samples(judged)


def pca(learn, judged, seed):
    """Error of the components that have nine tenths of the variance."""
    length = round(np.mean([len(x) for x in learn]))
    A, B = as_rows(learn, length), as_rows(judged, length)
    model = PCA(0.9, svd_solver="full").fit(A)
    return np.square(B - model.inverse_transform(model.transform(B))).sum(axis=1)


def forest(learn, judged, seed):
    length = round(np.mean([len(x) for x in learn]))
    model = IsolationForest(random_state=seed).fit(as_rows(learn, length))
    return -model.score_samples(as_rows(judged, length))


def pyod(learn, judged, seed):
    from pyod.models.auto_encoder import AutoEncoder

    length = round(np.mean([len(x) for x in learn]))
    # Its batch normalisation takes no batch of one.
    size = next(b for b in range(min(32, len(learn)), 1, -1) if len(learn) % b != 1)
    model = AutoEncoder(random_state=seed, verbose=0, batch_size=size).fit(as_rows(learn, length))
    return model.decision_function(as_rows(judged, length))


def gru(learn, judged, seed):
    from peers.torch_gru import GRUAutoEncoder

    model = GRUAutoEncoder(24, 3e-3, GRU_SECONDS, seed=seed).fit(learn)
    return np.array([np.square(a - b).mean() for a, b in zip(model.reconstruct(judged), judged)])


OURS = {"error + distance": rae, "error alone": lambda *a: rae(*a, "error"),
        "distance alone": lambda *a: rae(*a, "distance")}
RIVALS = {"pca": pca, "forest": forest, "pyod": pyod, "gru": gru}


def nearest(place, among, of, k):
    """Mean squared distance, in the metric of `place`, of the k nearest; one of itself, which is 0, counts as well."""
    root = np.linalg.cholesky(place.precision)
    distances, _ = NearestNeighbors(n_neighbors=min(k, len(among))).fit(among @ root).kneighbors(of @ root)
    return np.square(distances).mean(axis=1)


def other(n_code="auto", of_code=False, parts="sum", weight=2, **settings):
    """RAEDetector made otherwise: with another model, the distance of the code, or parts put together otherwise."""
    def score(learn, judged, seed):
        size = code_size(learn) if n_code == "auto" else n_code
        options = {"n_code": size, "max_iter": 100, "batch_size": 32, "standardize": "channel"} | settings
        model = RAE(24, random_state=seed, **options).fit(learn)
        states = model.transform if of_code else model.last_states
        place = Codes.of(states(learn))
        values = []
        for X in (learn, judged):
            values.append((model.reconstruction_error(X, reduce="mean", units="model"), place.squares(states(X))))
        (e, z), (error, distance) = values
        error, distance = error / np.median(e), distance / np.median(z)
        if parts == "neighbours":
            near = nearest(place, states(learn), states(learn), 4), nearest(place, states(learn), states(judged), 3)
            return weight * error + near[1] / np.median(near[0])
        if parts == "roots":
            return np.sqrt(error) + np.sqrt(distance)
        return {"sum": weight * error + distance, "error": error, "distance": distance,
                "larger": np.maximum(error, distance)}[parts]
    return score


CHOICES = {"as chosen": other(), "error": other(parts="error"), "distance": other(parts="distance"),
           "of the code": other(of_code=True), "roots": other(parts="roots"), "larger": other(parts="larger"),
           "as much": other(weight=1), "n_code=4": other(4), "n_code=8": other(8), "n_code=None": other(None),
           "neighbours": other(parts="neighbours"), "closed form": other(max_iter=0)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(11, 21)))
    parser.add_argument("--choose", action="store_true", help="other definitions, by seeds 0 to 3, and no rivals")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.choose:
        options.seeds = [0, 1, 2, 3]
    known = CHOICES if options.choose else OURS | {name: RIVALS[name] for name in options.rivals}
    print(f"{'AUC, mean of classes and ' + str(len(options.seeds)) + ' seeds':32}"
          + "".join(f"{name:>18}" for name in known), flush=True)
    means, seconds = [], np.zeros(len(known))
    for name, several in tasks(np.random.default_rng(0)):
        found = np.zeros((len(known), len(several), len(options.seeds)))
        for k, (normal, strange) in enumerate(several):
            for s, seed in enumerate(options.seeds):
                rng = np.random.default_rng(seed)
                order = rng.permutation(len(normal))
                n = round(0.75 * len(normal))
                others = [strange[i] for i in rng.permutation(len(strange))[:400]]
                learn, judged = standardised([normal[i] for i in order[:n]], [normal[i] for i in order[n:]] + others)
                truth = np.repeat([0, 1], [len(judged) - len(others), len(others)])
                for m, score in enumerate(known.values()):
                    start = time.perf_counter()
                    found[m, k, s] = roc_auc_score(truth, score(learn, judged, seed))
                    seconds[m] += time.perf_counter() - start
        means.append(found.mean(axis=(1, 2)))
        print(f"{name:32}" + "".join(f"{a:>18.3f}" for a in means[-1]), flush=True)
    print(f"{'mean of the data sets':32}" + "".join(f"{a:>18.3f}" for a in np.mean(means, axis=0)))
    print(f"{'seconds of all':32}" + "".join(f"{a:>18.0f}" for a in seconds))


if __name__ == "__main__":
    main()
