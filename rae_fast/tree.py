"""class TreeRAE: the recursive auto-encoder of trees.

Thin on purpose: how it learns and is kept is _learner.py's, what codes of trees are used for is tree_coding.py's; here
are what it is and how it starts.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rae_fast import _blas, _objectives, inputs, parameters
from rae_fast._batch import Batch, SparseBatch
from rae_fast._tree_form import TreeForm
from rae_fast.hyperparameters import Settings, TreeParameters, declared, positive
from rae_fast.learned import Learned
from rae_fast.patches import Patches
from rae_fast.training import Amounts
from rae_fast.tree_coding import Given, TreeCoding

Floats = NDArray[Any]


class TreeModel(TreeCoding):
    """What estimators of trees share: forms, starts and losses."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, trees: Any = None, resume: Any = False) -> Self:
        """Learn from scratch, or go on with an interrupted fit.

        Parameters
        ----------
        X : list of str, or sequences
            Lines of text, or bracketed trees, whose words get a vocabulary; or sequences of token ids or of rows of
            numbers, as `RAE` takes them.
        y : labels, see Notes of the class; ignored by models without labels
        sample_weight : array-like of shape (N,), optional
            As in `RAE.fit`.
        trees : sequence of N trees, optional
            For each item the children of its n - 1 inner nodes, an (n - 1, 2) array (see `rae_fast.trees`), or nested
            pairs of numbers of leaves, or a `Tree`.
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
        >>> from rae_fast import TreeRAE
        >>> model = TreeRAE(4, max_iter=5, random_state=0).fit([[0, 1, 2], [2, 1]], trees=[((0, 1), 2), (0, 1)])
        >>> len(model.loss_curve_)
        5
        """
        return super().fit(Given(X, trees, y, True), None, sample_weight, resume=resume)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, trees: Any = None) -> Self:
        """Make one update with all of X as the batch.

        Parameters
        ----------
        X, y, sample_weight, trees
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, FloatingPointError
            As in `fit`.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> model = TreeRAE(4, random_state=0)
        >>> for _ in range(3):
        ...     _ = model.partial_fit([[0, 1, 2], [2, 1]])
        >>> len(model.loss_curve_)
        3
        """
        given = X if isinstance(X, Given) else Given(X, trees, y, True)
        return super().partial_fit(given, None, sample_weight)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None, *, trees: Any = None) -> Floats:
        """`fit` and `transform`.

        Parameters
        ----------
        X, y, sample_weight, trees : as in `fit`

        Returns
        -------
        ndarray, as of `transform`

        Raises
        ------
        ValueError, FloatingPointError
            As of `fit`.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> TreeRAE(4, max_iter=2, random_state=0).fit_transform([[0, 1, 2], [2, 1]]).shape
        (2, 4)
        """
        return self.fit(X, y, sample_weight, trees=trees).transform(X, trees=trees)

    def loss_and_grad(self, X: Any, y: Any = None, sample_weight: Any = None, *,
                      trees: Any = None) -> tuple[float, dict[str, Floats]]:
        """The objective sum_n w_n E(X_n) and its gradient; greedy trees are found first, and taken as fixed.

        Parameters
        ----------
        X, y, sample_weight, trees
            As in `fit`; the weights are 1 / N each by default.

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
        >>> from rae_fast import TreeRAE
        >>> model = TreeRAE(4, max_iter=0, random_state=0).fit([[0, 1, 2], [2, 1]])
        >>> loss, grad = model.loss_and_grad([[0, 1, 2], [2, 1]])
        >>> grad["W_xh"].shape
        (3, 4)
        """
        settings, learned = self._checked or self._settings(), self._fitted()
        batch, weights = inputs.as_weighted(sample_weight, self._read_targets(Given(X, trees, y, True), learned))
        objective = _objectives.borrow(learned.form.under(settings), batch, weights, settings.max_memory,
                                       settings.n_jobs)
        grad = objective.new_gradient()
        loss = objective.loss_and_grad(learned.theta, grad)
        _objectives.give_back(objective)
        return loss, grad.views()

    # ---- what a Learner asks -----------------------------------------------------------------------

    def _decided(self, settings: Settings, batch: Batch, weights: Floats | None,
                 rng: np.random.Generator) -> tuple[Settings, Patches | None]:
        if settings.tree == "auto":
            settings = settings.but(tree="greedy" if batch.children is None else "given")
        if settings.embedding == "auto":
            own = not isinstance(batch, SparseBatch) and batch.n_features == settings.n_hidden
            settings = settings.but(embedding="identity" if own else "trained")
        if settings.output == "auto":
            settings = settings.but(output=self._output_of(batch))
        return settings, None

    def _output_of(self, batch: Batch) -> str:
        """How leaves are given back where the user leaves that to the data."""
        return "softmax" if batch.is_ids else "linear"

    def _form(self, settings: Settings, batch: Batch) -> TreeForm:
        _blas.check_size(2 * settings.n_hidden + batch.n_features, "twice n_hidden plus the number of features")
        if settings.embedding == "identity" and isinstance(batch, SparseBatch):
            raise ValueError("embedding='identity' takes rows of n_hidden numbers for codes; X holds ids or sparse "
                             "rows")
        if settings.output == "softmax":
            inputs.check_distributions(batch)
        return TreeForm(batch.n_features, settings.n_hidden, batch.n_classes, settings.embedding != "identity",
                        settings.decoder, settings.output, settings.normalize_codes, settings.normalize_reconstruction,
                        settings.tree).under(settings)

    def _initial_values(self, form: TreeForm, batch: Batch, weights: Floats | None, settings: Settings,
                        rng: np.random.Generator) -> tuple[Floats, Floats | None]:
        """The start of Socher's release, U(+-r) with r = sqrt(6 / (2 H + 1)) for weights and U(+-embedding_scale) for
        embeddings; "identity": halves of W near I / 2 and of V near I, with a twentieth of that noise."""
        theta = form.empty(batch.dtype)
        theta[:] = 0
        H = form.n_hidden
        r = math.sqrt(6 / (2 * H + 1))
        own = settings.init == "identity"
        p = form.views(theta)

        def noise(name: str, scale: float) -> Floats:
            return rng.uniform(-scale, scale, p[name].shape)

        if form.embeds:
            p["W_xh"][...] = noise("W_xh", settings.embedding_scale)
        for name, part in (("W_hh", 0.5), ("W_rh", 0.5), ("V_hh", 1.0), ("V_hr", 1.0)):
            p[name][...] = part * np.eye(H) + noise(name, 0.05 * r) if own else noise(name, r)
        for name in ("V_hx", "W_hy"):
            if name in p:
                p[name][...] = noise(name, 0.1 * r if own else r)
        if not parameters.all_finite(theta):
            raise ValueError(f"embedding_scale={settings.embedding_scale} overflows {theta.dtype}; make it smaller")
        return theta, None

    def _completed(self, learned: Learned, X: Any) -> Learned:
        return replace(learned, vocabulary=X.vocabulary, classes=X.classes)


