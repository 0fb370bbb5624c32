"""class TreeRAEClassifier: trees whose nodes have labels."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from rae_fast._batch import Batch
from rae_fast._messages import shown
from rae_fast.classifiers import Classifier, labels_in, logits_of, no_labels, numbered, weights_of_classes
from rae_fast.hyperparameters import LabelParameters, NodeLabelParameters, Settings, TreeParameters, declared, positive
from rae_fast.learned import Learned
from rae_fast.training import Amounts
from rae_fast.tree import TreeModel
from rae_fast.tree_coding import Given, node_bounds

Floats = NDArray[Any]

_DECAY = {"W_hh": 1e-5, "W_rh": 1e-5, "V_hh": 1e-5, "V_hr": 1e-5, "W_xh": 1e-4, "W_hy": 1e-7}
_BOTH: dict[str, Any] = {"tree": "greedy", "output": "code", "normalize_codes": True, "init": "uniform",
                         "solver": "lbfgs", "max_iter": 70, "min_count": 1, "weight_decay": _DECAY}
# Settings of Socher et al., EMNLP 2011: of the paper, and of the program that came with it, which differs.
VARIANTS = {
    "paper": _BOTH | {"n_hidden": 100, "word_weights": True, "reduction": "sum", "alpha": 0.2, "leaf_weight": 0.0,
                      "inner_weight": 1.0, "root_weight": 1.0},
    "released": _BOTH | {"n_hidden": 50, "normalize_reconstruction": True, "alpha": 1 / 9, "label_loss": "squared",
                         "leaf_weight": 1.0, "inner_weight": 0.5, "root_weight": 0.5},
}


@dataclass(eq=False, repr=False)
class TreeRAEClassifier(Classifier, TreeModel, NodeLabelParameters, LabelParameters, TreeParameters):
    """Recursive auto-encoder of trees whose codes are labelled (Socher et al., EMNLP 2011).

    A softmax on the code of every node predicts its label, and is learned together with the reconstruction, by
    ``alpha reconstruction + (1 - alpha) sum of w loss(label)``. An item's class is the root's.

    Parameters
    ----------
    n_hidden : int, default=50
        Number H of numbers of a code.
    n_features : int or None, default=None
        As of `TreeRAE`.
    dtype : {"auto", "float32", "float64"}, default="auto"
        As of `TreeRAE`.
    min_count : int, default=2
        As of `TreeRAE`.
    tree : {"auto", "given", "greedy", "left", "right", "balanced"}, default="auto"
        As of `TreeRAE`.
    embedding : {"auto", "trained", "identity"}, default="auto"
        As of `TreeRAE`.
    output : {"auto", "code", "linear", "softmax"}, default="auto"
        As of `TreeRAE`, but "auto" is "code" for ids: labels keep the embeddings from shrinking.
    objective : {"stepwise", "unfold", "unfold_all"}, default="stepwise"
        As of `TreeRAE`.
    decoder : {"tanh", "linear"}, default="tanh"
        As of `TreeRAE`.
    normalize_codes : bool, default=False
        As of `TreeRAE`.
    normalize_reconstruction : bool, default=False
        As of `TreeRAE`.
    hidden_weight : float, default=1.0
        As of `TreeRAE`.
    word_weights : bool, default=False
        As of `TreeRAE`.
    reduction : {"mean", "sum"}, default="mean"
        As of `TreeRAE`.
    stop_targets : bool, default=False
        As of `TreeRAE`.
    init : {"identity", "uniform"}, default="identity"
        As of `TreeRAE`.
    embedding_scale : float, default=0.05
        As of `TreeRAE`.
    pooling : str, default="root"
        As of `TreeRAE`.
    alpha : float, default=0.2
        The part of reconstruction in the loss.
    dropout : float, default=0.0
        The part of a code's numbers that the softmax does not see, drawn anew for every update and node.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes beside these, as scikit-learn has them.
    label_loss : {"cross_entropy", "squared"}, default="cross_entropy"
        Of a node's label: "squared" is half the squared distance of the probabilities from it.
    leaf_weight, inner_weight, root_weight : float, default=1.0, 0.5, 0.5
        Weights w of the nodes. An item's label is that of all its nodes, where `fit` gets no other.
    solver : {"adam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "rprop", "lbfgs"}, default="adam"
        As of `TreeRAE`.
    learning_rate : float, default=0.003
        Step size.
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
        As of `TreeRAE`.
    batch_size : int or "auto", default="auto"
        Items per update; "auto" is 32.
    max_iter : int or "auto", default="auto"
        Passes over the data; "auto" is as many as make 300 updates, but 2 to 50.
    tol : float, default=0.0
        As of `RAE`.
    n_iter_no_change : int, default=10
        As of `RAE`.
    early_stopping : bool, default=False
        As of `RAE`, by the whole loss; with ``objective="unfold_all"`` its reconstruction is that from the root.
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
    classes_ : ndarray, the labels in the order of the columns of `predict_proba`

    Notes
    -----
    y is one label for each item, or a list with labels for all nodes of each (leaves first, then inner nodes in the
    order of `trees`, None for those without); of bracketed trees it may be left out, for these carry the labels of
    nodes.

    Examples
    --------
    >>> from rae_fast import TreeRAEClassifier
    >>> lines = ["a fine film", "a dull film", "a fine play", "a dull play"] * 5
    >>> y = ["good", "bad"] * 10
    >>> model = TreeRAEClassifier(8, max_iter=100, learning_rate=0.01, random_state=0).fit(lines, y)
    >>> model.predict(["a fine story"]).tolist()
    ['good']
    """

    _: KW_ONLY
    learning_rate: float = declared(0.003, positive)

    _kind = "TreeRAEClassifier"
    _amounts = Amounts(300, 2, 50, 32)

    @classmethod
    def variant(cls, name: str, **changes: Any) -> Self:
        """A model with the settings of Socher et al. (EMNLP 2011), not fitted.

        Parameters
        ----------
        name : {"paper", "released"}
            "paper": 100 numbers a code, codes of length 1, children weighted by the words below them, cross-entropy of
            labels at inner nodes. "released": the authors' program, which has 50 numbers, makes reconstructions of
            length 1 as well, weights no children, and judges labels of leaves and (half) of inner nodes by half the
            squared error. Both: greedy trees, a uniform start, 70 iterations of L-BFGS, and a weight decay, the
            program's.
        **changes : hyper-parameters that shall be others

        Returns
        -------
        TreeRAEClassifier

        Raises
        ------
        ValueError
            For another name.

        Notes
        -----
        In the program an item's reconstruction error counts by its part of all inner nodes, here by the mean over its
        own; the program keeps word vectors near a fixed start, by a decay of what was learned, and here they decay
        themselves. `alpha` is 1/9 for its 0.2, for its reconstruction errors are halved.

        Examples
        --------
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier.variant("released", random_state=0)
        >>> model.n_hidden, model.normalize_codes, model.label_loss
        (50, True, 'squared')
        """
        if not isinstance(name, str) or name not in VARIANTS:
            raise ValueError(f"the variant must be one of {', '.join(map(repr, VARIANTS))}; got {shown(name)}")
        return cls(**copy.deepcopy(VARIANTS[name]) | changes)

    def _output_of(self, batch: Batch) -> str:
        return "code" if batch.is_ids else "linear"

    def _attach_labels(self, given: Given, batch: Batch, children: Any, orders: Any, labels: Any, settings: Settings,
                       learned: Learned | None) -> Batch:
        y = given.y
        if y is None and learned is not None and not given.learns:
            return batch.attach(children)
        if y is None and labels is not None:
            if learned is None and all(label is None for of_tree in labels for label in of_tree):
                raise ValueError("the trees carry no labels; pass y")
            y = labels
        if y is None:
            raise no_labels(self)
        found = labels_in(y, batch.lengths(), orders)
        numbers, given.classes = numbered(found, None if learned is None else learned.classes, given.all_classes)
        weights = weights_of_classes(settings.class_weight, given.classes, numbers)
        return batch.attach(children, numbers, weights, len(given.classes))

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, trees: Any = None,
                    classes: Any = None) -> Self:
        """Make one update with all of X as the batch.

        Parameters
        ----------
        X, y, sample_weight, trees
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
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier(4, min_count=1, random_state=0)
        >>> model = model.partial_fit(["fine film", "fine play"], ["good", "good"], classes=["good", "bad"])
        >>> model.classes_.tolist()
        ['bad', 'good']
        """
        return super().partial_fit(Given(X, trees, y, True, classes), None, sample_weight)

    # ---- labels of new items -------------------------------------------------------------------------

    def decision_function(self, X: Any, *, trees: Any = None) -> Floats:
        """Scores of the classes: logits of the root, of two classes those of the second over the first.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        ndarray of shape (N, n_classes), or (N,) for two classes

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier(4, min_count=1, max_iter=99, learning_rate=0.02, random_state=0)
        >>> model = model.fit(["fine", "dull", "fine fine", "dull dull"], ["good", "bad", "good", "bad"])
        >>> model.decision_function(["dull"]).shape
        (1,)
        """
        return super().decision_function(Given(X, trees))

    def predict_proba(self, X: Any, *, trees: Any = None) -> Floats:
        """Probabilities of the classes.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        ndarray of shape (N, n_classes)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier(4, min_count=1, max_iter=99, learning_rate=0.02, random_state=0)
        >>> model = model.fit(["fine", "dull", "fine fine", "dull dull"], ["good", "bad", "good", "bad"])
        >>> model.predict_proba(["dull"]).shape
        (1, 2)
        """
        return super().predict_proba(Given(X, trees))

    def predict_log_proba(self, X: Any, *, trees: Any = None) -> Floats:
        """Their logarithms.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        ndarray of shape (N, n_classes)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier(4, min_count=1, max_iter=99, learning_rate=0.02, random_state=0)
        >>> model = model.fit(["fine", "dull", "fine fine", "dull dull"], ["good", "bad", "good", "bad"])
        >>> model.predict_log_proba(["dull"]).shape
        (1, 2)
        """
        return super().predict_log_proba(Given(X, trees))

    def predict(self, X: Any, *, trees: Any = None) -> NDArray[Any]:
        """The most probable class of each item.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        ndarray of shape (N,), of the type of y

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier(4, min_count=1, max_iter=99, learning_rate=0.02, random_state=0)
        >>> model = model.fit(["fine", "dull", "fine fine", "dull dull"], ["good", "bad", "good", "bad"])
        >>> model.predict(["dull"]).tolist()
        ['bad']
        """
        return super().predict(Given(X, trees))

    def predict_nodes(self, X: Any, *, trees: Any = None) -> list[NDArray[Any]]:
        """The most probable class of each node of each item.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        list of (2 n - 1,) arrays

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier(4, min_count=1, max_iter=99, learning_rate=0.02, random_state=0)
        >>> model = model.fit(["fine", "dull", "fine fine", "dull dull"], ["good", "bad", "good", "bad"])
        >>> len(model.predict_nodes(["fine dull"])[0])
        3
        """
        learned = self._fitted()
        batch = self._read(X, trees, learned)
        found = self.classes_[logits_of(learned, self._codes(learned, batch)[0]).argmax(axis=1)]
        bounds = node_bounds(batch)
        return [found[a:b].copy() for a, b in zip(bounds[:-1], bounds[1:])]

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, trees: Any = None) -> float:
        """The part of the items whose class is right.

        Parameters
        ----------
        X : sequences, or text
        y : array-like of shape (N,)
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
        >>> from rae_fast import TreeRAEClassifier
        >>> model = TreeRAEClassifier(4, min_count=1, max_iter=99, learning_rate=0.02, random_state=0)
        >>> model = model.fit(["fine", "dull", "fine fine", "dull dull"], ["good", "bad", "good", "bad"])
        >>> model.score(["dull", "fine"], ["bad", "good"])
        1.0
        """
        return super().score(Given(X, trees), y, sample_weight)

    def _logits(self, given: Given) -> Floats:
        learned = self._fitted()
        batch = self._read(given.X, given.trees, learned)
        return logits_of(learned, self._roots(learned, batch))

    def _errors(self, learned: Learned, batch: Batch) -> Floats:
        """The whole loss of each item."""
        form, (codes, children) = learned.form, self._codes(learned, batch)
        errors: Floats = form.alpha * self._tree_errors(learned, batch, codes, children)
        if batch.labels is None:
            return errors
        bounds, lengths = node_bounds(batch), batch.lengths()
        sizes = np.diff(bounds)
        of_nodes = len(batch.labels) == bounds[-1] and len(batch.labels) != len(lengths)
        labels = batch.labels if of_nodes else np.repeat(batch.labels, sizes)
        weights = np.where(np.arange(bounds[-1]) - np.repeat(bounds[:-1], sizes) < np.repeat(lengths, sizes),
                           form.leaf_weight, form.inner_weight)
        weights[bounds[1:] - 1] = form.root_weight
        weights = np.where(labels >= 0, weights, 0.0)
        if batch.label_weights is not None:
            weights = weights * (batch.label_weights if of_nodes else np.repeat(batch.label_weights, sizes))
        logits = logits_of(learned, codes).astype(np.float64)
        if form.label_loss == "squared":
            losses = np.square(softmax(logits, axis=1) - np.eye(form.n_classes)[labels]).sum(axis=1) / 2
        else:
            losses = -log_softmax(logits, axis=1)[np.arange(len(logits)), labels]
        summed: Floats = errors + (1 - form.alpha) * np.add.reduceat(weights * losses, bounds[:-1])
        return summed
