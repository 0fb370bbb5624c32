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
whole = [np.hstack([np.sin(0.3 * t + p), np.cos(0.3 * t + p)]) for p in rng.uniform(0, 6, 100)]
whole = [x + 0.05 * rng.standard_normal(x.shape) for x in whole]
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
    for x, line, what in ((whole[0], ":", "taken away"), (back[0], "--", "filled in")):
        ax.plot(np.where(where, x, np.nan)[:, channel], line, label=what)
    ax.set_ylabel(f"channel {channel}")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
axes[1].set_xlabel("step")
where, truth = np.isnan(np.concatenate(gone)), np.concatenate(whole)
lost = np.square(np.concatenate(back) - truth)[where].mean()
print(f"mean squared error where numbers are missing: {lost:.3f}; variance {truth.var():.3f}")
