"""RAE inside scikit-learn: pipelines, searches, clone, and scikit-learn's own checks."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from rae_fast import RAE, SequenceScaler, StreamDetector, TreeRAE, TreeRAEClassifier

RNG = np.random.default_rng(0)
Y = np.arange(30) % 2
X3 = RNG.standard_normal((30, 6, 3)) * 0.3 + Y[:, None, None]
RAGGED = [x[:3 + n % 4] for n, x in enumerate(X3)]


def test_clone_and_tags():
    model = RAE(n_hidden=5, learning_rate=0.01, random_state=3)
    copied = clone(model.fit(X3))
    assert copied.get_params() == model.get_params() and not hasattr(copied, "theta_")
    tags = get_tags(model)
    assert tags.input_tags.three_d_array and tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert not is_classifier(model) and not is_regressor(model)
    check_is_fitted(model)
    with pytest.raises(NotFittedError):
        check_is_fitted(copied)
    with pytest.raises(NotFittedError):
        copied.transform(X3)
    assert model.get_feature_names_out().tolist() == [f"rae{i}" for i in range(5)]


@pytest.mark.parametrize("X", [X3, RAGGED], ids=["3-D", "list"])
def test_pipeline_and_search(X):
    pipeline = make_pipeline(RAE(random_state=0, max_iter=20), LogisticRegression())
    search = GridSearchCV(pipeline, {"rae__n_hidden": [2, 6]}, cv=3, error_score="raise").fit(X, Y)
    assert search.best_score_ > 0.9
    assert search.predict(X).shape == (30,)
    pickle.loads(pickle.dumps(search)).predict(X)


@pytest.mark.parametrize("X", [X3, RAGGED], ids=["3-D", "list"])
def test_search_by_its_own_score(X):
    search = GridSearchCV(RAE(random_state=0, init="normal"), {"max_iter": [0, 50]}, cv=3,
                          error_score="raise").fit(X)
    assert search.best_params_ == {"max_iter": 50}
    assert search.best_score_ < 0
    assert len(cross_val_score(RAE(max_iter=2, random_state=0), X, cv=3, error_score="raise")) == 3


def test_before_another_transformer():
    codes = make_pipeline(RAE(n_hidden=5, max_iter=2, random_state=0), PCA(2)).fit_transform(X3)
    assert codes.shape == (30, 2)


ROWS = "a 2-D array is one sequence, as in torch.nn.RNN: its rows are steps, not samples"
EXPECTED_FAILURES = {
    "check_transformer_general": ROWS,
    "check_transformer_data_not_an_array": ROWS,
    "check_methods_sample_order_invariance": ROWS,
    "check_methods_subset_invariance": ROWS,
    "check_sample_weights_not_an_array": ROWS,
    "check_sample_weights_list": ROWS,
    "check_sample_weights_shape": ROWS,
    "check_sample_weights_pandas_series": ROWS,
    "check_sample_weights_not_overwritten": ROWS,
    "check_sample_weight_equivalence_on_dense_data": ROWS,
    "check_all_zero_sample_weights_error": ROWS,
    "check_sample_weight_equivalence_on_sparse_data": ROWS,
    "check_dtype_object": "object arrays are refused: they are how ragged input goes wrong unnoticed",
}


def test_sklearn_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one says that RAE does not inherit from BaseEstimator: by design
        results = check_estimator(RAE(n_hidden=3, max_iter=3), expected_failed_checks=EXPECTED_FAILURES,
                                  on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed, failed
    assert sum(r["status"] == "passed" for r in results) >= 25


class ScalerOfRows(SequenceScaler):
    """The same, for which a matrix is so many sequences of one step."""

    def _read(self, X, dtype, n_features):
        return super()._read(X if issparse(X) or np.asarray(X).ndim != 2 else np.asarray(X)[:, None], dtype, n_features)

    def _shaped(self, rows, batch):
        return rows


class TreesOfRows(TreeRAEClassifier):
    """The same, for which a matrix is so many trees of one leaf."""

    def _read_given(self, given, settings, learned):
        if not issparse(given.X) and np.asarray(given.X).ndim == 2:
            given.X = np.asarray(given.X)[:, None]
        return super()._read_given(given, settings, learned)


OF_ROWS = {
    "check_sample_weights_pandas_series": "frames are sequences",
    "check_dataframe_column_names_consistency": "frames are sequences",
    "check_estimator_sparse_array": "a sparse matrix is one sequence",
    "check_estimator_sparse_matrix": "a sparse matrix is one sequence",
    "check_estimator_sparse_tag": "a sparse matrix is one sequence",
    "check_sample_weight_equivalence_on_sparse_data": "a sparse matrix is one sequence",
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn by the number of sequences",
    "check_fit2d_predict1d": "a vector of numbers is a sequence of ids",
    "check_supervised_y_2d": "y with a second dimension is refused, and not raveled with a warning",
    "check_classifiers_one_label": "one class is refused",
    "check_classifiers_one_label_sample_weights": "one class is refused",
}
OBJECTS = {"check_dtype_object": EXPECTED_FAILURES["check_dtype_object"]}


@pytest.mark.parametrize("model, expected, passed", [
    (ScalerOfRows(), OBJECTS, 40),
    (StreamDetector(RAE(3, objective="stepwise", max_iter=3, random_state=0)),
     OBJECTS | {"check_fit1d": "a vector is a series of one channel"}, 30),
    (TreeRAE(3, max_iter=2, embedding="trained"), EXPECTED_FAILURES, 35),
    (TreesOfRows(4, embedding="trained", max_iter=30, learning_rate=0.05), OBJECTS | OF_ROWS, 40)],
    ids=lambda x: type(x).__name__)
def test_sklearn_checks_of_others(model, expected, passed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(model, expected_failed_checks=expected, on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed, failed
    assert sum(r["status"] == "passed" for r in results) >= passed


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_does_not_import_scikit_learn():
    assert run("import rae_fast, sys; print([m for m in sys.modules if m.startswith("
               "('sklearn', 'matplotlib', 'tqdm', 'threadpoolctl'))])").strip() == "[]"


def test_everything_works_without_scikit_learn(tmp_path):
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(RAE(n_hidden=3, max_iter=2).fit(X3)))
    code = f"""
