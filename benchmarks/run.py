"""python benchmarks/run.py: rae_fast against others, one whole training update at a time.

Without options the others are tuned NumPy and the readable reference; --peers takes JAX, Numba, PyTensor and
PyTorch instead of the reference, whichever are installed (`make bench` installs them), each in its fastest form.
For every case, dtype and number of threads: first the loss, all eight gradients and two updates of every form
must agree with rae_fast.reference in float64; then whole updates (forward, gradient, SGD) are timed in
interleaved rounds. Everyone has a process of its own, on as many cores as threads, without OPENBLAS_CORETYPE
and OPENBLAS_L2_SIZE, which on some machines hold OpenBLAS to slower kernels (--keep-env keeps them). With
RAE_FAST_ISA=avx2 the others are held to AVX2 as well.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import environment
import peers
import tables
from cases import CASES, DTYPES
from contest import Contest

HERE = Path(__file__).parent


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="against NumPy, JAX, Numba, PyTensor and PyTorch")
    parser.add_argument("--only", nargs="+", choices=[name for name in peers.MODULES if name != peers.US],
                        help="against these only")
    parser.add_argument("--against", metavar="CHECKOUT",
                        help="against the rae_fast of another checkout, which has a .venv as make test makes it")
    parser.add_argument("--quick", action="store_true", help="cases A to C, fewer rounds, one thread")
    parser.add_argument("--case", nargs="+", choices=[*CASES, "tokens"],
                        help="only these cases; tokens: updates by token ids, see tokens.py")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", nargs="+", type=int, help="numbers of threads (default: 1 and all cores)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 9, with --peers 5, quick 3)")
    parser.add_argument("--json", metavar="FILE", help="write every number to FILE, after each row of the table")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios into FILE (needs matplotlib)")
    parser.add_argument("--roofline", metavar="FILE",
                        help="draw speed against size into FILE (needs matplotlib); see sweep.py")
    parser.add_argument("--sweep", metavar="JSON", help="results of sweep.py to draw it from, instead of a sweep now")
    parser.add_argument("--keep-env", action="store_true", help=f"keep {' and '.join(environment.PRESETS)} as they are")
    options = parser.parse_args(arguments)
    rivals = options.only or (peers.RIVALS if options.peers else () if options.against else peers.BASIC)
    options.contestants = [peers.US, *rivals]
    options.case = options.case or (["A", "B", "C"] if options.quick else list(CASES))
    options.tokens = "tokens" in options.case
    options.case = [name for name in options.case if name != "tokens"]
    options.threads = options.threads or ([1] if options.quick else sorted({1, environment.cores()}))
    options.rounds = options.rounds or (3 if options.quick else 5 if options.peers else 9)
    # Seconds of a turn: with a few rivals a case takes some time anyway, and a minimum wants chances.
    options.seconds = 0.05 if options.quick or not options.peers else 0.25
    return options


def save(results, path):
    """Whole or not at all: an interrupted run leaves the rows that were finished."""
    if path:
        unfinished = Path(f"{path}.part")
        unfinished.write_text(json.dumps(results, indent=1) + "\n")
        unfinished.replace(path)


def benchmark(options, results):
    """Rows of the table as they come, into `results` and the file."""
    for threads in options.threads:
        with Contest(options.contestants, threads, options.keep_env, options.against) as contest:
            described = contest.describe()
            if results["config"] is None:
                config = described[peers.US]["config"]
                config["machine"]["cores"] = environment.cores()
                results |= {"config": config, "missing": contest.missing, "contestants": described}
                tables.print_provenance(described, contest.missing, environment.cores(), options.keep_env)
            limits = {dtype: {"threads": threads, "dtype": dtype, **contest.limits(dtype)} for dtype in options.dtype}
            results["limits"] += limits.values()
            names = list(contest.workers)
            rates = "; ".join(f"{dtype}: peak {limit['peak'] / 1e9:.0f}, GEMM {limit['gemm'] / 1e9:.0f} GFLOP/s"
                              for dtype, limit in limits.items())
            print(f"\n{threads} thread{'s' * (threads > 1)} ({rates})\n{tables.header(names)}")
            records = []
            for name in options.case:
                for dtype in options.dtype:
                    records.append(contest.race(CASES[name], dtype, options.rounds, options.seconds))
                    results["results"].append(records[-1])
                    for key, rate in contest.limits(dtype).items():  # a busy moment must not make us look good
                        limits[dtype][key] = max(limits[dtype][key], rate)
                    save(results, options.json)
                    print(tables.row(CASES[name], records[-1], names, limits[dtype]), flush=True)
            tables.print_forms(records)
            tables.print_notes(records)


def draw_roofline(options):
    import plots

    with tempfile.TemporaryDirectory() as folder:
        path = options.sweep
        if path is None:
            path = str(Path(folder) / "sweep.json")
            subprocess.run([sys.executable, str(HERE / "sweep.py"), "--json", path], check=True)
        plots.roofline(json.loads(Path(path).read_text()), options.roofline)


def main(arguments=None):
    options = parse(arguments)
    if options.tokens:
        import tokens

        tokens.main(["--rounds", str(options.rounds), "--dtype", *options.dtype])
        if not options.case:
            return 0
    results = {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
               "command": " ".join(["python benchmarks/run.py", *(arguments or sys.argv[1:])]),
               "RAE_FAST_ISA": os.environ.get("RAE_FAST_ISA"), "config": None, "limits": [], "results": []}
    try:
        benchmark(options, results)
    except KeyboardInterrupt:
        print(f"interrupted after {len(results['results'])} rows" + (f", in {options.json}" if options.json else ""))
        return 130
    if options.json:
        print(f"wrote {options.json}")
    if options.plot:
        import plots

        plots.speed_ups(results, options.plot)
    if options.roofline:
        draw_roofline(options)
    return int(any("wrong" in note for r in results["results"] for note in r["notes"]))


if __name__ == "__main__":
    sys.exit(main())
