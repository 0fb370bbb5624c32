"""
Embeddings for clustering
=========================

Series of four kinds, of any length, where neither the level nor the deviation tells one kind from another: only what
happens when. Codes of a few numbers place them.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from rae_fast import RAE, plotting

rng = np.random.default_rng(0)


def series(kind):
    """Rising or falling, with a bump early or late."""
    t = np.linspace(0, 1, rng.integers(30, 60))
    bump = np.exp(-((t - (0.25 if kind < 2 else 0.75)) / 0.08) ** 2)
    x = np.where(kind % 2, t, 1 - t) + bump
    return ((x - x.mean()) / x.std() + 0.1 * rng.standard_normal(len(t)))[:, None]


kinds = np.arange(400) % 4
X = [series(kind) for kind in kinds]

# %%
# How well k-means finds the kinds: by codes as they are; by whitened ones, in which faint directions count as much as
# strong ones, which is not always better; and by moments, which do not know the order of steps.

options = {"n_code": 4, "max_iter": 60, "random_state": 0}
model = RAE(**options).fit(X)
moments = [[x.mean(), x.std(), x[0, 0], x[-1, 0], len(x)] for x in X]
embeddings = {
    "codes of 4 numbers": model.transform(X),
    "the same, whitened": RAE(whiten=True, **options).fit_transform(X),
    "mean, deviation, first, last, length": np.array(moments),
}
for name, Z in embeddings.items():
    found = KMeans(4, n_init=5, random_state=0).fit_predict(Z)
    print(f"{name:38} adjusted Rand index {adjusted_rand_score(kinds, found):.2f}")

# %%
# The codes on their two principal components.

plotting.codes(embeddings["codes of 4 numbers"], kinds)

# %%
# What the centre of each cluster stands for: codes can be unrolled.

centres = KMeans(4, n_init=5, random_state=0).fit(model.transform(X)).cluster_centers_
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for centre in model.inverse_transform(centres, 45):
    ax.plot(centre[:, 0])
ax.set_xlabel("step")
ax.set_ylabel("the series that a centre unrolls into")
