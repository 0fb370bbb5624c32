"""What estimators of sequences share: what a model is, how it starts, and how it is judged.

How it learns and is kept is _learner.py's, how sequences become codes and codes sequences is coding.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _blas, _objectives, closed_form, dense, inputs, layouts, outputs, parameters, sizes, stretches
from rae_fast._batch import Batch, SparseBatch
from rae_fast._form import SMOOTHING, Form
from rae_fast._kernels import threads
from rae_fast._messages import shown
from rae_fast.coding import Coding
from rae_fast.gaps import Gaps
from rae_fast.hyperparameters import Settings
from rae_fast.learned import Learned
from rae_fast.patches import Patches
from rae_fast.scaling import Scaling
from rae_fast.streams import Streams

Floats = NDArray[Any]

# Bytes of parameters up to which a fit keeps those of the closed form as well, which it must not end above.
_MOST_GUARDED = 1 << 28
# Softmax outputs up to which it is judged by these.
_MOST_JUDGED = 1 << 30
# Features, for each number of a state, from which errors of linear outputs are found without the outputs.
_MANY_OUTPUTS = 8

# stretch_length="auto": sequences of more steps are cut, into parts of so many (docs/quality.md, "Long series").
_LONGEST, _STRETCH = {"stepwise": 5_000, "unfold": 100_000}, 250


class SequenceModel(Coding, Streams):
    """An estimator of sequences."""

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Floats:
        """Learn, then encode: fit(X, y, sample_weight).transform(X).

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        ndarray of shape (N, C)

        Raises
        ------
        ValueError, FloatingPointError
            As in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> RAE(n_hidden=4, max_iter=5, random_state=0).fit_transform(np.eye(3)).shape
        (1, 4)
        """
        return self.fit(X, y, sample_weight).transform(X)

    # ---- the model as a function ----------------------------------------------------------------

    def loss_and_grad(self, X: Any, sample_weight: Any = None) -> tuple[float, dict[str, Floats]]:
        """The objective sum_n w_n E(X_n) and its gradient.

        Parameters
        ----------
        X : sequences
        sample_weight : array-like of shape (N,), optional
            The weights w_n, 1 / N each by default.

        Returns
        -------
        loss : float
        grad : dict of str to ndarray, with the names and shapes of `parameters_`

        Raises
        ------
        ValueError
            For bad input.

        Notes
        -----
        Exact back-propagation through time, the moving targets included: `docs/design.md`.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> loss, grad = model.loss_and_grad(np.eye(3))
        >>> model.parameters_["c_x"][0] += 1e-6
        >>> change = (model.loss_and_grad(np.eye(3))[0] - loss) / 1e-6
        >>> bool(abs(change - grad["c_x"][0]) < 1e-4)
        True
        """
        settings = self._checked or self._settings()
        learned = self._learned or self._fitted()
        batch, weights = self._read_targets(X, learned), None
        if sample_weight is not None:
            batch, weights = inputs.as_weighted(sample_weight, batch)
        form = learned.form.under(settings)
        unit = learned.solver.residual_unit(form)
        objective = _objectives.borrow(form, batch, weights, settings.max_memory, settings.n_jobs, unit)
        grad = objective.new_gradient()
        loss = objective.loss_and_grad(learned.theta, grad)
        _objectives.give_back(objective)
        if unit != 1:
            with np.errstate(all="ignore"):
                loss = loss * unit * unit
                grad.memory[:] = grad.memory * unit * unit
        return loss, grad.views()

    def reconstruction_error(self, X: Any, *, per: str = "sequence", reduce: str = "sum",
                             units: str = "data") -> Floats | list[Floats]:
        """Squared error of `reconstruct`, summed over steps and features: an anomaly score.

        With categorical output the cross-entropy of each step, in nats.

        Parameters
        ----------
        X : sequences
        per : {"sequence", "step", "feature", "element"}, default="sequence"
            What has an error of its own. A cross-entropy is one of steps, not of features or elements.
        reduce : {"sum", "mean"}, default="sum"
            What is made of the errors of a sequence, of a step, or of a feature of a sequence. Means do not grow with
            the length. Numbers that are missing have none; the mean of none is 0.
        units : {"data", "model"}, default="data"
            With `standardize`, whether errors are those of the data, or ("model") of the standardised data, in which
            every channel counts the same.

        Returns
        -------
        ndarray of float64, in squared units of X: of shape (N,), or per feature (N, I); per step (N, T) and per element
            (N, T, I), or for a list a list of (T_n,) and (T_n, I) arrays

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> difference = model.reconstruct(np.eye(3))[0] - np.eye(3)
        >>> np.allclose(model.reconstruction_error(np.eye(3)), (difference**2).sum())
        True
        """
        learned = self._learned or self._fitted()
        if units not in ("data", "model"):
            raise ValueError(f"units must be 'data' or 'model'; got {shown(units)}")
        in_data = units == "data"
        if per == "sequence" and reduce == "sum":
            return self._reconstruction_errors(learned, self._read_targets(X, learned), in_data)
        if per not in ("sequence", "step", "feature", "element") or reduce not in ("sum", "mean"):
            raise ValueError("per must be 'sequence', 'step', 'feature' or 'element' and reduce 'sum' or 'mean'; got "
                             f"{shown(per)} and {shown(reduce)}")
        of_steps = learned.form.categorical
        if of_steps and per in ("feature", "element"):
            raise ValueError(f"per={per!r} is for linear outputs: a cross-entropy is one of a whole step")
        batch = self._read(X, learned)
        if of_steps:
            inputs.check_distributions(batch)
        read = learned.read(batch)
        summed = per == "step" and not of_steps
        found = []
        if per == "step" and learned.patches is None:
            found.append(self._errors_of_rows(learned, read, in_data))
        for rows in () if found else self._residuals(learned, read, in_data):
            squares = rows if of_steps else np.square(rows, dtype=np.float64)
            if learned.patches is not None:
                squares = learned.patches.rows(squares, batch.offsets)
            found.append(squares.sum(axis=1) if summed else squares)
        errors: Floats = np.concatenate(found)
        mean = reduce == "mean"
        if mean and batch.missing is not None:
            return _means_of_what_is_there(errors, batch, per)
        if per in ("step", "element"):
            if mean and summed:
                errors /= batch.n_features
            if batch.is_list:
                return [errors[a:b].copy() for a, b in zip(batch.offsets[:-1], batch.offsets[1:])]
            return errors.reshape(batch.n_sequences, -1, *errors.shape[1:])
        sums: Floats = np.add.reduceat(errors, batch.offsets[:-1])
        if mean:
            sums /= batch.lengths().reshape(-1, *[1] * (sums.ndim - 1))
        return sums if per == "feature" or of_steps else (sums.mean(axis=1) if mean else sums.sum(axis=1))

    # ---- what a Learner asks ---------------------------------------------------------------------

    def _decided(self, settings: Settings, batch: Batch, weights: Floats | None,
                 rng: np.random.Generator) -> tuple[Settings, Patches | None]:
        if settings.output == "auto":
            settings = settings.but(output="softmax" if batch.is_ids else "linear")
        n_hidden, length = sizes.decided(settings, batch, weights, rng)
        patches = Patches.of(batch, weights, length) if length > 1 else None
        return settings.but(n_hidden=n_hidden, patch_length=length), patches

    def _cut(self, batch: Batch, weights: Floats | None, settings: Settings) -> tuple[Batch, Floats | None]:
        length = settings.stretch_length
        if length is None:
            return batch, weights
        longest, length = (_LONGEST[settings.objective], _STRETCH) if length == "auto" else (length, length)
        return stretches.cut(batch, weights, longest, length)

    def _gaps(self, settings: Settings, batch: Batch, weights: Floats | None) -> Gaps | None:
        if settings.missing == "error":
            return None
        if isinstance(batch, SparseBatch) or settings.output in ("softmax", "spherical"):
            raise ValueError(f"missing={settings.missing!r} is for linear outputs of rows of numbers; choose "
                             "missing='error' for token ids, sparse rows and categorical outputs")
        return Gaps.of(settings.missing, batch, _rows_weights(batch, weights))

    def _scaling(self, settings: Settings, batch: Batch, weights: Floats | None) -> Scaling | None:
        if settings.standardize == "none":
            return None
        if isinstance(batch, SparseBatch) or settings.output in ("softmax", "spherical"):
            raise ValueError(f"standardize={settings.standardize!r} is for linear outputs of rows of numbers; choose "
                             "standardize='none' for token ids, sparse rows and categorical outputs")
        return Scaling.of(settings.standardize, batch.data, _rows_weights(batch, weights), batch.missing)

    def _other_forms(self, settings: Settings, learned: Learned, batch: Batch) -> list[Form]:
        return [self._form(settings.but(n_hidden=n, output=learned.form.output), batch)
                for n in sizes.others(settings, learned.form.n_hidden)]

    def _form(self, settings: Settings, batch: Batch) -> Form:
        _blas.check_size(settings.n_hidden + batch.n_features, "n_hidden plus the number of features of a step")
        return Form(batch.n_features, settings.n_hidden, settings.objective, settings.decoder, settings.output,
                    settings.tied, settings.hidden_weight, settings.reconstruct_h0, settings.n_code)

    def _initial_values(self, form: Form, batch: Batch, weights: Floats | None, settings: Settings,
                        rng: np.random.Generator) -> tuple[Floats, Floats | None]:
        alone = None
        if settings.init == "linear":
            # Who trains with the textbook's rates, or for something else, gets what that gives; and where a second
            # model would take too much memory, or to judge both takes as long as a pass.
            guarded = (settings.objective == "unfold" and settings.relative_rates
                       and form.size * batch.dtype.itemsize <= _MOST_GUARDED
                       and (form.output != "softmax" or batch.n_rows * form.n_inputs <= _MOST_JUDGED))
            linear = form.with_linear_outputs() if form.output == "spherical" else form
            start, alone = closed_form.initialise(
                linear, batch, weights, rng, threads=settings.n_jobs, name=type(self).__name__,
                verbose=settings.verbose > 0, wanted=(settings.max_iter != 0, settings.max_iter == 0 or guarded))
            theta = alone if settings.max_iter == 0 else start
            if not guarded or alone is None or not parameters.all_finite(alone):
                alone = None
        elif settings.init == "orthogonal":
            theta = parameters.orthogonal(form, rng, batch.dtype, settings.n_jobs)
        else:
            theta = parameters.initialise(form, settings.init_scale, rng, batch.dtype)
        assert theta is not None
        if not parameters.all_finite(theta):
            if settings.init == "normal":
                raise ValueError(f"init_scale={settings.init_scale} overflows {theta.dtype}; make it smaller")
            raise ValueError(f"the closed form of X overflows {theta.dtype}; scale X {inputs.way_to_scale(batch)}")
        return theta, alone

    def _read_first(self, X: Any, settings: Settings) -> Batch:
        layouts.warn(X)
        dtype = None if settings.dtype == "auto" else np.dtype(settings.dtype)
        batch = inputs.as_batch(X, dtype, settings.n_features, type(self).__name__, settings.n_features is not None,
                                settings.missing)
        if settings.output in ("softmax", "spherical"):
            inputs.check_distributions(batch)
        return batch

    def _read_targets(self, X: Any, learned: Learned) -> Batch:
        batch = self._read(X, learned)
        if learned.form.categorical:
            inputs.check_distributions(batch)
        return learned.read(batch)

    def _errors(self, learned: Learned, batch: Batch) -> Floats:
        return self._reconstruction_errors(learned, batch, False)

    def _reconstruction_errors(self, learned: Learned, batch: Batch, in_data: bool) -> Floats:
        """Of each sequence that the model reads, in units of the data or its own."""
        sums: Floats = np.add.reduceat(self._errors_of_rows(learned, batch, in_data), batch.offsets[:-1])
        return sums

    def _errors_of_rows(self, learned: Learned, batch: Batch, in_data: bool) -> Floats:
        """The error of each row that the model reads."""
        form = learned.form
        if (isinstance(batch, SparseBatch) and form.output != "softmax"
                and form.n_inputs > _MANY_OUTPUTS * (form.n_hidden + 1) and batch.n_rows > form.n_hidden):
            return self._errors_without_outputs(learned, batch)
        errors = [rows if rows.ndim == 1 else np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
                  for rows in self._residuals(learned, batch, in_data)]
        return np.concatenate(errors)

    def _errors_without_outputs(self, learned: Learned, batch: SparseBatch) -> Floats:
        """|o - x|^2 = y' Q y - 2 y' W'x + |x|^2 of outputs o = W y and Q = W'W: as the factored update has it."""
        d, threads_ = learned.form.n_hidden + 1, threads(self.n_jobs)
        weights = learned.form.views(learned.theta)
        V, c = weights["V_hx"].T, weights["c_x"]
        Q = np.zeros((d, d))
        for first in range(0, len(V), 1 << 13):
            some = np.column_stack([V[first:first + (1 << 13)], c[first:first + (1 << 13)]]).astype(np.float64)
            Q += dense.product(some.T, some, threads_)
        rows = batch.matrix(np.float64)
        errors = np.empty(batch.n_rows)
        states_of = self._states_of_outputs(learned)
        for part, states in self._in_pieces(learned, self._codes(learned, batch), batch.offsets, states_of):
            y = np.column_stack([states, np.ones(len(states))]).astype(np.float64)
            x = rows[part.start:part.stop]
            named, place = np.unique(x.indices, return_inverse=True)
            few = np.column_stack([V[named], c[named]]).astype(np.float64)
            row = np.repeat(np.arange(len(y)), np.diff(x.indptr))
            outputs_there = np.einsum("ij,ij->i", few[place], y[row])
            own = np.maximum(np.einsum("ij,ij->i", dense.product(y, Q, threads_), y), 0)
            if learned.form.output == "spherical":
                each = np.log(own + SMOOTHING)[row] - np.log(outputs_there**2 + SMOOTHING / len(V))
                errors[part] = np.bincount(row, each * x.data, len(y))
            else:
                errors[part] = own + np.bincount(row, (x.data - 2 * outputs_there) * x.data, len(y))
        return np.maximum(errors, 0)

    def _residuals(self, learned: Learned, batch: Batch, in_data: bool) -> Iterator[Floats]:
        """Outputs of the rows that the model reads less these rows, 0 where none is judged; or, of categorical ones,
        the cross-entropy of each row. Some rows after the others."""
        whole = not isinstance(batch, SparseBatch)
        for part, rows in self._in_pieces(learned, self._codes(learned, batch), batch.offsets, whole=whole):
            given = batch.dense_rows(part)
            if learned.form.categorical:
                yield -np.einsum("ij,ij->i", given, outputs.log_probabilities(rows, learned.form), dtype=np.float64)
                continue
            rows -= given
            if batch.missing is not None:
                rows[batch.missing[part]] = 0
            yield rows if learned.scaling is None or not in_data else learned.scaling.residuals(rows)


def _rows_weights(batch: Batch, weights: Floats | None) -> Floats | None:
    """The weight of each row."""
    return None if weights is None else np.repeat(weights.astype(np.float64) / weights.max(), batch.lengths())


def _means_of_what_is_there(errors: Floats, batch: Batch, per: str) -> Floats | list[Floats]:
    """Means over the numbers that are not missing, 0 where all are. errors: of elements (rows, I), or sums of steps."""
    assert batch.missing is not None
    there = (~batch.missing).astype(np.float64)
    if per in ("step", "element"):
        found = errors if per == "element" else errors / np.maximum(there.sum(axis=1), 1)
        if batch.is_list:
            return [found[a:b].copy() for a, b in zip(batch.offsets[:-1], batch.offsets[1:])]
        return found.reshape(batch.n_sequences, -1, *found.shape[1:])
    sums, counts = (np.add.reduceat(x, batch.offsets[:-1]) for x in (errors, there))
    if per == "sequence":
        sums, counts = sums.sum(axis=1), counts.sum(axis=1)
    means: Floats = sums / np.maximum(counts, 1)
    return means
