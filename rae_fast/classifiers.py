"""What estimators share whose codes have labels: labels as numbers, their weights, and what they are asked.

A softmax on codes is learned together with the reconstruction.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from rae_fast._estimator import Estimator
from rae_fast._messages import shown

Floats = NDArray[Any]


def labels_in(y: Any, lengths: NDArray[np.intp], orders: Any) -> NDArray[Any]:
    """All labels of items or of nodes, as `of_items` has them."""
    n_nodes = 2 * lengths - 1
    if isinstance(y, (list, tuple)) and len(y) and isinstance(y[0], (list, tuple, np.ndarray)):
        if len(y) != len(lengths):
            raise ValueError(f"y has labels of {len(y)} items, but X has {len(lengths)}")
        for i, (labels, n) in enumerate(zip(y, n_nodes)):
            if len(labels) != n:
                raise ValueError(f"y[{i}] has {len(labels)} labels, but its tree has {n} nodes")
        if orders is not None:
            y = [labels if order is None else [labels[j] for j in order] for labels, order in zip(y, orders)]
        return _of_one_kind([label for labels in y for label in labels])
    return of_items(y, len(lengths), ", or a list with labels for all nodes of each")


def of_items(y: Any, n: int, otherwise: str = "") -> NDArray[Any]:
    """One label for each of n items: an array of the user's type, or of objects where some are None."""
    array: NDArray[Any] | None = None
    elements: list[Any] = []
    if isinstance(y, np.ma.MaskedArray) and np.ma.is_masked(y):
        array = np.asarray(y.data).astype(object)
        array[np.ma.getmaskarray(y)] = None
    elif isinstance(y, np.ndarray) or not hasattr(y, "__len__") or isinstance(y, (str, bytes)):
        array = np.asarray(y)
    else:  # as objects, for NumPy would make text of numbers beside text
        elements = list(y)
    nested = [label for label in elements if isinstance(label, (list, tuple, np.ndarray))]
    shape = (len(elements), *((len(nested[0]),) if nested else ())) if array is None else array.shape
    if array is not None and array.dtype.kind == "O" and array.ndim == 1:
        elements = array.tolist()
    if len(shape) != 1 or shape[0] != n:
        raise ValueError(f"y has shape {shape}; expected ({n},), one label for each item{otherwise}")
    if array is not None and array.dtype.kind != "O":
        return array
    return _of_one_kind(elements)


def _of_one_kind(labels: list[Any]) -> NDArray[Any]:
    """Labels as they are, or as objects where some are missing; ValueError for kinds that do not go together."""
    known: list[Any] = []
    kinds: dict[str, Any] = {}
    for i, label in enumerate(labels):
        if type(label).__name__ in ("NAType", "NaTType", "MaskedConstant"):
            labels[i] = label = None
        if label is None:
            continue
        kind = ("text" if isinstance(label, str) else "booleans" if isinstance(label, (bool, np.bool_)) else
                "numbers" if isinstance(label, Real) else type(label).__name__)
        kinds.setdefault(kind, label)
        if len(kinds) > 1:
            first, second = kinds.values()
            raise ValueError(f"y holds labels of several kinds, such as {shown(first)} and {shown(second)}; pass None "
                             "for a label that is missing")
        known.append(label)
    array = _as_array(known)
    if len(known) == len(labels):
        return array
    found = np.empty(len(labels), dtype=object)
    found[:] = labels
    return found


def _as_array(known: list[Any]) -> NDArray[Any]:
    """Labels of one kind; ValueError for integers that their type would round."""
    array = np.array(known) if known else np.empty(0)
    if array.dtype.kind in "fO" and any(isinstance(label, Integral) and abs(int(label)) > 2**53 for label in known):
        raise ValueError("y holds integers too large for labels; number them from 0")
    return array


def no_labels(estimator: Any) -> ValueError:
    """The error for a y that is missing."""
    return ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None: it holds labels")


