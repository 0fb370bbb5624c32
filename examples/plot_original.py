"""
The original experiment
=======================

The program of 2014 gave eight one-hot vectors to a recursive auto-encoder, and got three of them back after a million
updates. The same code unrolled from the objective that asks for the whole sequence, and started from the closed form of
the linear model, gives back all of them.
"""

import numpy as np

from rae_fast import RAE, plotting

X = np.eye(8)
model = RAE(24, random_state=0).fit(X)
back = model.reconstruct(X)[0]
right = (back.argmax(axis=1) == np.arange(8)).sum()
print(f"{right} of 8 inputs come back, after {model.n_updates_} updates")

# %%
# The error of each step and channel, and how the loss fell.

plotting.errors(model, X)
plotting.loss_curve(model)
