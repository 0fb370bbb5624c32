"""Missing numbers filled in: by RAE with missing="ignore", by the mean of the channel, by interpolation along time.

    python benchmarks/gaps.py

Of each data set a tenth, three tenths and half of the numbers are taken away at random, or runs of eight steps of a
channel (three tenths); all else by default, but channels in units of their own. Squared error where numbers are
missing, over their variance; the model has seen the same sequences with their gaps, and never what was taken away.
Three seeds.
"""

import numpy as np
from datasets import load

from rae_fast import RAE

SETS = ("JapaneseVowels", "ItalyPowerDemand", "BasicMotions", "GunPoint", "digits")
RUN = 8


def holes(rng, X, part, runs):
    """Which numbers are taken away."""
    found = []
    for x in X:
        if not runs:
            found.append(rng.random(x.shape) < part)
            continue
        mask = np.zeros(x.shape, dtype=bool)
        for channel in range(x.shape[1]):
            for start in np.flatnonzero(rng.random(len(x)) < part / RUN):
                mask[start:start + RUN, channel] = True
        found.append(mask)
    return found


def interpolated(x, mask, mean):
    """Each channel between its neighbours in time; the mean where a channel has none."""
    found, t = x.copy(), np.arange(len(x))
    for channel in range(x.shape[1]):
        there = ~mask[:, channel]
        found[:, channel] = np.interp(t, t[there], x[there, channel]) if there.any() else mean[channel]
    return found


def main():
    print(f"{'':34}{'mean':>8}{'linear':>9}{'RAE':>8}{'RAE, n_code=16':>16}")
    for name in SETS:
        X = load(name)
        for part, runs in ((0.1, False), (0.3, False), (0.5, False), (0.3, True)):
            lost = np.zeros((3, 4))
            for seed in range(3):
                masks = holes(np.random.default_rng(seed), X, part, runs)
                gone = [np.where(mask, np.nan, x) for x, mask in zip(X, masks)]
                mean = np.nanmean(np.concatenate(gone), axis=0)
                where, truth = np.concatenate(masks), np.concatenate(X)
                scale = np.nanstd(np.concatenate(gone), axis=0)
                scale[scale == 0] = 1
                ways = [np.broadcast_to(mean, truth.shape),
                        np.concatenate([interpolated(x, mask, mean) for x, mask in zip(X, masks)])]
                for C in (None, 16):
                    model = RAE(n_code=C, missing="ignore", standardize="channel", random_state=seed).fit(gone)
                    ways.append(np.concatenate(model.reconstruct(gone)))
                for k, way in enumerate(ways):
                    lost[seed, k] = np.square((way - truth) / scale)[where].mean()
            what = f"{name}, {part:.0%} {'in runs of ' + str(RUN) if runs else 'at random'}"
            m = lost.mean(axis=0)
            print(f"{what:34}{m[0]:>8.3f}{m[1]:>9.3f}{m[2]:>8.3f}{m[3]:>16.3f}", flush=True)


if __name__ == "__main__":
    main()
