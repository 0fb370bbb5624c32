"""class SequenceScaler: the channels of sequences in units of their own, in front of any estimator of sequences."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rae_fast import inputs
from rae_fast._batch import Batch, SparseBatch
from rae_fast._estimator import Estimator, not_fitted
from rae_fast._messages import shown
from rae_fast.scaling import STANDARDIZE, Scaling

Floats = NDArray[Any]


class SequenceScaler(Estimator):
    """Standardise the channels of sequences, by the mean and deviation of all steps that `fit` saw.

    What scikit-learn's StandardScaler is for rows; for lists and arrays of three dimensions, in pipelines. `RAE` has
    the same inside (`standardize`), where outputs come back in the data's units by themselves. NaN is a number that is
    missing: it counts neither in the mean nor in the deviation, and stays NaN.

    Parameters
    ----------
    standardize : {"channel", "global"}, default="channel"
        A scale for each channel, or one for all. A channel that is constant, up to rounding, is only centred.

    Attributes
    ----------
    mean_, scale_ : ndarray, of shape (I,)
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import SequenceScaler
    >>> X = [np.random.default_rng(n).normal(5, 3, (n, 2)) for n in (3, 6, 4)]
    >>> Z = SequenceScaler().fit_transform(X)
    >>> bool(np.allclose(np.concatenate(Z).mean(0), 0) and np.allclose(np.concatenate(Z).std(0), 1))
    True
    """

    def __init__(self, standardize: str = "channel") -> None:
        self.standardize = standardize

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find mean and deviation of each channel.

        Parameters
        ----------
        X : sequences of rows of numbers, as `RAE` takes them
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import SequenceScaler
        >>> SequenceScaler().fit(np.eye(3)).mean_.tolist() == [1 / 3] * 3
        True
        """
        if self.standardize not in STANDARDIZE[1:]:
            raise ValueError(f"standardize must be 'channel' or 'global'; got {shown(self.standardize)}")
        batch = self._read(X, None, None)
        if batch.missing is not None and batch.missing.all(axis=0).any():
            raise ValueError(f"feature {int(batch.missing.all(axis=0).argmax())} has no number; leave it out")
        scaling = Scaling.of(self.standardize, batch.data, None, batch.missing)
        self._scaling, self._names = scaling, inputs.feature_names(X)
        return self

    def transform(self, X: Any) -> Any:
        """(X - mean_) / scale_.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, T, I), or for a list a list of (T_n, I) arrays

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import SequenceScaler
        >>> SequenceScaler().fit(np.eye(3)).transform([np.eye(3), np.eye(3)[:2]])[1].shape
        (2, 3)
        """
        scaling = self._fitted()
        inputs.check_feature_names(X, self._names, type(self).__name__)
        batch = self._read(X, scaling.mean.dtype, self.n_features_in_)
        return self._shaped(scaling.rows(batch.data), batch)

    def inverse_transform(self, X: Any) -> Any:
        """X scale_ + mean_.

        Parameters
        ----------
        X : standardised sequences

        Returns
        -------
        as of `transform`

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import SequenceScaler
        >>> scaler = SequenceScaler().fit(np.eye(3))
        >>> np.allclose(scaler.inverse_transform(scaler.transform(np.eye(3))), np.eye(3))
        True
        """
        scaling = self._fitted()
        batch = self._read(X, scaling.mean.dtype, self.n_features_in_)
        return self._shaped(scaling.back(batch.data), batch)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """`fit` and `transform`.

        Parameters
        ----------
        X : sequences
        y : ignored

        Returns
        -------
        as of `transform`

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import SequenceScaler
        >>> SequenceScaler().fit_transform(np.eye(3)).shape
        (1, 3, 3)
        """
        return self.fit(X, y).transform(X)

    @property
    def mean_(self) -> Floats:
        return self._fitted().mean

    @property
    def scale_(self) -> Floats:
        return self._fitted().scale

    @property
    def n_features_in_(self) -> int:
        return len(self._fitted().mean)

    def _read(self, X: Any, dtype: Any, n_features: int | None) -> Batch:
        batch = inputs.as_batch(X, dtype, n_features, type(self).__name__, False, "ignore")
        if isinstance(batch, SparseBatch):
            raise ValueError("X holds token ids or sparse rows, which have no channels to be standardised")
        return batch

    def _shaped(self, rows: Floats, batch: Batch) -> Any:
        if batch.missing is not None:
            rows[batch.missing] = np.nan
        if batch.is_list:
            return batch.in_container(rows)
        return rows.reshape(batch.n_sequences, -1, batch.n_features)

    def _fitted(self) -> Scaling:
        if not hasattr(self, "_scaling"):
            raise not_fitted(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self._scaling

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_scaling")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse, tags.input_tags.allow_nan = False, True
        return tags