import sys
for name in ("sklearn", "tqdm", "threadpoolctl"):
    sys.modules[name] = None
import copy, pickle, numpy as np, rae_fast
model = pickle.load(open({str(tmp_path / "model.pickle")!r}, "rb"))
X = np.zeros((2, 4, 3))
model.partial_fit(X)
model.fit(X).set_params(n_hidden=5, verbose=1).fit(X)
copy.deepcopy(model).score(X)
try:
    rae_fast.RAE().transform(X)
except rae_fast.NotFittedError:
    rae_fast.show_config()
    print("fine")
"""
    assert run(code).strip().endswith("fine")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    model = RAE(n_hidden=4, max_iter=2, random_state=0)
    codes = model.fit_transform(X3)
    for output in (model.set_output(transform=library).transform(X3), clone(model).fit_transform(X3),
                   pickle.loads(pickle.dumps(model)).transform(X3)):
        assert isinstance(output, frames.DataFrame) and list(output.columns) == ["rae0", "rae1", "rae2", "rae3"]
        np.testing.assert_array_equal(output.to_numpy(), codes)
    assert model.set_output(transform=None).transform(X3).shape == (30, 4)
    assert isinstance(model.set_output(transform="default").transform(X3), np.ndarray)
    with sklearn.config_context(transform_output=library):
        assert isinstance(model.transform(X3), np.ndarray)  # its own choice is the nearer one
        assert isinstance(clone(RAE(4, max_iter=1)).fit_transform(X3), frames.DataFrame)
    pipeline = make_pipeline(RAE(4, max_iter=1, random_state=0), StandardScaler()).set_output(transform=library)
    if library == "polars" and tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8):
        return  # it finds no names in frames of polars 2, and puts no two of them side by side
    assert list(pipeline.fit_transform(X3).columns) == ["rae0", "rae1", "rae2", "rae3"]
    union = make_union(RAE(2, max_iter=1, random_state=0), RAE(3, max_iter=1)).set_output(transform=library)
    assert list(union.fit_transform(X3).columns)[-1] == "rae-2__rae2"


def test_another_container_is_refused():
    with pytest.raises(ValueError, match="transform must be one of 'default', 'pandas', 'polars' or None; got 'arrow'"):
        RAE().set_output(transform="arrow")


def test_weights_of_the_score():
    model = RAE(n_hidden=4, max_iter=2, random_state=0).fit(X3)
    errors, weights = model.reconstruction_error(X3), np.arange(30.0)
    assert model.score(X3, sample_weight=weights) == pytest.approx(-np.average(errors, weights=weights), rel=1e-12)
    assert model.score(X3, None, np.full(30, 1e300)) == pytest.approx(model.score(X3), rel=1e-12)
    with pytest.raises(ValueError, match="sample_weight has shape"):
        model.score(X3, sample_weight=[1.0])


def test_metadata_routing():
    weights = np.r_[np.ones(29), 0]
    with pytest.raises(RuntimeError, match="enable_metadata_routing=True"):
        RAE().set_fit_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        rae = RAE(3, max_iter=5, random_state=0).set_fit_request(sample_weight=True)
        assert clone(rae).get_metadata_routing().fit.requests == {"sample_weight": True}
        assert "RAE object" not in str(vars(rae._metadata_request)) and rae._metadata_request.owner == "RAE"
        pipeline = make_pipeline(rae).fit(X3, sample_weight=weights)
        alone = RAE(3, max_iter=5, random_state=0).fit(X3, sample_weight=weights)
        np.testing.assert_array_equal(pipeline[0].theta_, alone.theta_)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            make_pipeline(RAE(3, max_iter=1)).fit(X3, sample_weight=weights)
        both = rae.set_score_request(sample_weight="mine").set_partial_fit_request(sample_weight=False)
        routed = both.get_metadata_routing()
        assert routed.score.requests == {"sample_weight": "mine"} and routed.fit.requests == {"sample_weight": True}
        search = GridSearchCV(both, {"n_hidden": [2, 3]}, cv=3, error_score="raise")
        search.fit(X3, sample_weight=weights, mine=weights)
        assert search.best_score_ < 0


def test_html_repr():
    assert RAE(4, callbacks=len)._repr_html_() == "<pre>RAE(n_hidden=4, callbacks=&lt;built-in function len&gt;)</pre>"
    assert "RAE" in make_pipeline(RAE(4))._repr_html_()


def frames_of(X, columns, index=None):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    return [pd.DataFrame(x, columns=list(columns), index=index) for x in X]


def test_names_of_features(tmp_path):
    frames = frames_of(X3, "abc")
    model = RAE(3, max_iter=2, random_state=0, checkpoint=tmp_path / "fit").fit(frames)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"] and model.feature_names_in_.dtype == object
    model.save(tmp_path / "model")
    for again in (model, RAE.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.transform(frames), again.transform(X3))  # arrays have none to check
        for columns, what in (("bac", "in another order, .'b', 'a', 'c'."), ("abd", "of other names")):
            for call in (again.transform, again.reconstruction_error, again.partial_fit, again.loss_and_grad):
                for given in (frames_of(X3, columns), frames_of(X3, columns)[0]):
                    with pytest.raises(ValueError, match=f"names should match.* columns {what}.*RAE was fitted"):
                        call(given)
    with pytest.raises(ValueError, match="feature names should match"):
        clone(model).fit(frames_of(X3, "cab"), resume=True)
    clone(model).fit(frames, resume=True)
    with pytest.raises(ValueError, match=r"sequence 1 has the columns \['c', 'a', 'b'\], but sequence 0 has \['a'"):
        RAE(3).fit([*frames_of(X3[:1], "abc"), *frames_of(X3[1:2], "cab")])


@pytest.mark.parametrize("columns", [[0, 1, 2], ["a", "b", 3]])
def test_names_that_are_no_strings_are_none(columns):
    model = RAE(3, max_iter=1).fit(frames_of(X3, columns))
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(RAE(3, max_iter=1).fit(X3), "feature_names_in_")
    model.fit(frames_of(X3, "abc"))
    assert hasattr(model, "feature_names_in_") and not hasattr(model.fit(X3), "feature_names_in_")
