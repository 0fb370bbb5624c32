"""
A stream that never ends
========================

``StreamDetector`` scores every step as it comes; ``windows`` and ``fold`` do the same of a series that is there as a
whole.
"""

import matplotlib.pyplot as plt
import numpy as np

from rae_fast import RAEDetector, StreamDetector, fold, windows

rng = np.random.default_rng(0)
t = np.arange(4000)
series = np.stack([np.sin(0.2 * t), np.cos(0.2 * t)], axis=1)
series += 0.05 * rng.standard_normal(series.shape)
series[3000, 0] += 1.5
series[3500:3520, 1] *= -1

stream = StreamDetector(random_state=0).fit(series[:2500])
scores = [stream.update(x) for x in series[2500:]]

detector = RAEDetector(random_state=0).fit(windows(series[:2500], 50, 25))
whole = fold(detector.score_samples(windows(series[2500:], 50, 10)), 1500, 50, 10)

# %%
# The single wrong value at step 3,000 and the channel upside down from 3,500 on.

figure, axes = plt.subplots(2, 1, figsize=(7, 4), layout="constrained", sharex=True)
axes[0].plot(t[2500:], scores, linewidth=1)
axes[0].set_ylabel("of each step")
axes[1].plot(t[2500:], whole, linewidth=1)
axes[1].set_ylabel("of windows, folded")
axes[1].set_xlabel("step")
