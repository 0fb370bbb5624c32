"""python benchmarks/agree.py --other PYTHON: whether two builds of rae_fast compute the same.

Runs losses, gradients, codes, unrolled outputs, streams, single updates by every solver and whole fits, over the
product of options, here and in another interpreter that has another rae_fast installed, for every instruction set and
every way of multiplying matrices. Only the public interface and parameters by name are used, so that builds which store
them differently can be compared. Without --tolerance all must agree to the last bit. With it, whole fits are left out,
and everything else may differ by the rounding that tests/problems.py allows.
"""

import argparse
import ast
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ISAS = ("avx512", "avx2", "base")
PRODUCTS = [{"RAE_FAST_GEMM": "auto"}, {"RAE_FAST_GEMM": "own", "RAE_FAST_WEIGHTS": "panels"},
            {"RAE_FAST_GEMM": "own", "RAE_FAST_WEIGHTS": "bare"}, {"RAE_FAST_GEMM": "blas"}]
FORMS = [{"objective": objective, "decoder": decoder, "output": output, "tied": tied, **hidden}
         for objective in ("stepwise", "unfold") for decoder in ("linear", "tanh")
         for output in ("linear", "softmax") for tied in (False, True)
         for hidden in ([{}, {"hidden_weight": 0.3, "reconstruct_h0": True}] if objective == "stepwise" else [{}])]
# (I, H, T, B): edges of vectors, one sequence, several parts, several spans, weights that a team shares or that lie
# bare.
SIZES = [(1, 1, 1, 1), (3, 5, 4, 7), (8, 24, 8, 1), (7, 33, 9, 20), (2, 9, 40, 64), (600, 9, 90, 4), (5, 260, 6, 1)]
EPSILON = 1e-2  # of the solvers whose single updates are compared
SOLVERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "rprop")
PLAIN = {"init": "normal", "solver": "sgd", "relative_rates": False, "learning_rate": 1e-3, "schedule": "constant",
         "random_state": 0}


def problem(sizes, dtype, ragged, softmax, seed=0):
    """Sequences, weights, and a generator for parameters: numbers that float32 holds exactly."""
    I, H, T, B = sizes
    rng = np.random.default_rng([*sizes, seed])
    lengths = [max(1, T - (3 * n) % T) if ragged else T for n in range(B)]
    X = [rng.standard_normal((n, I)).astype(np.float32) for n in lengths]
    if softmax:
        X = [np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in X]
    X = [x.astype(dtype) for x in X]
    return (X if ragged else np.array(X)), rng.uniform(0.1, 1, B).astype(np.float32), rng


def with_parameters(model, X, sizes, rng):
    """The model with given parameters by name, whatever order it stores them in."""
    model.set_params(max_iter=0).fit(X)
    for name in ("W_xh", "W_hh", "b_h", "h0", "V_hh", "V_hx", "c_h", "c_x"):
        if model.tied and name in ("V_hh", "V_hx"):
            continue
        view = model.parameters_[name]
        view[...] = (rng.standard_normal(view.shape) * 0.7 / np.sqrt(sizes[0] + sizes[1])).astype(np.float32)
    return model


def rows(x):
    return np.concatenate(x) if isinstance(x, list) else np.asarray(x)


