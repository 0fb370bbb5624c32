"""Trees over sequences: read from text and from what users have, checked, and shown.

A tree over n leaves has the nodes 0 to n - 1, its leaves from left to right, and n to 2 n - 2, the inner ones. Row m of
its
``children``, (n - 1, 2), are the left and the right child of node n + m; a child comes before its parent, the root is
the last node.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rae_fast._messages import shown

Children = NDArray[np.intp]

BINARIZE = ("left", "right", "balanced")


class Tree(NamedTuple):
    """A tree whose leaves are words, as `read_tree` gives it.

    Attributes
    ----------
    words : list of str, of the n leaves
    children : ndarray of shape (n - 1, 2), of the inner nodes; see the module
    labels : list of str or None, of the 2 n - 1 nodes, None for what has none
    """

    words: list[str]
    children: Children
    labels: list[str | None]


def read_tree(text: str, binarize: str | None = None) -> Tree:
    """A tree from a bracketed string, such as those of the Penn and the Stanford sentiment treebank.

    Parameters
    ----------
    text : str
        ``(label child child)``, where a child is another such bracket or a word, and the label may be missing where a
        bracket follows. Only blanks, tabs and ends of lines separate words.
    binarize : {"left", "right", "balanced"} or None, default=None
        How a node with more than two children becomes several; None: that is an error. A node with one child is taken
        for this child, with the node's own label.

    Returns
    -------
    Tree

    Raises
    ------
    ValueError
        For brackets that do not match, with the position, nodes without children, and other numbers of children.

    Examples
    --------
    >>> from rae_fast import read_tree
    >>> tree = read_tree("(3 (2 It) (4 (4 works) (2 well)))")
    >>> tree.words, tree.children.tolist(), tree.labels
    (['It', 'works', 'well'], [[1, 2], [0, 3]], ['2', '4', '2', '4', '3'])
    """
    if not isinstance(text, str):
        raise ValueError(f"a bracketed tree is a string; got {shown(text)}")
    if binarize is not None and binarize not in BINARIZE:
        raise ValueError(f"binarize must be one of {', '.join(map(repr, BINARIZE))} or None; got {shown(binarize)}")
    grown = _Grown(binarize)
    open_at: list[int] = []
    below: list[list[int]] = []
    label: list[str | None] = []             # of the brackets that are open; `below` is what they hold
    done: list[int] = []
    after_bracket = False
    for match in re.finditer(r"[()]|[^() \t\r\n]+", text):
        token, position = match.group(), match.start()
        if token == "(":
            if done and not below:
                raise ValueError(f"position {position}: a second tree begins; pass one string for each tree")
            open_at.append(position)
            label.append(None)
            below.append([])
        elif not below:
            raise ValueError(f"position {position}: {shown(token)} stands outside of all brackets")
        elif token == ")":
            node = grown.closed(label.pop(), below.pop(), open_at.pop())
            (below[-1] if below else done).append(node)
        elif after_bracket:
            label[-1] = token
        else:
            below[-1].append(grown.leaf(token, None))
        after_bracket = token == "("
    if open_at:
        raise ValueError(f"position {open_at[-1]}: a bracket is not closed")
    if not done:
        raise ValueError("the text holds no tree")
    return grown.tree()


class _Grown:
    """A tree under way. Leaves are told by their numbers, inner nodes by -1 for the first, -2 for the second, ..."""

    def __init__(self, binarize: str | None) -> None:
        self.binarize = binarize
        self.words: list[str] = []
        self.labels: tuple[list[str | None], list[str | None]] = ([], [])  # of leaves and of inner nodes
        self.inner: list[tuple[int, int]] = []

    def leaf(self, word: str, name: str | None) -> int:
        self.words.append(word)
        self.labels[0].append(name)
        return len(self.words) - 1

    def join(self, a: int, b: int) -> int:
        self.inner.append((a, b))
        self.labels[1].append(None)
        return -len(self.inner)

    def closed(self, name: str | None, nodes: list[int], start: int) -> int:
        """The node of a bracket with that label and these children, which began at that position."""
        if not nodes:
            if name is None:
                raise ValueError(f"position {start}: a bracket holds nothing")
            return self.leaf(name, None)  # (word)
        if len(nodes) > 2 and self.binarize is None:
            raise ValueError(f"position {start}: a node has {len(nodes)} children, but trees are binary; pass "
                             "binarize='left', 'right' or 'balanced'")
        if self.binarize == "left" or len(nodes) == 2:
            nodes = [functools.reduce(self.join, nodes)]
        elif self.binarize == "right":
            nodes = [functools.reduce(lambda right, left: self.join(left, right), reversed(nodes))]
        while len(nodes) > 1:
            nodes = [self.join(*nodes[i:i + 2]) if i + 1 < len(nodes) else nodes[i] for i in range(0, len(nodes), 2)]
        node = nodes[0]
        if name is not None:
            self.labels[node < 0][node if node >= 0 else -node - 1] = name
        return node

    def tree(self) -> Tree:
        n = len(self.words)
        children = [[x if x >= 0 else n - x - 1 for x in pair] for pair in self.inner]
        return Tree(self.words, np.array(children, dtype=np.intp).reshape(-1, 2), self.labels[0] + self.labels[1])


def as_children(trees: Any, lengths: NDArray[np.intp]) -> tuple[Children, list[NDArray[np.intp] | None]]:
    """The children of all trees one after the other, checked, and for each the order in which its nodes were passed
    where that is another than the one it has here.

    Parameters
    ----------
    trees : a sequence with one for each item: an (n - 1, 2) array of children, nested pairs of numbers of leaves, or a
    Tree lengths : (N,) leaves of each item

    Raises
    ------
    ValueError
        For trees that are none: another number of nodes, children that are out of range, a node with two parents, a
        cycle, several roots.
    """
    given = list(trees)
    if len(given) != len(lengths):
        raise ValueError(f"there are {len(given)} trees for {len(lengths)} sequences")
    arrays = [_as_array(tree, int(n), i) for i, (tree, n) in enumerate(zip(given, lengths))]
    orders: list[NDArray[np.intp] | None] = [None] * len(arrays)
    everything = np.concatenate(arrays) if arrays else np.empty((0, 2), dtype=np.intp)
    # All at once: children before parents, and each node but the root the child of one.
    sizes = lengths - 1
    base = np.repeat(np.cumsum(2 * lengths - 1) - (2 * lengths - 1), sizes)
    own = np.arange(len(everything)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(lengths, sizes)
    fine = (everything >= 0).all() and (everything < own[:, None]).all()
    if fine:
        counts = np.bincount((everything + base[:, None]).ravel(), minlength=int((2 * lengths - 1).sum()))
        fine = counts.max(initial=0) <= 1
    if not fine:
        for i, n in enumerate(lengths):
            arrays[i], orders[i] = _ordered(arrays[i], int(n), i)
        everything = np.concatenate(arrays)
    return everything, orders


def _as_array(tree: Any, n: int, i: int) -> Children:
    if isinstance(tree, Tree):
        tree = tree.children
    if isinstance(tree, (int, np.integer)) and n == 1:
        tree = np.empty((0, 2), dtype=np.intp)
    if isinstance(tree, tuple) and len(tree) == 2 and not isinstance(tree, np.ndarray):
        tree = _of_pairs(tree, n, i)
    try:
        array = np.asarray(tree)
    except ValueError:
        array = np.empty(0)
    if n == 1 and array.size == 0:
        return np.empty((0, 2), dtype=np.intp)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise ValueError(f"tree {i} is no array of two children for each inner node (or nested pairs of leaves, or a "
                         f"Tree); got {shown(tree)}")
    if len(array) != n - 1:
        raise ValueError(f"tree {i} has {len(array)} inner nodes, but sequence {i} has {n} steps and needs {n - 1}")
    return array.astype(np.intp)


def _of_pairs(tree: Any, n: int, i: int) -> list[tuple[int, int]]:
    """Children from nested pairs of leaves, in post-order; without recursion."""
    found: list[tuple[int, int]] = []
    values: list[int] = []
    pairs = 0
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            b, a = values.pop(), values.pop()
            found.append((a, b))
            values.append(n + len(found) - 1)
        elif isinstance(node, (tuple, list)) and len(node) == 2:
            if (pairs := pairs + 1) >= n:
                raise ValueError(f"tree {i} has more inner nodes than sequence {i}, of {n} steps, can have")
            stack += [(node, True), (node[1], False), (node[0], False)]
        elif isinstance(node, (int, np.integer)) and not isinstance(node, bool):
            if not 0 <= node < n:
                raise ValueError(f"tree {i} has the leaf {node}, but sequence {i} has {n} steps")
            values.append(int(node))
        else:
            raise ValueError(f"tree {i} has {shown(node)} where a leaf or a pair of nodes is needed")
    return found


def _ordered(children: Children, n: int, i: int) -> tuple[Children, NDArray[np.intp] | None]:
    """Children before parents, and the order of the nodes that makes it so; ValueError for what is no tree."""
    if children.size and not (0 <= children.min() and children.max() <= 2 * n - 2):
        wrong = int(children.min() if children.min() < 0 else children.max())
        raise ValueError(f"tree {i} has the child {wrong}; its nodes are 0 to {2 * n - 2}")
    counts = np.bincount(children.ravel(), minlength=2 * n - 1)
    if (counts > 1).any():
        raise ValueError(f"node {int(counts.argmax())} of tree {i} has two parents")
    roots = np.flatnonzero(counts == 0)  # there is one, for 2 n - 2 of 2 n - 1 nodes are children
    order: list[int] = []
    stack = [(int(roots[0]), False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node >= n:
            a, b = children[node - n]
            stack += [(node, True), (int(b), False), (int(a), False)]
    if len(order) != n - 1:
        raise ValueError(f"tree {i} has a cycle, or several roots: from node {int(roots[0])}, which has no parent, "
                         f"only {len(order)} of {n - 1} inner nodes are reached")
    if order == list(range(n, 2 * n - 1)):
        return children, None
    number = np.arange(2 * n - 1)
    number[order] = np.arange(n, 2 * n - 1)
    return number[children[np.array(order, dtype=np.intp) - n]], np.concatenate([np.arange(n), order]).astype(np.intp)


def draw(children: Any, words: Sequence[Any], notes: Sequence[Any] | None = None) -> str:
    """A tree as text, a line for each node, the root first.

    Parameters
    ----------
    children : (n - 1, 2) array
    words : the n leaves
    notes : sequence of 2 n - 1, optional
        What stands beside the nodes, such as labels or errors.

    Returns
    -------
    str

    Examples
    --------
    >>> from rae_fast import trees
    >>> print(trees.draw([[1, 2], [0, 3]], ["a", "fine", "film"]))
    +-- *
        +-- a
        +-- *
            +-- fine
            +-- film
    """
    n, found = len(words), []
    stack = [(2 * n - 2, 0)]
    while stack:
        node, depth = stack.pop()
        name = str(words[node]) if node < n else "*"
        note = "" if notes is None or notes[node] is None else f"  {notes[node]}"
        found.append(f"{'    ' * depth}+-- {name}{note}")
        if node >= n:
            stack += [(int(child), depth + 1) for child in reversed(children[node - n])]
    return "\n".join(found)
