"""Pictures by matplotlib, which is imported when one is drawn and not before. Axes are returned for more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def tree(children: Any, words: Sequence[Any], *, ax: Any = None, notes: Sequence[Any] | None = None) -> Any:
    """A tree over words: leaves below in their order, each inner node above the middle of its children.

    Parameters
    ----------
    children : (n - 1, 2) array, as `TreeRAE.trees` gives it
    words : the n leaves
    ax : matplotlib axes, optional
        A new picture's by default.
    notes : sequence of 2 n - 1, optional
        What stands beside the nodes, such as labels.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from rae_fast import plotting
    >>> axes = plotting.tree([[1, 2], [0, 3]], ["a", "fine", "film"])
    >>> [text.get_text() for text in axes.texts]
    ['a', 'fine', 'film']
    """
    import matplotlib.pyplot as plt

    n = len(words)
    if ax is None:
        _, ax = plt.subplots(figsize=(max(3.0, 0.7 * n), 3), layout="constrained")
    at, height = np.zeros(2 * n - 1), np.zeros(2 * n - 1)
    at[:n] = np.arange(n)
    for node, (a, b) in enumerate(children, start=n):  # children before parents
        at[node], height[node] = (at[a] + at[b]) / 2, 1 + max(height[a], height[b])
        ax.plot(at[[a, node, b]], height[[a, node, b]], color="tab:blue", linewidth=1)
    for i, word in enumerate(words):
        ax.text(at[i], -0.15, str(word), ha="center", va="top", rotation=30 if n > 5 else 0, fontsize=8)
    for node, note in enumerate(notes if notes is not None else ()):
        if note is not None:
            ax.text(at[node], height[node] + 0.1, str(note), ha="center", va="bottom", fontsize=8, color="tab:red")
    ax.set_xlim(-0.6, n - 0.4)
    ax.set_ylim(-0.3 * max(1.0, height.max()), height.max() + 0.6)
    ax.set_axis_off()
    return ax


def _axes(ax: Any, width: float = 6, height: float = 3.5) -> Any:
    """Those given, or a new picture's."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def loss_curve(model: Any, *, ax: Any = None, label: str | None = None) -> Any:
    """The loss of each pass of a fitted model, and with early stopping what was held out.

    Parameters
    ----------
    model : any fitted estimator of this package
    ax : matplotlib axes, optional
    label : str, optional
        For a legend of several.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import matplotlib, numpy as np
    >>> matplotlib.use("Agg")
    >>> from rae_fast import RAE, plotting
    >>> axes = plotting.loss_curve(RAE(4, max_iter=5, random_state=0).fit(np.eye(3)))
    >>> axes.get_xlabel()
    'passes'
    """
    ax = _axes(ax)
    curve = np.asarray(model.loss_curve_)
    ax.plot(np.arange(1, len(curve) + 1), curve, label=label)
    if len(model.validation_scores_):
        scores = -np.asarray(model.validation_scores_)
        ax.plot(np.arange(1, len(scores) + 1), scores, linestyle="--", label=f"{label or 'loss'}, held out")
    if (curve > 0).all():
        ax.set_yscale("log")
    ax.set_xlabel("passes")
    ax.set_ylabel("loss")
    if ax.get_legend_handles_labels()[1]:
        ax.legend()
    return ax


def reproductions(model: Any, X: Any, *, n: int = 4, axes: Any = None) -> Any:
    """Sequences, and over them what comes back from their codes.

    Parameters
    ----------
    model : RAE or RAEClassifier, of linear outputs
    X : sequences
    n : int, default=4
        As many of them, the first ones.
    axes : n matplotlib axes, optional

    Returns
    -------
    ndarray of matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For bad input.

    Examples
    --------
    >>> import matplotlib, numpy as np
    >>> matplotlib.use("Agg")
    >>> from rae_fast import RAE, plotting
    >>> X = np.random.default_rng(0).standard_normal((5, 8, 2))
    >>> len(plotting.reproductions(RAE(4, max_iter=5, random_state=0).fit(X), X, n=3))
    3
    """
    import matplotlib.pyplot as plt

    sequences = list(X)
    if np.ndim(sequences[0]) == 1 and np.ndim(X) == 2:
        sequences = [np.asarray(X)]
    if n < 1 or np.ndim(sequences[0]) != 2:
        raise ValueError("reproductions draws at least one sequence, of rows of numbers")
    some = sequences[:n]
    back = model.reconstruct(some)
    if axes is None:
        _, axes = plt.subplots(len(some), 1, figsize=(6, 1.8 * len(some)), layout="constrained", squeeze=False)
    axes = np.ravel(axes)
    for ax, x, y in zip(axes, some, back):
        for channel in range(np.shape(x)[1]):
            line, = ax.plot(np.asarray(x)[:, channel], linewidth=1)
            ax.plot(y[:, channel], linestyle="--", color=line.get_color())
        ax.set_xlabel("step")
    axes[0].set_title("solid: sequences, dashed: from their codes")
    return axes


