"""class RAE: the recursive auto-encoder of sequences as a scikit-learn-style estimator.

Its methods are sequence_model.py's, but for how it is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rae_fast import inputs
from rae_fast._messages import shown
from rae_fast.hyperparameters import SequenceParameters, StretchParameters
from rae_fast.sequence_model import SequenceModel


@dataclass(eq=False, repr=False)
class RAE(SequenceModel, StretchParameters, SequenceParameters):
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
    standardize : {"none", "channel", "global"}, default="none"
        Whether numbers are read less the mean of their channel and over its deviation ("channel"), or over one scale of
        all ("global"), both of all steps that `fit` saw; outputs are given back in the data's units. What is minimised
        then counts in standardised units, and so do `loss_and_grad` and `parameters_`. "none" minimises errors as
        they are: the channels with the largest variance count most.
    missing : {"error", "ignore", "padding"}, default="error"
        What NaN in X is. "ignore": numbers that are missing; neither the loss nor its gradient knows them, and
        `reconstruct` fills them in. They are read as what the nearest numbers before and after them in their channel
        make probable, if each depends on the one before; by `step` as the mean. "padding": that too, and rows of
        nothing but NaN at the end of a sequence are no steps; results are lists. For linear outputs of rows of numbers.
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
    pooling : {"last", "mean", "last+mean"}, default="last"
        What `transform` gives: the code of the last state, the mean of those of all states, which knows more of what
        happened when, or both beside each other.
    standardize_codes : bool, default=False
        Whether `transform` gives codes less the mean and over the deviation of those that `fit` ended with (or, where
        there was none, the first `partial_fit` began with): what a linear classifier or k-means behind it wants.
        `inverse_transform` and `unroll` undo it.
    whiten : bool, default=False
        Whether they are made uncorrelated as well, by the symmetric map that moves them least; undone likewise.
        Directions fainter than a thousandth of the widest are enlarged as that thousandth would be. Small codes gain by
        it what large ones lose, whose faint directions then count as much as all others: `docs/quality.md`, "Codes for
        what follows".
    max_memory : int, default=2**30
        Bytes of hidden states that a gradient keeps of sequences computed together; of longer ones they are computed
        a second time, span by span, which changes no bit and takes about one forward pass longer.
    stretch_length : int, None or "auto", default="auto"
        `fit` learns from longer sequences in stretches, equal parts of at most so many steps, as if each were a
        sequence: many updates a pass, and none that goes back through all of a long series. Losses are then those of
        stretches, and `early_stopping` holds some of these out. None cuts nothing. "auto" cuts into stretches of 250
        where that was measured to be better (`docs/quality.md`, "Long series"): of ``objective="stepwise"`` more than
        5,000 steps, of "unfold" more than 100,000, of which one code gives back little.
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
    weight_decay : float or dict, default=0.0
        This times theta_ is added to the gradient; a dict has one for each block of `parameters_` that decays.
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
            return -float(self._reconstruction_errors(learned, self._read_targets(X, learned), True).mean())
        batch, weights = inputs.as_weighted(sample_weight, self._read_targets(X, learned))
        w = np.ones(batch.n_sequences) if weights is None else weights / weights.max()
        if metric == "error":
            return -float(np.average(self._reconstruction_errors(learned, batch, True), weights=w))
        if not (learned.form.categorical or learned.reads_ids):
            raise ValueError(f"metric={metric!r} is for categorical outputs, which tell symbols, and for token ids; "
                             "this model has linear outputs of rows of numbers")
        recalled = self._recalled(learned, batch)
        if metric == "symbols":
            return float(np.average(recalled, weights=np.repeat(w, batch.lengths())))
        return float(np.average(np.logical_and.reduceat(recalled, batch.offsets[:-1]), weights=w))
