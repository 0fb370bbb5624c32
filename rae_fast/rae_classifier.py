"""class RAEClassifier: sequences with labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from rae_fast import relative_rates
from rae_fast._batch import Batch
from rae_fast._form import Form
from rae_fast.classifiers import Classifier, logits_of, no_labels, numbered, of_items, weights_of_classes
from rae_fast.hyperparameters import LabelParameters, SequenceParameters, Settings
from rae_fast.learned import Learned
from rae_fast.sequence_model import SequenceModel
from rae_fast.training import Amounts

Floats = NDArray[Any]


class Labelled:
    """What a user passes of sequences with labels, and what reading them has found out."""

    def __init__(self, X: Any, y: Any, all_classes: Any = None) -> None:
        self.X, self.y, self.all_classes = X, y, all_classes
        self.classes: NDArray[Any] | None = None


@dataclass(eq=False, repr=False)
class RAEClassifier(Classifier, SequenceModel, LabelParameters, SequenceParameters):
    """Recursive auto-encoder of sequences whose codes are labelled.

    A softmax on the code of a sequence predicts its label, and is learned together with the reconstruction, by
    ``alpha E(X) / U + (1 - alpha) cross_entropy(y)``, where U is the loss of always giving back the mean step
    (of a sample): what alpha means does not depend on the units of X. Hidden terms of the stepwise objective count over
    the number of steps and units.

    Parameters
    ----------
    n_hidden : int or None, default=None
        As of `RAE`.
    n_code : int or None, default=None
        As of `RAE`; with it the softmax is one of the code, and not of the last state.
    n_features : int or None, default=None
        As of `RAE`.
    dtype : {"auto", "float32", "float64"}, default="auto"
        As of `RAE`.
    patch_length : int or "auto", default="auto"
        As of `RAE`.
    standardize : {"none", "channel", "global"}, default="none"
        As of `RAE`.
    missing : {"error", "ignore", "padding"}, default="error"
        As of `RAE`.
    objective : {"unfold", "stepwise"}, default="unfold"
        As of `RAE`.
    hidden_weight : float, default=1.0
        As of `RAE`.
    reconstruct_h0 : bool, default=False
        As of `RAE`.
    decoder : {"tanh", "linear"}, default="tanh"
        As of `RAE`.
    output : {"auto", "linear", "softmax", "spherical"}, default="auto"
        As of `RAE`.
    tied : bool, default=False
        As of `RAE`.
    init : {"linear", "orthogonal", "normal"}, default="linear"
        As of `RAE`; the softmax starts at 0.
    init_scale : float, default=0.1
        As of `RAE`.
    relative_rates : bool, default=True
        As of `RAE`.
    output_update : {"auto", "dense", "factored"}, default="auto"
        As of `RAE`.
    output_learning_rate : float, default=0.3
        As of `RAE`.
    pooling : {"last", "mean", "last+mean"}, default="last"
        As of `RAE`, of `transform`; labels are those of the last code.
    standardize_codes : bool, default=False
        As of `RAE`.
    whiten : bool, default=False
        As of `RAE`.
    max_memory : int, default=2**30
        As of `RAE`.
    alpha : float, default=0.2
        The part of reconstruction in the loss, from 0 to 1.
    dropout : float, default=0.0
        The part of a code's numbers that the softmax does not see, drawn anew for every update and code.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes, as scikit-learn has them.
    solver : {"adam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "rprop", "lbfgs"}, default="adam"
        As of `RAE`.
    learning_rate : float, default=0.3
        As of `RAE`.
    schedule : {"cosine", "constant", "step", "inverse"}, default="cosine"
        As of `RAE`.
    momentum : float, default=0.9
        As of `RAE`.
    momentum_schedule : {"constant", "sutskever"}, default="constant"
        As of `RAE`.
    rho : float, default=0.95
        As of `RAE`.
    beta_1, beta_2 : float, default=0.9, 0.999
        As of `RAE`.
    epsilon : float, default=1e-8
        As of `RAE`.
    clip_norm : float or None, default=None
        As of `RAE`.
    weight_decay : float or dict, default=0.0
        As of `RAE`.
    input_update : {"dense", "rows"}, default="dense"
        As of `RAE`.
    batch_size : int or "auto", default="auto"
        Sequences per update; "auto" is 32.
    max_iter : int or "auto", default="auto"
        Passes over the data; "auto" is as many as make 2,000 updates, but 20 to 500.
    tol : float, default=0.0
        As of `RAE`.
    n_iter_no_change : int, default=10
        As of `RAE`.
    early_stopping : bool, default=False
        As of `RAE`, by the whole loss.
    validation_fraction : float, default=0.1
        The part held out.
    shuffle : bool, default=True
        As of `RAE`.
    callbacks : callable or list of callables, optional
        As of `RAE`.
    report_every : int or None, default=None
        As of `RAE`.
    checkpoint : path, optional
        As of `RAE`.
    checkpoint_seconds : float, default=60.0
        As of `RAE`.
    n_jobs : int or None, default=1
        Threads, which change no bit.
    random_state : None, int or NumPy generator, default=None
        As of `RAE`.
    verbose : int, default=0
        As of `RAE`.

    Attributes
    ----------
    theta_ : ndarray, all parameters as one vector
    parameters_ : dict of str to ndarray, its blocks by name, as views: those of `RAE`, W_hy (C, K) and b_y (K,)
    n_features_in_ : int, features of a step
    feature_names_in_ : ndarray of str, of the columns of frames
    n_steps_ : int or None, the common length
    n_iter_, n_updates_ : int, passes and updates made
    loss_curve_ : list of float, the loss of each pass
    validation_scores_ : list of float, with `early_stopping`
    output_update_ : str, "dense" or "factored"
    solver_state_ : dict, what the solver remembers
    rate_scale_ : dict of str to ndarray, or None, as of `RAE`
    vocabulary_ : Vocabulary, of the file that the model came from
    classes_ : ndarray, the labels in the order of the columns of `predict_proba`

    Notes
    -----
    y is one label for each sequence: numbers, strings or booleans, None where it is missing. Such sequences are learned
    from by their reconstruction alone.

    The other way is in two stages: ``make_pipeline(RAE(...), StandardScaler(), LogisticRegression())`` learns codes
    without labels first, and is the better one where few sequences have labels (`docs/quality.md`, "Labels").

    Examples
    --------
    >>> import numpy as np
    >>> from rae_fast import RAEClassifier
    >>> rng = np.random.default_rng(0)
    >>> t = np.arange(20)[:, None]
    >>> X = [np.sin(t * (0.2 + 0.4 * (i % 2)) + rng.uniform(0, 2)) for i in range(60)]
    >>> y = ["slow", "fast"] * 30
    >>> model = RAEClassifier(8, random_state=0).fit(X[:40], y[:40])
    >>> bool(model.score(X[40:], y[40:]) > 0.9)
    True
    """

    _kind = "RAEClassifier"
    _amounts = Amounts(2_000, 20, 500, 32)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, resume: Any = False) -> Self:
        """Learn from scratch, or go on with an interrupted fit.

        Parameters
        ----------
        X : sequences, as `RAE` takes them
        y : array-like of shape (N,)
            A label for each, None where it is missing.
        sample_weight : array-like of shape (N,), optional
            As in `RAE.fit`.
        resume : bool or path, default=False
            As in `RAE.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad input or hyper-parameters; the model is unchanged.
        FloatingPointError
            When the loss or its gradient overflows; the model keeps the last finite parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> RAEClassifier(4, random_state=0).fit(X, y).classes_.tolist()
        ['down', 'up']
        """
        return super().fit(Labelled(X, y), None, sample_weight, resume=resume)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, classes: Any = None) -> Self:
        """Make one update with all of X as the batch.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like, optional
            All labels that will ever be, where the first call's y does not hold all.

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
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> model = RAEClassifier(4, random_state=0)
        >>> for _ in range(3):
        ...     _ = model.partial_fit(X, y)
        >>> len(model.loss_curve_)
        3
        """
        return super().partial_fit(Labelled(X, y, classes), None, sample_weight)

    def loss_and_grad(self, X: Any, y: Any = None,  # type: ignore[override]
                      sample_weight: Any = None) -> tuple[float, dict[str, Floats]]:
        """The objective and its gradient.

        Parameters
        ----------
        X : sequences
        y : array-like of shape (N,), optional
            Their labels; without any the loss is that of reconstruction times alpha.
        sample_weight : array-like of shape (N,), optional
            The weights, 1 / N each by default.

        Returns
        -------
        loss : float
        grad : dict of str to ndarray, with the names and shapes of `parameters_`

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> loss, grad = RAEClassifier(4, random_state=0).fit(X, y).loss_and_grad(X, y)
        >>> grad["W_hy"].shape
        (4, 2)
        """
        return super().loss_and_grad(X if y is None else Labelled(X, y), sample_weight)

    # ---- what a Learner asks ---------------------------------------------------------------------

    def _data(self, X: Any) -> Any:
        return X.X

    def _read_first(self, X: Any, settings: Settings) -> Batch:
        return self._labelled(X, super()._read_first(X.X, settings), settings, None)

    def _read_targets(self, X: Any, learned: Learned) -> Batch:
        if not isinstance(X, Labelled):
            return super()._read_targets(X, learned)
        batch = super()._read_targets(X.X, learned)
        return self._labelled(X, batch, self._checked or self._settings(), learned.classes)

    def _labelled(self, given: Labelled, batch: Batch, settings: Settings, classes: NDArray[Any] | None) -> Batch:
        if given.y is None:
            raise no_labels(self)
        numbers, given.classes = numbered(of_items(given.y, batch.n_sequences), classes, given.all_classes)
        weights = weights_of_classes(settings.class_weight, given.classes, numbers)
        return batch.attach(None, numbers, weights, len(given.classes))

    def _completed(self, learned: Learned, X: Any) -> Learned:
        return replace(learned, classes=X.classes)

    def _form(self, settings: Settings, batch: Batch) -> Form:
        form = super()._form(settings, batch)
        return form.with_labels(batch.n_classes, *relative_rates.loss_units(settings.output, form.n_hidden, batch),
                                settings.alpha, settings.dropout)

    def _initial_values(self, form: Form, batch: Batch, weights: Floats | None, settings: Settings,
                        rng: np.random.Generator) -> tuple[Floats, Floats | None]:
        plain = form.without_labels()
        start, _ = super()._initial_values(plain, batch, weights, settings, rng)
        theta = form.empty(start.dtype)
        theta[:plain.size], theta[plain.size:] = start, 0
        return theta, None

    def _logits(self, X: Any) -> Floats:
        learned = self._learned or self._fitted()
        return logits_of(learned, self._codes(learned, learned.read(self._read(X, learned))))

    def _errors(self, learned: Learned, batch: Batch) -> Floats:
        """The whole loss of each sequence."""
        form = learned.form
        errors: Floats = form.alpha / form.loss_unit * self._reconstruction_errors(learned, batch, False)
        if batch.labels is None:
            return errors
        logits = logits_of(learned, self._codes(learned, batch)).astype(np.float64)
        losses = -log_softmax(logits, axis=1)[np.arange(len(logits)), batch.labels]
        weights = (batch.labels >= 0) * (1.0 if batch.label_weights is None else batch.label_weights)
        whole: Floats = errors + (1 - form.alpha) * weights * losses
        return whole
