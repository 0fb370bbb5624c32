"""python benchmarks/calls.py [--against CHECKOUT]: what a call of each method on a small model costs.

One np.eye(8), 24 units, the original's recipe; partial_fit by Adam with relative rates as well, a list of sequences
where another way is possible. Microseconds a call, the least of interleaved rounds, each in a new process.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import environment

SETUP = """
import numpy as np
from rae_fast import RAE
X, several = np.eye(8), np.eye(8)[[[0, 1, 2], [3, 4, 5]]]
plain = dict(objective="stepwise", decoder="linear", init="normal", solver="sgd", relative_rates=False,
             learning_rate=1e-9, batch_size=1, max_iter=0, random_state=0)
m = RAE(24, **plain).fit(X)
adam = RAE(24, **plain).set_params(solver="adam", relative_rates=True, learning_rate=1e-9).fit(X)
default = RAE(24, max_iter=0, learning_rate=1e-9, random_state=0).fit(X)
large = RAE(64, **plain).fit(np.zeros((50, 32)))
Z = np.zeros((50, 32))
c, s, x = m.transform(X), m.initial_state(), X[0].copy()
"""
CALLS = {
    "partial_fit": "m.partial_fit(X)", "partial_fit, adam": "adam.partial_fit(X)",
    "partial_fit, defaults": "default.partial_fit(X)", "loss_and_grad": "m.loss_and_grad(X)",
    "transform": "m.transform(X)", "hidden_states": "m.hidden_states(X)", "inverse_transform": "m.inverse_transform(c)",
    "unroll": "m.unroll(c, 8)", "step": "m.step(s, x)", "reconstruct": "m.reconstruct(X)",
    "reconstruction_error": "m.reconstruction_error(X)", "transform, 2 sequences": "m.transform(several)",
    "transform, a list": "m.transform([X])", "partial_fit, a list": "m.partial_fit([X])",
    "partial_fit, weighted": "m.partial_fit(X, sample_weight=[1.0])", "transform, 64 units": "large.transform(Z)",
}
SECONDS = 0.06  # of one timing


def measure():
    """Seconds of each call in this process, the least of three timings."""
    import timeit

    space = {}
    exec(SETUP, space)
    found = {}
    for name, call in CALLS.items():
        timer = timeit.Timer(call, globals=space)
        count = max(1, int(SECONDS / min(timer.repeat(3, 20)) * 20))
        found[name] = min(timer.repeat(3, count)) / count
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="CHECKOUT", help="another checkout with a .venv, as make test makes it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return
    pythons = {"rae_fast": sys.executable}
    if options.against:
        pythons["other"] = str(Path(options.against, ".venv", "bin", "python"))
    best = {side: dict.fromkeys(CALLS, float("inf")) for side in pythons}
    for _ in range(options.rounds):
        for side, python in pythons.items():
            answer = subprocess.run([python, str(Path(__file__).resolve()), "--measure"], check=True, text=True,
                                    capture_output=True, env=environment.timed(1), cwd=os.path.expanduser("~"))
            for name, seconds in json.loads(answer.stdout).items():
                best[side][name] = min(best[side][name], seconds)
    print(f"{'microseconds':26}" + "".join(f"{side:>10}" for side in pythons) + "     ratio" * bool(options.against))
    for name in CALLS:
        row = "".join(f"{best[side][name] * 1e6:>10.2f}" for side in pythons)
        ratio = f"{best['other'][name] / best['rae_fast'][name]:>9.2f}x" if options.against else ""
        print(f"{name:26}{row}{ratio}")


if __name__ == "__main__":
    main()
