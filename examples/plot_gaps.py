"""
Missing numbers
===============

With ``missing="ignore"`` NaN is a number that is missing: neither the loss nor its gradient knows it, and the
reconstruction has something in its place, which follows from the other channels and steps.
"""

import matplotlib.pyplot as plt
import numpy as np

from rae_fast import RAE

rng = np.random.default_rng(0)
t = np.arange(60)[:, None]
whole = [np.hstack([np.sin(0.3 * t + p), np.cos(0.3 * t + p)]) + 0.05 * rng.standard_normal((60, 2))
         for p in rng.uniform(0, 6, 100)]
gone = [x.copy() for x in whole]
for x in gone:
    for channel in range(2):
        start = rng.integers(0, 45)
        x[start:start + 15, channel] = np.nan

model = RAE(n_code=6, missing="ignore", random_state=0).fit(gone)
back = model.reconstruct(gone)

# %%
# What was taken away (dotted) and what the model has in its place (dashed).

where = np.isnan(gone[0])
figure, axes = plt.subplots(2, 1, figsize=(6, 4), layout="constrained", sharex=True)
for channel, ax in enumerate(axes):
    ax.plot(gone[0][:, channel], label="seen")
    ax.plot(np.where(where[:, channel], whole[0][:, channel], np.nan), ":", label="taken away")
    ax.plot(np.where(where[:, channel], back[0][:, channel], np.nan), "--", label="filled in")
    ax.set_ylabel(f"channel {channel}")
axes[0].legend(ncols=3)
axes[1].set_xlabel("step")
lost = np.square(np.concatenate(back) - np.concatenate(whole))[np.isnan(np.concatenate(gone))].mean()
print(f"mean squared error where numbers are missing: {lost:.3f}, of the variance {np.concatenate(whole).var():.3f}")
