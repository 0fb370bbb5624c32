"""The schedule over trees against its NumPy twin: loss, gradients by complex step, trees, every choice and layout."""

import numpy as np
import pytest
from problems import solver_of

from rae_fast import _objectives, _tree, reference
from rae_fast._batch import Batch, SparseBatch
from rae_fast._record import Record
from rae_fast._training import Updates
from rae_fast._tree_form import TreeForm

LENGTHS = (1, 2, 5, 3, 9, 4)


def random_tree(rng, n):
    nodes, children = list(range(n)), []
    while len(nodes) > 1:
        i = rng.integers(len(nodes) - 1)
        children.append(nodes[i:i + 2])
        nodes[i:i + 2] = [n + len(children) - 1]
    return np.array(children, dtype=np.intp).reshape(-1, 2)


def problem(rng, form, lengths=LENGTHS, ids=True, of_nodes=True, dtype=np.float64, scale=0.7):
    """theta, a batch and its items as the reference takes them."""
    theta = form.empty(dtype)
    theta[:] = scale * rng.standard_normal(form.size)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = offsets[-1]
    if ids:
        columns = rng.integers(form.n_inputs, size=rows)
        batch = SparseBatch(columns, offsets, form.n_inputs, dtype, True)
    else:
        data = rng.dirichlet(np.ones(form.n_inputs), rows) if form.categorical else rng.standard_normal((rows,
                                                                                                         form.n_inputs))
        batch = Batch(data.astype(dtype), offsets, True)
    trees = [random_tree(rng, n) for n in lengths]
    labels = weights = None
    if form.n_classes:
        n_labels = 2 * rows - len(lengths) if of_nodes else len(lengths)
        labels = rng.integers(-1 if of_nodes else 0, form.n_classes, size=n_labels)
        weights = rng.random(n_labels)
    batch.attach(np.concatenate(trees) if form.tree == "given" else None, labels, weights, form.n_classes)
    items = []
    for i in range(len(lengths)):
        at = slice(2 * offsets[i] - i, 2 * offsets[i + 1] - i - 1) if of_nodes else i
        items.append((batch.dense_rows(slice(offsets[i], offsets[i + 1])).astype(np.float64),
                      trees[i] if form.tree == "given" else None,
                      None if labels is None else labels[at], None if labels is None else weights[at]))
    return theta, batch, items


def reference_loss(theta, form, items, weights=None):
    weights = np.full(len(items), 1 / len(items)) if weights is None else weights
    return sum(w * reference.tree_loss(theta, form, *item) for w, item in zip(weights, items))


def complex_step(theta, form, items, weights):
    theta = theta.astype(np.complex128)
    grad = np.empty(len(theta))
    for i in range(len(theta)):
        moved = theta.copy()
        moved[i] += 1e-30j
        grad[i] = np.imag(reference_loss(moved, form, items, weights)) / 1e-30
    return grad


def compiled(theta, form, batch, weights=None, n_jobs=1, by_rows=False):
    objective = _objectives.objective_of(form, batch, weights, 0, 2**30, n_jobs, 1, by_rows)
    grad = objective.new_gradient()
    return objective.loss_and_grad(theta, grad), grad.memory


FORMS = [
    dict(),
    dict(decoder="linear", tree="left", alpha=0.3),
    dict(normalize_codes=True, tree="balanced"),
    dict(normalize_codes=True, normalize_reconstruction=True, word_weights=True),
    dict(normalize_reconstruction=True, decoder="linear", stop_targets=True),
    dict(output="softmax", word_weights=True, reduction="sum", hidden_weight=0.3),
    dict(output="linear", decoder="linear", tree="right"),
    dict(output="linear", normalize_reconstruction=True),
    dict(n_classes=3, alpha=0.2, leaf_weight=0.5, inner_weight=0.7, root_weight=2.0),
    dict(n_classes=2, alpha=0.4, label_loss="squared", stop_targets=True, normalize_codes=True),
    dict(n_classes=3, alpha=0.0, output="softmax", label_loss="squared", tree="left"),
    dict(tree="greedy", n_classes=2, alpha=0.3, reduction="sum"),
    dict(tree="greedy", normalize_codes=True, normalize_reconstruction=True, word_weights=True),
    dict(tree="greedy", output="softmax"),
    dict(objective="unfold"),
    dict(objective="unfold", normalize_codes=True, normalize_reconstruction=True, reduction="sum"),
    dict(objective="unfold", output="softmax", n_classes=3, alpha=0.4, tree="greedy"),
    dict(objective="unfold", output="linear", decoder="linear", tree="balanced", stop_targets=True),
    dict(objective="unfold", embeds=False, output="linear", tree="left"),
    dict(objective="unfold_all"),
    dict(objective="unfold_all", output="softmax", n_classes=3, alpha=0.4, tree="greedy", stop_targets=True),
    dict(objective="unfold_all", normalize_codes=True, normalize_reconstruction=True, reduction="sum", tree="left"),
    dict(objective="unfold_all", output="linear", decoder="linear", tree="balanced"),
    dict(embeds=False, output="linear"),
    dict(embeds=False, output="linear", tree="greedy", decoder="tanh"),
    dict(embeds=False, output="code", decoder="linear"),
]


