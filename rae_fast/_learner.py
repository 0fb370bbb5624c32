"""What every estimator here can: learn, go on learning, be kept.

A Learner owns hyper-parameters and one Learned, and hands both over: to training.py for a fit, to compiled calls for an
update, to model_file.py for a file. What a model is, what it reads and what it is judged by is its subclass's affair:
the methods at the end of the class.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from rae_fast import (
    _objectives,
    checkpoint,
    factored,
    hyperparameters,
    inputs,
    model_file,
    persistence,
    relative_rates,
    sizes,
    training,
    trial,
)
from rae_fast._batch import Batch, SparseBatch
from rae_fast._estimator import Estimator, not_fitted
from rae_fast._factored import OutputFactor
from rae_fast._form import Form, check_theta
from rae_fast._messages import shown
from rae_fast._objective import Objective
from rae_fast._record import Record
from rae_fast._training import Updates
from rae_fast.gaps import Gaps
from rae_fast.hyperparameters import Settings, TrainingParameters
from rae_fast.learned import Learned, SolverState, new_solver
from rae_fast.patches import Patches
from rae_fast.scaling import Scaling
from rae_fast.solvers import SOLVERS, Solver
from rae_fast.vocabulary import Vocabulary

Floats = NDArray[Any]
Model = TypeVar("Model", bound="Learner")
# What makes sequences ready to be read, and their weights, when they are asked for.
Given = Callable[[], tuple[Batch, Floats | None]]

# Version of the pickled state.
_STATE_FORMAT = 5


# Attributes that wait for the next call, and are no part of a copy or a pickle; and those that no setting depends on.
_FOR_NEXT_CALL = ("_checked", "_kept")
_NOT_SETTINGS = (*_FOR_NEXT_CALL, "_learned")


def _slots(cls: type) -> list[str]:
    names = cls.__dict__.get("__slots__", ())
    return [name for name in ((names,) if isinstance(names, str) else names) if name not in ("__dict__", "__weakref__")]


class _Kept(NamedTuple):
    """What a model keeps for its next partial_fit, and what it is for."""

    learned: Learned
    settings: Settings
    updates: Updates
    unit: float    # of residuals
    sparse: bool   # batches
    outputs: OutputFactor | None


class Learner(Estimator, TrainingParameters):
    """Base of the estimators; see the module."""

    # The name of the kind of model in files, what its form is, and how long it learns by default.
    _kind: str
    _form_type: Any = Form
    _amounts: training.Amounts = training.AMOUNTS
    _learned: Learned | None = None
    # What is kept for the next call, and is no part of the model.
    _checked: Settings | None = None
    _kept: _Kept | None = None

    # ---- learning ------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, resume: Any = False) -> Self:
        """Learn from scratch, or go on with an interrupted fit.

        Parameters
        ----------
        X : sequences of I features, see Notes of the class
        y : ignored
        sample_weight : array-like of shape (N,), optional
            The weights w_n of the objective sum_n w_n E(X_n) of a batch, taken as they are; by
            default 1 / (sequences in the batch) each, so that a batch's objective is a mean.
        resume : bool or path, default=False
            A checkpoint to go on from, made by a fit with the same hyper-parameters on the same data; the
            result is then the same, bit for bit, as if that fit had not been interrupted. True stands for
            the file that `checkpoint` names, and starts afresh where there is none yet.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input or hyper-parameters, or a checkpoint that does not fit; the model is unchanged.
        FloatingPointError
            When the loss or its gradient overflows; the model keeps the last finite parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> rng = np.random.default_rng(0)
        >>> X = [rng.random((n, 2)) for n in (3, 5, 4)]
        >>> model = RAE(n_hidden=4, max_iter=50, random_state=0).fit(X)
        >>> model.loss_curve_[-1] < model.loss_curve_[0]
        True
        """
        self.__dict__.pop("_checked", None)  # a dictionary among them may hold other things now
        settings = self._settings()
        rng = hyperparameters.generator(settings.random_state)
        target = checkpoint.target_of(settings.checkpoint)
        path = checkpoint.place(resume, target)
        batch, weights = inputs.as_weighted(sample_weight, self._read_first(X, settings))
        n_steps = batch.common_length
        checksum = checkpoint.fingerprint(batch, weights, getattr(X, "classes", None)) if target or path else 0
        saved = None if path is None else checkpoint.read(path, type(self), self._kind)
        if saved is not None:
            checkpoint.check_resumable(saved, self, batch)
        whole = batch, weights
        batch, weights = self._cut(batch, weights, settings)
        is_cut = batch is not whole[0]
        held_out = None
        if settings.early_stopping:
            n = batch.n_sequences
            chosen = (training.draw_held_out(n, settings.validation_fraction, rng) if saved is None
                      else checkpoint.held_out_in(saved, n))
            batch, weights, held_out = training.hold_out(batch, weights, chosen)
        is_tried = saved is None and training.is_tried(settings, batch.n_sequences, self._amounts)
        settings = training.with_amounts(settings, batch.n_sequences, self._amounts)
        at_most = None
        if saved is None:
            learned, at_most, batch = self._start(batch, weights, settings, rng, n_steps, self._names(X))
            learned = self._completed(learned, X)
        else:
            learned = saved.learned
            inputs.check_feature_names(self._data(X), learned.feature_names, type(self).__name__)
            batch = learned.read(batch)
        if held_out is not None:
            held_out.batch = learned.read(held_out.batch)
        stop_at = None
        if is_tried:
            learned, at_most, stop_at = self._tried(learned, at_most, batch, weights, settings, rng)
        stepper = training.stepper(learned, batch, weights, settings, 0.0 if held_out else settings.tol,
                                   rng.bit_generator)
        name = type(self).__name__ + (", outputs in factors" if learned.output_update == "factored" else "")
        fit = training.Fit(learned, settings, stepper, name, batch, weights,
                           lambda theta, part: self._errors_of(learned, theta, part), lambda: self._notify(settings),
                           held_out)
        fit.stop_at = stop_at
        if at_most is not None and held_out is None and settings.max_iter > 0:
            fit.set_baseline(at_most)
        if target is not None:
            fit.write = lambda fit: checkpoint.write(target, self._kind, self, fit, rng, checksum)
        if saved is not None:
            checkpoint.resume(saved, fit, rng, checksum)
        elif held_out is not None:
            held_out.best_theta, held_out.best_score = learned.theta.copy(), held_out.score(learned.theta, fit.errors)
        # By whole sequences, which is what a user passes.
        self._run(fit, lambda: (learned.read(whole[0]), whole[1]) if is_cut else (batch, weights))
        self._settings()  # for the calls to come
        return self

    def _run(self, fit: training.Fit, given: Given) -> None:
        """Make what is fitted the model, and train it."""
        self._completed_by(fit.learned, fit.settings, given)  # for callbacks
        self._learned = fit.learned
        try:
            fit.run()
        except BaseException:
            with contextlib.suppress(ValueError):  # whatever has become of a model that could not be trained
                self._completed_by(fit.learned, fit.settings, given)
            raise
        self._completed_by(fit.learned, fit.settings, given)

    def _notify(self, settings: Settings) -> bool:
        """Call the callbacks; whether one of them ends the fit."""
        answers = [callback(self) for callback in settings.callbacks]
        return any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Make one update with all of X as the batch, from whatever theta_ holds.

        Initialises first where there is no theta_ yet. Appends the objective before the update to
        loss_curve_. This is ``train(X)`` of the original program. The solver goes on from its state; a
        changed `solver` starts with a new one. `schedule` is for `fit` and has no effect here.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; X must have n_features_in_ features and is cast to the dtype of theta_.

        Returns
        -------
        self

        Raises
        ------
        ValueError, FloatingPointError
            As in `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, random_state=0)
        >>> for _ in range(3):
        ...     _ = model.partial_fit(np.eye(3))
        >>> len(model.loss_curve_)
        3
        """
        settings = self._checked or self._settings()
        kept = self._kept
        if kept is not None and kept.learned is self._learned and kept.settings is settings:
            batch, weights = self._read_targets(X, kept.learned), None
            if sample_weight is not None:
                batch, weights = inputs.as_weighted(sample_weight, batch)
            if kept.sparse != isinstance(batch, SparseBatch) or kept.outputs is not kept.learned.outputs:
                kept = self._updates_by(kept.learned, settings, batch)
        else:
            batch, weights, kept = self._prepare_updates(X, sample_weight, settings)
        learned, _, updates, unit, _, outputs = kept
        objective = _objectives.borrow(updates.form, batch, weights, settings.max_memory, settings.n_jobs, unit,
                                       updates.by_rows, outputs)
        try:
            if kept is self._kept:
                made = updates.once(learned.memory, objective, learned.record)
            else:
                made = self._update_first(kept, objective)
        finally:
            learned.settle()
        if not made:
            raise training.not_made(learned, settings, batch, weights)
        learned.output_update = "dense" if outputs is None else "factored"
        _objectives.give_back(objective)
        return self

    def _update_first(self, kept: _Kept, objective: Objective) -> bool:
        """Replace the model and make its first update, or neither; whether it was made."""
        before, learned = self._learned, kept.learned
        n_updates = learned.record.n_updates
        try:
            self._learned = learned
            made = kept.updates.once(learned.memory, objective, learned.record)
            self._kept = kept
        finally:
            # By the record, for an exception of a signal handler may come when the update has been made.
            if learned.record.n_updates == n_updates:
                self._learned = before
        return made

    def _prepare_updates(self, X: Any, sample_weight: Any,
                         settings: Settings) -> tuple[Batch, Floats | None, _Kept]:
        """Updates for the model and the settings as they are now, by X first."""
        if SOLVERS[settings.solver].whole:
            raise ValueError(f"solver={settings.solver!r} needs all the data at once: use fit, or another solver")
        learned = self._learned
        if learned is None:
            batch, weights = inputs.as_weighted(sample_weight, self._read_first(X, settings))
            # An update is coming, whatever max_iter says.
            learned, _, batch = self._start(batch, weights, settings.but(max_iter=1),
                                            hyperparameters.generator(settings.random_state), batch.common_length,
                                            self._names(X))
            learned = self._completed(learned, X)
            self._completed_by(learned, settings, lambda: (batch, weights))
        else:
            check_theta(learned.memory, learned.form, True)
            self._check_fixed(settings, learned)
            batch, weights = inputs.as_weighted(sample_weight, self._read_targets(X, learned))
            units = learned.solver.scale is not None
            if settings.solver != learned.solver.name or settings.relative_rates != units:
                # Another solver, or the same in other units: what it remembers means nothing any more.
                learned = learned.with_solver(self._new_solver(settings, learned.theta, learned.form, batch, weights))
        return batch, weights, self._updates_by(learned, settings, batch)

    def _updates_by(self, learned: Learned, settings: Settings, batch: Batch) -> _Kept:
        """Updates by batches of that kind."""
        form = learned.form.under(settings)
        learned.lay_out(factored.outputs_of(learned, settings, form, batch))
        return _Kept(learned, settings, training.updates_of(learned, form, settings, batch),
                     learned.solver.residual_unit(form), isinstance(batch, SparseBatch), learned.outputs)

    def _check_fixed(self, settings: Settings, learned: Learned) -> None:
        """ValueError if a hyper-parameter that cannot change once a model is fitted has changed."""
        declared = hyperparameters.declarations(self)
        fixed = {name: getattr(learned.form, name) for name in self._form_type.FIXED}
        fixed |= {"patch_length": learned.patch_length, "n_features": learned.n_features,
                  "standardize": learned.standardize, "missing": learned.missing,
                  "dtype": str(learned.memory.dtype)}
        for name, then in fixed.items():
            if name in declared and (now := getattr(settings, name)) != then and now != declared[name].chosen:
                raise ValueError(f"{name} was changed from {shown(then)} to {shown(now)} after the model was fitted; "
                                 "call fit to start afresh")

    def _start(self, batch: Batch, weights: Floats | None, settings: Settings, rng: np.random.Generator,
               n_steps: int | None, names: tuple[str, ...] | None) -> tuple[Learned, Floats | None, Batch]:
        """A model that has learned nothing yet but its initial values, parameters that no fit must end above, and the
        batch as the model reads it."""
        gaps = self._gaps(settings, batch, weights)
        batch = batch if gaps is None else gaps.read(batch)
        scaling = self._scaling(settings, batch, weights)
        batch = batch if scaling is None else scaling.read(batch)
        settings, patches = self._decided(settings, batch, weights, rng)
        batch = batch if patches is None else patches.read(batch)
        form = self._form(settings, batch)
        # theta, its gradient and a step, where these are as long, and the solver's memory.
        whole = 1 if factored.chosen(settings, form, batch) else 3
        sizes.check_memory(form, batch.dtype, whole + len(SOLVERS[settings.solver].state))
        learned, alone = self._started(form, batch, weights, settings, rng, patches)
        learned = replace(learned, record=Record(n_steps), feature_names=names, reads_ids=batch.is_ids, scaling=scaling,
                          gaps=gaps)
        return learned, alone, batch

    def _started(self, form: Any, batch: Batch, weights: Floats | None, settings: Settings, rng: np.random.Generator,
                 patches: Patches | None) -> tuple[Learned, Floats | None]:
        """The same for a batch that is already as the model reads it."""
        with np.errstate(all="ignore"):  # what overflows is found
            theta, alone = self._initial_values(form, batch, weights, settings, rng)
        solver = self._new_solver(settings, theta, form, batch, weights)
        return Learned(form, theta, Record(None), solver, patches=patches), alone

    def _tried(self, learned: Learned, at_most: Floats | None, batch: Batch, weights: Floats | None, settings: Settings,
               rng: np.random.Generator) -> tuple[Learned, Floats | None, int]:
        """What a trial chooses to learn, as _start gives it, and after how many passes it is over."""
        def start(form: Form, part: Batch, w: Floats | None) -> tuple[Learned, Floats | None]:
            return self._started(form, part, w, settings, rng, learned.patches)

        form, stop_at = trial.best(start, self._errors_of, [learned.form, *self._other_forms(settings, learned, batch)],
                                   batch, weights, settings, rng, type(self).__name__)
        if form is not learned.form:
            new, at_most = start(form, batch, weights)
            learned = replace(new, record=learned.record, feature_names=learned.feature_names,
                              reads_ids=learned.reads_ids, scaling=learned.scaling, gaps=learned.gaps)
        return learned, at_most, stop_at

    def _errors_of(self, learned: Learned, theta: Floats, part: Batch) -> Floats:
        """Reconstruction errors of a model with other parameters."""
        return self._errors(replace(learned, memory=theta, outputs=None, lent=None), part)

    def _new_solver(self, settings: Settings, theta: Floats, form: Any, batch: Batch,
                    weights: Floats | None) -> SolverState:
        """A solver that has made no update yet."""
        scale, unit = None, 1.0
        if settings.relative_rates:
            with np.errstate(all="ignore"):
                scale, unit = relative_rates.units(theta, form, batch, weights)
        return new_solver(Solver.of(settings), form, theta.dtype, scale, unit)

    # ---- what was learned ------------------------------------------------------------------------

    @property
    def theta_(self) -> Floats:
        return self._fitted().lend()

    @theta_.setter
    def theta_(self, value: Any) -> None:
        learned = self._fitted()
        learned.theta = check_theta(value, learned.form)

    @property
    def parameters_(self) -> dict[str, Floats]:
        """The named parameters as views into theta_: dict of str to ndarray.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> {name: view.shape for name, view in model.parameters_.items()}["V_hx"]
        (4, 3)
        """
        learned = self._fitted()
        views: dict[str, Floats] = learned.form.views(learned.lend())
        return views

    @property
    def n_features_in_(self) -> int:
        return self._fitted().n_features

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        names = self._fitted().feature_names
        if names is None:
            raise AttributeError(f"this {type(self).__name__} was fitted on features without names")
        return np.array(names, dtype=object)

    @property
    def n_steps_(self) -> int | None:
        return self._fitted().record.n_steps

    @property
    def n_iter_(self) -> int:
        return self._fitted().record.n_iter

    @property
    def n_updates_(self) -> int:
        return self._fitted().record.n_updates

    @property
    def loss_curve_(self) -> list[float]:
        return self._fitted().record.loss_curve

    @property
    def validation_scores_(self) -> list[float]:
        return self._fitted().validation_scores

    @property
    def output_update_(self) -> str:
        return self._fitted().output_update

    @property
    def solver_state_(self) -> dict[str, dict[str, Floats]]:
        return {name: blocks.views() for name, blocks in self._fitted().solver.state.items()}

    @property
    def rate_scale_(self) -> dict[str, Floats] | None:
        scale = self._fitted().solver.scale
        return None if scale is None else scale.views()

    def _fitted(self) -> Learned:
        """What was learned; NotFittedError where that is nothing."""
        if self._learned is None:
            raise not_fitted(f"this {type(self).__name__} is not fitted yet; call fit or partial_fit first")
        return self._learned

    def __sklearn_is_fitted__(self) -> bool:
        return self._learned is not None

    # ---- files and copies ------------------------------------------------------------------------

    @property
    def vocabulary_(self) -> Vocabulary:
        vocabulary = self._fitted().vocabulary
        if vocabulary is None:
            raise AttributeError(f"this {type(self).__name__} was not loaded from a file with a vocabulary")
        return vocabulary

    def save(self, path: str | os.PathLike[str], *, vocabulary: Vocabulary | None = None) -> None:
        """Write the model to a file in the safetensors format, whole or not at all.

        The file holds the parameters by name, the solver's state, the record of training and the
        hyper-parameters, except for `callbacks`, `checkpoint` and others of where a fit runs, and of
        `random_state` only None or an integer. Of `loss_curve_` it holds the last 100,000 losses. Any safetensors
        reader can read the arrays.

        Parameters
        ----------
        path : str or path-like
        vocabulary : Vocabulary, optional
            Of the token ids that the model was fitted on: `load` gives it back as `vocabulary_`. By default the one
            that this model was loaded with.

        Raises
        ------
        ValueError
            If the vocabulary has more symbols than the model knows, or something else than a regular file stands at
            `path`, such as a folder, FIFO or device.
        OSError
            If the file cannot be written; an older one at `path` is then still there.

        Notes
        -----
        A file that is replaced keeps its permissions, and its owner where that is allowed. A symbolic link is followed;
        other names of a file (hard links) keep the old content.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=5, random_state=0).fit(np.eye(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     again = RAE.load(os.path.join(folder, "model.safetensors"))
        >>> bool((again.theta_ == model.theta_).all())
        True
        """
        persistence.write(path, *packed(self, vocabulary))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A model that `save` or a checkpoint wrote. Executes nothing from the file.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        the model
            It predicts, and goes on learning with `partial_fit`, as the saved one does.

        Raises
        ------
        ValueError
            If the file is truncated, altered, of another format version, or no such model at all.
        OSError
            If it cannot be read.

        Examples
        --------
        See `save`.
        """
        return unpacked(cls, path, *persistence.read(path))

    def __copy__(self) -> Self:
        """A model of its own, which goes on learning by itself; hyper-parameters are shared."""
        model = type(self).__new__(type(self))
        model.__setstate__(self.__getstate__())
        model._learned = copy.deepcopy(self._learned)
        return model

    def __getstate__(self) -> dict[str, Any]:
        # A copy, for another thread may set something meanwhile; subclasses may have slots.
        slots = {name: getattr(self, name) for cls in type(self).__mro__ for name in _slots(cls) if hasattr(self, name)}
        state = slots | self.__dict__.copy()
        return {**{k: v for k, v in state.items() if k not in _FOR_NEXT_CALL}, "_state_format": _STATE_FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = state.get("_state_format") if isinstance(state, dict) else None
        if found != _STATE_FORMAT:
            raise ValueError(f"this pickle of a {type(self).__name__} has format {shown(found)}, but this version of "
                             f"rae_fast reads format {_STATE_FORMAT}")
        self.__dict__.clear()
        for name, value in state.items():
            if name != "_state_format":
                object.__setattr__(self, name, value)

    # ---- hyper-parameters --------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name not in _NOT_SETTINGS:
            self.__dict__.pop("_checked", None)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self.__dict__.pop("_checked", None)

    def _settings(self) -> Settings:
        """The hyper-parameters, checked once for as long as none is set: an update of a small model takes 2 us."""
        settings = self._checked
        if settings is None:
            values = {name: getattr(self, name) for name in hyperparameters.declarations(self)}
            settings = hyperparameters.check(self)
            self.__dict__["_checked"] = settings
            if any(getattr(self, name) is not value for name, value in values.items()):
                self.__dict__.pop("_checked", None)  # another thread has set one meanwhile
        return settings

    # ---- what a subclass says ------------------------------------------------------------------------

    def _decided(self, settings: Settings, batch: Batch, weights: Floats | None,
                 rng: np.random.Generator) -> tuple[Settings, Patches | None]:
        """The settings with what is left to the data decided, and how rows are read."""
        return settings, None

    def _completed_by(self, learned: Learned, settings: Settings, given: Given) -> None:
        """What follows from the parameters of a model, and the sequences it was given, as it reads them: at both ends
        of a fit, and of the first batch of partial_fit."""

    def _cut(self, batch: Batch, weights: Floats | None, settings: Settings) -> tuple[Batch, Floats | None]:
        """What is learned from in the parts, and with their weights, in which it is learned from."""
        return batch, weights

    def _gaps(self, settings: Settings, batch: Batch, weights: Floats | None) -> Gaps | None:
        """How missing numbers are read, if there may be some."""
        return None

    def _scaling(self, settings: Settings, batch: Batch, weights: Floats | None) -> Scaling | None:
        """The units in which numbers are read, if they are not the data's."""
        return None

    def _other_forms(self, settings: Settings, learned: Learned, batch: Batch) -> list[Form]:
        """What else could be learned than what was decided; a trial chooses."""
        return []

    def _data(self, X: Any) -> Any:
        """What of that which is learned from are sequences."""
        return X

    def _names(self, X: Any) -> tuple[str, ...] | None:
        """Of the columns of X, where they have some."""
        return inputs.feature_names(self._data(X))

    def _completed(self, learned: Learned, X: Any) -> Learned:
        """What has just been made, with what else the data say of it."""
        return learned

    def _form(self, settings: Settings, batch: Batch) -> Any:
        """What a model of that data is."""
        raise NotImplementedError

    def _initial_values(self, form: Any, batch: Batch, weights: Floats | None, settings: Settings,
                        rng: np.random.Generator) -> tuple[Floats, Floats | None]:
        """Its parameters before any training, all finite, ValueError if they cannot be; and such as a fit must not end
        above in reconstruction error on its training data, if there are any."""
        raise NotImplementedError

    def _read_first(self, X: Any, settings: Settings) -> Batch:
        """What a user passes to learn from, for a model yet to be made."""
        raise NotImplementedError

    def _read_targets(self, X: Any, learned: Learned) -> Batch:
        """What a user passes to a fitted model that is to give it back."""
        raise NotImplementedError

    def _errors(self, learned: Learned, batch: Batch) -> Floats:
        """The reconstruction error of each of the batch's sequences, (N,)."""
        raise NotImplementedError


def packed(model: Learner, vocabulary: Vocabulary | None = None) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays and the metadata of a model's file."""
    learned = model._fitted()
    check_theta(learned.memory, learned.form)
    if vocabulary is not None:
        model_file.check_vocabulary(vocabulary, learned.n_features)
        learned = replace(learned, vocabulary=vocabulary)
    return model_file.pack(model._kind, model, learned, model_file.MOST_LOSSES)


def unpacked(cls: type[Model], path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]],
             metadata: dict[str, str]) -> Model:
    """The model of a file that was read; ValueError for none."""
    model, learned = model_file.unpack(cls, cls._kind, path, arrays, metadata)
    model._learned = learned
    return model
