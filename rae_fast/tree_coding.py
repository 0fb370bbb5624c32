"""What codes of trees are used for: codes and trees of items, leaves of codes, errors; shared by the estimators of
trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from rae_fast import _tree, dense, inputs
from rae_fast._batch import Batch, ready_ids, ready_trees
from rae_fast._learner import Learner
from rae_fast._messages import shown
from rae_fast._tree_form import TreeForm
from rae_fast.hyperparameters import Settings
from rae_fast.learned import Learned
from rae_fast.trees import as_children, read_tree
from rae_fast.vocabulary import Vocabulary

Floats = NDArray[Any]
Integers = NDArray[np.intp]

# Outputs of leaves that are computed at once.
_AT_ONCE = 1 << 22


class Given:
    """What a user passes of items with trees: sequences, trees and labels, and what reading them has found out."""

    def __init__(self, X: Any, trees: Any = None, y: Any = None, learns: bool = False, all_classes: Any = None) -> None:
        self.X, self.trees, self.y, self.learns, self.all_classes = X, trees, y, learns, all_classes
        self.vocabulary: Vocabulary | None = None
        self.classes: NDArray[Any] | None = None


def node_bounds(batch: Batch) -> Integers:
    """(N + 1,) where the nodes of each item begin."""
    bounds: Integers = 2 * batch.offsets - np.arange(batch.n_sequences + 1)
    return bounds


def children_of_all(batch: Batch, children: Integers) -> tuple[Integers, Integers]:
    """Of all inner nodes: their own numbers, and their children's, (inner, 2), among the nodes of all items."""
    bounds, lengths = node_bounds(batch), batch.lengths()
    base = np.repeat(bounds[:-1], lengths - 1)
    own = np.concatenate([np.arange(a + n, b) for a, b, n in zip(bounds[:-1], bounds[1:], lengths)])
    return own.astype(np.intp), children + base[:, None]


