"""class RAE: the recursive auto-encoder as a scikit-learn-style estimator.

Thin on purpose: it validates, holds theta_, and hands arrays to the drivers in _sequence.pyx, _codes.pyx and
_training.pyx.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from rae_fast import (
    _blas,
    _codes,
    _quick,
    _sequence,
    _training,
    closed_form,
    hyperparameters,
    model_file,
    parameters,
    persistence,
    training,
)
from rae_fast._estimator import Estimator, not_fitted
from rae_fast.parameters import Form
from rae_fast.sequences import (
    Batch,
    as_batch,
    as_lengths,
    as_matrix,
    as_weights,
    check_distributions,
    pack,
)
from rae_fast.solvers import new_state

Floats = NDArray[Any]

# Version of the pickled state.
_STATE_FORMAT = 3

# What a model keeps for its next call, and is no part of it.
_PASSING = ("_checked", "_updates")

# Hyper-parameters that partial_fit cannot change.
_FIXED = ("n_hidden", "decoder", "output", "tied")


class RAE(Estimator):
    """Recursive auto-encoder of sequences.

    One small auto-encoder, the cell, is applied step by step: it reads the code so far and the next
    input, ``h_t = tanh([h_{t-1}, x_t] W + b_h)``, and learns to give both back,
    ``[h_{t-1}, x_t] ~ h_t V + c``. The last code stands for the whole sequence, and unrolling the
    reconstruction from it gives the sequence back, latest input first.

    Parameters
    ----------
    n_hidden : int, default=24
        Number of hidden units H, the length of a code.
    objective : {"unfold", "stepwise"}, default="unfold"
        What is minimised. "unfold": the loss of the whole sequence unrolled from its last code (Socher et al.,
        NIPS 2011), which is what `reconstruct` shows. "stepwise": at every step the loss of the reconstructed
        input and the squared error of the reconstructed previous code, summed over steps. A low stepwise loss
        need not mean good recall: `docs/design.md`.
    hidden_weight : float, default=1.0
        Weight of the previous code's squared error in the stepwise objective.
    reconstruct_h0 : bool, default=False
        Whether the first step of the stepwise objective must give back the initial code h0 as well. The
        original program leaves this term out.
    decoder : {"tanh", "linear"}, default="tanh"
        How a code is reconstructed from the next one: through tanh (Pollack's RAAM) or linearly.
    output : {"linear", "softmax"}, default="linear"
        "linear" outputs are judged by squared error. "softmax" is for categorical steps: every row of the
        input is a distribution (one-hot, or probabilities that sum to 1), judged by cross-entropy.
    tied : bool, default=False
        Whether the decoder is the transposed encoder, V = W^T.
    init : {"linear", "orthogonal", "normal"}, default="linear"
        "linear": the closed form of the linear model (Pasa & Sperduti, NIPS 2014), found from the data: with
        ``max_iter=0`` a model by itself, and the start of a training. Steps so far back that they are beyond
        65,536 numbers of a sequence are left out of it.
        "orthogonal": W_hh is a random rotation and V_hh its inverse, W_xh and V_hx are normal draws times
        0.3, the rest is 0: a start for categorical sequences in few units.
        "normal": every parameter, biases and h0 included, starts as a standard normal draw times init_scale.
    init_scale : float, default=0.1
        Standard deviation of the "normal" initial values.
    solver : {"adam", "sgd", "momentum", "nesterov", "rmsprop", "adadelta", "rprop", "lbfgs"}, default="adam"
        The formulas are in `rae_fast/solvers.py`. "rprop" is meant for the whole data as one batch. "lbfgs"
        always takes the whole data; it ignores learning rate, schedule, clipping, batches and shuffling, and
        each of its iterations counts as a pass.
    learning_rate : float, default=0.3
        Step size. With `relative_rates` 0.1 to 1 works nearly everywhere, up to 3 for categorical sequences;
        without, 1e-3 is usual for "adam", and the original program used 1e-4. For "adadelta" 1 is usual; for
        "rprop" this is the first step.
    relative_rates : bool, default=True
        Whether the solver measures each block of parameters in its typical size at the start, divided by the
        mean length of the sequences, and the loss in the variance of the data. Training then does not depend on
        the units of the data, and one rate suits all lengths. False gives the textbook's solvers.
    schedule : {"cosine", "constant", "step", "inverse"}, default="cosine"
        How the learning rate falls over the max_iter passes of a `fit`.
    momentum : float, default=0.9
        Of "momentum" and "nesterov".
    momentum_schedule : {"constant", "sutskever"}, default="constant"
        "sutskever": min(1 - 3 / (t + 5), momentum) at update t = 0, 1, ..., as the author of the original
        program used it (with momentum 0.999).
    rho : float, default=0.95
        Decay of the mean squares of "rmsprop" and "adadelta".
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of the mean and of the mean square of "adam".
    epsilon : float, default=1e-8
        Added to denominators by "rmsprop", "adadelta" (1e-6 is usual there) and "adam".
    clip_norm : float or None, default=None
        Scale the gradient, as `loss_and_grad` gives it, down to this Euclidean norm where it is longer.
    weight_decay : float, default=0.0
        This times theta_ is added to the gradient.
    batch_size : int, default=32
        Sequences per update, capped at their number. A short last batch has its own mean.
    max_iter : int or "auto", default="auto"
        Passes over the data; 0 only initialises. "auto" is as many as make 25,000 updates, but 20 to 500.
    tol : float, default=0.0
        Stop after `n_iter_no_change` passes in a row whose training loss improves on the best so far by less
        than this fraction of it; 0 never stops early. With `early_stopping` it is the validation score that must
        improve, and 0 means at all.
    n_iter_no_change : int, default=10
        See `tol` and `early_stopping`.
    early_stopping : bool, default=False
        Whether to hold out a random part of the sequences, judge the parameters after every pass by their
        `reconstruction_error`, stop after `n_iter_no_change` passes without improvement, and return the best
        parameters, those of the start included.
    validation_fraction : float, default=0.1
        The part held out.
    shuffle : bool, default=True
        Whether each pass takes the sequences in a new random order.
    callbacks : callable or list of callables, optional
        Called with the model at the end of passes; one that returns True ends the fit. They may look at the
        model and save it, but must not change it.
    report_every : int, optional
        Passes between two calls of the callbacks; None calls them about every 0.1 s.
    checkpoint : str or path-like, optional
        A file that `fit` writes while it runs and when it ends, by Ctrl-C too, for ``fit(X, resume=True)`` and
        `load`. Whatever happens, the file is the previous or the new one, whole. "lbfgs" can be taken up again
        only every 100 iterations: its file is of the last such place.
    checkpoint_seconds : float, default=60.0
        Seconds between two checkpoints.
    n_jobs : int or None, default=1
        Threads; -1 stands for every CPU that this process may use, None for 1. Their number changes no bit of any
        result. Batches of 16 sequences and more, or models of 192 units and more, are worth several; what is too
        small runs on one. BLAS's own threads are never touched.
    max_memory : int, default=2**30
        Bytes of hidden states that a gradient keeps of a block of sequences; of longer sequences they are computed a
        second time, stretch by stretch, which changes no bit and takes about one forward pass longer.
    random_state : int, Generator, RandomState, SeedSequence, BitGenerator or None, default=None
        Source of the initial values, of the held-out part and of the shuffling.
    verbose : int, default=0
        Whether to show progress, with tqdm's bar where that is installed.

    Attributes
    ----------
    theta_ : ndarray of shape (n_parameters,)
        All parameters, in the order of `docs/design.md`. The only truth: writing into it, or into
        `parameters_`, changes the model.
    parameters_ : dict of str to ndarray
        Views into theta_: W_xh (I, H), W_hh (H, H), b_h (H,), h0 (H,), V_hh (H, H), V_hx (H, I),
        c_h (H,), c_x (I,). Of a tied model V_hh and V_hx are transposed views of W.
    n_features_in_ : int
        Number of features I.
    n_steps_ : int or None
        Length of the sequences seen in fit, None if they differed.
    n_iter_ : int
        Passes made (for `partial_fit`, calls).
    n_updates_ : int
        Updates made since the solver's state was new.
    solver_state_ : dict of str to ndarray
        What the solver keeps between updates, flat like theta_; `partial_fit` goes on from it.
    rate_scale_ : ndarray of shape (n_parameters,) or None
        With `relative_rates` the units of the solver, flat like theta_.
    loss_curve_ : list of float
        For each pass the mean over its updates of the batch's objective before the update; with "lbfgs" the
        objective after the iteration.
    validation_scores_ : list of float
        With `early_stopping`, after each pass minus the mean reconstruction error of the held-out sequences.

    Notes
    -----
    Input is one of: a 2-D array, ONE sequence (T, I), as in ``torch.nn.RNN`` (so scikit-learn's
    cross-validation of a single 2-D array would split time, which is not supported); a 3-D array
    (N, T, I); a list or tuple of N arrays (T_n, I). Results mirror that container, one 2-D sequence
    counting as N = 1. float32 input is computed in float32, everything else in float64; `fit` fixes
    the dtype, and later input is cast to it. Bad input raises ValueError and changes nothing.

    The defaults were chosen by the held-out error of the unrolled sequences of five real data sets
    (`docs/quality.md`). The original program of 2014 is ``RAE(24, objective="stepwise", decoder="linear",
    init="normal", solver="sgd", relative_rates=False, learning_rate=1e-4, schedule="constant", batch_size=1)``.

    A ``fit`` that is interrupted by Ctrl-C raises KeyboardInterrupt and leaves a usable model with
    the parameters after the last whole update.

    References
    ----------
    Pollack, J. B. (1990). Recursive distributed representations. Artificial Intelligence 46.
    Socher, R. et al. (2011). Dynamic pooling and unfolding recursive autoencoders. NIPS.
    Pasa, L. and Sperduti, A. (2014). Pre-training of recurrent neural networks via linear autoencoders. NIPS.
    Tan, S. (2014). Recursive Auto-encoders: Example in Theano, the program this model comes from.

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import RAE
    >>> t = np.arange(12)[:, None]
    >>> X = [np.sin(t[:n] * f) for n, f in zip((8, 10, 12, 9), (0.5, 0.6, 0.7, 0.8))]
    >>> model = RAE(n_hidden=6, max_iter=200, random_state=0).fit(X)
    >>> model.transform(X).shape
    (4, 6)
    >>> bool(model.reconstruction_error(X).mean() < 0.1)
    True
    """

    theta_: Floats
    n_features_in_: int
    n_steps_: int | None
    n_iter_: int
    loss_curve_: list[float]
    n_updates_: int
    solver_state_: dict[str, Floats]
    rate_scale_: Floats | None
    validation_scores_: list[float]
    _form: Form
    _solver_name: str
    _loss_unit: float

    def __init__(self, n_hidden: int = 24, *, objective: str = "unfold", hidden_weight: float = 1.0,
                 reconstruct_h0: bool = False, decoder: str = "tanh", output: str = "linear",
                 tied: bool = False, init: str = "linear", init_scale: float = 0.1, solver: str = "adam",
                 learning_rate: float = 0.3, relative_rates: bool = True, schedule: str = "cosine",
                 momentum: float = 0.9, momentum_schedule: str = "constant", rho: float = 0.95,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 clip_norm: float | None = None, weight_decay: float = 0.0, batch_size: int = 32,
                 max_iter: int | str = "auto", tol: float = 0.0, n_iter_no_change: int = 10,
                 early_stopping: bool = False, validation_fraction: float = 0.1, shuffle: bool = True,
                 callbacks: Any = None, report_every: int | None = None,
                 checkpoint: str | os.PathLike[str] | None = None, checkpoint_seconds: float = 60.0,
                 n_jobs: int | None = 1, max_memory: int = 2**30, random_state: Any = None, verbose: int = 0) -> None:
        self.n_hidden = n_hidden
        self.objective = objective
        self.hidden_weight = hidden_weight
        self.reconstruct_h0 = reconstruct_h0
        self.decoder = decoder
        self.output = output
        self.tied = tied
        self.init = init
        self.init_scale = init_scale
        self.solver = solver
        self.learning_rate = learning_rate
        self.relative_rates = relative_rates
        self.schedule = schedule
        self.momentum = momentum
        self.momentum_schedule = momentum_schedule
        self.rho = rho
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.clip_norm = clip_norm
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.shuffle = shuffle
        self.callbacks = callbacks
        self.report_every = report_every
        self.checkpoint = checkpoint
        self.checkpoint_seconds = checkpoint_seconds
        self.n_jobs = n_jobs
        self.max_memory = max_memory
        self.random_state = random_state
        self.verbose = verbose

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
        settings = hyperparameters.check(self.get_params())
        rng = hyperparameters.generator(self.random_state)
        training.check_checkpoint(settings.checkpoint)
        path = self._resume_path(resume, settings)
        batch = self._to_learn(X, settings)
        n_steps = batch.common_length
        weights = as_weights(sample_weight, batch.n_sequences, batch.data.dtype)
        mark = training.fingerprint(batch, weights) if settings.checkpoint or path else 0
        model, held_out = self, None
        arrays: persistence.Arrays = {}
        metadata: dict[str, str] = {}
        if path is not None:
            arrays, metadata = persistence.read(path)
            model = model_file.unpack(type(self), path, arrays, metadata)
            self._check_resumable(path, model, batch)
        if settings.early_stopping:
            n = batch.n_sequences
            chosen = (training.draw_held_out(n, settings.validation_fraction, rng) if path is None
                      else training.chosen_in(path, arrays, n))
            batch, weights, held_out = training.hold_out(batch, weights, chosen)
        settings = training.with_passes(settings, batch.n_sequences)
        if path is None:
            self._start(batch, weights, settings, rng, n_steps)
        run = training.Fit(model, settings, model._objective(settings), batch, weights, rng, mark, held_out)
        if path is not None:
            run.resume(path, arrays, metadata)
            self.__dict__.update(model._learned())
            run.model = self
        elif held_out is not None:
            held_out.best_theta, held_out.best_score = self.theta_.copy(), held_out.score(self)
        run.run()
        return self

    def _resume_path(self, resume: Any, settings: hyperparameters.Hyperparameters) -> Path | None:
        """The checkpoint to go on from, None to start afresh."""
        if resume is False:
            return None
        if resume is True:
            if settings.checkpoint is None:
                raise ValueError("resume=True goes on from the file that checkpoint names, but checkpoint is None")
            return settings.checkpoint if settings.checkpoint.exists() else None
        if not isinstance(resume, (str, os.PathLike)):
            raise ValueError(f"resume must be True, False or the path of a checkpoint; got {resume!r}")
        return Path(os.fsdecode(persistence.checked(resume)))

    def _check_resumable(self, path: Path, saved: RAE, batch: Batch) -> None:
        """ValueError unless `saved`, from the checkpoint at path, has our settings and the kind of our data."""
        now, then = self.get_params(), saved.get_params()
        for name in now:
            if name not in (*model_file.NOT_SAVED, "random_state") and model_file.plain(now[name]) != then[name]:
                raise ValueError(f"{path} is a checkpoint of a fit with {name}={then[name]!r}, not {now[name]!r}; "
                                 "resume with the same hyper-parameters, or call fit without resume")
        if saved.theta_.dtype != batch.data.dtype or saved.n_features_in_ != batch.n_features:
            raise ValueError(f"{path} is a checkpoint of a fit on {saved.theta_.dtype} data with "
                             f"{saved.n_features_in_} features; X is {batch.data.dtype} with {batch.n_features}")

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
        settings = self._settings(one_update=True)
        updates = self.__dict__.get("_updates")
        if (updates is not None and sample_weight is None
                and updates.serves(self._form, settings, self.rate_scale_, self._loss_unit)
                and updates.make(self.__dict__, X)):
            return self
        if settings.solver.name == "lbfgs":
            raise ValueError("solver='lbfgs' needs all the data at once: use fit, or another solver")
        if not hasattr(self, "theta_"):
            batch = self._to_learn(X, settings)
            weights = as_weights(sample_weight, batch.n_sequences, batch.data.dtype)
            self._start(batch, weights, settings, hyperparameters.generator(self.random_state), batch.common_length)
        else:
            theta = self._theta(to_write=True)
            for name in _FIXED:
                now, then = getattr(settings, name), getattr(self._form, name)
                if now != then:
                    raise ValueError(f"{name} was changed from {then!r} to {now!r} after the model was fitted; "
                                     "call fit to start afresh")
            batch = self._targets(X, theta)
            weights = as_weights(sample_weight, batch.n_sequences, theta.dtype)
        if settings.solver.name != self._solver_name or settings.relative_rates != (self.rate_scale_ is not None):
            # Another solver, or the same in other units: what it remembers means nothing any more.
            self.__dict__.update(self._new_solver(settings, self.theta_, self._form, batch))
        form = self._objective(settings)
        if not _training.update_once(self.__dict__, self._theta(to_write=True), batch.data, batch.offsets, weights,
                                     form, settings.solver, training.state_of(self, settings), self.rate_scale_,
                                     self._loss_unit, batch.common_length, settings.max_memory,
                                     _sequence.worthwhile(settings.n_jobs, form, len(batch.data))):
            raise training.too_large(settings, self.n_updates_ + 1, self.theta_.dtype)
        self.__dict__["_updates"] = _quick.Updates(self.theta_, self._form, form, settings, self.rate_scale_,
                                                   self._loss_unit)
        return self

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Floats:
        """fit(X, y, sample_weight), then transform(X); parameters and errors are theirs.

        Returns
        -------
        ndarray of shape (N, H)
        """
        return self.fit(X, y, sample_weight).transform(X)

    def _to_learn(self, X: Any, settings: hyperparameters.Hyperparameters) -> Batch:
        """X as a Batch for a model yet to be made."""
        batch = as_batch(X)
        _blas.check_size(settings.n_hidden + batch.n_features, "n_hidden plus the number of features")
        if settings.output == "softmax":
            check_distributions(batch)
        return batch

    def _start(self, batch: Batch, weights: Floats | None, settings: hyperparameters.Hyperparameters,
               rng: np.random.Generator, n_steps: int | None) -> None:
        """Replace everything learned by fresh initial values, all at once."""
        form = Form(batch.n_features, settings.n_hidden, decoder=settings.decoder, output=settings.output,
                    tied=settings.tied)
        with np.errstate(all="ignore"):  # what overflows is found below
            if settings.init == "linear":
                theta = closed_form.initialise(form, batch, weights, rng, to_be_trained=settings.max_iter > 0)
            elif settings.init == "orthogonal":
                theta = parameters.orthogonal(form, rng, batch.data.dtype)
            else:
                theta = parameters.initialise(form, settings.init_scale, rng, batch.data.dtype)
        if not np.isfinite(theta).all():
            what = f"init_scale={self.init_scale}" if settings.init == "normal" else "the scale of X"
            raise ValueError(f"{what} overflows {theta.dtype}; make it smaller")
        self.__dict__.update(theta_=theta, _form=form, n_features_in_=batch.n_features, n_steps_=n_steps, n_iter_=0,
                             loss_curve_=[], validation_scores_=[], **self._new_solver(settings, theta, form, batch))

    def _new_solver(self, settings: hyperparameters.Hyperparameters, theta: Floats, form: Form,
                    batch: Batch) -> dict[str, Any]:
        """The attributes of a solver that has made no update yet."""
        scale, unit = None, 1.0
        if settings.relative_rates:
            with np.errstate(all="ignore"):
                scale, unit = closed_form.units(theta, form, batch)
        return {"_solver_name": settings.solver.name, "n_updates_": 0, "rate_scale_": scale, "_loss_unit": unit,
                "solver_state_": new_state(settings.solver, theta.size, theta.dtype)}

    # ---- the model as a function ----------------------------------------------------------------

    @property
    def parameters_(self) -> dict[str, Floats]:
        """The eight named parameters as views into theta_: dict of str to ndarray.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> {name: view.shape for name, view in model.parameters_.items()}["V_hx"]
        (4, 3)
        """
        return parameters.views(self._theta(), self._form)

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
        settings = self._settings()
        if sample_weight is None and hasattr(self, "theta_"):
            ready = _quick.gradient_of(self.theta_, X, self._objective(settings), settings.max_memory, self._threads())
            if ready is not None:
                return ready
        theta = self._theta()
        batch = self._targets(X, theta)
        weights = as_weights(sample_weight, batch.n_sequences, theta.dtype)
        grad = np.empty_like(theta)
        form = self._objective(settings)
        loss = _sequence.loss_and_grad(theta, batch.data, batch.offsets, weights, form, grad, settings.max_memory,
                                       _sequence.worthwhile(self._threads(), form, len(batch.data)))
        return loss, parameters.views(grad, form)

    def transform(self, X: Any) -> Floats:
        """Encode: the last code of each sequence.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, H), the model's dtype; elements lie in [-1, 1]

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.transform([np.eye(3), np.eye(3)[:2]]).shape
        (2, 4)
        """
        ready = _quick.states_of(self.__dict__.get("theta_"), X, self.__dict__.get("_form"), True, self._threads())
        if ready is not None:
            return ready
        theta = self._theta()
        batch = self._batch(X, theta)
        codes = np.empty((batch.n_sequences, self._form.n_hidden), dtype=theta.dtype)
        _codes.hidden_states(theta, batch.data, batch.offsets, self._form, codes, True, self._threads())
        return codes

    def hidden_states(self, X: Any) -> Floats | list[Floats]:
        """The code after every step, without h0.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, T, H), or for a list a list of (T_n, H) arrays

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> [h.shape for h in model.hidden_states([np.eye(3), np.eye(3)[:2]])]
        [(3, 4), (2, 4)]
        """
        ready = _quick.states_of(self.__dict__.get("theta_"), X, self.__dict__.get("_form"), False, self._threads())
        if ready is not None:
            return ready
        theta = self._theta()
        batch = self._batch(X, theta)
        states = np.empty((len(batch.data), self._form.n_hidden), dtype=theta.dtype)
        _codes.hidden_states(theta, batch.data, batch.offsets, self._form, states, False, self._threads())
        return batch.in_container(states)

    def unroll(self, codes: Any, n_steps: int, *, logits: bool = False) -> Floats:
        """Decode latest input first.

        Parameters
        ----------
        codes : array-like of shape (N, H)
        n_steps : int, at least 1
        logits : bool, default=False
            With softmax output, return the logits instead of probabilities.

        Returns
        -------
        ndarray of shape (N, n_steps, I)
            Step k is ``y_k V_hx + c_x`` with ``y_1 = code``, ``y_{k+1} = y_k V_hh + c_h`` (its tanh
            with ``decoder="tanh"``); with softmax output the softmax of that.

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.unroll(model.transform(np.eye(3)), 5).shape
        (1, 5, 3)
        """
        ready = _quick.outputs_of(self.__dict__.get("theta_"), codes, n_steps, self.__dict__.get("_form"), False,
                                  self._threads())
        if ready is not None:
            return self._outputs(ready, logits)
        theta = self._theta()
        codes = as_matrix(codes, "codes", self._form.n_hidden, theta.dtype)
        if np.ndim(n_steps):
            raise ValueError(f"n_steps must be one integer; got {n_steps!r}")
        offsets, _ = as_lengths(n_steps, len(codes))
        rows = self._outputs(self._unroll(theta, codes, offsets, False), logits)
        return rows.reshape(len(codes), -1, self.n_features_in_)

    def inverse_transform(self, codes: Any, lengths: Any = None, *,
                          logits: bool = False) -> Floats | list[Floats]:
        """Decode in chronological order.

        Parameters
        ----------
        codes : array-like of shape (N, H)
        lengths : int, sequence of N ints, or None
            Steps to unroll. None is the length of the sequences seen in fit, if that was one.
        logits : bool, default=False
            With softmax output, return the logits instead of probabilities.

        Returns
        -------
        ndarray of shape (N, length, I), or for a sequence of lengths a list of (length_n, I) arrays

        Raises
        ------
        ValueError
            For bad input, or lengths=None where fit saw sequences of different lengths.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> codes = model.transform(np.eye(3))
        >>> model.inverse_transform(codes).shape, model.inverse_transform(codes, [2])[0].shape
        ((1, 3, 3), (2, 3))
        """
        steps = self.__dict__.get("n_steps_") if lengths is None else lengths
        ready = _quick.outputs_of(self.__dict__.get("theta_"), codes, steps, self.__dict__.get("_form"), True,
                                  self._threads())
        if ready is not None:
            return self._outputs(ready, logits)
        theta = self._theta()
        codes = as_matrix(codes, "codes", self._form.n_hidden, theta.dtype)
        if lengths is None:
            if self.n_steps_ is None:
                raise ValueError("the model was fitted on sequences of different lengths; pass lengths")
            lengths = self.n_steps_
        offsets, as_list = as_lengths(lengths, len(codes))
        return pack(self._outputs(self._unroll(theta, codes, offsets, True), logits), offsets, as_list)

    def reconstruct(self, X: Any, *, logits: bool = False) -> Floats | list[Floats]:
        """Each sequence unrolled from its last code, in chronological order.

        Parameters
        ----------
        X : sequences
        logits : bool, default=False
            With softmax output, return the logits instead of probabilities.

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
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.reconstruct(np.eye(3)).shape
        (1, 3, 3)
        """
        theta = self._theta()
        batch = self._batch(X, theta)
        return batch.in_container(self._outputs(self._reconstruct(theta, batch), logits))

    def reconstruction_error(self, X: Any) -> Floats:
        """Squared error of `reconstruct`, summed over steps and features: an anomaly score.

        With softmax output the cross-entropy, in nats.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N,), float64, in squared units of X

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
        theta = self._theta()
        return self._errors(theta, self._targets(X, theta))

    def _errors(self, theta: Floats, batch: Batch) -> Floats:
        """The reconstruction error of each sequence, (N,)."""
        rows = self._reconstruct(theta, batch)
        if self._form.output == "softmax":
            errors = -np.einsum("ij,ij->i", batch.data, log_softmax(rows, axis=1), dtype=np.float64)
        else:
            rows -= batch.data
            errors = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        sums: Floats = np.add.reduceat(errors, batch.offsets[:-1])
        return sums

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean of `reconstruction_error`: higher is better, at most 0.

        Parameters
        ----------
        X : sequences
        y : ignored

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For bad input.
        """
        return -float(self.reconstruction_error(X).mean())

    # ---- streams ---------------------------------------------------------------------------------

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
        """
        theta = self._theta()
        h0 = parameters.views(theta, self._form)["h0"]
        if n is None:
            return h0.copy()
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"n must be None or an integer of at least 1; got {n!r}")
        return np.tile(h0, (int(n), 1))

    def step(self, state: Any, x: Any, out: Floats | None = None) -> Floats:
        """Read one more input of each of N streams.

        Parameters
        ----------
        state : array-like of shape (H,) or (N, H)
        x : array-like of shape (I,) or (N, I)
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
        after = _quick.step_of(self.__dict__.get("theta_"), state, x, self.__dict__.get("_form"), out)
        if after is not None:
            return after
        theta = self._theta()
        one = np.ndim(state) == 1
        if one != (np.ndim(x) == 1):
            raise ValueError(f"state and x must both be vectors or both matrices; they have "
                             f"{np.ndim(state)} and {np.ndim(x)} dimensions")
        if one:
            state = state[None] if isinstance(state, np.ndarray) else [state]
            x = x[None] if isinstance(x, np.ndarray) else [x]
        states = as_matrix(state, "state", self._form.n_hidden, theta.dtype)
        inputs = as_matrix(x, "x", self.n_features_in_, theta.dtype)
        if len(states) != len(inputs):
            raise ValueError(f"state holds {len(states)} streams, but x holds {len(inputs)}")
        result = np.empty_like(states)
        _codes.step(theta, states, inputs, self._form, result)
        if one:
            result = result[0]
        if out is None:
            return result
        if not isinstance(out, np.ndarray) or out.shape != result.shape or out.dtype != result.dtype:
            raise ValueError(f"out must be a {result.dtype} array of shape {result.shape}")
        if not out.flags.writeable:
            raise ValueError("out is read-only")
        out[...] = result
        return out

    # ---- files -----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file in the safetensors format, whole or not at all.

        The file holds the parameters by name, the solver's state, the record of training and the
        hyper-parameters, except for `callbacks`, `checkpoint` and others of where a fit runs, and of
        `random_state` only None or an integer. Any safetensors reader can read the arrays.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            If the file cannot be written; an older one at `path` is then still there.

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
        self._theta()
        persistence.write(path, *model_file.pack(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A model that `save` or a checkpoint wrote. Executes nothing from the file.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        RAE
            It predicts, and goes on learning with `partial_fit`, as the saved one does.

        Raises
        ------
        ValueError
            If the file is truncated, altered, of another format version, or no rae_fast model at all.
        OSError
            If it cannot be read.

        Examples
        --------
        See `save`.
        """
        return model_file.unpack(cls, path, *persistence.read(path))

    def _learned(self) -> dict[str, Any]:
        """Everything but the hyper-parameters."""
        params = {*self._defaults(), "_checked"}
        return {name: value for name, value in self.__dict__.items() if name not in params}

    # ---- inside ----------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self._defaults():
            self.__dict__.pop("_checked", None)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self.__dict__.pop("_checked", None)

    def _settings(self, one_update: bool = False) -> hyperparameters.Hyperparameters:
        """The hyper-parameters, checked once for as long as none is set: an update of a small model takes 2 us."""
        both = self.__dict__.get("_checked")
        if both is None:
            params = self.get_params()
            settings = hyperparameters.check(params)
            both = settings, training.one_update(settings)
            self.__dict__["_checked"] = both
            if any(getattr(self, name) is not value for name, value in params.items()):
                self.__dict__.pop("_checked", None)  # another thread has set one meanwhile
        return both[one_update]

    def _theta(self, to_write: bool = False) -> Floats:
        """theta_, checked: users may write into it and even replace it.

        Reading from a read-only one works: joblib hands models to its workers as such.
        """
        if not hasattr(self, "theta_"):
            raise not_fitted("this RAE is not fitted yet; call fit or partial_fit first")
        theta = self.theta_
        needed = parameters.size(self._form)
        if (not isinstance(theta, np.ndarray) or theta.dtype not in (np.float32, np.float64)
                or theta.shape != (needed,) or not theta.dtype.isnative or not theta.flags.c_contiguous
                or not theta.flags.aligned or (to_write and not theta.flags.writeable)):
            raise ValueError(f"theta_ must be a contiguous{', writeable' * to_write} float32 or float64 vector "
                             f"of {needed} elements; write into it with model.theta_[:] = values")
        return theta

    def _threads(self) -> int:
        return hyperparameters.threads(self.n_jobs)

    def _batch(self, X: Any, theta: Floats) -> Batch:
        return as_batch(X, dtype=theta.dtype, n_features=self.n_features_in_)

    def _targets(self, X: Any, theta: Floats) -> Batch:
        """_batch of sequences that are to be given back: distributions where the output is softmax."""
        batch = self._batch(X, theta)
        if self._form.output == "softmax":
            check_distributions(batch)
        return batch

    def _objective(self, settings: hyperparameters.Hyperparameters) -> Form:
        """The fitted form with the objective that the hyper-parameters ask for now."""
        form = self._form
        if (form.objective == settings.objective and form.hidden_weight == settings.hidden_weight
                and form.reconstruct_h0 == settings.reconstruct_h0):
            return form
        return replace(form, objective=settings.objective, hidden_weight=settings.hidden_weight,
                       reconstruct_h0=settings.reconstruct_h0)

    def _outputs(self, rows: Floats, logits: bool) -> Floats:
        """What the user gets of unrolled rows: probabilities where the output is softmax."""
        if self._form.output == "softmax" and not logits:
            rows = softmax(rows, axis=-1)
        return rows

    def _unroll(self, theta: Floats, codes: Floats, offsets: NDArray[np.intp],
                chronological: bool) -> Floats:
        out = np.empty((int(offsets[-1]), self.n_features_in_), dtype=theta.dtype)
        _codes.unroll(theta, codes, offsets, self._form, chronological, out, self._threads())
        return out

    def _reconstruct(self, theta: Floats, batch: Batch) -> Floats:
        codes = np.empty((batch.n_sequences, self._form.n_hidden), dtype=theta.dtype)
        _codes.hidden_states(theta, batch.data, batch.offsets, self._form, codes, True, self._threads())
        return self._unroll(theta, codes, batch.offsets, True)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the code's elements: rae0, rae1, ..."""
        self._theta()
        return np.array([f"rae{i}" for i in range(self._form.n_hidden)], dtype=object)

    def __getstate__(self) -> dict[str, Any]:
        return {**{k: v for k, v in self.__dict__.items() if k not in _PASSING}, "_state_format": _STATE_FORMAT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = state.get("_state_format")
        if found != _STATE_FORMAT:
            raise ValueError(f"this pickle of an RAE has format {found!r}, but this version of rae_fast "
                             f"reads format {_STATE_FORMAT}")
        for name in _PASSING:
            self.__dict__.pop(name, None)
        self.__dict__.update({k: v for k, v in state.items() if k not in ("_state_format", *_PASSING)})

