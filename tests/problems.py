"""Small problems with known answers, shared by the tests."""

from functools import cache

import numpy as np

from rae_fast import parameters, reference

# Hyper-parameters of the plain model that the textbooks have, as in the 2014 program.
PLAIN = {"objective": "stepwise", "decoder": "linear", "init": "normal", "solver": "sgd", "relative_rates": False,
         "learning_rate": 1e-3, "schedule": "constant", "tol": 1e-4, "max_iter": 200}


def ragged_lengths(T, B):
    """B lengths up to T, the longest somewhere in the middle, some equal."""
    lengths = [max(1, T - (3 * n) % T) for n in range(B)]
    return lengths[B // 2:] + lengths[:B // 2]


def problem(form, T, B, ragged, seed=0):
    """theta, data, offsets, weights; numbers that float32 holds exactly, so both dtypes agree."""
    I, H = form.n_inputs, form.n_hidden
    rng = np.random.default_rng([I, H, T, B, seed])
    lengths = ragged_lengths(T, B) if ragged else [T] * B
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
    theta = parameters.initialise(form, 0.7 / np.sqrt(H + I), rng, np.dtype(np.float32))
    data = rng.standard_normal((offsets[-1], I)).astype(np.float32)
    if form.output == "softmax":
        data = reference.softmax(2 * data)
    weights = rng.uniform(0.1, 1, B).astype(np.float32)
    return theta, data, offsets, weights


@cache
def solved(form, T, B, ragged):
    """The problem and its loss and gradient from the float64 reference."""
    theta, data, offsets, weights = problem(form, T, B, ragged)
    f64 = [a.astype(np.float64) for a in (theta, data, weights)]
    loss, grad = reference.loss_and_grad(f64[0], f64[1], offsets, f64[2], form)
    return theta, data, offsets, weights, loss, grad


# Every mathematical choice with every other one; the hidden term's options only where there is one.
FORMS = [{"objective": objective, "decoder": decoder, "output": output, "tied": tied, **hidden}
         for objective in ("stepwise", "unfold") for decoder in ("linear", "tanh")
         for output in ("linear", "softmax") for tied in (False, True)
         for hidden in ([{}, {"hidden_weight": 0.3, "reconstruct_h0": True}] if objective == "stepwise" else [{}])]


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
