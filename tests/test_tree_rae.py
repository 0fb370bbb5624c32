"""The estimators of trees: what is read, learned, kept and refused."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone, is_classifier

from rae_fast import RAE, TreeRAE, TreeRAEClassifier, Vocabulary, read_tree, reference

LINES = ["a fine film", "a dull film", "a fine play with heart", "a dull play without one", "film",
         "no heart no play"] * 4
Y = ["good", "bad", "good", "bad", "good", "bad"] * 4
TREES = ["(3 (2 a) (4 (4 fine) (2 film)))", "(1 (2 a) (0 (0 dull) (2 film)))", "(2 film)", "(2 (2 a) (2 play))"] * 4
SMALL = {"n_hidden": 6, "min_count": 1, "max_iter": 3, "random_state": 0}


def ids():
    vocabulary = Vocabulary(min_count=1).fit(LINES)
    return vocabulary.encode(LINES), len(vocabulary)


@pytest.mark.parametrize("tree", ["greedy", "left", "right", "balanced", "given"])
@pytest.mark.parametrize("output", ["softmax", "code", "linear"])
@pytest.mark.parametrize("objective", ["stepwise", "unfold"])
def test_loss_and_errors_are_those_of_the_reference(tree, output, objective):
    X, V = ids()
    given = [reference.grown_tree("balanced", len(x)) for x in X] if tree == "given" else None
    model = TreeRAE(6, n_features=V, tree=tree, output=output, objective=objective, max_iter=2, hidden_weight=0.4,
                    word_weights=True,
                    random_state=0).fit(X, trees=given)
    form, theta = model._learned.form, model.theta_
    expected = [reference.tree_loss(theta, form, np.eye(V)[x], reference.grown_tree("balanced", len(x)) if given
                                    else None)
                for x in X]
    np.testing.assert_allclose(model.reconstruction_error(X, trees=given), expected, rtol=1e-9)
    assert np.isclose(model.loss_and_grad(X, trees=given)[0], np.mean(expected), rtol=1e-9)
    nodes = model.reconstruction_error(X, trees=given, per="node")
    assert [len(e) for e in nodes] == [len(x) - 1 for x in X]
    if objective == "stepwise":
        np.testing.assert_allclose([e.mean() if len(e) else 0 for e in nodes], expected, rtol=1e-9)
    assert np.isclose(model.score(X, trees=given), -np.mean(expected))


@pytest.mark.parametrize("label_loss", ["cross_entropy", "squared"])
def test_the_loss_with_labels_is_that_of_the_reference(label_loss):
    model = TreeRAEClassifier(5, min_count=1, alpha=0.3, label_loss=label_loss, root_weight=2.0, max_iter=2,
                              class_weight={"4": 3.0}, random_state=0).fit(TREES)
    found = [read_tree(line) for line in TREES]
    classes = model.classes_.tolist()
    assert classes == ["0", "1", "2", "3", "4"]
    losses = []
    for tree, x in zip(found, model.vocabulary_.encode([t.words for t in found])):
        labels = np.array([classes.index(label) for label in tree.labels])
        losses.append(reference.tree_loss(model.theta_, model._learned.form, np.eye(model.n_features_in_)[x],
                                          tree.children,
                                          labels, np.where(labels == 4, 3.0, 1.0)))
    assert np.isclose(model.loss_and_grad(TREES)[0], np.mean(losses), rtol=1e-9)
    np.testing.assert_allclose(model._errors(model._learned, model._read_targets(_given(TREES), model._learned)),
                               losses,
                               rtol=1e-9)


def _given(X, y=None, trees=None):
    from rae_fast.tree_coding import Given
    return Given(X, trees, y, True)


@pytest.mark.parametrize("objective", ["stepwise", "unfold"])
def test_text_learns_and_comes_back(objective):
    lines = ["a fine film", "a dull play", "the end", "film a dull end", "a play a play the end", "fine"]
    model = TreeRAE(24, tree="left", objective=objective, min_count=1, max_iter=600, learning_rate=0.01,
                    random_state=0).fit(lines)
    assert model.vocabulary_.decode(model.reconstruct(lines)) == [x.split() for x in lines]
    assert model.vocabulary_.decode(model.inverse_transform(model.transform(lines), model.trees(lines))) == [
        x.split() for x in lines]


def test_a_long_training_without_labels_does_not_collapse():
    model = TreeRAE(8, min_count=1, max_iter=300, learning_rate=0.01, random_state=0).fit(LINES)
    embeddings, start = model.parameters_["W_xh"], TreeRAE(8, min_count=1, max_iter=0, random_state=0).fit(LINES)
    assert np.sqrt(np.mean(embeddings**2)) > np.sqrt(np.mean(start.parameters_["W_xh"]**2))
    shrunk = TreeRAE(8, min_count=1, output="code", max_iter=300, learning_rate=0.01, random_state=0).fit(LINES)
    assert np.sqrt(np.mean(shrunk.parameters_["W_xh"]**2)) < 0.1 * np.sqrt(np.mean(embeddings**2))


def test_a_left_tree_of_inputs_is_the_sequence_model():
    """I = H, h0 the first leaf, linear decoder, h0 given back: the stepwise loss of RAE."""
    rng = np.random.default_rng(0)
    H, lengths = 5, (1, 4, 7)
    X = [0.5 * rng.standard_normal((n, H)) for n in lengths]
    sequences = RAE(H, objective="stepwise", decoder="linear", reconstruct_h0=True, hidden_weight=1.0, init="normal",
                    init_scale=0.4, max_iter=0, random_state=1).fit(X)
    p = sequences.parameters_
    leaves = [np.vstack([p["h0"], x]) for x in X]
    tree = TreeRAE(H, tree="left", embedding="identity", decoder="linear", reduction="sum", max_iter=0).fit(leaves)
    q = tree.parameters_
    assert set(q) == {"W_hh", "W_rh", "b_h", "V_hh", "V_hr", "c_h", "c_r"}
    for ours, theirs in (("W_hh", "W_hh"), ("W_rh", "W_xh"), ("b_h", "b_h"), ("V_hh", "V_hh"), ("V_hr", "V_hx"),
                         ("c_h", "c_h"), ("c_r", "c_x")):
        q[ours][...] = p[theirs]
    np.testing.assert_allclose(tree.transform(leaves), sequences.transform(X), rtol=1e-12)
    loss, grad = tree.loss_and_grad(leaves)
    expected, expected_grad = sequences.loss_and_grad(X)
    assert np.isclose(loss, expected, rtol=1e-12)
    for ours, theirs in (("W_hh", "W_hh"), ("W_rh", "W_xh"), ("V_hh", "V_hh"), ("V_hr", "V_hx"), ("b_h", "b_h"),
                         ("c_r", "c_x")):
        np.testing.assert_allclose(grad[ours], expected_grad[theirs], rtol=1e-9, atol=1e-12)


def test_unfolded_from_the_root_it_is_the_sequence_model_up_to_h0():
    rng = np.random.default_rng(0)
    H, lengths = 5, (1, 4, 7)
    X = [0.5 * rng.standard_normal((n, H)) for n in lengths]
    sequences = RAE(H, objective="unfold", decoder="tanh", init="normal", init_scale=0.4, max_iter=0,
                    random_state=1).fit(X)
    p = sequences.parameters_
    leaves = [np.vstack([p["h0"], x]) for x in X]
    tree = TreeRAE(H, tree="left", objective="unfold", embedding="identity", reduction="sum", max_iter=0).fit(leaves)
    q = tree.parameters_
    for ours, theirs in (("W_hh", "W_hh"), ("W_rh", "W_xh"), ("b_h", "b_h"), ("V_hh", "V_hh"), ("V_hr", "V_hx"),
                         ("c_h", "c_h"), ("c_r", "c_x")):
        q[ours][...] = p[theirs]
    back = tree.reconstruct(leaves)
    for ours, theirs in zip(back, sequences.reconstruct(X)):
        np.testing.assert_allclose(ours[1:], theirs, rtol=1e-10, atol=1e-12)
    of_h0 = [((x[0] - p["h0"])**2).sum() for x in back]
    np.testing.assert_allclose(tree.reconstruction_error(leaves) - of_h0, sequences.reconstruction_error(X), rtol=1e-10)


@pytest.mark.parametrize("tree", ["greedy", "balanced"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_training_is_repeatable_whatever_the_threads(tree, n_jobs):
    lines = LINES * 30
    y = Y * 30
    one = TreeRAEClassifier(**SMALL | {"tree": tree, "batch_size": 200}).fit(lines, y)
    other = TreeRAEClassifier(**SMALL | {"tree": tree, "batch_size": 200, "n_jobs": n_jobs}).fit(lines, y)
    assert (one.theta_ == other.theta_).all() and one.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("y", [Y, [v == "good" for v in Y], [{"good": 3, "bad": -1}[v] for v in Y],
                               [{"good": 1.0, "bad": -2.0}[v] for v in Y], np.array(Y, dtype=object)])
def test_labels_of_any_kind(y):
    model = TreeRAEClassifier(8, min_count=1, max_iter=150, learning_rate=0.02, random_state=0).fit(LINES, y)
    assert is_classifier(model)
    assert model.predict(LINES).tolist() == list(y) and model.score(LINES, y) == 1.0
    p = model.predict_proba(LINES)
    assert p.shape == (len(y), 2) and np.allclose(p.sum(axis=1), 1)
    assert ((model.decision_function(LINES) > 0) == (p[:, 1] > 0.5)).all()
    assert [len(n) for n in model.predict_nodes(LINES)] == [2 * len(x.split()) - 1 for x in LINES]


def test_labels_of_nodes_beside_trees_in_any_order():
    found = [read_tree(line) for line in TREES]
    vocabulary = Vocabulary("tokens").fit([t.words for t in found])
    X = vocabulary.encode([t.words for t in found])
    settings = dict(n_hidden=5, n_features=len(vocabulary), max_iter=3, random_state=0)
    a = TreeRAEClassifier(**settings).fit(X, [t.labels for t in found], trees=[t.children for t in found])
    turned, labels = [], []
    for tree in found:
        n = len(tree.words)
        number = np.r_[np.arange(n), np.arange(n, 2 * n - 1)[::-1]]
        turned.append(number[tree.children][::-1])
        labels.append([tree.labels[i] for i in np.argsort(number)])
    b = TreeRAEClassifier(**settings).fit(X, labels, trees=turned)
    assert (a.theta_ == b.theta_).all()
    assert (a.transform(X, trees=turned) == b.transform(X, trees=[t.children for t in found])).all()


@pytest.mark.parametrize("model, y", [
    (TreeRAE(**SMALL), None), (TreeRAEClassifier(**SMALL), Y),
    (TreeRAEClassifier(**SMALL, tree="balanced", normalize_codes=True), [len(x) % 3 for x in LINES]),
    (TreeRAEClassifier(**SMALL), np.array([len(x) % 2 for x in LINES], dtype=np.uint8)),
    (TreeRAEClassifier(**SMALL), [len(x) % 2 == 0 for x in LINES]),
    (TreeRAEClassifier(**SMALL), [len(x) % 2 + 1.0 for x in LINES])])
def test_files_pickles_copies_and_going_on(model, y, tmp_path):
    model.fit(LINES, y)
    model.save(tmp_path / "model.safetensors")
    others = [type(model).load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    model.partial_fit(LINES, y)
    for other in others:
        assert other.get_params() == model.get_params()
        other.partial_fit(LINES, y)
        assert (other.theta_ == model.theta_).all() and (other.transform(LINES) == model.transform(LINES)).all()
        assert other.vocabulary_.symbols_ == model.vocabulary_.symbols_
        if y is not None:
            assert (other.predict(LINES) == model.predict(LINES)).all() and other.classes_.dtype == model.classes_.dtype
    again = clone(model)
    assert again.get_params() == model.get_params() and not hasattr(again, "theta_")


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    settings = dict(n_hidden=5, min_count=1, max_iter=6, random_state=3, checkpoint=tmp_path / "c.safetensors",
                    checkpoint_seconds=0.0)
    whole = TreeRAEClassifier(**settings).fit(LINES, Y)
    (tmp_path / "c.safetensors").unlink()
    stopped = TreeRAEClassifier(**settings, callbacks=lambda model: model.n_iter_ >= 3, report_every=1).fit(LINES, Y)
    assert stopped.n_iter_ == 3
    resumed = TreeRAEClassifier(**settings).fit(LINES, Y, resume=True)
    assert (resumed.theta_ == whole.theta_).all() and resumed.loss_curve_ == whole.loss_curve_


def test_early_stopping_judges_by_the_loss():
    model = TreeRAEClassifier(6, min_count=1, max_iter=20, early_stopping=True, random_state=0).fit(LINES, Y)
    assert len(model.validation_scores_) == model.n_iter_


@pytest.mark.parametrize("pooling, width", [("root", 1), ("mean", 1), ("leaves+inner", 2), ("root+mean+leaves+inner",
                                                                                            4)])
def test_pooling(pooling, width):
    model = TreeRAE(**SMALL | {"pooling": pooling}).fit(LINES)
    found, codes = model.transform(LINES), model.node_codes(LINES)
    assert found.shape == (len(LINES), 6 * width) == (len(LINES), len(model.get_feature_names_out()))
    for row, h in zip(found, codes):
        n = (len(h) + 1) // 2
        parts = {"root": h[-1], "mean": h.mean(axis=0), "leaves": h[:n].mean(axis=0),
                 "inner": h[n:].mean(axis=0) if n > 1 else h[0]}
        np.testing.assert_allclose(row, np.concatenate([parts[p] for p in pooling.split("+")]), rtol=1e-12, atol=1e-15)


def test_text_may_begin_with_a_bracket():
    lines = ["( an aside )", "a film ( of sorts )", "( really ) fine"] * 3
    model = TreeRAE(4, min_count=1, max_iter=1).fit(lines)
    assert model._learned.form.tree == "greedy" and "(" in model.vocabulary_.symbols_
    assert model.transform(["( an aside )"]).shape == (1, 4)


def test_some_items_without_a_label():
    y = [None if i % 4 == 0 else label for i, label in enumerate(Y)]
    model = TreeRAEClassifier(8, min_count=1, max_iter=150, learning_rate=0.02, random_state=0).fit(LINES, y)
    assert model.classes_.tolist() == ["bad", "good"] and model.score(LINES, Y) > 0.8


@pytest.mark.parametrize("classes", ['["str", ["good", "bad"]]', '["str", ["bad", "bad"]]', '["str", ["bad"]]',
                                     '["object", [1, 2]]',
                                     '["int64", ["bad", "good"]]', "7", "null", '["str", [["bad"], "good"]]'])
def test_classes_of_a_file_are_held_to_what_they_can_be(classes, tmp_path):
    from rae_fast import persistence
    path = tmp_path / "model.safetensors"
    TreeRAEClassifier(**SMALL).fit(LINES, Y).save(path)
    arrays, metadata = persistence.read(path)
    assert '["str", ["bad", "good"]]' in metadata["record"]
    record = metadata["record"].replace('["str", ["bad", "good"]]', classes)
    persistence.write(path, arrays, metadata | {"record": record})
    with pytest.raises(ValueError, match="classes|cannot be|is another kind|inhomogeneous|invalid literal"):
        TreeRAEClassifier.load(path)


def test_a_file_that_claims_more_classes_than_it_has(tmp_path):
    from rae_fast import persistence
    path = tmp_path / "model.safetensors"
    TreeRAEClassifier(**SMALL).fit(LINES, Y).save(path)
    arrays, metadata = persistence.read(path)
    for claimed, message in ((2**40, "W_hy does not have the shape"), (2**62, "something is missing|shape"), (0,
                                                                                                              "W_hy|classes")):
        persistence.write(path, arrays,
                          metadata | {"form": metadata["form"].replace('"n_classes": 2', f'"n_classes": {claimed}')})
        with pytest.raises(ValueError, match=message):
            TreeRAEClassifier.load(path)


def test_rows_of_numbers_and_sparse_rows():
    rng = np.random.default_rng(0)
    dense = [rng.standard_normal((n, 3)) for n in (1, 4, 6)]
    model = TreeRAE(5, max_iter=300, learning_rate=0.01, random_state=0).fit(dense)
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]
    assert [x.shape for x in model.reconstruct(dense)] == [x.shape for x in dense]
    sparse = [scipy.sparse.csr_array(x) for x in dense]
    np.testing.assert_allclose(model.transform(sparse), model.transform(dense), rtol=1e-12)
    own = TreeRAE(3, max_iter=2, random_state=0).fit(dense)
    assert "W_xh" not in own.parameters_ and own.reconstruct(dense)[1].shape == (4, 3)


REFUSED = [
    (lambda: TreeRAE(tree="given").fit(LINES), "element 0 of X|needs the trees"),
    (lambda: TreeRAE(tree="greedy").fit(*_args()), "trees are given, but tree='greedy'"),
    (lambda: TreeRAEClassifier().fit(LINES), "requires y to be passed"),
    (lambda: TreeRAEClassifier().fit(LINES, ["a"] * len(LINES)), "y holds 1 class"),
    (lambda: TreeRAEClassifier().fit(LINES, Y[:3]), r"y has shape \(3,\)"),
    (lambda: TreeRAEClassifier(tree="given").fit(["(a b)", "(c d"]), "element 1 of X: position 0"),
    (lambda: TreeRAEClassifier(class_weight={"x": 1}).fit(LINES, Y), "class_weight has the class 'x'"),
    (lambda: TreeRAEClassifier(alpha=2).fit(LINES, Y), r"alpha must lie in \[0, 1\]"),
    (lambda: TreeRAE(pooling="root+root").fit(LINES), "pooling must be one of"),
    (lambda: TreeRAE(embedding="identity").fit(LINES), "embedding='identity' takes rows"),
    (lambda: TreeRAE(4, embedding="identity").fit([np.eye(3)]), "are no codes of n_hidden=4"),
    (lambda: TreeRAE(min_count=9).fit(["a b c"]).transform([[0, 7]]), "7"),
    (lambda: TreeRAEClassifier(**SMALL).fit(LINES, Y).partial_fit(LINES, ["new"] * len(LINES)), "the class 'new'"),
    (lambda: TreeRAE(4, max_iter=1).fit([[0, 1], [2, 1, 0]]).transform(["a b"]), "without a vocabulary"),
    (lambda: TreeRAE(4, max_iter=1).fit([[0, 1], [2, 1, 0]]).inverse_transform(np.zeros((2, 4)), [[[0, 1]]]),
     "1 trees for 2 codes"),
    (lambda: TreeRAEClassifier(**SMALL).fit(TREES, [["1"]] * len(TREES)), "has 1 labels, but its tree has 5 nodes"),
    (lambda: TreeRAE(4, output="softmax").fit([np.ones((2, 3))]), "is not a distribution"),
    (lambda: TreeRAE(4, output="softmax", max_iter=1).fit([np.eye(3)]).partial_fit([np.ones((2, 3))]),
     "is not a distribution"),
    (lambda: TreeRAE(4, output="softmax", max_iter=1).fit([np.eye(3)]).score([np.ones((2, 3))]),
     "is not a distribution"),
    (lambda: TreeRAEClassifier(**SMALL).fit(LINES, [np.nan] * len(LINES)), "NaN"),
]


def _args():
    return [[0, 1, 1], [1, 0]], None, None


@pytest.mark.parametrize("call, message", REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(call, message):
    if "greedy" in message:
        def call():
            TreeRAE(tree="greedy").fit([[0, 1, 1], [1, 0]], trees=[[[0, 1], [3, 2]], [[0, 1]]])
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("solver", ["adam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "rprop",
                                    "lbfgs"])
def test_every_solver_learns(solver):
    rate = {"adadelta": 1.0, "sgd": 0.2, "rprop": 0.001, "adagrad": 0.05}.get(solver, 0.01)
    model = TreeRAEClassifier(6, min_count=1, solver=solver, learning_rate=rate, max_iter=30, random_state=0,
                              batch_size=len(LINES) if solver == "rprop" else 8).fit(LINES, Y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_adagrad_rests_where_a_gradient_is_0():
    """By rows and all of W_xh are the same update; weight decay takes all of it."""
    from rae_fast import factored
    X, V = ids()
    model = TreeRAEClassifier(6, n_features=V + 50, solver="adagrad", learning_rate=0.1, max_iter=2, random_state=0)
    fitted = copy.deepcopy(model).fit(X, Y)
    settings, batch = fitted._settings(), fitted._read_targets(_given(X, Y), fitted._learned)
    assert factored.by_rows(settings, fitted._learned.form, batch, None)
    assert not factored.by_rows(settings.but(weight_decay=0.1), fitted._learned.form, batch, None)
    loss, grad = fitted.loss_and_grad(X, Y)
    state = {name: blocks["W_xh"].copy() for name, blocks in fitted.solver_state_.items()}
    before = fitted.parameters_["W_xh"].copy()
    fitted.partial_fit(X, Y)
    square = state["square"] + grad["W_xh"]**2
    np.testing.assert_allclose(fitted.parameters_["W_xh"], before - 0.1 * grad["W_xh"] / (np.sqrt(square) + 1e-8),
                               rtol=1e-9)
    np.testing.assert_allclose(fitted.solver_state_["square"]["W_xh"], square, rtol=1e-9)


def test_names_of_columns_are_kept_and_held_to():
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame(np.random.default_rng(n).standard_normal((n, 2)), columns=["a", "b"]) for n in (3, 4)]
    model = TreeRAE(3, max_iter=1, random_state=0).fit(frames)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="in another order"):
        model.transform([frame[["b", "a"]] for frame in frames])


def test_a_vocabulary_of_words_that_came_with_the_file_reads_text(tmp_path):
    vocabulary = Vocabulary().fit(LINES)
    X = vocabulary.encode(LINES)
    model = TreeRAE(4, n_features=len(vocabulary), max_iter=1, random_state=0).fit(X)
    model.save(tmp_path / "model.safetensors", vocabulary=vocabulary)
    again = TreeRAE.load(tmp_path / "model.safetensors")
    assert (again.transform(LINES) == model.transform(X)).all()


def test_more_ids_than_a_vocabulary_has():
    model = TreeRAE(4, n_features=50, min_count=1, max_iter=1, random_state=0).fit(LINES)
    assert model.n_features_in_ == 50 and model.partial_fit(LINES).n_updates_ == 2


def test_balanced_classes_weigh_as_scikit_learn_has_it():
    from sklearn.utils.class_weight import compute_class_weight
    y = ["a"] * 15 + ["b"] * 6 + ["c"] * 3
    each = dict(zip("abc", compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=y)))
    settings = SMALL | {"max_iter": 4, "learning_rate": 0.01}
    balanced = TreeRAEClassifier(**settings, class_weight="balanced").fit(LINES, y)
    assert (balanced.theta_ == TreeRAEClassifier(**settings, class_weight=each).fit(LINES, y).theta_).all()
    assert not (balanced.theta_ == TreeRAEClassifier(**settings).fit(LINES, y).theta_).all()


@pytest.mark.parametrize("name", ["paper", "released"])
def test_variants(name):
    model = TreeRAEClassifier.variant(name, n_hidden=6, max_iter=15, random_state=0)
    assert model.get_params()["solver"] == "lbfgs" and model.word_weights == (name == "paper")
    model.fit(LINES, Y)
    assert model.loss_curve_[-1] < model.loss_curve_[0] and model.score(LINES, Y) > 0.7
    several = [line for line in LINES if " " in line]  # a single word is a leaf, which has any length
    np.testing.assert_allclose(np.linalg.norm(model.transform(several), axis=1), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="must be one of 'paper', 'released'; got 'other'"):
        TreeRAEClassifier.variant("other")
    with pytest.raises(ValueError, match="must be one of"):
        TreeRAEClassifier.variant(["paper"])
    TreeRAEClassifier.variant("paper").weight_decay["W_hh"] = 99.0
    assert TreeRAEClassifier.variant(name).weight_decay["W_hh"] == 1e-5
