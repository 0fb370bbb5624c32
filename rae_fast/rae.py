"""class RAE: the recursive auto-encoder of sequences as a scikit-learn-style estimator.

Thin on purpose: how it learns and is kept is _learner.py's, how sequences become codes and codes sequences is
coding.py's; here are what it is, how it starts, and how it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _blas, _objectives, closed_form, dense, inputs, outputs, parameters, sizes
from rae_fast._batch import Batch, SparseBatch
from rae_fast._form import SMOOTHING, Form
from rae_fast._kernels import threads
from rae_fast._messages import shown
from rae_fast.coding import Coding
from rae_fast.hyperparameters import SequenceParameters, Settings
from rae_fast.learned import Learned
from rae_fast.patches import Patches
from rae_fast.streams import Streams

Floats = NDArray[Any]

# Bytes of parameters up to which a fit keeps those of the closed form as well, which it must not end above.
_MOST_GUARDED = 1 << 28
# Softmax outputs up to which it is judged by these.
_MOST_JUDGED = 1 << 30
# Features, for each number of a state, from which errors of linear outputs are found without the outputs.
_MANY_OUTPUTS = 8


@dataclass(eq=False, repr=False)
class RAE(Coding, Streams, SequenceParameters):
    """Recursive auto-encoder of sequences.

    One small auto-encoder, the cell, is applied step by step: it reads the code so far and the next
    input, ``h_t = tanh([h_{t-1}, x_t] W + b_h)``, and learns to give both back,
    ``[h_{t-1}, x_t] ~ h_t V + c``. The last code stands for the whole sequence, and unrolling the
    reconstruction from it gives the sequence back, latest input first.

    Parameters
    ----------
    n_hidden : int or None, default=None
        Number of hidden units H, of which a state consists. None is 24, or with `n_code` what suits the size of the
        code and the number and length of the sequences: `docs/quality.md`, "Sizes".
    n_code : int or None, default=None
        Size C of a code, at most H; None for H, where the code is the last state. With a size of its own the code is
        ``h_T W_hc + b_c``, and ``y_1 = code V_ch + c_1`` is where unrolling starts: a large state reads and writes
        what a small code keeps. For ``objective="unfold"``.
    n_features : int or None, default=None
        Number of features I, or of different token ids. None is what the data have: of ids the largest plus one. With
        a number, an integer array with two dimensions is N sequences of ids in `fit` as well.
    dtype : {"auto", "float32", "float64"}, default="auto"
        What is computed in. "auto" is float32 for data that are float32, else float64, of ids as well.
    patch_length : int or "auto", default="auto"
        Rows that are read, and given back, as one step: k of them are one row of k I numbers, and a long series has
        few steps. Nothing is lost: where k does not divide a length, the first step holds the oldest rows, beside them
        the mean row in place of those that are not there, which counts in no loss. States are one a step; all else is
        in rows as before. "auto" is 1 without `n_code`, or else chosen from the data (`docs/quality.md`, "Sizes").
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
    output : {"auto", "linear", "softmax", "spherical"}, default="auto"
        "linear" outputs are judged by squared error. "softmax" is for categorical steps: every row of the
        input is a distribution (token ids, one-hot rows, or probabilities that sum to 1), judged by cross-entropy.
        "spherical" is for the same, with probabilities in proportion to the squares of outputs (de Brebisson and
        Vincent, ICLR 2016), which `output_update` can learn at any number of ids.
        "auto" is softmax for token ids, else linear.
    tied : bool, default=False
        Whether the decoder is the transposed encoder, V = W^T.
    init : {"linear", "orthogonal", "normal"}, default="linear"
        "linear": the closed form of the linear model (Pasa & Sperduti, NIPS 2014), found from the data: with
        ``max_iter=0`` a model by itself, and the start of a training. Steps so far back that they are beyond
        65,536 numbers of a sequence are left out of it; of token ids and sparse rows, features that are rare are.
        "orthogonal": W_hh is a random rotation and V_hh its inverse, W_xh and V_hx are normal draws times
        0.3, the rest is 0: a start for categorical sequences in few units.
        "normal": every parameter, biases and h0 included, starts as a standard normal draw times init_scale.
    init_scale : float, default=0.1
        Standard deviation of the "normal" initial values.
    relative_rates : bool, default=True
        Whether the solver measures each block of parameters in its typical size at the start, divided by the
        mean length of the sequences, and the loss in the variance of the data. Training then does not depend on
        the units of the data, and one rate suits all lengths. False gives the textbook's solvers.
    output_update : {"auto", "dense", "factored"}, default="auto"
        How V_hx and c_x of linear and spherical outputs are updated by token ids and sparse rows. "factored": by exact
        gradient descent in O(H^2) a step, at any number of features (Vincent et al., NIPS 2015), without computing the
        outputs. "auto" is that where the solver is "sgd" and it is faster, for then it is the same update. While such
        a model learns by `partial_fit`, looking at `theta_` or at outputs takes O(I H^2) once; and a fit that goes on
        from its checkpoint, where the factors are multiplied, goes on to rounding and not bit for bit.
    output_learning_rate : float, default=0.3
        With ``output_update="factored"`` beside another solver than "sgd": the learning rate of gradient descent on
        V_hx and c_x, with `relative_rates` in their units.
    max_memory : int, default=2**30
        Bytes of hidden states that a gradient keeps of sequences computed together; of longer ones they are computed
        a second time, span by span, which changes no bit and takes about one forward pass longer.
    solver : {"adam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "rprop", "lbfgs"}, default="adam"
        The formulas are in `rae_fast/solvers.py`. "rprop" is meant for the whole data as one batch. "lbfgs"
        always takes the whole data; it ignores learning rate, schedule, clipping, batches and shuffling, and
        each of its iterations counts as a pass.
    learning_rate : float, default=0.3
        Step size. With `relative_rates` 0.1 to 1 works nearly everywhere, up to 3 for categorical sequences;
        without, 1e-3 is usual for "adam", and the original program used 1e-4. For "adadelta" 1 is usual; for
        "rprop" this is the first step.
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
    input_update : {"dense", "rows"}, default="dense"
        Of token ids and sparse rows, how solvers that remember (all but "sgd") treat the rows of W_xh that a batch does
        not name. "dense": as if the rows of X had been written out, so that they go on moving. "rows": they and their
        memory rest, as in ``torch.optim.SparseAdam``, and an update's cost does not grow with the number of ids.
    batch_size : int or "auto", default="auto"
        Sequences per update, capped at their number. A short last batch has its own mean. "auto" is 32, or 8 where
        `max_iter` is found by a trial.
    max_iter : int or "auto", default="auto"
        Passes over the data; 0 only initialises. "auto" is as many as make 25,000 updates, but 20 to 500. With
        `n_code` and 100 to 512 sequences, which so many updates may learn by heart, it is up to 1000, but a trial on
        four fifths of the sequences comes first, and the fit makes as many of the passes as did well on the last fifth:
        none where training was not clearly better than the closed form, which then is the model. `n_iter_` tells.
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
        c_h (H,), c_x (I,); with `n_code` also W_hc (H, C), b_c (C,), V_ch (C, H), c_1 (H,). Of a tied model V_hh and
        V_hx are transposed views of W. Where k rows are one step, k I stands for I.
    n_features_in_ : int
        Number of features I.
    feature_names_in_ : ndarray of str objects, of shape (I,)
        Names of the columns, where fit got frames with names that are strings; frames passed later must have the
        same, in the same order.
    n_steps_ : int or None
        Length of the sequences seen in fit, None if they differed.
    n_iter_ : int
        Passes made (for `partial_fit`, calls).
    n_updates_ : int
        Updates made since the solver's state was new.
    solver_state_ : dict of str to dict of str to ndarray
        What the solver keeps between updates, by the names of its arrays and of the parameters: views, which
        `partial_fit` goes on from.
    rate_scale_ : dict of str to ndarray, or None
        With `relative_rates` the units of the solver: views of one number for each array of parameters, of W_xh one
        a row, (I, 1); of tied models without V, whose units are W's.
    loss_curve_ : list of float
        For each pass the mean over its updates of the batch's objective before the update; with "lbfgs" the
        objective after the iteration.
    output_update_ : {"dense", "factored"}
        How V_hx and c_x were updated last.
    validation_scores_ : list of float
        With `early_stopping`, after each pass minus the mean reconstruction error of the held-out sequences.

    vocabulary_ : Vocabulary
        The one that came with the file from which the model was loaded.

    Notes
    -----
    Input is one of: a 2-D array, ONE sequence (T, I), as in ``torch.nn.RNN`` (so scikit-learn's
    cross-validation of a single 2-D array would split time, which is not supported); a 3-D array
    (N, T, I); a list or tuple of N arrays (T_n, I). Results mirror that container, one 2-D sequence
    counting as N = 1. float32 input is computed in float32, everything else in float64; `fit` fixes
    the dtype, and later input is cast to it. Bad input raises ValueError and changes nothing.

    Token ids and sparse rows are the same sequences with most numbers 0, which are neither stored nor multiplied: a 1-D
    array of integers is a sequence of ids (T,), a list of such arrays, or of lists of integers, several; an integer
    array (N, T) is N of them where `n_features` is given, or the model was fitted on ids. A SciPy matrix or array of
    any sparse format is one sequence (T, I), a list of them several. All results are those of the rows written out (but
    for the start, which looks at a part of very many of them); `reconstruct` and `inverse_transform` of a model that
    was fitted on ids give ids back.

    The defaults were chosen by the held-out error of the unrolled sequences of five real data sets
    (`docs/quality.md`). The original program of 2014 is ``RAE(24, objective="stepwise", decoder="linear",
    init="normal", solver="sgd", relative_rates=False, learning_rate=1e-4, schedule="constant", batch_size=1)``.

    A ``fit`` that is interrupted by Ctrl-C raises KeyboardInterrupt and leaves a usable model with
    the parameters after the last whole update.

    With the defaults for `objective`, `init` and `relative_rates` a fit leaves the closed form where training has ended
    with a larger mean `reconstruction_error` on the training data (as it may for sequences of one step, of which the
    closed form is the principal components); the loss curve is then that of the training.

    References
    ----------
    Pollack, J. B. (1990). Recursive distributed representations. Artificial Intelligence 46.
    Socher, R. et al. (2011). Dynamic pooling and unfolding recursive autoencoders. NIPS.
    Vincent, P., de Brebisson, A. and Bouthillier, X. (2015). Efficient exact gradient update for training deep networks
    with very large sparse targets. NIPS.
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

    _kind = "RAE"

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

    def reconstruction_error(self, X: Any, *, per: str = "sequence", reduce: str = "sum") -> Floats | list[Floats]:
        """Squared error of `reconstruct`, summed over steps and features: an anomaly score.

        With categorical output the cross-entropy of each step, in nats.

        Parameters
        ----------
        X : sequences
        per : {"sequence", "step", "feature", "element"}, default="sequence"
            What has an error of its own. A cross-entropy is one of steps, not of features or elements.
        reduce : {"sum", "mean"}, default="sum"
            What is made of the errors of a sequence, of a step, or of a feature of a sequence. Means do not grow with
            the length.

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
        if per == "sequence" and reduce == "sum":
            return self._errors(learned, self._read_targets(X, learned))
        if per not in ("sequence", "step", "feature", "element") or reduce not in ("sum", "mean"):
            raise ValueError("per must be 'sequence', 'step', 'feature' or 'element' and reduce 'sum' or 'mean'; got "
                             f"{shown(per)} and {shown(reduce)}")
        of_steps = learned.form.categorical
        if of_steps and per in ("feature", "element"):
            raise ValueError(f"per={per!r} is for linear outputs: a cross-entropy is one of a whole step")
        batch = self._read(X, learned)
        if of_steps:
            inputs.check_distributions(batch)
        summed = per == "step" and not of_steps
        found = []
        if per == "step" and learned.patches is None:
            found.append(self._errors_of_rows(learned, batch))
        for rows in () if found else self._residuals(learned, learned.read(batch)):
            squares = rows if of_steps else np.square(rows, dtype=np.float64)
            if learned.patches is not None:
                squares = learned.patches.rows(squares, batch.offsets)
            found.append(squares.sum(axis=1) if summed else squares)
        errors: Floats = np.concatenate(found)
        mean = reduce == "mean"
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

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, *, metric: str = "error") -> float:
        """Minus the mean of `reconstruction_error`, at most 0, or the part that is recalled: higher is better.

        Parameters
        ----------
        X : sequences
        y : ignored
        sample_weight : array-like of shape (N,), optional
            The weights of the mean; only their ratios matter.
        metric : {"error", "symbols", "sequences"}, default="error"
            "symbols": of the steps, and "sequences": of the sequences, the part that is given back as it was, of models
            with categorical output or token ids. A step is given back where the symbol of the largest output is.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For bad input, and other metrics than "error" of linear outputs of rows of numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> bool(model.score(np.eye(3)) == -model.reconstruction_error(np.eye(3)).mean())
        True
        """
        if metric not in ("error", "symbols", "sequences"):
            raise ValueError(f"metric must be 'error', 'symbols' or 'sequences'; got {shown(metric)}")
        learned = self._learned or self._fitted()
        if sample_weight is None and metric == "error":
            return -float(self._errors(learned, self._read_targets(X, learned)).mean())
        batch, weights = inputs.as_weighted(sample_weight, self._read_targets(X, learned))
        w = np.ones(batch.n_sequences) if weights is None else weights / weights.max()
        if metric == "error":
            return -float(np.average(self._errors(learned, batch), weights=w))
        if not (learned.form.categorical or learned.reads_ids):
            raise ValueError(f"metric={metric!r} is for categorical outputs, which tell symbols, and for token ids; "
                             "this model has linear outputs of rows of numbers")
        recalled = self._recalled(learned, batch)
        if metric == "symbols":
            return float(np.average(recalled, weights=np.repeat(w, batch.lengths())))
        return float(np.average(np.logical_and.reduceat(recalled, batch.offsets[:-1]), weights=w))

    # ---- what a Learner asks ---------------------------------------------------------------------

    def _decided(self, settings: Settings, batch: Batch, weights: Floats | None,
                 rng: np.random.Generator) -> tuple[Settings, Patches | None]:
        if settings.output == "auto":
            settings = settings.but(output="softmax" if batch.is_ids else "linear")
        n_hidden, length = sizes.decided(settings, batch, weights, rng)
        patches = Patches.of(batch, weights, length) if length > 1 else None
        return settings.but(n_hidden=n_hidden, patch_length=length), patches

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
                raise ValueError(f"init_scale={self.init_scale} overflows {theta.dtype}; make it smaller")
            raise ValueError(f"the closed form of X overflows {theta.dtype}; scale X {inputs.way_to_scale(batch)}")
        return theta, alone

    def _read_first(self, X: Any, settings: Settings) -> Batch:
        dtype = None if settings.dtype == "auto" else np.dtype(settings.dtype)
        batch = inputs.as_batch(X, dtype, settings.n_features, type(self).__name__, settings.n_features is not None)
        if settings.output in ("softmax", "spherical"):
            inputs.check_distributions(batch)
        return batch

    def _read_targets(self, X: Any, learned: Learned) -> Batch:
        batch = self._read(X, learned)
        if learned.form.categorical:
            inputs.check_distributions(batch)
        return learned.read(batch)

    def _errors(self, learned: Learned, batch: Batch) -> Floats:
        sums: Floats = np.add.reduceat(self._errors_of_rows(learned, batch), batch.offsets[:-1])
        return sums

    def _errors_of_rows(self, learned: Learned, batch: Batch) -> Floats:
        """The error of each row that the model reads."""
        form = learned.form
        if (isinstance(batch, SparseBatch) and form.output != "softmax"
                and form.n_inputs > _MANY_OUTPUTS * (form.n_hidden + 1) and batch.n_rows > form.n_hidden):
            return self._errors_without_outputs(learned, batch)
        errors = [rows if rows.ndim == 1 else np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
                  for rows in self._residuals(learned, batch)]
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

    def _residuals(self, learned: Learned, batch: Batch) -> Iterator[Floats]:
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
            yield rows
