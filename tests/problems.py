"""Small problems with known answers, shared by the tests."""

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rae_fast import _codes, _objectives, hyperparameters, parameters, reference
from rae_fast._batch import Batch
from rae_fast._form import Blocks, Form
from rae_fast._record import Record
from rae_fast._training import Passes, Updates
from rae_fast.solvers import Solver

# Hyper-parameters of the plain model that the textbooks have, as in the 2014 program.
PLAIN = {"objective": "stepwise", "decoder": "linear", "init": "normal", "solver": "sgd", "relative_rates": False,
         "learning_rate": 1e-3, "schedule": "constant", "tol": 1e-4, "max_iter": 200}


def solver_of(name="sgd", learning_rate=1e-3, schedule="constant", **settings):
    """A solver's settings, the others as they are declared."""
    settings |= {"solver": name, "learning_rate": learning_rate, "schedule": schedule}
    return Solver.of(hyperparameters.check(hyperparameters.TrainingParameters(**settings)))


def gradient(theta, data, offsets, weights, form, max_memory=2**30, n_jobs=1, missing=None):
    """Loss and gradient by the compiled objective; the gradient flat like theta, as reference.loss_and_grad has it."""
    batch = Batch(data, offsets, False, missing)
    if form.n_classes:
        labels = labels_of(form, batch.n_sequences)
        batch.attach(None, [-1 if label is None else label[0] for label in labels],
                     [0.0 if label is None else label[1] for label in labels], form.n_classes)
    objective = _objectives.objective_of(form, batch, weights, 0, max_memory, n_jobs)
    grad = Blocks(form, theta.dtype, memory=np.full_like(theta, np.nan))
    return objective.loss_and_grad(theta, grad), grad.memory


def encode(theta, data, offsets, form, last_only=False, n_jobs=1):
    """States of every step, (rows, H), or codes, (N, H), as reference.hidden_states has them."""
    return _codes.encode(theta, Batch(data, offsets, True), form, last_only, n_jobs)


def flat(named, form):
    """Arrays by the names of parameters, or numbers of their blocks, as one vector like theta."""
    theta = form.empty(next(iter(named.values())).dtype)
    for name, view in form.views(theta).items():
        if name in named:  # not V of a tied model
            view[...] = named[name]
    return theta


def scale_of(form, dtype, low=0.1, high=1.0, seed=4):
    """Units of a solver with relative rates, numbers that float32 holds exactly."""
    scale = Blocks(form, dtype, by_row=["W_xh"])
    scale.memory[:] = np.random.default_rng(seed).uniform(low, high, scale.memory.size).astype(np.float32)
    return scale


@dataclass
class Trained:
    """What a compiled training leaves: parameters, losses, the solver's state flat like theta."""

    theta: Any
    losses: Any
    state: list
    record: Any
    passes: Any


def train(theta, data, offsets, weights, form, solver, scale, unit, batch_size, bits, max_iter, tol=0.0, patience=10,
          max_memory=2**30, n_jobs=1, seconds=1e9, most=None):
    """The compiled training of a copy of theta, in the order of the arguments of reference.train."""
    theta, record = theta.copy(), Record()
    state = [Blocks(form, theta.dtype) for _ in solver.kind.state]
    for blocks, start in zip(state, new_state(solver, form.size)):
        blocks.memory[:] = start
    objective = _objectives.objective_of(form, Batch(data, offsets), weights, batch_size, max_memory, n_jobs)
    updates = Updates(form, solver, state, scale, unit, theta.dtype == np.float32)
    passes = Passes(objective, updates, record, batch_size, max_iter, tol, patience, bits)
    while passes.status == "running":
        passes.run(theta, most or max_iter + 1, seconds)
    return Trained(theta, record.loss_curve, [blocks.memory for blocks in state], record, passes)


def new_state(solver, size):
    """The solver's state in float64, as reference.train takes it."""
    starts = {name: getattr(solver, setting) for name, setting in solver.kind.starts_at}
    return [np.full(size, starts.get(name, 0.0)) for name in solver.kind.state]


def everything(model):
    """A copy of all that a model has learned, as arrays and numbers that assert_equal can compare; None for nothing."""
    learned = model._learned
    return learned and copy.deepcopy({
        "theta": learned.theta, "form": learned.form, "record": learned.record.__reduce__()[1],
        "solver": learned.solver.name, "unit": learned.solver.unit, "state": model.solver_state_,
        "scale": model.rate_scale_, "scores": learned.validation_scores,
        "patches": learned.patches and (learned.patches.length, learned.patches.fill)})


