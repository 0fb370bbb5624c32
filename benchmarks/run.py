"""python benchmarks/run.py: the engine against NumPy, one whole training update at a time.

For every case, dtype and number of threads: first the loss and all eight gradients of the engine and
of tuned NumPy must agree with the readable reference (rae_fast.reference, in float64); then whole
updates (forward, gradient, SGD) are timed in interleaved rounds. Each number of threads runs in a
process of its own, because BLAS reads its settings once, and without OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE, which on some machines hold OpenBLAS to slower kernels (--keep-env keeps them).
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PRESETS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                    "VECLIB_MAXIMUM_THREADS")


# ---- the worker: one process, one number of threads ------------------------------------------------

def peak_rate(dtype, threads):
    """Multiply-add peak of all threads together, FLOP/s, by the C loop in csrc: best of five."""
    from concurrent.futures import ThreadPoolExecutor

    from rae_fast import _kernels

    rounds = 30_000_000
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            flops = sum(pool.map(lambda _: _kernels.peak_flops(dtype, rounds), range(threads)))
            best = max(best, flops / (time.perf_counter() - start))
    return best


def gemm_rate(dtype):
    """The rate of the BLAS that the engine uses, on 1024 x 1024 matrices, FLOP/s: best of seven."""
    import numpy as np

    from rae_fast import _blas

    A, B, C = np.random.default_rng(0).standard_normal((3, 1024, 1024)).astype(dtype)
    best = 0.0
    for _ in range(7):
        start = time.perf_counter()
        _blas.gemm(A, B, C)
        best = max(best, 2 * 1024**3 / (time.perf_counter() - start))
    return best


def contestants(case, dtype):
    """Name -> (loss_and_grad, run n updates), each with its own copy of the parameters."""
    import numpy as np
    from peers.numpy_tuned import TunedNumPy

    from rae_fast import _sequence, _training, reference
    from rae_fast.solvers import Solver

    theta, X, offsets = case.data(dtype)
    data = X.reshape(-1, case.I)
    rate, form = 1e-5, case.form
    losses = np.empty(1 << 17)

    def engine_gradient():
        grad = np.empty_like(theta)
        return _sequence.loss_and_grad(theta, data, offsets, None, form, grad), grad

    own = theta.copy()

    def engine_updates(n):
        run = _training.Training(offsets, case.B)
        _training.train(own, data, offsets, None, form, Solver(learning_rate=rate), [], None, 1.0, 0, None, n, 0.0, 1,
                        run, losses, 1e9)
        assert run.n_updates == n

    tuned = TunedNumPy(theta.copy(), X, case.H)

    def tuned_updates(n):
        for _ in range(n):
            tuned.update(rate)

    readable = theta.copy()

    def readable_updates(n):
        for _ in range(n):
            readable[:] -= rate * reference.loss_and_grad(readable, data, offsets, None, form)[1]

    def reference_gradient():
        return reference.loss_and_grad(theta.astype(float), data.astype(float), offsets, None, form)

    return {
        "rae_fast": (engine_gradient, engine_updates),
        "tuned NumPy": (lambda: (tuned.loss_and_grad(), tuned.grad), tuned_updates),
        "reference": (reference_gradient, readable_updates),
    }


def check(case, dtype, entries):
    """Largest disagreement with the reference as a fraction of what rounding allows; must be < 1."""
    import numpy as np

    from rae_fast import parameters

    loss, grad = entries["reference"][0]()
    expected = parameters.views(grad, case.form)
    # As in tests/problems.py; NumPy adds the loss up in float32, hence the factor.
    allowed = 64 * np.finfo(dtype).eps * (np.sqrt(case.T * (case.H + case.I)) + np.sqrt(case.T * case.B))
    worst = 0.0
    for name in ("rae_fast", "tuned NumPy"):
        found_loss, found_grad = entries[name][0]()
        errors = {"loss": abs(found_loss - loss) / abs(loss)}
        scale = np.abs(grad).max()
        for key, view in parameters.views(found_grad, case.form).items():
            errors[key] = np.abs(view - expected[key]).max() / scale
        for key, error in errors.items():
            if not error < allowed:
                raise SystemExit(f"case {case.name} {dtype}: {name} has a wrong {key}: relative error {error:.2g}, "
                                 f"allowed {allowed:.2g}")
        worst = max(worst, max(errors.values()) / allowed)
    return worst


def measure(case, dtype, rounds):
    """Seconds per update of each contestant, one list entry a round, rounds interleaved."""
    entries = contestants(case, dtype)
    check(case, dtype, entries)
    counts = {}
    for name, (_, updates) in entries.items():
        start = time.perf_counter()
        updates(1)
        once = time.perf_counter() - start
        counts[name] = max(1, min(100_000, int(0.05 / once)))
    seconds = {name: [] for name in entries}
    for r in range(rounds):
        for name, (_, updates) in entries.items():
            if name == "reference" and r >= 3:
                continue  # three rounds are enough of what only shows the scale
            start = time.perf_counter()
            updates(counts[name])
            seconds[name].append((time.perf_counter() - start) / counts[name])
    return seconds


def worker(options):
    from cases import CASES

    from rae_fast import _config

    content = _config.config()
    emit({"config": content})
    threads = options.worker
    for dtype in options.dtype:
        emit({"limits": dtype, "peak": peak_rate(dtype, threads), "gemm": gemm_rate(dtype)})
    for name in options.case:
        for dtype in options.dtype:
            emit({"case": name, "dtype": dtype, "seconds": measure(CASES[name], dtype, options.rounds)})


def emit(record):
    print(json.dumps(record), flush=True)


# ---- the parent: starts workers, prints the table ---------------------------------------------------

def start_worker(options, threads):
    """Yield the records of a worker process as they come."""
    environment = dict(os.environ)
    if not options.keep_env:
        for name in PRESETS:
            environment.pop(name, None)
    for name in THREAD_VARIABLES:
        environment[name] = str(threads)
    command = [sys.executable, __file__, "--worker", str(threads), "--rounds", str(options.rounds),
               "--case", *options.case, "--dtype", *options.dtype]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        yield json.loads(line)
    if process.wait():
        raise SystemExit(f"the worker with {threads} threads failed")


def print_provenance(config, threads, options):
    versions = "  ".join(f"{k} {v}" for k, v in config["versions"].items())
    print(f"{config['machine']['cpu']}, {config['machine']['cores']} cores, {config['machine']['system']}")
    print(f"{versions}  kernels {config['kernels']['isa']}")
    for pool in config["blas"] or [{"used_by": "unknown: install threadpoolctl", "library": "BLAS", "version": "",
                                    "core": "unknown", "threads": "?"}]:
        print(f"{pool['library']} {pool['version']} ({pool['used_by']}): {pool['core']} kernels, "
              f"{pool['threads']} threads")
    kept = [f"{name}={os.environ[name]}" for name in PRESETS if name in os.environ]
    if kept:
        print(f"{', '.join(kept)}: {'kept' if options.keep_env else 'removed for this run'}")
    if config["hint"]:
        print(f"hint: {config['hint']}")


HEADER = (f"{'case':5}{'(I,H,T,B)':17}{'dtype':9}{'rae_fast':>20}{'tuned NumPy':>22}{'reference':>13}"
          f"{'over tuned':>12}{'over ref':>10}{'GFLOP/s':>9}{'of peak':>9}{'of GEMM':>9}")


def microseconds(seconds):
    return f"{min(seconds) * 1e6:,.1f} ({statistics.median(seconds) * 1e6:,.1f})"


def row(case, record, limits):
    s = record["seconds"]
    best = {name: min(values) for name, values in s.items()}
    rate = case.flops / best["rae_fast"]
    limit = limits[record["dtype"]]
    return (f"{case.name:5}{case.sizes:17}{record['dtype']:9}{microseconds(s['rae_fast']):>20}"
            f"{microseconds(s['tuned NumPy']):>22}{best['reference'] * 1e6:>13,.0f}"
            f"{best['tuned NumPy'] / best['rae_fast']:>11.2f}x{best['reference'] / best['rae_fast']:>9.0f}x"
            f"{rate / 1e9:>9.1f}{rate / limit['peak']:>9.0%}{rate / limit['gemm']:>9.0%}")


def plot(results, path):
    """Speed-up over tuned NumPy, one group of bars per case."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from cases import CASES

    labels = list(dict.fromkeys(r["case"] for r in results["results"]))
    series = list(dict.fromkeys((r["dtype"], r["threads"]) for r in results["results"]))
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    width = 0.8 / len(series)
    for i, (dtype, threads) in enumerate(series):
        ratios = {r["case"]: min(r["seconds"]["tuned NumPy"]) / min(r["seconds"]["rae_fast"])
                  for r in results["results"] if (r["dtype"], r["threads"]) == (dtype, threads)}
        x = [k + (i - (len(series) - 1) / 2) * width for k in range(len(labels))]
        bars = axes.bar(x, [ratios[c] for c in labels], width * 0.95,
                        label=f"{dtype}, {threads} thread{'s' * (threads > 1)}")
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(labels)), [f"{c} {CASES[c].sizes}\n{CASES[c].what}" for c in labels], fontsize=8)
    axes.set_ylabel("times faster than tuned NumPy")
    axes.set_title(f"One training update, rae_fast against tuned NumPy\n{results['config']['machine']['cpu']}, "
                   f"{results['config']['kernels']['isa']}", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def parse(arguments):
    from cases import CASES, DTYPES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="cases A to C, three rounds, one thread")
    parser.add_argument("--case", nargs="+", choices=CASES, help="only these cases")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", nargs="+", type=int, help="numbers of BLAS threads (default: 1 and all)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 9, quick 3)")
    parser.add_argument("--json", metavar="FILE", help="write every number to FILE")
    parser.add_argument("--plot", metavar="FILE", help="draw the speed-ups into FILE (needs matplotlib)")
    parser.add_argument("--keep-env", action="store_true",
                        help=f"keep {' and '.join(PRESETS)} as they are set")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    options.case = options.case or (["A", "B", "C"] if options.quick else list(CASES))
    options.threads = options.threads or ([1] if options.quick else sorted({1, cores}))
    options.rounds = options.rounds or (3 if options.quick else 9)
    return options