class TreeCoding(Learner):
    """A Learner of trees over sequences."""

    _form_type = TreeForm

    # ---- what is read ------------------------------------------------------------------------------

    def _read_given(self, given: Given, settings: Settings, learned: Learned | None) -> Batch:
        """Items with their trees and labels, for a fitted model or one yet to be made."""
        X, labels = given.X, None
        kind = settings.tree if learned is None else learned.form.tree
        if _is_text(X):
            X, labels = self._read_text(given, X, settings, learned)
        name = type(self).__name__
        if learned is None:
            dtype = None if settings.dtype == "auto" else np.dtype(settings.dtype)
            n_features = settings.n_features
            if n_features is None and given.vocabulary is not None:
                n_features = len(given.vocabulary)
            batch = inputs.as_batch(X, dtype, n_features, name, settings.n_features is not None)
        else:
            found = ready_ids(X, learned.n_features, learned.memory.dtype) if learned.reads_ids else None
            batch = found or inputs.as_batch(X, learned.memory.dtype, learned.n_features, name, learned.reads_ids)
            if batch.is_ids and not learned.reads_ids:
                raise ValueError(f"X holds token ids, but {name} was fitted on rows of numbers")
            inputs.check_feature_names(X, learned.feature_names, name)
        children, orders = None, None
        if given.trees is not None:
            if kind not in ("auto", "given"):
                raise ValueError(f"trees are given, but tree={kind!r}; choose tree='given', or pass none")
            children = ready_trees(given.trees, batch)
            if children is None:
                children, orders = as_children(given.trees, batch.lengths())
        elif kind == "given":
            raise ValueError("tree='given' needs the trees: pass them as trees=, or X as bracketed strings")
        return self._attach_labels(given, batch, children, orders, labels, settings, learned)

    def _read_text(self, given: Given, X: Any, settings: Settings, learned: Learned | None) -> tuple[Any, Any]:
        """Lines, or bracketed trees, as ids; and labels of nodes, where these carry any."""
        lines, labels = list(X), None
        kind = settings.tree if learned is None else learned.form.tree
        # Text may begin with a bracket: unless trees are asked for, every line must look like one.
        if given.trees is None and (kind == "given" or kind == "auto" and all(map(_looks_like_a_tree, lines))):
            found = []
            for i, line in enumerate(lines):
                try:
                    found.append(read_tree(line))
                except ValueError as error:
                    raise ValueError(f"element {i} of X: {error}") from None
            given.trees, lines = found, [tree.words for tree in found]
            labels = [tree.labels for tree in found]
        else:
            lines = [line.split() for line in lines]
        if learned is None:
            vocabulary = Vocabulary("tokens", min_count=settings.min_count).fit(lines)
        elif learned.vocabulary is None:
            raise ValueError(f"X holds text, but this {type(self).__name__} was fitted on "
                             f"{'ids' if learned.reads_ids else 'rows'}, without a vocabulary")
        else:
            vocabulary = learned.vocabulary
            if vocabulary.level != "tokens":  # a user's own, that came with the model's file
                lines = [" ".join(words) for words in lines]
        given.vocabulary = vocabulary
        return vocabulary.encode(lines), labels

    def _attach_labels(self, given: Given, batch: Batch, children: Any, orders: Any, labels: Any, settings: Settings,
                       learned: Learned | None) -> Batch:
        """The batch with its trees; classifiers add labels."""
        return batch.attach(children)

    def _read(self, X: Any, trees: Any, learned: Learned) -> Batch:
        return self._read_given(Given(X, trees), self._checked or self._settings(), learned)

    def _data(self, X: Any) -> Any:
        return X.X

    def _read_first(self, X: Any, settings: Settings) -> Batch:
        return self._read_given(X, settings, None)

    def _read_targets(self, X: Any, learned: Learned) -> Batch:
        batch = self._read_given(X, self._checked or self._settings(), learned)
        if learned.form.categorical:
            inputs.check_distributions(batch)
        return batch

    def _codes(self, learned: Learned, batch: Batch) -> tuple[Floats, Integers]:
        """Codes of all nodes, (nodes, H), and the trees, (inner, 2)."""
        settings = self._checked or self._settings()
        codes, children = _tree.encode(learned.theta, batch, learned.form, settings.n_jobs)
        return codes, children if batch.children is None else batch.children

    def _roots(self, learned: Learned, batch: Batch) -> Floats:
        """Codes of roots, (N, H)."""
        settings = self._checked or self._settings()
        codes: Floats = _tree.encode(learned.theta, batch, learned.form, settings.n_jobs, True)[0]
        return codes

    # ---- codes and trees ---------------------------------------------------------------------------

    def transform(self, X: Any, *, trees: Any = None) -> Floats:
        """Encode: the code of each item, by `pooling` that of the root, or means over nodes.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        ndarray of shape (N, H), or with several parts of `pooling` as many times H

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> lines = ["a fine film", "a film", "a fine fine film"]
        >>> TreeRAE(8, min_count=1, max_iter=5, random_state=0).fit(lines).transform(lines).shape
        (3, 8)
        """
        learned = self._fitted()
        batch = self._read(X, trees, learned)
        pooling = (self._checked or self._settings()).pooling
        if pooling == "root":
            found = self._roots(learned, batch)
        else:
            found = self._pooled(self._codes(learned, batch)[0], node_bounds(batch), pooling)
        output: Floats = self._in_output(found, self.get_feature_names_out)
        return output

    def _pooled(self, codes: Floats, bounds: Integers, pooling: str) -> Floats:
        roots, sizes = codes[bounds[1:] - 1], np.diff(bounds)
        found = {"root": roots}
        if pooling != "root":
            # Sums over leaves and over inner nodes; of a single leaf the second is that leaf, and so a mean of one.
            middles = bounds[:-1] + (sizes + 1) // 2
            places = np.stack([bounds[:-1], np.minimum(middles, len(codes) - 1)], axis=1).ravel()
            sums = np.add.reduceat(codes, places, dtype=np.float64).reshape(len(sizes), 2, -1)
            sums[sizes == 1, 0] = sums[sizes == 1, 1] = roots[sizes == 1]
            counts = np.maximum(sizes // 2, 1)
            found["leaves"], found["inner"] = sums[:, 0] / ((sizes + 1) // 2)[:, None], sums[:, 1] / counts[:, None]
            found["mean"] = np.where(sizes == 1, sums[:, 0].T, (sums[:, 0] + sums[:, 1]).T / sizes).T
        return np.hstack([found[part] for part in pooling.split("+")]).astype(codes.dtype)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The names of the columns of `transform`.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str

        Raises
        ------
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> TreeRAE(2, min_count=1, max_iter=0).fit(["a b"]).get_feature_names_out().tolist()
        ['treerae0', 'treerae1']
        """
        n = self._fitted().form.n_hidden * len((self._checked or self._settings()).pooling.split("+"))
        return np.array([f"{type(self).__name__.lower()}{i}" for i in range(n)], dtype=object)

    def node_codes(self, X: Any, *, trees: Any = None) -> list[Floats]:
        """The codes of all nodes of each item.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        list of (2 n - 1, H) arrays: the leaves first, the root last

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> model = TreeRAE(4, max_iter=0, random_state=0).fit([[0, 1, 2], [2, 1]])
        >>> [codes.shape for codes in model.node_codes([[0, 1, 2], [2, 1]])]
        [(5, 4), (3, 4)]
        """
        learned = self._fitted()
        batch = self._read(X, trees, learned)
        codes, _ = self._codes(learned, batch)
        bounds = node_bounds(batch)
        return [codes[a:b].copy() for a, b in zip(bounds[:-1], bounds[1:])]

    def trees(self, X: Any) -> list[Integers]:
        """The trees over items that the model finds, or that X carries.

        Parameters
        ----------
        X : sequences, or text

        Returns
        -------
        list of (n - 1, 2) arrays: the children of each inner node, see `rae_fast.trees`

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> model = TreeRAE(4, tree="right", min_count=1, max_iter=0).fit(["one two three"])
        >>> model.trees(["one two three"])[0].tolist()
        [[1, 2], [0, 3]]
        """
        learned = self._fitted()
        batch = self._read(X, None, learned)
        _, children = self._codes(learned, batch)
        bounds = batch.offsets - np.arange(batch.n_sequences + 1)
        return [children[a:b].copy() for a, b in zip(bounds[:-1], bounds[1:])]

    # ---- leaves of codes, and errors ---------------------------------------------------------------

    def _decoded(self, learned: Learned, codes: Floats, is_leaf: NDArray[np.bool_]) -> Floats:
        """What codes (n, H) give back of two children, (n, 2, H); is_leaf: (n, 2)."""
        p, form, n_jobs = learned.form.views(learned.theta), learned.form, (self._checked or self._settings()).n_jobs
        out = np.stack([dense.product(codes, p["V_hh"], n_jobs) + p["c_h"],
                        dense.product(codes, p["V_hr"], n_jobs) + p["c_r"]], axis=1)
        own = form.output == "linear" and not form.embeds
        if form.decoder == "tanh":
            squashed = ~is_leaf if own else np.ones_like(is_leaf)
            out[squashed] = np.tanh(out[squashed])
        if form.normalize_reconstruction:
            unit = ~is_leaf if form.output != "code" else np.ones_like(is_leaf)
            lengths = np.sqrt(np.sum(np.square(out[unit]), axis=1, keepdims=True))
            out[unit] = np.divide(out[unit], lengths, out=np.zeros_like(out[unit]), where=lengths > 0)
        return out

    def _outputs(self, learned: Learned, decoded: Floats) -> Floats:
        """What decoded codes of leaves, (n, H), give back: rows, or scores of symbols."""
        p, form = learned.form.views(learned.theta), learned.form
        if form.output == "linear" and not form.embeds:
            return decoded
        if form.output == "code":
            return self._rows_of(learned, decoded)
        outputs: Floats = dense.product(decoded, p["V_hx"], 1) + p["c_x"]
        return outputs

    def _rows_of(self, learned: Learned, codes: Floats) -> Floats:
        """The rows that leaves with these codes, which nothing has to give back, may have been: of ids minus the
        distances of all embeddings."""
        if not learned.form.embeds:
            return codes
        E: Floats = learned.form.views(learned.theta)["W_xh"]
        found: Floats
        if learned.reads_ids:
            found = 2 * dense.product(codes, np.ascontiguousarray(E.T), 1) - np.einsum("ij,ij->i", E, E)
            return found
        found = np.linalg.lstsq(E.T, codes.T, rcond=None)[0].T
        return found

    def inverse_transform(self, codes: Any, trees: Any) -> list[Any]:
        """Decode: the leaves that codes of roots give back through trees of these shapes.

        Parameters
        ----------
        codes : array of shape (N, H), of roots
        trees : sequence of N (n - 1, 2) arrays of children

        Returns
        -------
        list of (n,) arrays of ids, of models of ids, or of (n, I) arrays

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> lines = ["a fine film", "a film", "a fine fine film"]
        >>> model = TreeRAE(12, tree="left", min_count=1, max_iter=400, learning_rate=0.01, random_state=0).fit(lines)
        >>> back = model.inverse_transform(model.transform(lines), model.trees(lines))
        >>> model.vocabulary_.decode(back)[2]
        ['a', 'fine', 'fine', 'film']
        """
        learned = self._fitted()
        roots = inputs.as_matrix(codes, "codes", learned.form.n_hidden, learned.memory.dtype)
        given = list(trees)
        if len(given) != len(roots):
            raise ValueError(f"there are {len(given)} trees for {len(roots)} codes")
        lengths = np.array([np.asarray(tree).shape[0] + 1 if np.ndim(tree) == 2 else 1 for tree in given],
                           dtype=np.intp)
        children, _ = as_children(given, lengths)
        return self._unfolded(learned, roots, children, lengths)

    def _decoded_from_roots(self, learned: Learned, roots: Floats, children: Integers, lengths: Integers) -> Floats:
        """What the codes of roots give back of all nodes, level by level from above, all items at once: (nodes, H)."""
        form = learned.form
        bounds = np.concatenate([[0], np.cumsum(2 * lengths - 1)])
        first = np.concatenate([[0], np.cumsum(lengths - 1)])[:-1]
        codes = np.empty((bounds[-1], form.n_hidden), roots.dtype)
        codes[bounds[1:] - 1] = roots
        nodes, items = bounds[1:] - 1, np.arange(len(roots))
        local = 2 * lengths - 2
        while True:
            inner = local >= lengths[items]
            if not inner.any():
                break
            nodes, items, local = nodes[inner], items[inner], local[inner]
            below = children[first[items] + local - lengths[items]]
            out = self._decoded(learned, codes[nodes], below < lengths[items][:, None])
            items = np.repeat(items, 2)
            local = below.ravel()
            nodes = bounds[:-1][items] + local
            codes[nodes] = out.reshape(-1, form.n_hidden)
        return codes

    def _unfolded(self, learned: Learned, roots: Floats, children: Integers, lengths: Integers) -> list[Any]:
        """Leaves of roots."""
        codes = self._decoded_from_roots(learned, roots, children, lengths)
        bounds = np.concatenate([[0], np.cumsum(2 * lengths - 1)])
        found = []
        for a, n in zip(bounds[:-1], lengths):
            outputs = self._outputs(learned, codes[a:a + n]) if n > 1 else self._rows_of(learned, codes[a:a + 1])
            found.append(outputs.argmax(axis=1) if learned.reads_ids else outputs)
        return found

    def reconstruct(self, X: Any, *, trees: Any = None) -> list[Any]:
        """Encode and decode.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given

        Returns
        -------
        list, as of `inverse_transform`

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> X = [[0, 1, 2], [2, 1]]
        >>> model = TreeRAE(8, tree="left", max_iter=200, learning_rate=0.02, random_state=0).fit(X)
        >>> [ids.tolist() for ids in model.reconstruct(X)]
        [[0, 1, 2], [2, 1]]
        """
        learned = self._fitted()
        batch = self._read(X, trees, learned)
        codes, children = self._codes(learned, batch)
        return self._unfolded(learned, codes[node_bounds(batch)[1:] - 1], children, batch.lengths())

    def reconstruction_error(self, X: Any, *, trees: Any = None, per: str = "tree") -> Any:
        """The error with which nodes give back their two children, as it is in the loss: an anomaly score.

        Parameters
        ----------
        X : sequences, or text
        trees : the trees over them, where these are given
        per : {"tree", "node"}, default="tree"
            "node": the error of each inner node; "tree": the mean of these, or with ``reduction="sum"`` the sum; but
            with ``objective="unfold"`` that of all leaves when the root is decoded, over the number of inner nodes or
            not. With "unfold_all" it is the same, and not the loss, which has that of all inner nodes.

        Returns
        -------
        ndarray of shape (N,), or a list of (n - 1,) arrays

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> from rae_fast import TreeRAE
        >>> model = TreeRAE(4, max_iter=0, random_state=0).fit([[0, 1, 2], [2, 1]])
        >>> model.reconstruction_error([[0, 1, 2], [2, 1]]).shape
        (2,)
        """
        if per not in ("tree", "node"):
            raise ValueError(f"per must be 'tree' or 'node'; got {shown(per)}")
        learned = self._fitted()
        batch = self._read_targets(Given(X, trees), learned)
        codes, children = self._codes(learned, batch)
        if per == "tree":
            return self._tree_errors(learned, batch, codes, children)
        errors = self._node_errors(learned, batch, codes, children)
        bounds = batch.offsets - np.arange(batch.n_sequences + 1)
        return [errors[a:b].copy() for a, b in zip(bounds[:-1], bounds[1:])]

    def _tree_errors(self, learned: Learned, batch: Batch, codes: Floats, children: Integers) -> Floats:
        """The reconstruction error of each item, as it is in the loss."""
        lengths = batch.lengths()
        if learned.form.objective != "stepwise":
            sums = self._leaf_errors(learned, batch, codes, children)
        else:
            errors = self._node_errors(learned, batch, codes, children)
            sums = np.bincount(np.repeat(np.arange(len(lengths)), lengths - 1), errors, len(lengths))
        return sums / np.maximum(lengths - 1, 1) if learned.form.reduction == "mean" else sums

    def _leaf_errors(self, learned: Learned, batch: Batch, codes: Floats, children: Integers) -> Floats:
        """Of each item, the error of its leaves once its root is decoded down to them; of a single leaf 0."""
        form, lengths, bounds = learned.form, batch.lengths(), node_bounds(batch)
        decoded = self._decoded_from_roots(learned, codes[bounds[1:] - 1], children, lengths)
        own = np.repeat(bounds[:-1] - batch.offsets[:-1], lengths) + np.arange(batch.n_rows)
        errors = np.square(decoded[own] - codes[own], dtype=np.float64).sum(axis=1)
        if _has_outputs(form):
            errors = self._output_errors(learned, batch, decoded[own], np.arange(batch.n_rows))
        errors[np.repeat(lengths == 1, lengths)] = 0
        sums: Floats = np.add.reduceat(errors, batch.offsets[:-1])
        return sums

    def _node_errors(self, learned: Learned, batch: Batch, codes: Floats, children: Integers) -> Floats:
        """The reconstruction error of each inner node of all items."""
        form = learned.form
        own, below = children_of_all(batch, children)
        lengths = np.repeat(batch.lengths(), batch.lengths() - 1)
        is_leaf = children < lengths[:, None]
        decoded = self._decoded(learned, codes[own], is_leaf)
        errors = np.square(decoded - codes[below], dtype=np.float64).sum(axis=2)
        errors[~is_leaf] *= form.hidden_weight
        if _has_outputs(form):
            rows = np.repeat(batch.offsets[:-1], batch.lengths() - 1)[:, None] + children
            errors[is_leaf] = self._output_errors(learned, batch, decoded[is_leaf], rows[is_leaf])
        if form.word_weights:
            counts = self._leaves_below(batch, own, below)
            errors *= counts[below] / counts[own][:, None]
        summed: Floats = errors.sum(axis=1)
        return summed

    def _output_errors(self, learned: Learned, batch: Batch, decoded: Floats, rows: Integers) -> Floats:
        """Of leaves that are given back by outputs: of what is decoded for the rows of the batch, some at a time."""
        found = np.empty(len(rows))
        step = max(1, _AT_ONCE // learned.form.n_inputs)
        for first in range(0, len(rows), step):
            some = slice(first, first + step)
            out, given = self._outputs(learned, decoded[some]).astype(np.float64), batch.dense_rows(rows[some])
            if learned.form.output == "linear":
                found[some] = np.square(out - given).sum(axis=1)
            else:
                found[some] = -np.einsum("ij,ij->i", given, log_softmax(out, axis=1))
        return found

    def _leaves_below(self, batch: Batch, own: Integers, below: Integers) -> Floats:
        counts = np.ones(int(node_bounds(batch)[-1]))
        for node, pair in zip(own, below):  # children before parents
            counts[node] = counts[pair[0]] + counts[pair[1]]
        return counts

    def _errors(self, learned: Learned, batch: Batch) -> Floats:
        return self._tree_errors(learned, batch, *self._codes(learned, batch))


def _has_outputs(form: TreeForm) -> bool:
    """Whether leaves are given back by outputs of what is decoded, and not as codes."""
    return form.output == "softmax" or form.output == "linear" and form.embeds


def _looks_like_a_tree(line: str) -> bool:
    return line.lstrip().startswith("(") and line.rstrip().endswith(")")


def _is_text(X: Any) -> bool:
    """Whether X is a list of strings."""
    if isinstance(X, np.ndarray):
        return X.ndim == 1 and X.dtype.kind in "UO" and len(X) > 0 and all(isinstance(x, str) for x in X)
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(isinstance(x, str) for x in X)
