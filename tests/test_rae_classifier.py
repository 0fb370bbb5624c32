"""RAEClassifier: what a classifier promises, and what an estimator of sequences does."""

import warnings

import numpy as np
import pytest
from problems import everything
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from test_sklearn import OBJECTS, OF_ROWS

from rae_fast import RAE, RAEClassifier, _objectives
from rae_fast.rae_classifier import Labelled

RNG = np.random.default_rng(0)
Y = np.array(["up", "down", "flat"] * 20)
SLOPE = {"up": 0.3, "down": -0.3, "flat": 0.0}
X3 = np.array([SLOPE[y] * np.arange(7)[:, None] + 0.2 * RNG.standard_normal((7, 2)) for y in Y])
RAGGED = [x[:4 + i % 4] for i, x in enumerate(X3)]
IDS = [np.array([0, 1, 2, 1][:2 + i % 3] + [3 if y == "up" else 4]) for i, y in enumerate(Y)]


def fitted(X=X3, y=Y, **settings):
    return RAEClassifier(6, **{"random_state": 0, "max_iter": 60} | settings).fit(X, y)


@pytest.mark.parametrize("options", [{}, {"n_code": 3}, {"objective": "stepwise"}, {"patch_length": 3}, {"tied": True},
                                     {"init": "normal", "relative_rates": False, "learning_rate": 0.02},
                                     {"init": "orthogonal"}, {"solver": "lbfgs", "max_iter": 60}, {"dtype": "float32"},
                                     {"early_stopping": True}], ids=str)
@pytest.mark.parametrize("X", [X3, RAGGED], ids=["3-D", "list"])
def test_it_learns_labels_and_sequences(X, options):
    model = fitted(X, **options)
    assert model.classes_.tolist() == ["down", "flat", "up"] and model.score(X, Y) > 0.9
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (model.classes_[p.argmax(axis=1)] == model.predict(X)).all()
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(p), rtol=1e-4, atol=1e-5)
    assert (model.decision_function(X).argmax(axis=1) == p.argmax(axis=1)).all()
    mean = np.mean([np.square(np.asarray(x) - np.concatenate(list(X)).mean(0)).sum() for x in X])
    assert model.reconstruction_error(X).mean() < mean
    assert model.transform(X).shape == (60, options.get("n_code", 6))


@pytest.mark.parametrize("output", ["softmax", "linear", "spherical"])
def test_token_ids(output):
    model = fitted(IDS, Y == "up", output=output, max_iter=100)
    assert model.score(IDS, Y == "up") > 0.95 and model.classes_.dtype == bool
    assert model.decision_function(IDS).shape == (60,)
    assert ((model.decision_function(IDS) > 0) == model.predict(IDS)).all()
    assert [x.tolist() for x in model.reconstruct(IDS)][0][:1] in ([0], [1], [2], [3], [4])


@pytest.mark.parametrize("options", [{}, {"n_code": 2}, {"objective": "stepwise", "hidden_weight": 0.3},
                                     {"patch_length": 2, "n_code": 3}], ids=str)
def test_gradient_by_differences(options):
    model = fitted(RAGGED, class_weight={"up": 3}, alpha=0.4, **options)
    y = [None if i % 5 == 0 else label for i, label in enumerate(Y)]
    w = np.linspace(0.5, 2, 60)
    loss, grad = model.loss_and_grad(RAGGED, y, w)
    for name, view in model.parameters_.items():
        at = np.unravel_index(RNG.integers(view.size), view.shape)
        before = view[at]
        view[at] = before + 1e-6
        above = model.loss_and_grad(RAGGED, y, w)[0]
        view[at] = before - 1e-6
        below = model.loss_and_grad(RAGGED, y, w)[0]
        view[at] = before
        assert grad[name][at] == pytest.approx((above - below) / 2e-6, rel=2e-4, abs=1e-7), name
    assert loss == model.loss_and_grad(RAGGED, y, w)[0]


def test_the_loss_is_what_the_documentation_says():
    model = fitted(alpha=0.3, class_weight={"up": 2})
    rows = np.concatenate(list(X3))
    unit = np.square(rows - rows.mean(0)).sum() / len(X3)
    of_label = -model.predict_log_proba(X3)[np.arange(60), np.searchsorted(model.classes_, Y)] * (1 + (Y == "up"))
    expected = 0.3 * model.reconstruction_error(X3) / unit + 0.7 * of_label
    assert model.loss_and_grad(X3, Y)[0] == pytest.approx(expected.mean(), rel=1e-12)
    assert model.loss_and_grad(X3)[0] == pytest.approx(0.3 * model.reconstruction_error(X3).mean() / unit, rel=1e-12)


def test_units_of_the_data_do_not_matter():
    one, other = fitted(), fitted(X3 * 1024.0)
    np.testing.assert_array_equal(one.predict_proba(X3), other.predict_proba(X3 * 1024.0))


