"""python benchmarks/sweep.py: speed by size, H = 4 ... 1024, with own C kernels, with BLAS, and as chosen.

GFLOP/s of one training update (20 steps, H / 2 inputs, one sequence and 32) with the matrix products that rae_fast
chooses ("auto"), with its own kernels and with BLAS throughout, in interleaved rounds. Where "auto" is not
about the better of the two, a threshold in rae_fast/_products.pyx is in the wrong place. A cliff is a size slower
than 0.7 times the mean of its neighbours. --roofline draws the picture, as does run.py --roofline.
"""

import argparse
import datetime
import json
import os
import sys
import time
from pathlib import Path

import environment
import peers

STEPS = 20
# Three or so an octave; with 20, 24, 100, 130, 200 and the like no multiple of the vector's width fits.
SIZES = (4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 100, 128, 130, 160, 200, 256, 320, 400, 512, 640, 800,
         1024)
BATCHES = (1, 32)
CHOICES = ("auto", "own", "blas")
CLIFF = 0.7
SAMPLE = 0.02  # seconds of one timing


class Size:
    """One size of the sweep: an engine, and the seconds per update of every choice, one entry a round."""

    def __init__(self, engine, case, dtype):
        self.engine, self.counts = engine, {}
        self.record = {"dtype": dtype, "B": case.B, "H": case.H, "I": case.I, "flops": case.flops,
                       "seconds": {choice: [] for choice in CHOICES}}
        for choice in CHOICES:
            engine.update(choice, 1, 1e-6)
            start = time.perf_counter()
            engine.update(choice, 1, 1e-6)
            self.counts[choice] = max(1, int(SAMPLE / (time.perf_counter() - start)))

    def measure(self):
        for choice, count in self.counts.items():
            start = time.perf_counter()
            self.engine.update(choice, count, 1e-6)
            self.record["seconds"][choice].append((time.perf_counter() - start) / count)


def gflops(record, choice="auto"):
    return record["flops"] / min(record["seconds"][choice]) / 1e9


def cliffs(records):
    """H of the sizes slower than CLIFF times the mean of their neighbours, for records of one B and dtype."""
    rates = [gflops(record) for record in records]
    return {record["H"]: rate / ((before + after) / 2)
            for record, before, rate, after in zip(records[1:], rates, rates[1:], rates[2:])
            if rate < CLIFF * (before + after) / 2}


def print_series(records, limit):
    """The table of one B and dtype."""
    steep = cliffs(records)
    for r in records:
        auto, own, blas = (gflops(r, choice) for choice in CHOICES)
        mark = f"  cliff: {steep[r['H']]:.2f} of its neighbours" if r["H"] in steep else ""
        print(f"{r['dtype']:9}{r['B']:>4}{r['H']:>6}{min(r['seconds']['auto']) * 1e6:>13,.1f}{auto:>10.1f}{own:>10.1f}"
              f"{blas:>10.1f}{own / blas:>10.2f}{auto / max(own, blas):>11.2f}{auto * 1e9 / limit['peak']:>9.0%}{mark}")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="sizes up to 130, two rounds")
    parser.add_argument("--hidden", nargs="+", type=int, metavar="H", help=f"these sizes (default: {SIZES})")
    parser.add_argument("--batch", nargs="+", type=int, metavar="B", default=list(BATCHES))
    parser.add_argument("--dtype", nargs="+", choices=("float64", "float32"), default=["float64", "float32"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 7, quick 2)")
    parser.add_argument("--json", metavar="FILE", help="write every number to FILE")
    parser.add_argument("--roofline", metavar="FILE", help="draw the picture into FILE (needs matplotlib)")
    parser.add_argument("--keep-env", action="store_true", help=f"keep {' and '.join(environment.PRESETS)} as they are")
    options = parser.parse_args(arguments)
    options.hidden = options.hidden or [H for H in SIZES if not options.quick or H <= 130]
    options.rounds = options.rounds or (2 if options.quick else 7)
    return options


def sweep(options):
    import limits
    from cases import Case

    from rae_fast import _config

    Engine, _ = peers.load(peers.US)
    results = {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
               "command": " ".join(["python benchmarks/sweep.py", *sys.argv[1:]]), "config": _config.config(),
               "threads": options.threads, "steps": STEPS, "limits": {}, "results": []}
    config = results["config"]
    print(f"{config['machine']['cpu']}, kernels {config['kernels']['isa']}, {options.threads} thread"
          f"{'s' * (options.threads > 1)}")
    for pool in config["blas"] or []:
        print(f"{pool['library']} {pool['version']} ({pool['used_by']}): {pool['core']} kernels, "
              f"{pool['threads']} threads")
    print("GFLOP/s of one training update; minimum of the rounds")
    for dtype in options.dtype:
        limit = {"peak": limits.peak_rate(dtype, options.threads), "gemm": limits.gemm_rate(dtype)}
        results["limits"][dtype] = limit
        print(f"\n{dtype}: peak {limit['peak'] / 1e9:.0f}, GEMM {limit['gemm'] / 1e9:.0f} GFLOP/s\n"
              f"{'dtype':9}{'B':>4}{'H':>6}{'us (auto)':>13}{'auto':>10}{'own':>10}{'BLAS':>10}{'own/BLAS':>10}"
              f"{'auto/best':>11}{'of peak':>9}")
        for B in options.batch:
            sizes = []
            for H in options.hidden:
                case = Case("sweep", max(1, H // 2), H, STEPS, B, "")
                theta, X, _ = case.data(dtype)
                sizes.append(Size(Engine(theta, X, H, options.threads), case, dtype))
            for _ in range(options.rounds):  # of all sizes: a slow moment of the machine is no cliff
                for size in sizes:
                    size.measure()
            records = [size.record for size in sizes]
            results["results"] += records
            print_series(records, limit)
            sys.stdout.flush()
            if options.json:
                Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return results


def main():
    options = parse(None)
    wanted = environment.timed(options.threads, options.keep_env)
    if wanted != dict(os.environ):  # BLAS reads its settings once, when it is loaded
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], wanted)
    results = sweep(options)
    if options.json:
        print(f"wrote {options.json}")
    if options.roofline:
        import plots

        plots.roofline(results, options.roofline)


if __name__ == "__main__":
    main()