def ragged_lengths(T, B):
    """B lengths up to T, the longest somewhere in the middle, some equal."""
    lengths = [max(1, T - (3 * n) % T) for n in range(B)]
    return lengths[B // 2:] + lengths[:B // 2]


def problem(form, T, B, ragged, seed=0):
    """theta, data, offsets, weights; numbers that float32 holds exactly, so both dtypes agree."""
    I, H = form.n_inputs, form.n_hidden
    rng = np.random.default_rng([I, H, T, B, *np.atleast_1d(seed)])
    lengths = ragged_lengths(T, B) if ragged else [T] * B
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
    theta = parameters.initialise(form, 0.7 / np.sqrt(H + I), rng, np.dtype(np.float32))
    data = rng.standard_normal((offsets[-1], I)).astype(np.float32)
    if form.categorical:
        data = reference.softmax(2 * data)
    weights = rng.uniform(0.1, 1, B).astype(np.float32)
    return theta, data, offsets, weights


def labels_of(form, n):
    """A class with its weight for each of n sequences, None for some; None of a form without labels."""
    if not form.n_classes:
        return None
    return [None if i % 4 == 2 else (i % form.n_classes, 0.5 + i % 3) for i in range(n)]


def gaps(data, seed=0):
    """A third of the numbers missing, and all of a row now and then."""
    rng = np.random.default_rng([3, *np.atleast_1d(seed)])
    return (rng.random(data.shape) < 0.3) | (rng.random((len(data), 1)) < 0.1)


@lru_cache(4096)  # all problems of one seed
def solved(form, T, B, ragged, seed=0, missing=False):
    """The problem and its loss and gradient from the float64 reference."""
    theta, data, offsets, weights = problem(form, T, B, ragged, seed)
    f64 = [a.astype(np.float64) for a in (theta, data, weights)]
    loss, grad = reference.loss_and_grad(f64[0], f64[1], offsets, f64[2], form, gaps(data, seed) if missing else None,
                                         labels_of(form, B))
    return theta, data, offsets, weights, loss, grad


# Every mathematical choice with every other one; the hidden term's options only where there is one, a code's size with
# two of them (with all: test_rae.py), and spherical outputs, which differ in nothing but their loss, with each once.
FORMS = [{"objective": objective, "decoder": decoder, "output": output, "tied": tied, **hidden}
         for objective in _objectives.NAMES for decoder in ("linear", "tanh")
         for output in ("linear", "softmax") for tied in (False, True)
         for hidden in ([{}, {"hidden_weight": 0.3, "reconstruct_h0": True}] if objective == "stepwise"
                        else [{}, {"n_code": 3}] if (decoder == "linear") == (output == "softmax") == tied else [{}])]
FORMS += [{"objective": "unfold", "decoder": "tanh", "output": "spherical", "tied": False},
          {"objective": "unfold", "decoder": "linear", "output": "spherical", "tied": True, "n_code": 3},
          {"objective": "stepwise", "decoder": "linear", "output": "spherical", "tied": False}]
UNLABELLED = list(FORMS)
# Labels of codes, with each way in which what they say flows back.
LABELS = {"n_classes": 3, "loss_unit": 2.5, "hidden_unit": 1.5, "alpha": 0.3}
FORMS += [{"objective": "unfold", "decoder": "tanh", "output": "linear", "tied": False, **LABELS},
          {"objective": "unfold", "decoder": "linear", "output": "softmax", "tied": True, "n_code": 3, **LABELS},
          {"objective": "stepwise", "decoder": "tanh", "output": "linear", "tied": True, **LABELS},
          {"objective": "stepwise", "decoder": "linear", "output": "softmax", "tied": False, **LABELS}]


def form_of(I, H, n_code=None, **options):
    """A form with a code no larger than its state."""
    return Form(I, H, n_code=n_code and min(n_code, H), **options)


def form_id(options):
    return "-".join(str(v) for v in options.values())


def tolerance(dtype, I, H, T, B):
    """Relative error allowed in a loss or gradient.

    Each number is a chain of T dependent sums of H + I products, and a sum over up to T B rows. Each
    rounding is at most eps / 2, rounding errors add up like a random walk, and 16 leaves room for the
    few operations between the sums: 16 eps (sqrt(T (H + I)) + sqrt(T B)).
    """
    return 16 * np.finfo(dtype).eps * (np.sqrt(T * (H + I)) + np.sqrt(T * B))


def relative_error(found, expected):
    """Largest error as a fraction of the largest expected element."""
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


EDGE = (1, 2, 7, 9)
MORE = (8, 24, 33, 130)


def pairwise(*axes):
    """Few tuples such that any two values of any two axes occur together in one (greedy)."""
    rng = np.random.default_rng(0)
    n = len(axes)
    missing = {(i, a, j, b) for i in range(n) for j in range(i + 1, n) for a in axes[i] for b in axes[j]}

    def covered(row):
        return {(i, row[i], j, row[j]) for i in range(n) for j in range(i + 1, n)} & missing

    rows = []
    while missing:
        i, a, j, b = min(missing)
        candidates = []
        for _ in range(30):
            row = [axis[rng.integers(len(axis))] for axis in axes]
            row[i], row[j] = a, b
            candidates.append(tuple(row))
        best = max(candidates, key=lambda row: len(covered(row)))
        missing -= covered(best)
        rows.append(best)
    return rows