@dataclass(eq=False, repr=False)
class TreeRAE(TreeModel, TreeParameters):
    """Recursive auto-encoder of trees.

    The code of an inner node is made of its children's, ``h = tanh(l W_hh + r W_rh + b_h)``, and learns to give both
    back; the code of the root stands for the whole. The tree is given, grown by its number of leaves, or found: the
    neighbours with the smallest error are joined, again and again (Socher et al., EMNLP 2011).

    Parameters
    ----------
    n_hidden : int, default=50
        Number H of numbers of a code.
    n_features : int or None, default=None
        Number of different token ids, or of numbers of a row; None: what the data have.
    dtype : {"auto", "float32", "float64"}, default="auto"
        What is computed in: "auto" is float32 for data that are float32, else float64.
    min_count : int, default=2
        Of text: rarer words share the code of the unknown word, which is trained with them.
    tree : {"auto", "given", "greedy", "left", "right", "balanced"}, default="auto"
        Where trees come from. "auto" is "given" where `fit` gets trees, else "greedy".
    embedding : {"auto", "trained", "identity"}, default="auto"
        The code of a leaf: its row of W_xh, or its numbers times W_xh ("trained"), or these numbers themselves
        ("identity", where they are n_hidden). "auto" is "identity" for rows of n_hidden numbers.
    output : {"auto", "code", "linear", "softmax"}, default="auto"
        How a leaf is given back, and judged: "softmax", by cross-entropy of all ids; "linear", by squared error of its
        numbers; "code", by squared error of its code, as inner nodes are, which without labels makes trained embeddings
        shrink to nothing. "auto" is "softmax" for ids, else "linear".
    objective : {"stepwise", "unfold", "unfold_all"}, default="stepwise"
        What is minimised: the error with which every inner node gives back its two children, or that of all leaves once
        the root is decoded down to them (Socher et al., NIPS 2011), which is what `reconstruct` shows, or
        ("unfold_all") the sum of that over all inner nodes.
    decoder : {"tanh", "linear"}, default="tanh"
        How children are decoded; leaves that are codes themselves are decoded linearly.
    normalize_codes : bool, default=False
        Whether codes of inner nodes are divided by their length.
    normalize_reconstruction : bool, default=False
        Whether decoded codes are.
    hidden_weight : float, default=1.0
        Weight of the squared error of children that are inner nodes.
    word_weights : bool, default=False
        Whether a child counts by its part of the leaves below the node.
    reduction : {"mean", "sum"}, default="mean"
        What is made of the errors of an item's inner nodes.
    stop_targets : bool, default=False
        Whether no gradient flows into the codes that are to be given back.
    init : {"identity", "uniform"}, default="identity"
        "identity": a node starts as the mean of its children, and gives back itself. "uniform": as in Socher's release.
    embedding_scale : float, default=0.05
        Embeddings start within plus and minus this.
    pooling : str, default="root"
        What `transform` gives: the code of the "root", or the "mean" of the codes of all nodes, of the "leaves", or of
        the "inner" ones; or several of these, joined by "+".
    solver : {"adam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "rprop", "lbfgs"}, default="adam"
        As of `RAE`; the trees of "lbfgs" are found anew at every look at the loss.
    learning_rate : float, default=0.003
        Step size.
    schedule : {"cosine", "constant", "step", "inverse"}, default="cosine"
        How the learning rate falls over the passes of a `fit`.
    momentum : float, default=0.9
        Of "momentum" and "nesterov".
    momentum_schedule : {"constant", "sutskever"}, default="constant"
        As of `RAE`.
    rho : float, default=0.95
        Decay of the mean squares of "rmsprop" and "adadelta".
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of the mean and of the mean square of "adam".
    epsilon : float, default=1e-8
        Added to denominators.
    clip_norm : float or None, default=None
        Longest gradient.
    weight_decay : float or dict, default=0.0
        This times theta_ is added to the gradient; a dict has one for each block of `parameters_` that decays.
    input_update : {"dense", "rows"}, default="dense"
        Whether embeddings that a batch does not name go on moving, or rest with their memory.
    batch_size : int or "auto", default="auto"
        Items per update; "auto" is 32.
    max_iter : int or "auto", default="auto"
        Passes over the data; "auto" is as many as make 10,000 updates, but 5 to 200.
    tol : float, default=0.0
        As of `RAE`.
    n_iter_no_change : int, default=10
        As of `RAE`.
    early_stopping : bool, default=False
        As of `RAE`, by `reconstruction_error`.
    validation_fraction : float, default=0.1
        The part held out.
    shuffle : bool, default=True
        Whether each pass takes the items in a new random order.
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
        Of the start and of the order.
    verbose : int, default=0
        Whether progress is shown.

    Attributes
    ----------
    theta_ : ndarray, all parameters as one vector
    parameters_ : dict of str to ndarray, its blocks by name, as views
    n_features_in_ : int, different ids or numbers of a row
    feature_names_in_ : ndarray of str, of the columns of frames
    n_steps_ : int or None, the common number of leaves
    n_iter_, n_updates_ : int, passes and updates made
    loss_curve_ : list of float, the loss of each pass
    validation_scores_ : list of float, with `early_stopping`
    output_update_ : str, "dense"
    solver_state_ : dict, what the solver remembers
    rate_scale_ : None
    vocabulary_ : Vocabulary, of models of text

    Examples
    --------
    >>> from rae_fast import TreeRAE, trees
    >>> lines = ["a fine film", "a dull film", "a fine play", "a dull play"]
    >>> model = TreeRAE(8, tree="balanced", min_count=1, max_iter=50, random_state=0).fit(lines)
    >>> print(trees.draw(model.trees(lines)[0], lines[0].split()))
    +-- *
        +-- *
            +-- a
            +-- fine
        +-- film
    """

    _: KW_ONLY
    learning_rate: float = declared(0.003, positive)

    _kind = "TreeRAE"
    _amounts = Amounts(10_000, 5, 200, 32)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, *, trees: Any = None) -> float:
        """Minus the mean of `reconstruction_error`: higher is better.

        Parameters
        ----------
        X : sequences, or text
        y : ignored
        sample_weight : array-like of shape (N,), optional
        trees : the trees over them, where these are given

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> model = TreeRAE(4, max_iter=0, random_state=0).fit([[0, 1, 2], [2, 1]])
        >>> bool(model.score([[0, 1]]) == -model.reconstruction_error([[0, 1]]).mean())
        True
        """
        learned = self._fitted()
        batch, weights = inputs.as_weighted(sample_weight, self._read_targets(Given(X, trees), learned))
        return -float(np.average(self._errors(learned, batch), weights=weights))
