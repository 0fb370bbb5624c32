"""
Sequences as they come: shapes, lengths and padding
===================================================

An array (N, T, I) is N sequences of T steps of I numbers, a matrix (T, I) is one sequence, and a list holds sequences
of any lengths. Archives of series have other layouts; where an array looks like one of these, a warning says so.
"""

import textwrap
import warnings

import numpy as np

from rae_fast import RAE, plotting

rng = np.random.default_rng(0)
t = np.arange(60)
series = np.array([np.sin(0.3 * t + p) for p in rng.uniform(0, 6, 100)])  # (N, T)
channels = np.stack([series, np.roll(series, 5, axis=1)], axis=1)  # as aeon has it
model = RAE(8, max_iter=20, random_state=0)

for name, X in (("a matrix of series", series), ("channels first", channels)):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    print(textwrap.fill(f"{name} {X.shape}: {caught[0].message}", 80), end="\n\n")

# %%
# The same as this package reads them: no warning.

with warnings.catch_warnings():
    warnings.simplefilter("error")
    print(model.fit_transform(series[:, :, None]).shape)
    print(model.fit_transform(channels.transpose(0, 2, 1)).shape)

# %%
# Sequences of different lengths: a list, or an array padded with NaN.

several = [x[:n, None] for x, n in zip(series, rng.integers(20, 60, 100))]
padded = np.full((100, 60, 1), np.nan)
for row, x in zip(padded, several):
    row[:len(x)] = x
a = model.fit(several).transform(several)
b = RAE(8, max_iter=20, missing="padding", random_state=0).fit(padded).transform(padded)
print(f"the same codes: {np.array_equal(a, b)}")
plotting.reproductions(model, several, n=3)
