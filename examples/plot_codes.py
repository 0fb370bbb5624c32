"""
Choosing the size of codes, and classifiers behind them
=======================================================

Handwritten digits as sequences of eight rows. ``code_sizes`` holds out a part and shows what codes of several sizes
lose, beside principal components. A search by ``score``, such as GridSearchCV's, would always take the largest; the
elbow is where more numbers gain less. A classifier behind the codes wants them standardised.
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from rae_fast import RAE, RAEClassifier, code_sizes, plotting

digits = load_digits()
X, y = digits.images, digits.target
found = code_sizes(X[:800], random_state=0)
plotting.sizes(found)
kept = found.explained_variance[found.sizes.index(found.elbow)]
print(f"the elbow is at {found.elbow} numbers, which keep {kept:.0%} of the variance")

# %%
# Two stages, and labels learned together with the reconstruction.

options = {"max_iter": 100, "random_state": 0}
codes = RAE(24, standardize_codes=True, **options)
two_stages = make_pipeline(codes, LogisticRegression(max_iter=1000)).fit(X[:800], y[:800])
together = RAEClassifier(24, **options).fit(X[:800], y[:800])
print(f"two stages {two_stages.score(X[800:], y[800:]):.1%}")
print(f"together   {together.score(X[800:], y[800:]):.1%}")

# %%
# Their codes on two components.

plotting.codes(together.transform(X[800:1100]), y[800:1100])

# %%
# Some held-out digits as channels over steps, and what comes back.

plotting.reproductions(together, list(X[800:803]), n=3)
