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
