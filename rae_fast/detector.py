"""class RAEDetector: anomalies among sequences, by the outlier contract of scikit-learn.

A sequence is strange in two ways: it does not come back from its code, or its last state lies where no other does. The
error of a small code and the distance of the whole state both count, each over its median: docs/quality.md,
"Anomalies".
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rae_fast import detector_file, inputs
from rae_fast._batch import SparseBatch
from rae_fast._estimator import Estimator, not_fitted
from rae_fast._messages import shown
from rae_fast.hyperparameters import generator, real
from rae_fast.rae import RAE
from rae_fast.scaling import Scaling

Floats = NDArray[Any]

SCORES = ("both", "error", "distance")

# What the error weighs beside the distance, and the default model: docs/quality.md, "Anomalies".
_ERROR = 2.0
_UNITS, _PASSES, _BATCH = 24, 100, 32
# Its code has as many numbers as principal components have this part of the variance, within these limits; of so many
# sequences, and numbers in all, at most.
_HELD, _FEWEST, _MOST = 0.9, 5, 8
_JUDGED, _JUDGED_NUMBERS = 512, 1 << 22
# Roundings within which errors are noise, and the squared distance below which all states are as good as one.
_ROUNDINGS, _NEAR = 256, 1.0
# Roundings by which states of the same sequence differ from batch to batch.
_A_FEW = 16
# So many interquartile ranges of logarithms above their third quartile (Tukey's outer fence).
_FENCE = 3.0


@dataclass(frozen=True)
class Codes:
    """Where states lie: their mean, and the inverse of their covariance, robust against strange ones."""

    mean: Floats
    precision: Floats

    @staticmethod
    def of(codes: Floats, noise: float = 0.0) -> Codes:
        """Those of states (n, H), without any that lie beyond the outer fence. noise: a variance that says nothing."""
        noise += (_ROUNDINGS * float(np.finfo(codes.dtype).eps)) ** 2
        found = Codes(*_gaussian(codes, noise))
        squares = found.squares(codes)
        return Codes(*_gaussian(codes[squares <= outer_fence(squares)], noise))

    def squares(self, codes: Floats) -> Floats:
        """Squared Mahalanobis distances."""
        d = codes.astype(np.float64) - self.mean
        found: Floats = np.maximum(np.einsum("ni,ij,nj->n", d, self.precision, d), 0)
        return found


def outer_fence(values: Floats) -> float:
    """Beyond which positive values are outliers, by their logarithms."""
    logs = np.log(np.maximum(values, np.finfo(float).tiny))
    low, high = np.quantile(logs, [0.25, 0.75])
    # And rounding, by which a value may differ from the exponential of its logarithm.
    return float(np.exp(min(high + _FENCE * (high - low), 700.0))) * (1 + 1e-9)


def _gaussian(codes: Floats, noise: float) -> tuple[Floats, Floats]:
    """Mean and precision, of the covariance shrunk as Ledoit and Wolf have it (J. Multivariate Analysis 88, 2004)."""
    x = codes.astype(np.float64)
    mean = x.mean(axis=0)
    x = x - mean
    n, p = x.shape
    covariance = x.T @ x / n + noise * np.eye(p)
    target = np.trace(covariance) / p
    apart = np.square(covariance).sum() - p * target**2
    by_chance = (np.square(x).T @ np.square(x) / n - np.square(covariance)).sum() / n
    shrinkage = 1.0 if apart <= 0 else min(1.0, max(0.0, by_chance / apart))
    covariance = (1 - shrinkage) * covariance + shrinkage * target * np.eye(p)
    values, vectors = np.linalg.eigh(covariance / target)
    return mean, (vectors / np.maximum(values, 1e-10)) @ vectors.T / target


@dataclass(frozen=True)
class Found:
    """What a detector has learned."""

    model: RAE
    codes: Codes
    medians: tuple[float, float]    # of errors, and of squared distances
    offset: float
    score_by: str


class RAEDetector(Estimator):
    """Anomalies among sequences: the error of their reconstruction, and how far off the states lie that they end in.

    Parameters
    ----------
    model : RAE, optional
        What is fitted, on a copy. None is ``RAE(24, n_code=k, standardize="channel", max_iter=100, batch_size=32)``,
        where k, from 5 to 8, principal components have nine tenths of the variance of the sequences, resampled to one
        length.
    score_by : {"both", "error", "distance"}, default="both"
        "both": twice the mean squared error of the reconstruction over its median, plus the squared Mahalanobis
        distance of the last state over its median; or one of them alone.
    contamination : "auto" or float, default="auto"
        The part of the training data that is taken for anomalies, above 0 and at most 0.5. "auto": those with a score
        beyond Tukey's outer fence of the logarithms, which are none where all are normal.
    random_state : None, int or NumPy generator, default=None
        The model's, where `model` is None.
    n_jobs : int or None, default=1
        Threads, where `model` is None.

    Attributes
    ----------
    model_ : RAE, fitted
    offset_ : float, `decision_function` is `score_samples` less this; may be set
    n_features_in_ : int

    Notes
    -----
    Medians, covariance and `offset_` are those of the training data: of few sequences none is left to be held out. New
    normal sequences come back a little worse than those learned from; for a rate of false alarms that is kept, choose
    `offset_` by scores of normal sequences of your own. The error is a mean over steps and channels, so lengths may
    differ.

    References
    ----------
    Ledoit, O. and Wolf, M. (2004). A well-conditioned estimator for large-dimensional covariance matrices. Journal of
    Multivariate Analysis 88.

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import RAEDetector
    >>> rng = np.random.default_rng(0)
    >>> t = np.arange(30)[:, None]
    >>> X = [np.sin(0.4 * t + rng.uniform(0, 6)) + 0.05 * rng.standard_normal((30, 1)) for _ in range(100)]
    >>> detector = RAEDetector(random_state=0).fit(X)
    >>> strange = X[0].copy()
    >>> strange[15:20] = 0
    >>> detector.predict([X[1], strange]).tolist()
    [1, -1]
    """

    _estimator_type = "outlier_detector"
    _found: Found | None = None

    def __init__(self, model: Any = None, *, score_by: str = "both", contamination: Any = "auto",
                 random_state: Any = None, n_jobs: int | None = 1) -> None:
        self.model = model
        self.score_by = score_by
        self.contamination = contamination
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn what is normal.

        Parameters
        ----------
        X : sequences, as `RAE` takes them, most of them normal
        y : ignored
        sample_weight : array-like of shape (N,), optional
            As of `RAE.fit`; medians and covariance are of all that weigh anything.

        Returns
        -------
        self

        Raises
        ------
        ValueError, FloatingPointError
            As of `RAE.fit`; the detector is unchanged.

        Examples
        --------
        See the class.
        """
        self._check()
        if self.model is None:
            size = code_size(X, sample_weight)
            model = RAE(_UNITS, n_code=size, standardize="channel", max_iter=_PASSES, batch_size=_BATCH,
                        random_state=self.random_state, n_jobs=self.n_jobs)
        else:
            if not isinstance(self.model, RAE):
                raise ValueError(f"model must be None or an RAE; got {type(self.model).__name__}")
            model = type(self.model)(**self.model.get_params(deep=False))
        model.fit(X, None, sample_weight)
        errors, codes = _errors(model, X), model.last_states(X)
        counts = ~np.isnan(errors)
        if sample_weight is not None:
            counts &= np.asarray(sample_weight) > 0
        if not counts.any():
            raise ValueError("X has no number in any sequence that weighs anything")
        errors, codes = errors[counts], codes[counts]
        noise = _rounding(model, X)
        found = Codes.of(codes, noise)
        medians = max(float(np.median(errors)), noise), max(float(np.median(found.squares(codes))), _NEAR)
        scores = _scores(self.score_by, errors, found.squares(codes), medians)
        if self.contamination == "auto":
            # At least as far as a median: where all are alike, scores are rounding.
            offset = -max(outer_fence(-scores), 1.0)
        else:
            offset = float(np.quantile(scores, float(self.contamination)))
        # And by what rounding can make of an error, and of a squared distance, that are medians.
        far = float(np.linalg.eigvalsh(found.precision)[-1]) * (_A_FEW * np.finfo(codes.dtype).eps) ** 2
        for weight, median, little in ((_ERROR, medians[0], noise), (1.0, medians[1], far)):
            offset -= weight * float(2 * np.sqrt(median * little) + little) / median
        self._found = Found(model, found, medians, offset, self.score_by)
        return self

    def score_samples(self, X: Any) -> Floats:
        """How normal sequences are: higher is more normal.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N,): minus the weighted sum of the error and the squared distance, each over its median; NaN
        for a sequence without a number, where the model takes missing ones

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEDetector
        >>> X = np.random.default_rng(0).standard_normal((30, 8, 2))
        >>> RAEDetector(random_state=0).fit(X).score_samples(X).shape
        (30,)
        """
        found = self._fitted()
        squares = found.codes.squares(found.model.last_states(X))
        return _scores(found.score_by, _errors(found.model, X), squares, found.medians)

    def decision_function(self, X: Any) -> Floats:
        """`score_samples` less `offset_`: below 0 for anomalies.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N,)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEDetector
        >>> X = np.random.default_rng(0).standard_normal((30, 8, 2))
        >>> detector = RAEDetector(random_state=0).fit(X)
        >>> bool((detector.decision_function(X) == detector.score_samples(X) - detector.offset_).all())
        True
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.intp]:
        """+1 for normal sequences and -1 for anomalies, and for sequences of which nothing can be said.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of int of shape (N,)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        See the class.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.intp]:
        """`fit` and `predict`.

        Parameters
        ----------
        X : sequences
        y : ignored

        Returns
        -------
        ndarray of int of shape (N,)

        Raises
        ------
        ValueError, FloatingPointError
            As of `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEDetector
        >>> X = np.random.default_rng(0).standard_normal((40, 8, 2))
        >>> int((RAEDetector(contamination=0.1, random_state=0).fit_predict(X) == -1).sum())
        4
        """
        return self.fit(X, y).predict(X)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to a file, whole or not at all; no pickle. It holds the model as `RAE.save` does.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            If something else than a regular file stands at `path`.
        OSError
            If the file cannot be written; an older one at `path` is then still there.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from rae_fast import RAEDetector
        >>> X = np.random.default_rng(0).standard_normal((30, 8, 2))
        >>> detector = RAEDetector(random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     detector.save(os.path.join(folder, "detector.safetensors"))
        ...     again = RAEDetector.load(os.path.join(folder, "detector.safetensors"))
        >>> bool((again.score_samples(X) == detector.score_samples(X)).all())
        True
        """
        self._check()
        found = self._fitted()
        facts = {"medians": list(found.medians), "offset": found.offset, "score_by": found.score_by}
        arrays = {"mean": found.codes.mean, "precision": found.codes.precision}
        detector_file.save(path, self, detector_file.Kept(found.model, arrays, facts))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A detector that `save` wrote. Executes nothing from the file.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        the detector

        Raises
        ------
        ValueError
            If the file is truncated, altered, of another format version, or no such detector at all.
        OSError
            If it cannot be read.

        Examples
        --------
        See `save`.
        """
        found: Self = detector_file.load(path, cls, {"mean": 1, "precision": 2}, cls._take)
        return found

    def _take(self, kept: detector_file.Kept) -> None:
        """What a file says that it had learned."""
        self._check()
        mean, precision, facts = kept.arrays["mean"], kept.arrays["precision"], kept.facts
        n = len(kept.model.initial_state())
        if mean.shape != (n,) or precision.shape != (n, n):
            raise ValueError(f"the mean and precision of states of {n} numbers have the shapes {mean.shape} and "
                             f"{precision.shape}")
        if facts["score_by"] not in SCORES:
            raise ValueError(f"score_by is {facts['score_by']!r}, which does not fit")
        error, distance = (detector_file.number(value, "a median", 0) for value in facts["medians"])
        self._found = Found(kept.model, Codes(mean, precision), (error, distance),
                            detector_file.number(facts["offset"], "offset", infinite=True), facts["score_by"])

    @property
    def model_(self) -> RAE:
        return self._fitted().model

    @property
    def offset_(self) -> float:
        return self._fitted().offset

    @offset_.setter
    def offset_(self, value: Any) -> None:
        found = self._fitted()
        self._found = replace(found, offset=detector_file.number(value, "offset_", infinite=True))

    @property
    def n_features_in_(self) -> int:
        return int(self._fitted().model.n_features_in_)

    def _check(self) -> None:
        """ValueError for bad settings."""
        if not isinstance(self.score_by, str) or self.score_by not in SCORES:
            raise ValueError(f"score_by must be one of {', '.join(map(repr, SCORES))}; got {shown(self.score_by)}")
        by_rule = isinstance(self.contamination, str) and self.contamination == "auto"
        if not by_rule and (isinstance(self.contamination, (str, bool))
                            or not 0 < real("contamination", self.contamination) <= 0.5):
            raise ValueError(f"contamination must be 'auto' or lie in (0, 0.5]; got {shown(self.contamination)}")
        generator(self.random_state)

    def _fitted(self) -> Found:
        if self._found is None:
            raise not_fitted(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self._found

    def __sklearn_is_fitted__(self) -> bool:
        return self._found is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.transformer_tags = "outlier_detector", None
        return tags


def code_size(X: Any, sample_weight: Any = None) -> int:
    """Numbers of a code of sequences that weigh anything: as many as principal components have nine tenths of the
    variance, channels standardised and sequences resampled to their mean length."""
    batch, _ = inputs.as_weighted(sample_weight, inputs.as_batch(X, None, None, "RAEDetector"))
    if isinstance(batch, SparseBatch):
        return _FEWEST  # of what the model refuses
    n = max(1, min(batch.n_sequences, _JUDGED, _JUDGED_NUMBERS // batch.n_features))
    some = batch.select(np.linspace(0, batch.n_sequences - 1, n).astype(np.intp))
    scaled = Scaling.of("channel", batch.data).read(some)
    length = max(1, min(round(some.n_rows / n), _JUDGED_NUMBERS // (n * batch.n_features)))
    rows = np.empty((n, length, batch.n_features))
    for row, first, end in zip(rows, scaled.offsets[:-1], scaled.offsets[1:]):
        at = np.linspace(first, end - 1, length)
        low = at.astype(np.intp)
        part = (at - low)[:, None]
        row[:] = (1 - part) * scaled.data[low] + part * scaled.data[np.minimum(low + 1, end - 1)]
    whole = rows.reshape(n, -1) - rows.reshape(n, -1).mean(axis=0)
    shares = np.cumsum(np.square(np.linalg.svd(whole, compute_uv=False)))
    return int(np.clip(1 + np.searchsorted(shares, _HELD * shares[-1]), _FEWEST, _MOST))


def _scores(by: str, errors: Floats, squares: Floats, medians: tuple[float, float]) -> Floats:
    parts = {"error": errors / medians[0], "distance": squares / medians[1]}
    found: Floats = -(_ERROR * parts["error"] + parts["distance"] if by == "both" else parts[by])
    return found


def _errors(model: RAE, X: Any) -> Floats:
    """The mean squared error of each sequence over its steps and channels, in the model's units; NaN without any."""
    found: Floats = np.array(model.reconstruction_error(X, reduce="mean", units="model"))
    if model.missing != "error":
        batch = inputs.as_batch(X, missing=model.missing)
        if batch.missing is not None:
            found[np.logical_and.reduceat(batch.missing.all(axis=1), batch.offsets[:-1])] = np.nan
    return found


def _rounding(model: RAE, X: Any) -> float:
    """The mean squared error, in the model's units, that rounding alone could make of such data."""
    batch = inputs.as_batch(X, missing=model.missing)
    if isinstance(batch, SparseBatch) or batch.n_features != model.n_features_in_:  # ids, whose error is in nats
        return float(np.finfo(float).eps)
    largest = np.abs(batch.dense_rows(slice(0, batch.n_rows))).max(axis=0)
    one = model.read_rows(np.ones(len(largest))) - model.read_rows(np.zeros(len(largest)))
    unit = _ROUNDINGS * float(np.finfo(one.dtype).eps)
    return max(float(np.square(unit * largest * one, dtype=np.float64).mean()), float(np.finfo(float).tiny))