def main(arguments=None):
    sys.path.insert(0, str(Path(__file__).parent))
    options = parse(arguments)
    if options.worker:
        return worker(options)
    from cases import CASES

    results = {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
               "command": " ".join(["python benchmarks/run.py", *(arguments or sys.argv[1:])]),
               "config": None, "limits": [], "results": []}
    for threads in options.threads:
        limits = {}
        for record in start_worker(options, threads):
            if "config" in record:
                if results["config"] is None:
                    print_provenance(record["config"], threads, options)
                    print("microseconds per update: minimum (median) of the rounds; "
                          "gradients agreed with the reference before each timing")
                results["config"] = results["config"] or record["config"]
            elif "limits" in record:
                limits[record["limits"]] = record
                results["limits"].append({"threads": threads, **record})
            else:
                if not any(r["threads"] == threads for r in results["results"]):
                    rates = "; ".join(f"{d}: peak {v['peak'] / 1e9:.0f}, GEMM {v['gemm'] / 1e9:.0f} GFLOP/s"
                                      for d, v in limits.items())
                    print(f"\n{threads} thread{'s' * (threads > 1)} ({rates})\n{HEADER}")
                results["results"].append({"threads": threads, **record})
                print(row(CASES[record["case"]], record, limits), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
        print(f"wrote {options.json}")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
