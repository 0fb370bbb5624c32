"""class StreamDetector: a score for every step of a stream that never ends, as it comes."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rae_fast import detector_file, inputs
from rae_fast._estimator import Estimator, not_fitted
from rae_fast._messages import shown
from rae_fast.gaps import Gaps
from rae_fast.hyperparameters import generator, integer, real
from rae_fast.rae import RAE
from rae_fast.stretches import windows

Floats = NDArray[Any]


class StreamDetector(Estimator):
    """Scores of the steps of a stream, one by one: how badly the input comes back from the state that has just read it.

    An update takes a step of the encoder and one of the decoder, O(H (H + I)), whatever the length of the stream. It
    needs a model with ``objective="stepwise"``, which learns to give back a step from every state; one that unrolls
    whole sequences has never seen a state of a stream without an end (docs/quality.md, "Streams").

    Parameters
    ----------
    model : RAE, optional
        With ``objective="stepwise"``; a copy is fitted. None is
        ``RAE(objective="stepwise", standardize="channel", max_iter=100)``.
    width : int, default=64
        Steps of the windows that `fit` cuts a series into.
    contamination : float, default=0.001
        The part of the steps of the training data with a score below `offset_`.
    random_state : None, int or NumPy generator, default=None
        The model's, where `model` is None.

    Attributes
    ----------
    model_ : RAE, fitted
    n_features_in_ : int
    offset_ : float, scores below it are anomalies; may be set
    state_ : ndarray, of shape (H,) or (N, H), or None before the first step

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import StreamDetector
    >>> rng = np.random.default_rng(0)
    >>> t = 0.3 * np.arange(2000)[:, None]
    >>> x = np.hstack([np.sin(t), np.cos(t)]) + 0.05 * rng.standard_normal((2000, 2))
    >>> detector = StreamDetector(random_state=0).fit(x[:1500])
    >>> scores = [detector.update(step) for step in x[1500:]]
    >>> bool(detector.update([1.5, -1.5]) < detector.offset_ < np.median(scores))
    True
    """

    _gaps: Gaps | None
    _state: Floats | None
    _expected: Floats | None    # of the step to come, where numbers may be missing

    def __init__(self, model: Any = None, *, width: int = 64, contamination: float = 0.001,
                 random_state: Any = None) -> None:
        self.model = model
        self.width = width
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from a series that is normal.

        Parameters
        ----------
        X : array-like of shape (T, I), or a list of such
            Long series, which are cut into windows of `width` steps that overlap by half.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, FloatingPointError
            For bad input, as of `RAE.fit`; the detector is unchanged.

        Examples
        --------
        See the class.
        """
        width = self._check()
        if self.model is None:
            model = RAE(objective="stepwise", standardize="channel", max_iter=100, random_state=self.random_state)
        else:
            if not isinstance(self.model, RAE) or self.model.objective != "stepwise":
                raise ValueError('model must be None or an RAE with objective="stepwise": one that unrolls whole '
                                 "sequences does not give back a step of a stream")
            model = type(self.model)(**self.model.get_params(deep=False))
            if model.patch_length not in ("auto", 1):
                raise ValueError("a stream is read step by step: choose patch_length=1")
            if model.missing == "padding":
                raise ValueError("a stream has no end: choose missing='ignore'")
            model.set_params(pooling="last", standardize_codes=False, whiten=False)  # no codes are looked at
        several = isinstance(X, (list, tuple)) and len(X) > 0 and np.ndim(X[0]) > 0
        if several and np.ndim(X[0]) == 1:
            raise ValueError("X is a list of vectors: pass np.asarray(X) if they are the steps of one series, or "
                             "[np.asarray(x)[:, None] for x in X] if each is a series of one channel")
        names = inputs.feature_names(list(X) if several else X)
        series = [_series(x) for x in (X if several else [X])]
        parts = [windows(x, min(width, len(x)), max(1, width // 2)) for x in series]
        cut = [window for part in parts for window in part]
        model.fit(cut)
        gaps = None
        if model.missing != "error":
            gaps = Gaps.of("ignore", inputs.as_batch(cut, model.theta_.dtype, missing="ignore"), None)
        scores = np.concatenate([_scores(model, gaps, x) for x in series])
        self._model, self._gaps, self._names = model, gaps, names
        self._offset = float(np.nanquantile(scores, self.contamination))
        return self.reset()

    def update(self, x: Any) -> Any:
        """Read the next step of a stream, or of each of N streams.

        Parameters
        ----------
        x : array-like of shape (I,) or (N, I)

        Returns
        -------
        float, or ndarray of shape (N,): minus the mean squared error of what comes back of the step, in standardised
        units; higher is more normal. NaN for a step without a number, of which nothing can be said.

        Raises
        ------
        ValueError
            For bad input; the state is unchanged.

        Examples
        --------
        See the class.
        """
        model = self._fitted()
        x = np.atleast_1d(inputs.as_numbers(x, "x").astype(np.float64))
        if x.ndim > 2:
            raise ValueError(f"x has shape {x.shape}; expected one step (I,), or one of each of N streams, (N, I)")
        state = self._state
        if state is None:
            state = model.initial_state() if x.ndim == 1 else model.initial_state(len(x))
        read = x if self._gaps is None else self._gaps.rows(x, self._expected)
        after = model.step(state, read)
        found = _errors(model, np.atleast_2d(after), np.atleast_2d(x))
        self._state, self._expected = after, None if self._gaps is None else self._gaps.next(read)
        return -float(found[0]) if x.ndim == 1 else -found

    def _check(self) -> int:
        """The width; ValueError for bad settings."""
        if isinstance(self.contamination, bool) or not 0 < real("contamination", self.contamination) < 0.5:
            raise ValueError(f"contamination must lie in (0, 0.5); got {shown(self.contamination)}")
        generator(self.random_state)
        width: int = integer(1)("width", self.width)
        return width

    def reset(self) -> Self:
        """Forget the stream: the next step is a first one.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import StreamDetector
        >>> detector = StreamDetector(random_state=0).fit(np.sin(np.arange(200))[:, None])
        >>> first = detector.update([0.5])
        >>> detector.reset().update([0.5]) == first
        True
        """
        self._fitted()
        self._state = self._expected = None
        return self

    def score_steps(self, X: Any) -> Floats:
        """The scores of all steps of a series from its beginning, as `update` gives them one by one.

        Parameters
        ----------
        X : array-like of shape (T, I)

        Returns
        -------
        ndarray of shape (T,)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import StreamDetector
        >>> x = np.sin(np.arange(200))[:, None]
        >>> StreamDetector(random_state=0).fit(x).score_steps(x).shape
        (200,)
        """
        model = self._fitted()
        inputs.check_feature_names(X, self._names, type(self).__name__)
        return _scores(model, self._gaps, _series(X))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to a file, whole or not at all; no pickle. The stream that it is reading is no part of it.

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
        >>> from rae_fast import StreamDetector
        >>> x = np.sin(np.arange(200))[:, None]
        >>> detector = StreamDetector(random_state=0).fit(x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     detector.save(os.path.join(folder, "stream.safetensors"))
        ...     again = StreamDetector.load(os.path.join(folder, "stream.safetensors"))
        >>> bool((again.score_steps(x) == detector.score_steps(x)).all())
        True
        """
        self._check()
        model, arrays = self._fitted(), {}
        if self._gaps is not None:
            arrays = {"mean": self._gaps.mean, "correlation": self._gaps.correlation}
        facts = {"offset": self._offset, "names": self._names}
        detector_file.save(path, self, detector_file.Kept(model, arrays, facts))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A detector that `save` wrote, at the beginning of a stream. Executes nothing from the file.

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
        found: Self = detector_file.load(path, cls, {"mean": 1, "correlation": 1}, cls._take)
        return found

    def _take(self, kept: detector_file.Kept) -> None:
        """What a file says that it had learned."""
        self._check()
        model, arrays, names = kept.model, kept.arrays, kept.facts["names"]
        n = model.n_features_in_
        if model.objective != "stepwise" or model.patch_length not in ("auto", 1) or model.missing == "padding":
            raise ValueError("its model does not read a stream step by step")
        if (model.missing == "error") == bool(arrays) or any(len(array) != n for array in arrays.values()):
            raise ValueError("what it says of missing numbers does not fit its model")
        if arrays and not ((arrays["correlation"] >= 0) & (arrays["correlation"] < 1)).all():
            raise ValueError("correlation has values that are no correlations below 1")
        if names is not None and (not isinstance(names, list) or len(names) != n
                                  or not all(isinstance(name, str) for name in names)):
            raise ValueError("its names of features are not one for each")
        self._model, self._names = model, None if names is None else tuple(names)
        gaps = [arrays[name].astype(model.theta_.dtype) for name in ("mean", "correlation") if arrays]
        self._gaps = Gaps("ignore", *gaps) if gaps else None
        self._offset = detector_file.number(kept.facts["offset"], "offset", infinite=True)
        self.reset()

    @property
    def model_(self) -> RAE:
        return self._fitted()

    @property
    def n_features_in_(self) -> int:
        return self._fitted().n_features_in_

    @property
    def offset_(self) -> float:
        self._fitted()
        return self._offset

    @offset_.setter
    def offset_(self, value: Any) -> None:
        self._fitted()
        self._offset = detector_file.number(value, "offset_", infinite=True)

    @property
    def state_(self) -> Floats | None:
        self._fitted()
        return None if self._state is None else self._state.copy()

    def _fitted(self) -> RAE:
        if not hasattr(self, "_model"):
            raise not_fitted(f"this {type(self).__name__} is not fitted yet; call fit first")
        model: RAE = self._model
        return model

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.transformer_tags, tags.input_tags.sparse = "outlier_detector", None, False
        return tags


def _scores(model: RAE, gaps: Gaps | None, x: Floats) -> Floats:
    """Of every step of a series from its beginning; what is missing is read as expected by what came before."""
    return -_errors(model, model.hidden_states([x if gaps is None else gaps.ahead(x)])[0], x)


def _errors(model: RAE, states: Floats, x: Floats) -> Floats:
    """Mean squared errors of the steps x that the states give back, in the model's units."""
    given = model.read_rows(model.unroll(model.encode_states(states), 1)[:, 0])
    there = ~np.isnan(x)
    squares = np.where(there, np.square(given - model.read_rows(x), dtype=np.float64), 0)
    with np.errstate(invalid="ignore"):
        found: Floats = squares.sum(axis=1) / there.sum(axis=1)
    return found


def _is_sparse(x: Any) -> bool:
    return hasattr(x, "tocsr")


def _series(x: Any) -> Floats:
    """One series as rows of numbers."""
    if _is_sparse(x):
        raise ValueError("a series is an array of numbers; Sparse matrices are not supported")
    series = inputs.as_numbers(x, "a series").astype(np.float64)
    series = series[:, None] if series.ndim == 1 else series
    if series.ndim != 2 or len(series) == 0:
        raise ValueError("a series is an array of numbers of shape (n_steps, n_features) or (n_steps,), of at least "
                         "one step")
    return series