def numbered(found: NDArray[Any], classes: NDArray[Any] | None,
             expected: Any = None) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Their numbers, -1 for None, and the classes, which rise: of a fitted model, or all that are expected."""
    if expected is not None:
        wanted = _expected(expected)
        if classes is not None and not np.array_equal(wanted, classes):
            raise ValueError(f"classes={shown(expected)} are not those of the first call")
        classes = wanted
    there = np.ones(len(found), dtype=bool)
    if found.dtype == object:
        there = np.array([label is not None for label in found], dtype=bool)
        found = _as_array(found[there].tolist())
    _check_kind(found, "y")
    known = np.unique(found) if classes is None else classes
    if classes is None and len(known) < 2:
        raise ValueError(f"y holds {len(known)} class; a classifier needs at least 2")
    at = np.searchsorted(known, found).clip(0, len(known) - 1)
    strange = known[at] != found
    if np.any(strange):
        raise ValueError(f"y holds the class {shown(found[strange][:1].tolist()[0])}, which was not there when the "
                         "model was fitted")
    numbers = np.full(len(there), -1, dtype=np.intp)
    numbers[there] = at
    return numbers, known


def _check_kind(found: NDArray[Any], what: str) -> None:
    """ValueError for what no labels are."""
    if found.dtype.kind not in "biufU":
        raise ValueError(f"labels are of type {found.dtype}; numbers, strings or booleans are needed")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"{what} holds NaN or infinity; pass None for a label that is missing")
    if found.dtype.kind == "f" and (found != np.round(found)).any():
        raise ValueError(f"Unknown label type: {what} holds {shown(found[found != np.round(found)][0].item())}, and "
                         "numbers that are no integers are no classes")


def _expected(classes: Any) -> NDArray[Any]:
    """The classes that a user says there are, which rise."""
    try:
        found = of_items(classes, len(classes))
    except (TypeError, ValueError) as error:
        raise ValueError(f"classes must be a list of different labels of one kind; got {shown(classes)}") from error
    if found.dtype == object or len(np.unique(found)) < 2:
        raise ValueError(f"classes must be at least 2 different labels; got {shown(classes)}")
    _check_kind(found, "classes")
    return np.unique(found)


def weights_of_classes(class_weight: Any, classes: NDArray[Any], numbers: NDArray[np.intp]) -> Floats | None:
    """A weight for each label, as scikit-learn has them; None for 1."""
    if class_weight is None:
        return None
    if class_weight == "balanced":
        counts = np.bincount(numbers[numbers >= 0], minlength=len(classes))
        each = counts.sum() / (len(classes) * np.maximum(counts, 1))
    else:
        if strange := [label for label in class_weight if label not in classes]:
            raise ValueError(f"class_weight has the class {shown(strange[0])}, which y does not hold")
        each = np.array([class_weight.get(label, 1.0) for label in classes.tolist()])
    return np.where(numbers >= 0, each[numbers], 0.0)


class Classifier(Estimator):
    """What classifiers are asked, once `_logits` gives the scores of items."""

    _estimator_type = "classifier"

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, which rise."""
        classes: NDArray[Any] = self._fitted().classes  # type: ignore[attr-defined]
        return classes

    def decision_function(self, X: Any) -> Floats:
        """Scores of the classes: logits, of two classes those of the second over the first.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, n_classes), or (N,) for two classes

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> model = RAEClassifier(4, random_state=0).fit(X, y)
        >>> model.decision_function(X).shape
        (10,)
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, n_classes)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> model = RAEClassifier(4, random_state=0).fit(X, y)
        >>> model.predict_proba(X).shape
        (10, 2)
        """
        found: Floats = softmax(self._logits(X), axis=1)
        return found

    def predict_log_proba(self, X: Any) -> Floats:
        """Their logarithms.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, n_classes)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> model = RAEClassifier(4, random_state=0).fit(X, y)
        >>> np.allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
        True
        """
        found: Floats = log_softmax(self._logits(X), axis=1)
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each item.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N,), of the type of y

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> model = RAEClassifier(4, random_state=0).fit(X, y)
        >>> model.predict(X[:2]).tolist()
        ['up', 'down']
        """
        return self._predicted(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The part of the items whose class is right.

        Parameters
        ----------
        X : sequences
        y : array-like of shape (N,)
        sample_weight : array-like of shape (N,), optional

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAEClassifier
        >>> X, y = np.eye(2)[[[0, 1, 1], [1, 0, 0]] * 5], ["up", "down"] * 5
        >>> model = RAEClassifier(4, random_state=0).fit(X, y)
        >>> model.score(X, y)
        1.0
        """
        predicted = self._predicted(X)
        labels = of_items(y, len(predicted))
        if labels.dtype == object:
            raise ValueError("y has labels that are missing; leave their items out")
        return float(np.average(predicted == labels, weights=sample_weight))

    def _predicted(self, X: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.classes_[self._logits(X).argmax(axis=1)]
        return found

    def _logits(self, X: Any) -> Floats:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags, tags.target_tags.required = "classifier", ClassifierTags(), True
        return tags


def logits_of(learned: Any, codes: Floats) -> Floats:
    """Scores of classes of codes."""
    p = learned.form.views(learned.theta)
    logits: Floats = codes @ p["W_hy"] + p["b_y"]
    return logits