def functions(results):
    """Losses, gradients, codes and outputs of every form."""
    from rae_fast import RAE

    for sizes, dtype, ragged, form in itertools.product(SIZES, ("float32", "float64"), (False, True), FORMS):
        X, weights, rng = problem(sizes, dtype, ragged, form["output"] == "softmax")
        model = with_parameters(RAE(sizes[1], **{**PLAIN, **form}), X, sizes, rng)
        where = f"{sizes} {dtype} {'ragged' if ragged else 'equal'} {' '.join(map(str, form.values()))}"
        few = sizes[3] > 1 and form["tied"]  # the second half of the product, where it is another path
        for w, n_jobs, max_memory in [(None, 1, 2**30), (weights, 2, 2**30), *([(None, 2, 0)] if few else [])]:
            model.set_params(n_jobs=n_jobs, max_memory=max_memory)
            loss, grad = model.loss_and_grad(X, sample_weight=w)
            key = f"{where} weights={w is not None} n_jobs={n_jobs} max_memory={max_memory}"
            results[f"loss {key}"] = np.array(loss)
            results |= {f"gradient of {name} {key}": np.array(g) for name, g in grad.items()}
        codes = model.transform(X)
        results[f"codes {where}"] = codes
        results[f"states {where}"] = rows(model.hidden_states(X))
        if form["decoder"] == "tanh" or sizes[2] <= 10:  # a linear unroll of random weights grows without bound
            results[f"outputs {where}"] = rows(model.reconstruct(X))
            results[f"unrolled {where}"] = model.unroll(codes, 3, logits=True)
            results[f"errors {where}"] = model.reconstruction_error(X)
        results[f"step {where}"] = model.step(model.initial_state(), X[0][0])
        results[f"steps {where}"] = model.step(codes, np.stack([x[0] for x in X]))


def updates(results):
    """Single updates and three in a row by every solver, with everything that goes before and after them."""
    from rae_fast import RAE

    extras = [{}, {"clip_norm": 0.1}, {"weight_decay": 0.1}, {"clip_norm": 0.1, "weight_decay": 0.1}]
    sizes = (3, 13, 6, 9)
    for dtype, form, solver, relative, extra in itertools.product(
            ("float32", "float64"), FORMS[:3] + FORMS[-3:], SOLVERS, (False, True), extras):
        X, weights, rng = problem(sizes, dtype, True, form["output"] == "softmax")
        rate = 1.0 if solver == "adadelta" else 0.01
        model = with_parameters(RAE(sizes[1], **{**PLAIN, **form, **extra}), X, sizes, rng)
        model.set_params(solver=solver, relative_rates=relative, learning_rate=rate, epsilon=EPSILON)
        before = {name: np.array(view) for name, view in model.parameters_.items()}
        where = f"{sizes} {dtype} {solver} relative={relative} {extra} {' '.join(map(str, form.values()))}"
        for n, w in enumerate((None, weights, None)):
            model.partial_fit(X, sample_weight=w)
            for name, view in model.parameters_.items():
                results[f"update {n + 1} of {name} {where}"] = view - before[name]


