"""
Channels of other scales, and errors where one needs them
=========================================================

One loud channel hides all others: errors as they are count it most. ``standardize="channel"`` reads every channel in
units of its own and gives everything back in those of the data; ``SequenceScaler`` does the same in front of any model.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from rae_fast import RAE, SequenceScaler, plotting

rng = np.random.default_rng(0)
t = np.arange(40)[:, None]
X = [np.hstack([np.sin(0.3 * t + p), np.cos(0.5 * t + q), np.sin(0.2 * t + p + q)])
     for p, q in rng.uniform(0, 6, (200, 2))]
X = [(x + 0.05 * rng.standard_normal(x.shape)) * [1, 1, 1000] + [0, 0, 5000] for x in X]
variance = np.concatenate(X).var(axis=0)

# %%
# The held-out error of each channel, over its variance: once with errors as they are, once standardised.

for standardize in ("none", "channel"):
    model = RAE(n_code=8, max_iter=60, standardize=standardize, random_state=0).fit(X[:150])
    lost = model.reconstruction_error(X[150:], per="feature", reduce="mean").mean(axis=0)
    print(f"{standardize:8}", *(f"{v:8.3f}" for v in lost / variance))

# %%
# Errors of sequences, steps, features or elements, as sums or means, in units of the data or ("model") standardised.

for per in ("sequence", "step", "feature", "element"):
    error = model.reconstruction_error(X[150:153], per=per, reduce="mean", units="model")
    print(per, [np.shape(e) for e in error])
plotting.errors(model, X[150])

# %%
# The same by a scaler in a pipeline, whose codes are undone in turn: back to the data.

model = RAE(n_code=8, max_iter=60, random_state=0)
pipeline = make_pipeline(SequenceScaler(), model).fit(X[:150])
back = pipeline.inverse_transform(pipeline.transform(X[150:]))
figure, axes = plt.subplots(3, 1, figsize=(6, 4), layout="constrained", sharex=True)
for channel, ax in enumerate(axes):
    ax.plot(X[150][:, channel])
    ax.plot(back[0][:, channel], "--")
    ax.set_ylabel(f"channel {channel}")
axes[-1].set_xlabel("step")
