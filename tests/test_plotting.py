"""Pictures: what is drawn, on whose axes; and how large a code should be."""

import subprocess
import sys

import numpy as np
import pytest

from rae_fast import RAE, CodeSizes, RAEClassifier, TreeRAE, code_sizes, plotting

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.default_rng(0)
X3 = np.cumsum(RNG.standard_normal((20, 9, 2)), axis=1)
RAGGED = [x[:4 + n % 6] for n, x in enumerate(X3)]
IDS = [RNG.integers(0, 5, 3 + n % 4) for n in range(20)]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_loss_curves():
    for model in (RAE(4, max_iter=5).fit(X3), RAEClassifier(4, max_iter=5).fit(X3, [0, 1] * 10),
                  TreeRAE(4, max_iter=5).fit(IDS)):
        line, = plotting.loss_curve(model).lines
        np.testing.assert_array_equal(line.get_ydata(), model.loss_curve_)
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
    model = RAE(4, max_iter=5, early_stopping=True).fit(X3)
    axes = plotting.loss_curve(model, ax=plt.figure().gca(), label="four")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["four", "four, held out"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), -np.array(model.validation_scores_))


@pytest.mark.parametrize("X", [X3, RAGGED], ids=["3-D", "list"])
def test_originals_and_reproductions(X):
    model = RAE(4, max_iter=5, random_state=0).fit(X)
    axes = plotting.reproductions(model, X, n=3)
    assert len(axes) == 3 and len(axes[0].lines) == 4
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), np.asarray(X[1])[:, 0])
    np.testing.assert_allclose(axes[1].lines[3].get_ydata(), model.reconstruct([X[1]])[0][:, 1], rtol=1e-12)
    own = plt.subplots(2)[1]
    assert plotting.reproductions(model, X, n=2, axes=own)[1] is own[1]
    assert len(plotting.reproductions(model, X[0])) == 1


def test_errors_of_steps_and_channels():
    model = RAE(4, max_iter=5, random_state=0, standardize="channel").fit(X3)
    image = plotting.errors(model, X3[2]).images[0]
    np.testing.assert_allclose(image.get_array(), np.square(model.reconstruct([X3[2]])[0] - X3[2]).T)


def test_codes_on_two_components():
    Z = RNG.standard_normal((30, 6)) * [5, 3, 1, 1, 1, 1]
    axes = plotting.codes(Z, ["a", "b"] * 15)
    at = np.concatenate([points.get_offsets() for points in axes.collections])
    assert at.shape == (30, 2) and at[:, 0].var() > at[:, 1].var() and abs(np.corrcoef(at.T)[0, 1]) < 1e-9
    assert len(plotting.codes(Z[:, :1]).collections) == 1
    with pytest.raises(ValueError, match="shape"):
        plotting.codes(Z[0])
    with pytest.raises(ValueError, match="as many"):
        plotting.codes(Z, ["a"])


def test_recall_by_depth():
    model = RAE(12, max_iter=60, random_state=0).fit(IDS)
    line, = plotting.recall(model, IDS).lines
    back = model.reconstruct(IDS)
    assert line.get_ydata()[0] == np.mean([a[-1] == b[-1] for a, b in zip(IDS, back)])
    assert len(line.get_ydata()) == 6
    numbers = plotting.recall(RAE(4, max_iter=5, random_state=0).fit(RAGGED), RAGGED).lines[0].get_ydata()
    assert len(numbers) == 9 and (numbers > 0).all()


@pytest.mark.parametrize("X", [X3, RAGGED], ids=["3-D", "list"])
def test_sizes_of_codes(X):
    found = code_sizes(X, sizes=(8, 1, 2, 4, 999), random_state=0)
    assert found.sizes == (1, 2, 4, 8) and (np.diff(found.errors) < 0).all()
    np.testing.assert_array_equal(found.explained_variance, 1 - found.errors)
    assert (found.pca is None) == isinstance(X, list)
    again = code_sizes(X, sizes=(1, 2, 4, 8), random_state=0)
    np.testing.assert_array_equal(found.errors, again.errors)
    axes = plotting.sizes(found)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), found.errors)
    assert found.elbow in found.sizes


def test_size_errors_are_those_of_the_models():
    order = np.random.default_rng(3).permutation(20)
    learn, held = X3[np.sort(order[5:])], X3[np.sort(order[:5])]
    found = code_sizes(X3, sizes=(2, 5), standardize="none", random_state=np.random.default_rng(3))
    variance = np.square(held - learn.reshape(-1, 2).mean(0)).sum()
    for size, error in zip(found.sizes, found.errors):
        model = RAE(n_code=size, max_iter=0, random_state=0).fit(list(learn))
        assert error == pytest.approx(model.reconstruction_error(list(held)).sum() / variance, rel=1e-12)
    from sklearn.decomposition import PCA
    for size, error in zip(found.sizes, found.pca):
        pca = PCA(size).fit(learn.reshape(15, -1))
        rows = held.reshape(5, -1)
        lost = np.square(rows - pca.inverse_transform(pca.transform(rows))).sum()
        assert error * variance == pytest.approx(lost, rel=1e-6)


def test_the_elbow():
    assert CodeSizes((1, 2, 4, 8, 16), np.array([0.9, 0.5, 0.1, 0.09, 0.08]), None).elbow == 4
    assert CodeSizes((3, 5), np.array([0.9, 0.5]), None).elbow == 5


def test_what_is_refused():
    for X, options, message in ((X3[:3], {}, "at least 4 sequences"), (IDS, {}, "token ids"),
                                (X3, {"sizes": (0, 99)}, "none of"), (X3, {"test_fraction": 1.0}, "test_fraction must"),
                                (X3, {"random_state": "x"}, "random_state")):
        with pytest.raises(ValueError, match=message):
            code_sizes(X, **options)


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, rae_fast.plotting; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