def fits(results):
    """Whole fits: parameters, losses and validation scores."""
    from rae_fast import RAE

    every = [{}, {"shuffle": False}, {"early_stopping": True, "n_iter_no_change": 3}, {"schedule": "inverse"},
             {"tol": 0.05, "n_iter_no_change": 2}, {"schedule": "constant", "n_jobs": 2},
             {"schedule": "step", "batch_size": 5}]
    for dtype, form, init, seed in itertools.product(("float32", "float64"), FORMS, ("linear", "orthogonal", "normal"),
                                                     (0, 1)):
        for solver in (*SOLVERS, "lbfgs"):
            rate = {"adadelta": 1.0, "sgd": 0.3, "momentum": 0.03, "nesterov": 0.03, "rprop": 0.01}.get(solver, 0.1)
            which = (len(results) // 7 + seed) % len(every)
            X, weights, _ = problem((3, 5, 7, 40), dtype, seed == 1, form["output"] == "softmax", seed)
            params = {"solver": solver, "learning_rate": rate, "max_iter": 6, "batch_size": 8, "init": init,
                      "random_state": seed, "epsilon": 1e-6, **form, **every[which]}
            key = f"{dtype} {params}"
            model = RAE(6, **params)
            try:
                model.fit(X, sample_weight=weights if seed else None)
            except FloatingPointError as error:
                results[f"fit ended {key}"] = np.frombuffer(str(error).encode(), np.uint8)
                continue
            results |= {f"fit {name} {key}": np.array(view) for name, view in model.parameters_.items()}
            results[f"fit losses {key}"] = np.array(model.loss_curve_)
            results[f"fit scores {key}"] = np.array(model.validation_scores_)
            if solver != "lbfgs":
                model.partial_fit(X)
                results[f"fit and update {key}"] = np.array(model.parameters_["W_hh"])
    for seed in range(5):  # the defaults
        X, *_ = problem((4, 8, 12, 70), "float64", seed % 2 == 1, False, seed)
        model = RAE(8, max_iter=30, random_state=seed).fit(X)
        results |= {f"defaults {seed} {name}": np.array(view) for name, view in model.parameters_.items()}


def collect(path, with_fits):
    results = {}
    functions(results)
    updates(results)
    if with_fits:
        fits(results)
    np.savez(path, **{f"{i}": value for i, value in enumerate(results.values())},
             names=np.array(list(results), dtype=str))


def environments():
    """Every instruction set that this CPU has x every way of multiplying."""
    for isa in ISAS:
        environment = {**os.environ, "RAE_FAST_ISA": isa, "OPENBLAS_NUM_THREADS": "1"}
        if subprocess.run([sys.executable, "-c", "import rae_fast"], env=environment, capture_output=True).returncode:
            print(f"{isa}: not on this CPU", flush=True)
            continue
        for products in PRODUCTS:
            yield " ".join([isa, *products.values()]), {**environment, **products}


def allowed(name):
    """Rounding of one result as a fraction of its largest element: tests/problems.py, `tolerance`, of either side."""
    eps = np.finfo(np.float32 if "float32" in name else np.float64).eps
    sizes = name[name.index("("):name.index(")") + 1]
    I, H, T, B = ast.literal_eval(sizes)
    rounding = 2 * 16 * eps * (np.sqrt(T * (H + I)) + np.sqrt(T * B))
    if name.startswith(("outputs", "unrolled", "errors")):
        return T * rounding  # every step of unrolling multiplies what the code brings along
    if name.startswith("update"):
        # Of a gradient g a solver makes rate g / (sqrt(s) + epsilon): where g is small beside the largest, an error of
        # the largest's rounding counts up to 1 / epsilon times. And each update starts from what the others left.
        return 3 * rounding / EPSILON
    return rounding


def differences(ours, theirs, tolerance):
    a, b = np.load(ours), np.load(theirs)
    names = a["names"].tolist()
    if names != b["names"].tolist():
        raise SystemExit("the two builds computed different things")
    digest, worst, wrong = hashlib.sha256(), 0.0, []
    for i, name in enumerate(names):
        x, y = a[str(i)], b[str(i)]
        digest.update(x.tobytes())
        if x.shape != y.shape or x.dtype != y.dtype:
            wrong.append(f"{name}: {x.dtype}{x.shape} and {y.dtype}{y.shape}")
        elif x.tobytes() != y.tobytes():
            error = np.abs(x - y).max() / max(np.abs(y).max(), 1e-30) / allowed(name)
            worst = max(worst, error)
            if not tolerance or not error <= 1:
                wrong.append(f"{name}: {error:.3g} of what rounding explains")
    return len(names), digest.hexdigest()[:16], worst, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", metavar="PYTHON", help="an interpreter with the other rae_fast")
    parser.add_argument("--tolerance", action="store_true", help="allow for rounding; leaves out whole fits")
    parser.add_argument("--collect", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collect:
        return collect(options.collect, not options.tolerance)
    if not options.other:
        parser.error("--other is needed")
    failed = False
    more = ["--tolerance"] * options.tolerance
    with tempfile.TemporaryDirectory() as folder:
        for name, environment in environments():
            files = [str(Path(folder) / side) for side in ("ours.npz", "theirs.npz")]
            command = [str(Path(__file__).resolve()), *more, "--collect"]
            processes = [subprocess.Popen([python, *command, file], env=environment, cwd=folder)
                         for python, file in zip((sys.executable, options.other), files)]
            if any([process.wait() for process in processes]):
                raise SystemExit(f"{name}: could not be computed")
            count, digest, worst, wrong = differences(*files, options.tolerance)
            failed = failed or bool(wrong)
            print(f"{name}: {count:,} results, {len(wrong)} differ"
                  + (f"; the largest difference is {worst:.2g} of what is allowed" if options.tolerance else
                     f"; sha256 {digest}"), flush=True)
            for line in wrong[:10]:
                print(f"    {line}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
