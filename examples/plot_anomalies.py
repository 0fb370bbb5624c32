"""
Anomalies among sequences
=========================

Waves of any length, most of them normal. ``RAEDetector`` adds what does not come back from a small code and how far off
the state lies that a sequence ends in.
"""

import matplotlib.pyplot as plt
import numpy as np

from rae_fast import RAEDetector, plotting

rng = np.random.default_rng(0)


def wave(strange=False):
    t = np.arange(rng.integers(40, 80))[:, None]
    x = np.sin(0.4 * t + rng.uniform(0, 6) + [0, 1.5])
    x += 0.05 * rng.standard_normal(x.shape)
    if strange:
        x[20:28] *= -1
    return x


normal, strange = [wave() for _ in range(200)], [wave(True) for _ in range(20)]
detector = RAEDetector(random_state=0).fit(normal[:150])
scores = detector.score_samples(normal[150:] + strange)
print(f"anomalies found: {(detector.predict(strange) == -1).sum()} of 20; "
      f"false alarms: {(detector.predict(normal[150:]) == -1).sum()} of 50")

# %%
# Scores of new sequences, the last twenty of which are strange.

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(scores, "o", markersize=3)
ax.axhline(detector.offset_, color="gray", linewidth=1)
ax.set_xlabel("sequence")
ax.set_ylabel("score, higher is more normal")

# %%
# Where in a sequence it is strange: the error of each step and channel.

plotting.errors(detector.model_, strange[0])
