"""Streams that never end: scores of every step, by StreamDetector and by other definitions.

    python benchmarks/streams.py

Four channels of an oscillation with a drifting one: 6,000 normal steps to learn from, 6,000 others with single wrong
values, a channel upside down for twelve steps and at another frequency for twenty-five, forty of each. Area under the
ROC curve and average precision over all steps, three seeds. Windows are scored when they end (as they would be online);
the endless state of a model that unrolls whole sequences is what StreamDetector refuses.
"""

import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from rae_fast import RAE, StreamDetector, windows

STEPS, WIDTH = 6000, 64


def stream(rng, strange, n_steps=STEPS):
    """Steps, and which of them are anomalies."""
    t = np.arange(n_steps)
    phase = np.cumsum(rng.uniform(0.18, 0.22, n_steps))
    drift = np.zeros(n_steps)
    for k in range(1, n_steps):
        drift[k] = 0.99 * drift[k - 1] + rng.normal(0, 0.05)
    a = np.sin(phase)
    b = 0.5 * np.cos(phase) + 0.3 * a
    x = np.stack([a, b, 0.7 * a + 0.3 * drift, b - a], axis=1)
    y = np.zeros(n_steps, dtype=bool)
    for k, at in enumerate(rng.permutation(n_steps // 50)[:120] * 50 if strange else []):
        if k % 3 == 0:
            x[at, rng.integers(4)] += rng.choice([-1, 1]) * rng.uniform(1.2, 2)
            y[at] = True
        elif k % 3 == 1:
            x[at:at + 12, 1] *= -1
            y[at:at + 12] = True
        else:
            x[at:at + 25, 0] = np.sin(0.45 * t[at:at + 25] + phase[at])
            y[at:at + 25] = True
    return x + rng.normal(0, 0.08, x.shape), y


def endless(model, x):
    """Errors of the steps that come back from one state that is never restarted."""
    back = model.unroll(model.hidden_states([x])[0], 1)[:, 0]
    return np.square(model.read_rows(back) - model.read_rows(x)).mean(axis=1)


def of_windows(model, x, last):
    """Of each step, the error of the window that ends with it: of its last step, or its mean."""
    found = model.reconstruction_error(windows(x, WIDTH), per="step", reduce="mean", units="model")
    found = found[:, -1] if last else found.mean(axis=1)
    return np.concatenate([np.full(WIDTH - 1, found.mean()), found])


def main():
    found, seconds = {}, {}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        learn, _ = stream(rng, False)
        x, y = stream(rng, True)
        start = time.perf_counter()
        detector = StreamDetector(width=WIDTH, random_state=seed).fit(learn)
        fitted = time.perf_counter()
        scores = -np.array([detector.update(step) for step in x])
        seconds.setdefault("StreamDetector: fit", []).append(fitted - start)
        each = (time.perf_counter() - fitted) / STEPS * 1e6
        seconds.setdefault("StreamDetector: microseconds a step", []).append(each)
        np.testing.assert_allclose(-scores, detector.reset().score_steps(x), rtol=1e-6, atol=1e-9)
        unfold = RAE(standardize="channel", max_iter=100, random_state=seed).fit(windows(learn, WIDTH, WIDTH // 2))
        for name, values in (("StreamDetector (stepwise, endless)", scores),
                             ("unfold, endless state", endless(unfold, x)),
                             (f"unfold, windows of {WIDTH}, last step", of_windows(unfold, x, True)),
                             (f"unfold, windows of {WIDTH}, mean", of_windows(unfold, x, False)),
                             ("distance from the mean", np.square((x - learn.mean(0)) / learn.std(0)).mean(axis=1))):
            found.setdefault(name, []).append((roc_auc_score(y, values), average_precision_score(y, values)))
    print(f"{'mean of three seeds':44}{'AUC':>8}{'average precision':>20}")
    for name, values in found.items():
        print(f"{name:44}{np.mean([v[0] for v in values]):>8.3f}{np.mean([v[1] for v in values]):>20.3f}")
    for name, values in seconds.items():
        print(f"{name:44}{np.mean(values):>8.1f}")


if __name__ == "__main__":
    main()
