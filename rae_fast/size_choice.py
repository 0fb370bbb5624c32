"""How large a code should be: held-out errors of several sizes, from the closed form of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import inputs
from rae_fast._batch import Batch, SparseBatch
from rae_fast._messages import shown
from rae_fast.hyperparameters import generator, integer, positive_fraction
from rae_fast.rae import RAE

Floats = NDArray[Any]


@dataclass(frozen=True)
class CodeSizes:
    """Errors by the size of the code.

    Attributes
    ----------
    sizes : tuple of int, rising
    errors : ndarray, held-out squared errors over the variance, of the closed form of each size
    explained_variance : ndarray, 1 less these
    pca : ndarray, those of principal components of whole sequences, or None where lengths differ
    elbow : int, the size after which a larger code gains least: farthest below the line from the first to the last
    """

    sizes: tuple[int, ...]
    errors: Floats
    pca: Floats | None

    @property
    def explained_variance(self) -> Floats:
        found: Floats = 1 - self.errors
        return found

    @property
    def elbow(self) -> int:
        if len(self.sizes) < 3:
            return self.sizes[int(np.argmin(self.errors))]
        x, y = np.log(self.sizes), self.errors
        line = y[0] + (y[-1] - y[0]) * (x - x[0]) / (x[-1] - x[0])
        return self.sizes[int(np.argmax(line - y))]


def code_sizes(X: Any, sizes: Sequence[int] = (1, 2, 4, 8, 16, 32), *, n_hidden: int | None = None,
               standardize: str = "channel", test_fraction: float = 0.25, n_jobs: int | None = 1,
               random_state: Any = None) -> CodeSizes:
    """Held-out errors of codes of several sizes, from the closed form of each, without training.

    `score` rises with the size of a code, so a search by it, such as GridSearchCV's, always takes the largest: look at
    these, or at ``plotting.sizes`` of them, and take the elbow, or the smallest with as much `explained_variance` as
    you need.

    Parameters
    ----------
    X : sequences of rows of numbers, of which a part is held out
    sizes : sequence of int, default=(1, 2, 4, 8, 16, 32)
        Sizes of codes; those beyond the numbers of a sequence, or beyond n_hidden, are left out.
    n_hidden : int, optional
        As of `RAE`.
    standardize : {"none", "channel", "global"}, default="channel"
        As of `RAE`; errors count in the same units.
    test_fraction : float, default=0.25
        The part held out.
    n_jobs : int or None, default=1
    random_state : None, int or NumPy generator, default=None
        Of what is held out.

    Returns
    -------
    CodeSizes

    Raises
    ------
    ValueError
        For bad input, fewer than 4 sequences, or sizes of which none is left.

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import code_sizes
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 24))     # of two numbers each
    >>> found = code_sizes(X.reshape(60, 12, 2), sizes=(1, 2, 4, 8), random_state=0)
    >>> found.elbow
    2
    """
    positive_fraction("test_fraction", test_fraction)
    if n_hidden is not None:
        integer(1)("n_hidden", n_hidden)
    try:
        wanted = [integer(0)("sizes", size) for size in sizes]
    except TypeError:
        raise ValueError(f"sizes must be a sequence of integers; got {shown(sizes)}") from None
    rng = generator(random_state)
    batch = inputs.as_batch(X, None, None, "code_sizes", False)
    if isinstance(batch, SparseBatch):
        raise ValueError("code_sizes takes rows of numbers; X holds token ids or sparse rows")
    if batch.n_sequences < 4:
        raise ValueError(f"code_sizes needs at least 4 sequences, some of them to hold out; X has {batch.n_sequences}")
    order = rng.permutation(batch.n_sequences)
    cut = min(batch.n_sequences - 2, max(1, round(test_fraction * batch.n_sequences)))
    learn, held_out = (_sequences(batch.select(np.sort(part))) for part in (order[cut:], order[:cut]))
    numbers = batch.longest * batch.n_features
    some = sorted({size for size in wanted if 1 <= size <= min(numbers, n_hidden or numbers)})
    if not some:
        raise ValueError(f"none of the sizes {shown(wanted)} is at least 1 and at most "
                         f"{min(numbers, n_hidden or numbers)}")
    errors: list[float] = []
    variance = 0.0
    for size in some:
        model = RAE(n_hidden, n_code=size, standardize=standardize, max_iter=0, n_jobs=n_jobs, random_state=0)
        model.fit(learn)
        if not errors:
            variance = _variance(model, learn, held_out)
        errors.append(float(np.sum(model.reconstruction_error(held_out, units="model"))) / variance)
    pca = None
    if batch.common_length is not None:
        pca = _pca(_standardised(model, learn), _standardised(model, held_out), some) / variance
    return CodeSizes(tuple(some), np.array(errors), pca)


def _sequences(batch: Batch) -> list[Floats]:
    return [batch.data[a:b] for a, b in zip(batch.offsets[:-1], batch.offsets[1:])]


def _standardised(model: RAE, X: list[Floats]) -> Floats:
    """Sequences of one length as rows, in the model's units."""
    return model.read_rows(np.concatenate(X)).astype(np.float64).reshape(len(X), -1)


def _variance(model: RAE, learn: list[Floats], held_out: list[Floats]) -> float:
    """What is lost of the held-out steps by always giving back the mean step of the others."""
    mean = model.read_rows(np.concatenate(learn)).mean(axis=0, dtype=np.float64)
    return float(np.square(model.read_rows(np.concatenate(held_out)) - mean).sum()) or 1.0


def _pca(learn: Floats, held_out: Floats, sizes: Sequence[int]) -> Floats:
    """Errors of the principal components of whole sequences."""
    mean = learn.mean(axis=0)
    _, _, components = np.linalg.svd(learn - mean, full_matrices=False)
    rest = held_out - mean
    gone = np.square(rest @ components.T).sum(axis=0)
    whole = float(np.square(rest).sum())
    return np.array([whole - gone[:size].sum() for size in sizes])