def test_without_labels_it_is_the_auto_encoder_and_without_reconstruction_a_classifier():
    options = {"max_iter": 3, "relative_rates": False, "init": "normal", "solver": "sgd"}
    unit = fitted(max_iter=0)._learned.form.loss_unit
    plain = RAE(6, random_state=0, learning_rate=1e-3, **options).fit(X3)
    labelled = fitted(alpha=1.0, learning_rate=1e-3 * unit, **options)
    for name, view in plain.parameters_.items():
        np.testing.assert_allclose(labelled.parameters_[name], view, rtol=1e-9, atol=1e-12)
    assert not labelled.parameters_["W_hy"].any()
    alone = fitted(alpha=0.0)
    assert not alone.loss_and_grad(X3, Y)[1]["V_hx"].any() and alone.score(X3, Y) > 0.95


def test_missing_labels_weights_and_class_weights():
    some = [label if i < 30 else None for i, label in enumerate(Y)]
    assert fitted(y=some, max_iter=150).score(X3[30:], Y[30:]) > 0.8
    # A class that weighs nothing is as one whose labels are missing.
    none = fitted(class_weight={"up": 0.0})
    assert "up" not in set(none.predict(X3))
    heavy = fitted(class_weight="balanced", y=Y)
    np.testing.assert_array_equal(heavy.theta_, fitted().theta_)  # these classes are balanced
    twice = fitted(np.concatenate([X3, X3]), np.concatenate([Y, Y]), batch_size=120, shuffle=False, max_iter=5)
    once = fitted(batch_size=60, shuffle=False, max_iter=5)
    np.testing.assert_allclose(twice.predict_proba(X3), once.predict_proba(X3), rtol=1e-8)
    weighted = RAEClassifier(6, random_state=0, batch_size=60, max_iter=5, shuffle=False).fit(
        X3, Y, np.full(60, 1 / 60))
    np.testing.assert_allclose(weighted.predict_proba(X3), once.predict_proba(X3), rtol=1e-8)


def test_files_checkpoints_copies_and_threads(tmp_path):
    model = fitted(RAGGED, class_weight={"up": 2.0}, checkpoint=tmp_path / "fit.st", n_code=3)
    for again in (RAEClassifier.load(tmp_path / "fit.st"), clone(model).fit(RAGGED, Y), clone(model).set_params(
            n_jobs=2).fit(RAGGED, Y)):
        np.testing.assert_array_equal(again.predict_proba(RAGGED), model.predict_proba(RAGGED))
        assert again.classes_.tolist() == model.classes_.tolist()
    model.save(tmp_path / "model.st")
    again = RAEClassifier.load(tmp_path / "model.st")
    np.testing.assert_equal(everything(again), everything(model))
    np.testing.assert_equal(everything(again.partial_fit(RAGGED, Y)), everything(model.partial_fit(RAGGED, Y)))
    with pytest.raises(ValueError, match="rae_fast.RAE"):
        RAE.load(tmp_path / "model.st")


def test_an_interrupted_fit_goes_on(tmp_path):
    class Stop(Exception):
        pass

    def stop(model):
        if model.n_iter_ == 3:
            raise Stop

    settings = {"n_hidden": 5, "random_state": 0, "max_iter": 9, "checkpoint": tmp_path / "fit.st", "report_every": 1}
    whole = RAEClassifier(**settings).fit(X3, Y)
    (tmp_path / "fit.st").unlink()
    model = RAEClassifier(**settings, callbacks=stop)
    with pytest.raises(Stop):
        model.fit(X3, Y)
    np.testing.assert_equal(everything(RAEClassifier(**settings).fit(X3, Y, resume=True)), everything(whole))
    for names in (np.char.upper(Y), np.where(Y == "up", "flat", np.where(Y == "flat", "up", Y))):
        with pytest.raises(ValueError, match="other data|same"):
            RAEClassifier(**settings).fit(X3, names, resume=tmp_path / "fit.st")
    with pytest.raises(ValueError, match="other data|same"):
        model.set_params(callbacks=None, max_iter=20).fit(X3, Y[::-1], resume=tmp_path / "fit.st")