def errors(model: Any, x: Any, *, ax: Any = None) -> Any:
    """The squared error of each step and channel of one sequence.

    Parameters
    ----------
    model : RAE or RAEClassifier, of linear outputs
    x : one sequence (T, I)
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For bad input.

    Examples
    --------
    >>> import matplotlib, numpy as np
    >>> matplotlib.use("Agg")
    >>> from rae_fast import RAE, plotting
    >>> axes = plotting.errors(RAE(4, max_iter=5, random_state=0).fit(np.eye(3)), np.eye(3))
    >>> axes.images[0].get_array().shape
    (3, 3)
    """
    ax = _axes(ax)
    found = model.reconstruction_error([x], per="element")[0]
    image = ax.imshow(found.T, aspect="auto", origin="lower", interpolation="nearest", cmap="magma")
    ax.figure.colorbar(image, ax=ax, label="squared error")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("step")
    ax.set_ylabel("channel")
    return ax


def codes(values: Any, labels: Any = None, *, ax: Any = None) -> Any:
    """Codes by their two principal components, coloured by labels.

    Parameters
    ----------
    values : (N, C) array, as `transform` gives it
    labels : array-like of shape (N,), optional
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For another shape.

    Examples
    --------
    >>> import matplotlib, numpy as np
    >>> matplotlib.use("Agg")
    >>> from rae_fast import plotting
    >>> axes = plotting.codes(np.random.default_rng(0).standard_normal((9, 5)), ["a", "b", "c"] * 3)
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['a', 'b', 'c']
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or (labels is not None and len(labels) != len(values)):
        raise ValueError(f"values must have the shape (N, C), and labels as many; got {values.shape}")
    ax = _axes(ax, 5, 4)
    centred = values - values.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    at = np.zeros((len(values), 2))
    at[:, :min(2, len(s))] = (u * s)[:, :2]
    names = None if labels is None else np.array([str(label) for label in labels])
    for label in [None] if names is None else np.unique(names):
        some = slice(None) if names is None else names == label
        ax.scatter(at[some, 0], at[some, 1], s=12, label=label)
    share = np.square(s) / max(float(np.square(s).sum()), np.finfo(float).tiny)
    ax.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
    ax.set_ylabel(f"second ({share[1]:.0%})" if len(s) > 1 else "")
    if labels is not None:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))  # beside the points
    return ax


def recall(model: Any, X: Any, *, ax: Any = None) -> Any:
    """How well each step comes back, by how far it lies back: of symbols the part that is recalled, of numbers the
    error over the variance.

    Parameters
    ----------
    model : RAE or RAEClassifier
    X : sequences
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For bad input.

    Examples
    --------
    >>> import matplotlib, numpy as np
    >>> matplotlib.use("Agg")
    >>> from rae_fast import RAE, plotting
    >>> X = [[0, 1, 2], [2, 1], [1, 1, 0, 2]]
    >>> axes = plotting.recall(RAE(4, max_iter=5, random_state=0).fit(X), X)
    >>> len(axes.lines[0].get_xdata())
    4
    """
    ax = _axes(ax)
    given, back = list(X), model.reconstruct(list(X))
    if np.ndim(given[0]) == 1:
        rows = [(np.asarray(x) == np.asarray(y))[::-1].astype(float) for x, y in zip(given, back)]
        ax.set_ylabel("part recalled")
        ax.set_ylim(-0.02, 1.02)
    else:
        steps = np.concatenate([np.asarray(x) for x in given])
        variance = float(np.square(steps - steps.mean(axis=0)).sum(axis=1).mean()) or 1.0
        rows = [np.square(np.asarray(x) - y).sum(axis=1)[::-1] / variance for x, y in zip(given, back)]
        ax.set_ylabel("error over the variance")
    longest = max(map(len, rows))
    depth = [np.mean([row[k] for row in rows if len(row) > k]) for k in range(longest)]
    ax.plot(np.arange(longest), depth)
    ax.set_xlabel("steps before the last one")
    return ax


def sizes(found: Any, *, ax: Any = None) -> Any:
    """Errors by the size of the code, as `code_sizes` gives them.

    Parameters
    ----------
    found : rae_fast.CodeSizes
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        Without matplotlib.

    Examples
    --------
    >>> import matplotlib, numpy as np
    >>> matplotlib.use("Agg")
    >>> from rae_fast import code_sizes, plotting
    >>> X = np.random.default_rng(0).standard_normal((40, 6, 2))
    >>> plotting.sizes(code_sizes(X, sizes=(1, 2, 4), random_state=0)).get_xlabel()
    'numbers of a code'
    """
    ax = _axes(ax)
    ax.plot(found.sizes, found.errors, marker="o", label="RAE, closed form")
    if found.pca is not None:
        ax.plot(found.sizes, found.pca, marker="s", linestyle="--", label="PCA")
    ax.axvline(found.elbow, color="gray", linewidth=1, linestyle=":")
    ax.set_xscale("log", base=2)
    ax.set_xlabel("numbers of a code")
    ax.set_ylabel("held-out error over the variance")
    ax.legend()
    return ax
