"""Channels in units of their own, or not: held-out errors of RAE with standardize "none", "channel" and "global".

    python benchmarks/scales.py

Data sets of several channels as they come (digits, JapaneseVowels, BasicMotions), and the same with one channel times
1000. Errors of held-out sequences over the variance: of all channels together, which is what "none" minimises, and the
mean over the channels of their own; splits 5, 6, 7, all else by default.
"""

import argparse

import numpy as np
from datasets import load, split

from rae_fast import RAE

SETS = ("digits", "JapaneseVowels", "BasicMotions")
CODES = (None, 16)


def relative(model, held_out):
    """The error over the variance: of all channels together, and the mean of each one's own."""
    rows = np.concatenate(held_out)
    variance = np.square(rows - rows.mean(axis=0)).sum(axis=0)
    lost = model.reconstruction_error(held_out, per="feature").sum(axis=0)
    some = variance > 0
    return lost.sum() / variance.sum(), np.mean(lost[some] / variance[some])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, nargs="+", default=[5, 6, 7])
    options = parser.parse_args()
    print(f"{'':34}{'all channels together':^30}{'mean of channels':^30}")
    print(f"{'':34}" + 2 * "".join(f"{kind:>10}" for kind in ("none", "channel", "global")))
    for name in SETS:
        for times in (1.0, 1000.0):
            for C in CODES:
                found = np.zeros((2, 3, len(options.splits)))
                for s, seed in enumerate(options.splits):
                    X = [x.copy() for x in load(name)]
                    for x in X:
                        x[:, x.shape[1] // 2] *= times
                    learn, held_out = split(X, seed)
                    for k, kind in enumerate(("none", "channel", "global")):
                        model = RAE(n_code=C, standardize=kind, random_state=0).fit(learn)
                        found[:, k, s] = relative(model, held_out)
                mean = found.mean(axis=2)
                what = f"{name}, {'one channel x 1000, ' * (times > 1)}" + (f"n_code={C}" if C else "24 units")
                print(f"{what:34}" + "".join(f"{x:>10.4f}" for x in mean.ravel()), flush=True)


if __name__ == "__main__":
    main()
