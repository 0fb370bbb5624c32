"""python benchmarks/quality.py: what training reaches on the original's own task.

The full program of 2014: np.eye(8) with its rows shuffled before every update, 24 units. How many of
the 40,320 orders come back whole, and after how many seconds of training on one core, for the
original's recipe, the author's later ones, and ours. Results with seeds: docs/quality.md.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import itertools  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402

from rae_fast import RAE  # noqa: E402

EYE = np.eye(8)
ORDERS = EYE[np.array(list(itertools.permutations(range(8))))]
OURS = {"objective": "unfold", "output": "softmax", "init": "orthogonal", "solver": "adam", "learning_rate": 1e-2,
        "schedule": "cosine", "clip_norm": 1.0, "batch_size": 256, "max_iter": 20, "tol": 0}
ONE_BY_ONE = {"batch_size": 1, "tol": 0, "max_iter": 25}
RECIPES = {  # a million updates each: 25 passes over 40,000 random orders
    "2014: stepwise, SGD 1e-4": {"learning_rate": 1e-4, **ONE_BY_ONE},
    "2014, tied weights, SGD 1e-3": {"tied": True, "learning_rate": 1e-3, **ONE_BY_ONE},
    "2014, momentum 0.999 with its schedule, 1e-5": {
        "solver": "momentum", "momentum": 0.999, "momentum_schedule": "sutskever", "learning_rate": 1e-5, **ONE_BY_ONE},
    "2014, Adadelta 0.95": {"solver": "adadelta", "learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6, **ONE_BY_ONE},
}


def recall(model, X):
    """Share of inputs recalled, share of sequences recalled whole, and the mean recall depth."""
    logits = model.unroll(model.transform(X), X.shape[1], **({"logits": True} if model.output == "softmax" else {}))
    right = logits.argmax(axis=2) == X[:, ::-1].argmax(axis=2)
    return right.mean(), right.all(axis=1).mean(), np.cumprod(right, axis=1).sum(axis=1).mean()


def train(X, n_hidden, seed, **recipe):
    model = RAE(n_hidden, random_state=seed, **recipe)
    start = time.perf_counter()
    model.fit(X)
    return model, time.perf_counter() - start


def text_of_the_post(seeds):
    print("\nThe post's text, np.eye(8) in the same order, N(0, 0.1) start: updates until all 8 are recalled, by seed")
    rates = {"sgd": 1e-4, "momentum": 1e-5, "nesterov": 1e-5, "rmsprop": 1e-3, "adadelta": 1.0, "adam": 1e-3,
             "rprop": 1e-3}
    for solver, rate in rates.items():
        found = []
        for seed in range(seeds):
            model = RAE(24, solver=solver, learning_rate=rate, momentum=0.99, tol=0, random_state=seed,
                        epsilon=1e-6 if solver == "adadelta" else 1e-8)
            while recall(model.partial_fit(EYE), EYE[None])[1] < 1 and model.n_updates_ < 50_000:
                pass
            found.append(model.n_updates_)
        again = RAE(24, solver=solver, learning_rate=rate, momentum=0.99, tol=0, max_iter=max(found), random_state=0,
                    epsilon=1e-6 if solver == "adadelta" else 1e-8)
        start = time.perf_counter()
        again.fit(EYE)
        milliseconds = (time.perf_counter() - start) / max(found) * np.median(found) * 1e3
        print(f"  {solver:9} rate {rate:g}: {', '.join(map(str, found))}; "
              f"the median takes {milliseconds:.1f} ms in fit", flush=True)


def full_program(seeds):
    print("\nThe original's full program: rows shuffled before every update, 24 units, all 40,320 orders tested")
    for name, recipe in RECIPES.items():
        rng = np.random.default_rng(0)
        X = EYE[rng.permuted(np.tile(np.arange(8), (40_000, 1)), axis=1)]
        model, seconds = train(X, 24, 0, **recipe)
        symbols, whole, depth = recall(model, ORDERS)
        print(f"  {name}: {model.n_updates_:,} updates, {seconds:.1f} s: depth {depth:.2f}, inputs {symbols:.1%}, "
              f"whole {whole:.2%}", flush=True)
    X = ORDERS.astype(np.float32)
    for seed in range(seeds):
        model, seconds = train(X, 24, seed, **OURS)
        _, whole, _ = recall(model, X)
        print(f"  ours, seed {seed}: {model.n_updates_:,} updates, {seconds:.2f} s: "
              f"{round(whole * len(X)):,} of {len(X):,} orders whole", flush=True)


def frontier(seeds):
    print("\nThe frontier: fewer units, all 40,320 orders, three times the passes")
    X = ORDERS.astype(np.float32)
    for n_hidden in (16, 12, 10, 8, 6):
        missed = []
        for seed in range(min(seeds, 3)):
            model, seconds = train(X, n_hidden, seed, **{**OURS, "max_iter": 60})
            missed.append(round((1 - recall(model, X)[1]) * len(X)))
        print(f"  H = {n_hidden}: missed {', '.join(map(str, missed))} (seeds 0-{len(missed) - 1}), "
              f"{seconds:.1f} s each", flush=True)


def repetition(seeds):
    print("\n24 units, sequences of 8 symbols with repetition; 100,000 never trained on")
    for seed in range(min(seeds, 3)):
        rng = np.random.default_rng([seed, 1])
        codes = np.unique(rng.integers(0, 8**8, 300_000))
        rng.shuffle(codes)
        X = EYE.astype(np.float32)[(codes[:, None] // 8 ** np.arange(8)) % 8]
        model, seconds = train(X[100_000:], 24, seed, **{**OURS, "max_iter": 10})
        symbols, whole, _ = recall(model, X[:100_000])
        print(f"  seed {seed}: trained on {len(X) - 100_000:,} for {seconds:.1f} s: inputs {symbols:.3%}, "
              f"whole {whole:.3%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--part", nargs="+", choices=["text", "program", "frontier", "repetition"],
                        default=["text", "program", "frontier", "repetition"])
    options = parser.parse_args()
    parts = {"text": text_of_the_post, "program": full_program, "frontier": frontier, "repetition": repetition}
    for part in options.part:
        parts[part](options.seeds)


if __name__ == "__main__":
    main()
