"""Streams that never end: states that are advanced step by step, and their codes.

What RAE does beside whole sequences; a mixin of its own for every estimator whose states can be carried along.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _codes, inputs
from rae_fast._learner import Learner
from rae_fast._messages import shown
from rae_fast.sparse_inputs import as_stream_ids

Floats = NDArray[Any]


class Streams(Learner):
    """A Learner with states for streams."""

    def initial_state(self, n: int | None = None) -> Floats:
        """The state before the first input, h0.

        Parameters
        ----------
        n : int, optional
            Number of streams.

        Returns
        -------
        ndarray of shape (H,), or (n, H); a copy

        Raises
        ------
        ValueError
            If n is not None or a positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.initial_state().shape, model.initial_state(2).shape
        ((4,), (2, 4))
        """
        learned = self._learned or self._fitted()
        h0: Floats = learned.form.views(learned.memory)["h0"]
        if n is None:
            return h0.copy()
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"n must be None or an integer of at least 1; got {shown(n)}")
        if int(n) * h0.nbytes > np.iinfo(np.intp).max:
            raise ValueError(f"n={shown(n)} streams are more than an array can hold")
        return np.tile(h0, (int(n), 1))

    def step(self, state: Any, x: Any, out: Floats | None = None) -> Floats:
        """Read one more input of each of N streams.

        Parameters
        ----------
        state : array-like of shape (H,) or (N, H)
        x : array-like of shape (I,) or (N, I); of a model that reads k rows as one step (k, I) or (N, k, I); of one
            that was fitted on token ids also an integer, or (N,) of them
        out : ndarray of the shape of state and the model's dtype, optional
            Where to put the result; may be `state` itself.

        Returns
        -------
        ndarray of the shape of state: ``tanh([state, x] W + b_h)``

        Raises
        ------
        ValueError
            For bad input, or an `out` that does not fit.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> state = model.initial_state()
        >>> for x in np.eye(3):
        ...     state = model.step(state, x)
        >>> np.allclose(state, model.transform(np.eye(3))[0])
        True
        """
        learned = self._learned or self._fitted()
        theta, form = learned.memory, learned.form
        if learned.plain and out is None and not learned.reads_ids:
            after = _codes.step(theta, state, x, form, None, False)
            if after is not None:
                return after
        if learned.gaps is not None:
            x = learned.gaps.rows(inputs.as_numbers(x, "x"))
        if learned.patches is not None:
            x = inputs.as_patches(x, np.ndim(state), learned.patch_length, learned.n_features)
        ids = as_stream_ids(x, np.shape(state), learned.n_features) if learned.reads_ids else None
        if out is not None:
            inputs.check_out(out, np.shape(state), theta.dtype)
        after = None
        if learned.scaling is None:
            after = _codes.step(theta, state, x if ids is None else ids, form, out, ids is not None)
        if after is None:  # something has to be converted, or explained
            if ids is None:
                state, x = inputs.as_streams(state, x, form.n_hidden, form.n_inputs, theta.dtype)
                if learned.scaling is not None:
                    shape = (*x.shape[:-1], learned.patch_length, learned.n_features)
                    x = np.ascontiguousarray(learned.scaling.rows(x.reshape(shape)).reshape(x.shape))
            else:
                rows = inputs.as_matrix(np.atleast_2d(state), "state", form.n_hidden, theta.dtype)
                state = rows.reshape(np.shape(state))
            after = _codes.step(theta, state, x if ids is None else ids, form, out, ids is not None)
            assert after is not None
        return after