@pytest.mark.parametrize("options", [{}, {"n_code": 3}, {"objective": "stepwise"}], ids=str)
def test_dropout(options, tmp_path):
    model, plain = fitted(RAGGED, dropout=0.3, max_iter=100, **options), fitted(RAGGED, max_iter=100, **options)
    assert model.score(RAGGED, Y) > 0.9 and (model.theta_ != plain.theta_).any()
    assert model.loss_and_grad(RAGGED, Y)[0] == fitted(RAGGED, dropout=0.3, max_iter=100, n_jobs=2,
                                                       **options).loss_and_grad(RAGGED, Y)[0]
    form = model._learned.form
    batch = model._read_targets(Labelled(RAGGED, Y), model._learned)
    objective = _objectives.objective_of(form, batch)
    grad = objective.new_gradient()
    objective.loss_and_grad(model.theta_, grad, 7)
    found = grad.memory.copy()
    for i in np.random.default_rng(0).choice(form.size, 30, replace=False):
        moved = model.theta_.copy()
        moved[i] += 1e-6
        above = objective.loss_and_grad(moved, grad, 7)
        moved[i] -= 2e-6
        assert found[i] == pytest.approx((above - objective.loss_and_grad(moved, grad, 7)) / 2e-6, rel=2e-5, abs=1e-8)


def test_partial_fit():
    model = RAEClassifier(5, random_state=0)
    for _ in range(150):
        model.partial_fit(X3, Y)
    assert model.score(X3, Y) > 0.9
    before = everything(model)
    with pytest.raises(ValueError, match="'new', which was not there"):
        model.partial_fit(X3, np.where(Y == "up", "new", Y))
    np.testing.assert_equal(everything(model), before)
    some = RAEClassifier(5, random_state=0).partial_fit(X3[Y == "up"], Y[Y == "up"], classes=["up", "down", "flat"])
    assert some.partial_fit(X3, Y).classes_.tolist() == ["down", "flat", "up"]
    with pytest.raises(ValueError, match="are not those of the first call"):
        some.partial_fit(X3, Y, classes=["up", "down"])


@pytest.mark.parametrize("y, message", [
    (None, "requires y to be passed"), (Y[:5], r"y has shape \(5,\); expected \(60,\), one label for each item"),
    (np.zeros((60, 2)), r"y has shape \(60, 2\)"), (["a"] * 60, "y holds 1 class; a classifier needs at least 2"),
    ([None] * 60, "y holds 0 class"), (["a", float("nan"), "b"] * 20, "labels of several kinds, such as 'a' and nan"),
    ([1, "a", True] * 20, "labels of several kinds, such as 1 and 'a'"),
    ([1, True] * 30, "several kinds, such as 1 and True"), ([["a"], ["b"]] * 30, r"y has shape \(60, 1\)"),
    (np.where(Y == "up", np.nan, Y.astype(object)), "several kinds"), ("a", r"y has shape \(\)"),
    (np.where(Y == "up", np.nan, 1.0), "y holds NaN or infinity"),
    (np.linspace(0, 1, 60), "Unknown label type"), (np.zeros(60, dtype=complex), "labels are of type complex128")])
def test_bad_labels_change_nothing(y, message):
    model = fitted(max_iter=2)
    before = everything(model)
    with pytest.raises(ValueError, match=message):
        model.fit(X3, y)
    np.testing.assert_equal(everything(model), before)


@pytest.mark.parametrize("y", [
    pytest.param(lambda pd: pd.Series(Y), id="series"),
    pytest.param(lambda pd: pd.Series(Y, dtype="category"), id="category"),
    pytest.param(lambda pd: pd.Series(Y, dtype=object), id="object")])
def test_labels_of_pandas(y):
    pd = pytest.importorskip("pandas")
    np.testing.assert_array_equal(fitted(y=y(pd)).theta_, fitted().theta_)
    some = pd.Series(Y, dtype="string")
    some[::4] = pd.NA
    theirs = fitted(y=[None if i % 4 == 0 else label for i, label in enumerate(Y)])
    np.testing.assert_array_equal(fitted(y=some).theta_, theirs.theta_)
    masked = np.ma.array(np.searchsorted(["down", "flat", "up"], Y), mask=np.arange(60) % 4 == 0)
    assert fitted(y=masked).classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(fitted(y=masked).theta_, theirs.theta_)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"n_code": 3}, {"objective": "stepwise"}], ids=str)
def test_data_in_any_unit(options, dtype):
    one = fitted(X3.astype(dtype), **options)
    for power in (-80, -40, 60):
        X = (X3 * 2.0**power).astype(dtype)
        other = fitted(X, **options)
        np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X3.astype(dtype)), rtol=0.05, atol=0.02)
        assert other.loss_and_grad(X)[0] == pytest.approx(one.loss_and_grad(X3.astype(dtype))[0], rel=0.1)


def test_constant_data():
    for value in (0.0, 0.1, 1.0, 1e6):
        X = [np.full((3 if i % 2 else 7, 2), value) for i in range(40)]
        model = RAEClassifier(4, random_state=0, max_iter=100).fit(X, [i % 2 for i in range(40)])
        assert np.isfinite(model.predict_proba(X)).all() and model.loss_curve_[-1] < 10


@pytest.mark.parametrize("weights", [{0: 1.0, 1: 5.0}, {False: 0.0, True: 2.0}, {np.int64(0): np.float32(1), 1: 2},
                                     {"a": np.float64(2), "b": 1}], ids=str)
