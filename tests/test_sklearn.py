"""RAE inside scikit-learn: pipelines, searches, clone, and scikit-learn's own checks."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from rae_fast import RAE

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
