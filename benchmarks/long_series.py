"""One long series as training data: learned from as a whole, and in stretches.

    python benchmarks/long_series.py
    python benchmarks/long_series.py --steps 20000 --lengths 64 150

The stream of benchmarks/streams.py, as many steps to learn from as to judge by, all else by default but the length of
stretches; two seeds. Of "stepwise" models the squared error of the steps that come back from one endless state, in the
second half of the steps to judge by, and the area under the ROC curve of such errors (each over the channel's variance)
on a stream with anomalies; of "unfold" that of windows of 50 and of 250 steps, and of the whole series that
was learned from, given back from one code. All over the variance.
"""

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score
from streams import stream

from rae_fast import RAE, windows

STEPS = (1_000, 5_000, 20_000, 50_000, 200_000)


def endless(model, x):
    """The error of the steps that come back from the states they lead to, beyond the first half."""
    back = model.unroll(model.hidden_states([x])[0], 1)[:, 0]
    some = slice(len(x) // 2, None)
    return np.square(back - x)[some].sum() / np.square(x - x.mean(axis=0))[some].sum()


def auc(model, scale, seed):
    """Of errors of single steps as scores of a stream with anomalies."""
    x, strange = stream(np.random.default_rng(seed + 100), True)
    back = model.unroll(model.hidden_states([x])[0], 1)[:, 0]
    return roc_auc_score(strange, np.square((back - x) / scale).sum(axis=1))


def of_windows(model, x, width):
    found = windows(x, width, width // 2)
    return model.reconstruction_error(found).sum() / np.square(found - x.mean(axis=0)).sum()


def judged(objective, length, learn, x, seed):
    start = time.perf_counter()
    model = RAE(objective=objective, stretch_length=length, random_state=seed).fit(learn)
    cells = [time.perf_counter() - start, model.n_updates_]
    if objective == "stepwise":
        return [*cells, endless(model, x), auc(model, learn.std(axis=0), seed)]
    return [*cells, of_windows(model, x, 50), of_windows(model, x, 250),
            model.reconstruction_error([learn])[0] / np.square(learn - learn.mean(axis=0)).sum()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--lengths", type=int, nargs="*", default=[], help="others than the whole and the default's")
    options = parser.parse_args()
    print(f"{'':44}{'seconds':>9}{'updates':>9}  error, AUC (unfold: error of windows of 50, of 250, the whole)")
    for n_steps in options.steps:
        for objective in ("stepwise", "unfold"):
            for length in (None, 250, *options.lengths):
                found = []
                for seed in (0, 1):
                    rng = np.random.default_rng(seed)
                    x, y = (stream(rng, False, n_steps)[0] for _ in range(2))
                    found.append(judged(objective, length, x, y, seed))
                cells = np.mean(found, axis=0)
                what = f"{n_steps:,} steps, {objective}, {f'stretches of {length}' if length else 'whole'}"
                print(f"{what:44}{cells[0]:>9.2f}{cells[1]:>9.0f}  " + "".join(f"{e:>8.4f}" for e in cells[2:]),
                      flush=True)


if __name__ == "__main__":
    main()