@pytest.mark.parametrize("choices", FORMS, ids=lambda c: "-".join(map(str, c.values())) or "default")
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "rows"])
def test_gradients_of_every_form_by_complex_step(choices, ids):
    if ids and not choices.get("embeds", True):
        pytest.skip("rows that are codes themselves are no ids")
    H = 3
    form = TreeForm(H if not choices.get("embeds", True) else 4, H, **choices)
    rng = np.random.default_rng(3)
    theta, batch, items = problem(rng, form, (1, 2, 5, 4), ids, choices.get("tree") != "greedy")
    weights = rng.random(len(items))
    for w in (None, weights):
        loss, grad = compiled(theta, form, batch, w)
        assert np.isclose(loss, reference_loss(theta, form, items, w), rtol=1e-12)
    np.testing.assert_allclose(grad, complex_step(theta, form, items, w), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("choices", [FORMS[0], FORMS[3], FORMS[5], FORMS[8], FORMS[13], FORMS[15], FORMS[19]], ids=str)
@pytest.mark.parametrize("H", [1, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_implementation_and_size(isa, gemm, dtype, H, choices):
    form = TreeForm(7, H, **choices)
    rng = np.random.default_rng(5)
    theta, batch, items = problem(rng, form, lengths=(1, 2, 13, 7, 1), dtype=dtype)
    loss, grad = compiled(theta, form, batch)
    plain, plain_grad = compiled(theta.astype(np.float64), form, problem(np.random.default_rng(5), form,
                                                                         lengths=(1, 2, 13, 7, 1))[1])
    eps = 2e-4 if dtype == np.float32 else 1e-11
    assert np.isclose(loss, plain, rtol=eps)
    assert np.abs(grad - plain_grad).max() <= eps * max(1, np.abs(plain_grad).max())


@pytest.mark.parametrize("choices", [FORMS[0], FORMS[8], FORMS[11], FORMS[12], FORMS[16], FORMS[20]], ids=str)
def test_threads_change_no_bit(choices):
    form = TreeForm(9, 8, **choices)
    theta, batch, _ = problem(np.random.default_rng(1), form,
                              lengths=tuple(np.random.default_rng(2).integers(1, 40, 150)),
                              of_nodes=choices.get("tree") != "greedy")
    one = compiled(theta, form, batch)
    for n_jobs in (2, 3):
        several = compiled(theta, form, batch, n_jobs=n_jobs)
        assert several[0] == one[0] and (several[1] == one[1]).all()
        assert all((a == b).all() for a, b in zip(_tree.encode(theta, batch, form), _tree.encode(theta, batch, form,
                                                                                                 n_jobs)))


@pytest.mark.parametrize("n, choices", [(1000, {}), (200, dict(word_weights=True)), (200, dict(normalize_codes=True)),
                                        (200, dict(normalize_codes=True, normalize_reconstruction=True)),
                                        (200, dict(decoder="linear"))], ids=str)
def test_greedy_trees_are_those_of_plain_python(n, choices):
    form = TreeForm(12, 5, tree="greedy", **choices)
    rng = np.random.default_rng(7)
    theta, batch, items = problem(rng, form, lengths=tuple(rng.integers(1, 14, n)))
    codes, children = _tree.encode(theta, batch, form)
    for i, (rows, *_) in enumerate(items):
        a, b = batch.offsets[i:i + 2]
        expected, tree = reference.tree_codes(theta, form, rows)
        assert (children[a - i:b - i - 1] == tree).all()
        np.testing.assert_allclose(codes[2 * a - i:2 * b - i - 1], expected, rtol=1e-10, atol=1e-12)


def test_of_equal_pairs_the_leftmost_is_joined():
    form = TreeForm(3, 4, tree="greedy")
    theta, _, _ = problem(np.random.default_rng(0), form)
    batch = SparseBatch([1] * 6, [0, 6], 3, np.float64, True)
    tree = _tree.encode(theta, batch, form)[1]
    assert tree[0].tolist() == [0, 1]
    assert (tree == reference.tree_codes(theta, form, np.eye(3)[[1] * 6])[1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_pairs_whose_errors_are_mere_rounding(dtype):
    """Near the identity start errors are far smaller than codes: what is rounding follows from these."""
    form, rng = TreeForm(3, 8, tree="greedy", decoder="linear"), np.random.default_rng(3)
    for _ in range(30):
        theta = form.empty(dtype)
        theta[:] = 0
        p = form.views(theta)
        p["W_xh"][...] = 0.01 * rng.standard_normal((3, 8))
        for name, part in (("W_hh", 0.5), ("W_rh", 0.5), ("V_hh", 1), ("V_hr", 1)):
            p[name][...] = part * np.eye(8) + 1e-4 * rng.standard_normal((8, 8))
        alone = _tree.encode(theta, SparseBatch([0] * 6, [0, 6], 3, dtype, True), form)[1]
        assert alone[0].tolist() == [0, 1]
        if dtype == np.float64:
            assert (alone == reference.tree_codes(theta, form, np.eye(3)[[0] * 6])[1]).all()
        several = SparseBatch([1, 2, 1] + [0] * 6 + [2, 2], [0, 3, 9, 11], 3, dtype, True)
        assert (_tree.encode(theta, several, form)[1][2:7] == alone).all()


@pytest.mark.parametrize("kind", ["left", "right", "balanced"])
def test_trees_that_follow_from_the_length(kind):
    form = TreeForm(3, 4, tree=kind)
    lengths = tuple(range(1, 20))
    theta, batch, _ = problem(np.random.default_rng(0), form, lengths=lengths)
    children = _tree.encode(theta, batch, form)[1]
    for i, n in enumerate(lengths):
        a, b = batch.offsets[i:i + 2]
        assert children[a - i:b - i - 1].tolist() == reference.grown_tree(kind, n).tolist()


@pytest.mark.parametrize("objective", ["stepwise", "unfold"])
def test_a_tree_of_a_hundred_thousand_levels(objective):
    form = TreeForm(3, 4, tree="left", n_classes=2, alpha=0.5, objective=objective)
    n = 100_000
    theta, batch, _ = problem(np.random.default_rng(0), form, lengths=(n, 3), of_nodes=False)
    loss, grad = compiled(theta, form, batch)
    assert np.isfinite(loss) and np.isfinite(grad).all() and np.abs(grad).max() > 0


def test_more_nodes_are_unfolded_than_there_is_memory_for():
    form = TreeForm(4, 3, tree="left", objective="unfold_all", output="softmax")
    theta, batch, items = problem(np.random.default_rng(0), form, lengths=(40, 1, 60, 2, 30), scale=0.4)
    loss, grad = compiled(theta, form, batch)
    assert np.isclose(loss, reference_loss(theta, form, items), rtol=1e-12)
    direction = np.random.default_rng(1).standard_normal(form.size)
    exact = np.imag(reference_loss(theta + 1e-30j * direction, form, items)) / 1e-30
    assert np.isclose(grad @ direction, exact, rtol=1e-9)


def test_dropout():
    """What is dropped depends on the update, the node and the number; the gradient is that of what is seen."""
    form = TreeForm(30, 16, n_classes=3, alpha=0.3, dropout=0.4)
    lengths = tuple(np.random.default_rng(2).integers(1, 30, 120))
    theta, batch, _ = problem(np.random.default_rng(1), form, lengths=lengths)

    def at(update, theta=theta, n_jobs=1, batch=batch, weights=None):
        objective = _objectives.objective_of(form, batch, weights, 0, 2**30, n_jobs)
        grad = objective.new_gradient()
        return objective.loss_and_grad(theta, grad, update), grad.memory

    plain = compiled(theta, form.but(dropout=0.0), batch)
    assert at(0)[0] == plain[0] and (at(0)[1] == plain[1]).all()
    losses = np.array([at(update)[0] for update in range(1, 60)])
    assert len(set(losses)) == 59
    loss, grad = at(3)
    for n_jobs in (2, 3):
        assert at(3, n_jobs=n_jobs)[0] == loss and (at(3, n_jobs=n_jobs)[1] == grad).all()
    rng = np.random.default_rng(4)
    for i in rng.choice(form.size, 40, replace=False):
        moved = theta.copy()
        moved[i] += 1e-6
        above = at(3, moved)[0]
        moved[i] -= 2e-6
        assert grad[i] == pytest.approx((above - at(3, moved)[0]) / 2e-6, rel=1e-5, abs=1e-8)
    # Scores are linear in what is seen: their mean is that without dropout, the loss, which is convex, is more.
    assert losses.mean() > plain[0]
    one_hot = TreeForm(2, 400, n_classes=2, alpha=0.0, dropout=0.4, tree="left")
    p = one_hot.views(theta := one_hot.empty(np.float64))
    theta[:] = 0
    p["W_xh"][...], p["W_hy"][:, 1] = 1.0, 0.01
    single = SparseBatch([0] * 50, np.arange(51), 2, np.float64, True).attach(None, [1] * 50, None, 2)
    objective = _objectives.objective_of(one_hot, single, None)
    gradient = objective.new_gradient()
    objective.loss_and_grad(theta, gradient, 1)
    # Of each of 50 codes of ones, 1 / 0.6 where a number is seen: the gradient of W_hy tells how often.
    seen = -gradient.views()["W_hy"][:, 1]
    seen /= seen.mean()
    assert 0.05 < seen.std() < 0.2 and np.abs(seen - 1).max() < 0.5


def test_gradients_by_rows_are_those_of_all_rows():
    form = TreeForm(50, 8, n_classes=2, alpha=0.3)
    theta, batch, _ = problem(np.random.default_rng(0), form)
    full = compiled(theta, form, batch)[1]
    objective = _objectives.objective_of(form, batch, None, 0, 2**30, 1, 1, True)
    updates = Updates(form, solver_of("sgd", 0.1), [], None, 1.0, False, True)
    moved = theta.copy()
    assert updates.once(moved, objective, Record(None))
    np.testing.assert_allclose(moved, theta - 0.1 * full, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("choices", [dict(n_classes=300, alpha=0.5), dict(output="softmax"), dict()], ids=str)
def test_sums_of_any_shape_have_their_memory(choices):
    """Of many classes, of many outputs and of wide dense leaves: sums over so many rows are copied piece by piece."""
    form = TreeForm(7 if "n_classes" in choices else 300, 3, **choices)
    lengths = (40,) * 30
    for ids in (True, False):
        theta, batch, items = problem(np.random.default_rng(0), form, lengths, ids=ids, scale=0.1)
        loss, grad = compiled(theta, form, batch)
        assert np.isclose(loss, reference_loss(theta, form, items), rtol=1e-10)
        direction = np.random.default_rng(1).standard_normal(form.size)
        moved = np.imag(reference_loss(theta + 1e-30j * direction, form, items)) / 1e-30
        assert np.isclose(grad @ direction, moved, rtol=1e-9)


@pytest.mark.parametrize("children, labels, message", [
    ([[0, 1], [3, 0]], None, "has two"), ([[0, 4], [3, 2]], None, "after its parent"), ([[0, -1], [3, 2]], None,
                                                                                        "after"),
    ([[0, 1]], None, "two children are needed"), ([[0, 1], [3, 2]], [0, 1], "a label is needed"),
    ([[0, 1], [3, 2]], [2], "below n_classes=2"), ([[0, 1], [3, 2]], [-2], "below n_classes=2")])
def test_compiled_code_is_handed_nothing_but_trees(children, labels, message):
    with pytest.raises(ValueError, match=message):
        SparseBatch([0, 1, 2], [0, 3], 3, np.float64, True).attach(np.array(children), labels, None, 2)


def test_labels_of_other_classes_and_missing_trees_are_refused():
    batch = SparseBatch([0, 1, 2], [0, 3], 3, np.float64, True).attach(None, [0], None, 2)
    with pytest.raises(ValueError, match="labels of 2 classes do not fit a form of 3"):
        _objectives.objective_of(TreeForm(3, 4, n_classes=3, tree="left"), batch)
    with pytest.raises(ValueError, match="needs a batch with trees"):
        _tree.encode(np.zeros(TreeForm(3, 4).size), batch, TreeForm(3, 4))


def test_without_labels_all_is_reconstruction():
    assert TreeForm(3, 4, alpha=0.3).alpha == 1 and TreeForm(3, 4, n_classes=2, alpha=0.3).alpha == 0.3
