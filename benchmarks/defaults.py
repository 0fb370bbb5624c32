"""python benchmarks/defaults.py: what else the defaults could have been, on five real data sets.

Held-out squared error of the unrolled sequences over that of the mean input, as in quality.py, one seed,
a fit changed in one thing at a time. What it says and what was chosen: docs/quality.md, "Defaults". With --codes
the same of small codes, on eight data sets, over the error around the mean series: "Sizes".
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import copy  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from rae_fast import RAE, closed_form, hyperparameters, reference, training  # noqa: E402
from rae_fast.solvers import Solver  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import datasets  # noqa: E402
from quality import pca_errors, spread  # noqa: E402

VARIANTS = {
    "defaults": {},
    "learning_rate 0.1": {"learning_rate": 0.1},
    "learning_rate 1": {"learning_rate": 1.0},
    "learning_rate 3": {"learning_rate": 3.0},
    "plain rates, 1e-3": {"relative_rates": False, "learning_rate": 1e-3},
    "plain rates, 1e-2": {"relative_rates": False, "learning_rate": 1e-2},
    "constant rate": {"schedule": "constant"},
    "batch_size 8": {"batch_size": 8},
    "batch_size 128": {"batch_size": 128},
    "closed form": {"max_iter": 0},
    "max_iter 200": {"max_iter": 200},
    "max_iter 2000": {"max_iter": 2000},
    "rmsprop": {"solver": "rmsprop"},
    "lbfgs": {"solver": "lbfgs"},
    "linear decoder": {"decoder": "linear"},
    "orthogonal start": {"init": "orthogonal"},
    "stepwise": {"objective": "stepwise"},
    "early stopping": {"early_stopping": True},
}
# The scale of the closed form as the start of a training: how much of the explained variance may be lost
# (rae_fast/closed_form.py).
SCALES = (0.0, 0.03, 0.3)
# Weights of the stepwise objective added to the unfolding one.
SUMS = (0.01, 0.1, 1.0)
# Of small codes.
OF_CODES = {
    "defaults": {},
    "n_hidden 24": {"n_hidden": 24},
    "n_hidden 64": {"n_hidden": 64},
    "patch_length 1": {"patch_length": 1},
    "half the patches": {},
    "twice the patches": {},
    "batch_size 32": {"batch_size": 32},
    "learning_rate 1": {"learning_rate": 1.0},
    "500 passes, no trial": {"max_iter": 500},
    "closed form": {"max_iter": 0},
}
# How much of the explained variance the start of a training may lose, with a small code of many sequences.
CODE_SCALES = (0.1, 0.3, 0.7, 0.9)


def flat(form, named):
    """Arrays by the names of parameters as one vector like theta."""
    theta = form.empty(float)
    for name, view in form.views(theta).items():
        view[...] = named[name]
    return theta


def fit_sum(learn, n_hidden, weight):
    """The defaults on unfold + weight * stepwise, by the compiled gradients and the reference's Adam."""
    model = RAE(n_hidden, max_iter=1, learning_rate=1e-300, random_state=0).fit(learn)
    stepwise = copy.copy(model).set_params(objective="stepwise")  # the same parameters
    settings = training.with_amounts(hyperparameters.check(RAE(max_iter=500)), len(learn))
    solver, form, theta, rng = Solver.of(settings), model._learned.form, model.theta_, np.random.default_rng(0)
    scale, unit = flat(form, model.rate_scale_), model._learned.solver.unit
    state = [np.zeros_like(theta), np.zeros_like(theta)]
    total = settings.max_iter * -(-len(learn) // settings.batch_size)
    t = 0
    for _ in range(settings.max_iter):
        order = rng.permutation(len(learn))
        for first in range(0, len(learn), settings.batch_size):
            part = [learn[i] for i in order[first:first + settings.batch_size]]
            grads = [flat(form, one.loss_and_grad(part)[1]) for one in (model, stepwise)]
            rate = reference.learning_rate_at(solver, t, total)
            t += 1
            reference.update(solver, rate, grads[0] + weight * grads[1], state, scale, unit, t, theta)
    return model


def fit_scale(learn, n_hidden, lost):
    before = closed_form._MOST_LOST
    closed_form._MOST_LOST = lost
    try:
        return RAE(n_hidden, random_state=0).fit(learn)
    finally:
        closed_form._MOST_LOST = before


def table(head, columns, makers, error):
    print(f"{head:23}" + "".join(f"{name[:11] + ' ' + str(size):>15}" for name, size in columns))
    for maker, make in makers.items():
        cells = []
        for name, size in columns:
            try:
                cells.append(f"{error(make, name, size):.4f}")
            except FloatingPointError:
                cells.append("overflow")
        print(f"{maker:23}" + "".join(f"{cell:>15}" for cell in cells), flush=True)


def small_codes(sizes):
    sets = {name: datasets.split(datasets.load(name), seed=5) for name in datasets.NAMES + datasets.MORE}

    def changed(learn, C, maker, lost):
        options = dict(OF_CODES.get(maker, {}))
        if maker.endswith("the patches"):
            length = RAE(n_code=C, max_iter=0, random_state=0).fit(learn)._learned.patch_length
            options["patch_length"] = max(1, round(length * (0.5 if "half" in maker else 2)))
        before = closed_form._MOST_LOST_CODE
        closed_form._MOST_LOST_CODE = lost or before
        try:
            return RAE(**{"n_code": C, "random_state": 0} | options).fit(learn)
        finally:
            closed_form._MOST_LOST_CODE = before

    def pca(learn, C):
        return None

    makers = {"PCA": pca} | {name: lambda X, C, n=name: changed(X, C, n, None) for name in OF_CODES}
    makers |= {f"start loses {lost:.0%}": lambda X, C, v=lost: changed(X, C, "defaults", v) for lost in CODE_SCALES}

    def error(make, name, C):
        learn, held_out = sets[name]
        model = make(learn, C)
        lost = pca_errors(learn, held_out, C) if model is None else model.reconstruction_error(held_out).sum()
        return lost / spread(held_out, learn)

    table("codes", [(name, C) for name in sets for C in sizes], makers, error)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--codes", nargs="*", type=int, help="of small codes, by default of 8 numbers")
    options = parser.parse_args()
    if options.codes is not None:
        return small_codes(options.codes or [8])
    makers = {name: lambda X, H, v=v: RAE(H, random_state=0, **v).fit(X) for name, v in VARIANTS.items()}
    makers |= {f"start loses {lost:.0%}": lambda X, H, v=lost: fit_scale(X, H, v) for lost in SCALES}
    makers |= {f"unfold + {w:g} stepwise": lambda X, H, w=w: fit_sum(X, H, w) for w in SUMS}
    sets = {name: datasets.split(datasets.load(name)) for name in datasets.NAMES}

    def error(make, name, H):
        learn, held_out = sets[name]
        mean = np.concatenate(learn).mean(axis=0)
        return make(learn, H).reconstruction_error(held_out).sum() / sum(((x - mean) ** 2).sum() for x in held_out)

    table("", [(name, H) for name in sets for H in options.hidden], makers, error)


if __name__ == "__main__":
    main()