def test_weights_of_classes_in_files(weights, tmp_path):
    y = [list(weights)[i % 2] for i in range(60)]
    y = y if isinstance(y[0], str) else np.array(y)
    model = fitted(y=y, class_weight=weights, max_iter=3, checkpoint=tmp_path / "fit.st")
    again = RAEClassifier.load(tmp_path / "fit.st")
    assert again.class_weight == weights
    np.testing.assert_array_equal(again.partial_fit(X3, y).theta_, model.partial_fit(X3, y).theta_)


def test_bad_settings():
    with pytest.raises(ValueError, match="dropout=0.5 is drawn anew for every update"):
        fitted(dropout=0.5, solver="lbfgs")
    for classes, message in (([0, 1, None], "at least 2 different"), ([0, "a"], "different labels of one kind"),
                             ([[0, 1], [2, 3]], "different labels of one kind"), ([0.5, 1.0], "Unknown label type"),
                             (3, "list of")):
        with pytest.raises(ValueError, match=message):
            RAEClassifier(4).partial_fit(X3, Y, classes=classes)
    for decay, options in (({"V_ch": 1.0}, {}), ({"V_hh": 1.0}, {"tied": True}), ({"W_rh": 1.0}, {"solver": "lbfgs"})):
        with pytest.raises(ValueError, match=f"weight_decay has '{next(iter(decay))}', which"):
            fitted(weight_decay=decay, **options)
    with pytest.raises(ValueError, match="alpha must lie in"):
        fitted(alpha=1.5)
    with pytest.raises(ValueError, match="class_weight has the class 'other', which y does not hold"):
        fitted(class_weight={"other": 1.0})
    with pytest.raises(ValueError, match="requires y"):
        fitted().partial_fit(X3)


def test_inside_scikit_learn():
    assert is_classifier(RAEClassifier())
    assert cross_val_score(RAEClassifier(6, max_iter=60, random_state=0), X3, Y, cv=3, error_score="raise").mean() > 0.8
    search = GridSearchCV(RAEClassifier(6, max_iter=30, random_state=0), {"alpha": [0.1, 0.9]}, cv=3,
                          error_score="raise").fit(list(RAGGED), Y)
    assert search.best_score_ > 0.8
    codes = make_pipeline(RAEClassifier(6, max_iter=60, random_state=0), StandardScaler()).fit_transform(X3, Y)
    assert codes.shape == (60, 6)


class OfRows(RAEClassifier):
    """The same, for which a matrix is so many sequences of one step, as scikit-learn's checks have it."""

    def _read_first(self, X, settings):
        X.X = self.as_sequences(X.X)
        return super()._read_first(X, settings)

    def _read_targets(self, X, learned):
        if hasattr(X, "X"):
            X.X = self.as_sequences(X.X)
        return super()._read_targets(X, learned)

    def _read(self, X, learned):
        return super()._read(self.as_sequences(X), learned)

    def as_sequences(self, X):
        if issparse(X) or np.asarray(X).ndim != 2:
            return X
        return np.asarray(X)[:, None]


def test_sklearn_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(OfRows(n_hidden=5, max_iter=50, init="normal"),
                                  expected_failed_checks=OBJECTS | OF_ROWS, on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed, failed
    assert sum(r["status"] == "passed" for r in results) >= 40


def test_large_integers_and_what_is_scored():
    big = [2**53, 2**53 + 1] * 30
    assert fitted(y=big, max_iter=2).classes_.tolist() == [2**53, 2**53 + 1]
    for y in ([2**63, 2**63 + 2, -1] * 20, [2**53, 2**53 + 1, 1.0] * 20):
        with pytest.raises(ValueError, match="too large for labels"):
            fitted(y=y)
    model = fitted()
    with pytest.raises(ValueError, match=r"y has shape \(60, 1\)"):
        model.score(X3, Y[:, None])
    with pytest.raises(ValueError, match="labels that are missing"):
        model.score(X3, [None, *Y[1:]])


@pytest.mark.parametrize("objective", ["unfold", "stepwise"])
@pytest.mark.parametrize("output", ["linear", "spherical"])
def test_outputs_in_factors_are_updated_as_dense_ones(output, objective):
    found = [RAEClassifier(6, n_features=5, output=output, objective=objective, output_update=update, solver="sgd",
                           learning_rate=0.05, max_iter=5, random_state=0, relative_rates=False,
                           init="normal").fit(IDS, Y == "up") for update in ("dense", "factored")]
    assert [model.output_update_ for model in found] == ["dense", "factored"]
    assert found[0]._learned.form.loss_unit != 1
    np.testing.assert_allclose(found[1].theta_, found[0].theta_, rtol=1e-7, atol=1e-9)
