"""
Which objective when
====================

``"unfold"`` asks for the whole sequence back from its last state; ``"stepwise"`` for every step from the state that has
just read it. The first is for whole sequences, the second for streams.
"""

import matplotlib.pyplot as plt
import numpy as np

from rae_fast import RAE

rng = np.random.default_rng(0)
X = np.cumsum(rng.standard_normal((200, 20, 2)), axis=1)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for objective in ("unfold", "stepwise"):
    model = RAE(16, objective=objective, max_iter=100, random_state=0).fit(X[:150])
    errors = model.reconstruction_error(X[150:], per="step").mean(axis=0)
    now = np.array([np.square(model.unroll(model.encode_states(h), 1)[:, 0] - x).sum(axis=1)
                    for h, x in zip(model.hidden_states(X[150:]), X[150:])]).mean(axis=0)
    line, = ax.plot(errors[::-1], label=f"{objective}: from the last state")
    ax.plot(now[::-1], ":", color=line.get_color(), label=f"{objective}: from its own state")
ax.set_yscale("log")
ax.set_xlabel("steps before the last one")
ax.set_ylabel("squared error")
ax.legend()
