"""Hyper-parameters are declared once: constructor, get_params, clone, files and documentation follow."""

import ast
import copy
import inspect
import re
from dataclasses import KW_ONLY, dataclass

import numpy as np
import pytest
from sklearn.base import clone

from rae_fast import RAE, RAEClassifier, TreeRAE, TreeRAEClassifier, hyperparameters
from rae_fast.hyperparameters import OneOf, SequenceParameters, TrainingParameters, declared

X = np.random.default_rng(0).standard_normal((5, 4, 3))
ESTIMATORS = [RAE, RAEClassifier, TreeRAE, TreeRAEClassifier]


def documented(cls):
    """Of every parameter in the docstring: its type, and the default as a value."""
    section = inspect.cleandoc(cls.__doc__).split("Parameters\n----------\n")[1].split("\nAttributes\n-----")[0]
    found = {}
    for names, kind in re.findall(r"^(\w[\w, ]*) : (.*)$", section, re.MULTILINE):
        names = names.split(", ")
        kind, _, default = kind.partition(", default=")
        if not default:
            assert kind.endswith(", optional"), f"{names} have no default"
            kind, default = kind.removesuffix(", optional"), "None"
        values = ast.literal_eval(re.sub(r"2\*\*30", str(2**30), f"[{default}]"))
        assert len(values) == len(names), names
        found |= {name: (kind, value) for name, value in zip(names, values)}
    return found


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_the_docstring_has_every_declared_parameter_and_no_other(cls):
    documents, declarations = documented(cls), hyperparameters.declarations(cls)
    assert list(documents) == list(declarations) == list(cls().get_params())
    for name, (kind, default) in documents.items():
        assert default == getattr(cls(), name) and type(default) is type(getattr(cls(), name)), name
        if isinstance(declarations[name].check, OneOf):
            assert set(ast.literal_eval(kind)) == set(declarations[name].check.choices), name


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_signature_and_attributes_follow_the_declaration(cls):
    parameters = inspect.signature(cls).parameters
    declarations = hyperparameters.declarations(cls)
    assert list(parameters) == list(declarations)
    kinds = [p.kind for p in parameters.values()]
    assert kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD] + [inspect.Parameter.KEYWORD_ONLY] * (len(kinds) - 1)
    for name, parameter in parameters.items():
        declarations[name].check(name, parameter.default)  # is one of the values that it may have
        assert parameter.annotation is not inspect.Parameter.empty


def test_a_declaration_is_inherited_with_all_that_follows(tmp_path):
    """A new hyper-parameter is one line."""

    @dataclass(eq=False, repr=False)
    class Other(RAE):
        _: KW_ONLY
        colour: str = declared("red", OneOf("red", "blue"))
        secret: int = declared(0, hyperparameters.integer(0), saved=False)

    model = Other(4, colour="blue", secret=3, max_iter=2, random_state=0)
    assert repr(model).endswith("colour='blue', secret=3)") and "colour" in inspect.signature(Other).parameters
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="colour must be one of 'red', 'blue'; got 'green'"):
        copy.copy(model).set_params(colour="green").fit(X)
    model.fit(X).save(tmp_path / "model")
    again = Other.load(tmp_path / "model")
    assert (again.colour, again.secret) == ("blue", 0)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_a_subclass_with_a_constructor_of_its_own_follows_that(tmp_path):
    class Fewer(RAE):
        def __init__(self, n_hidden=3, tol=0.5):
            self.n_hidden, self.tol = n_hidden, tol

    class More(RAE):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    model = Fewer(tol=0.25)
    assert model.get_params() == {"n_hidden": 3, "tol": 0.25} and repr(model) == "Fewer(tol=0.25)"
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="Fewer has no parameter 'solver'; get_params.. has them all"):
        model.set_params(solver="sgd")
    # What it does not name keeps the value declared, or set.
    plain = RAE(3, tol=0.25, random_state=0).fit(X)
    model.random_state = 0
    np.testing.assert_array_equal(model.fit(X).theta_, plain.theta_)
    more = More(depth=5, max_iter=2, random_state=0)
    assert more.get_params() == {"depth": 5} and clone(more).depth == 5
    assert more.fit(X).partial_fit(X).n_iter_ == 3
    for fitted in (model, more):
        fitted.hidden_weight = 0.25
        fitted.partial_fit(X).save(tmp_path / "model")
        again = type(fitted).load(tmp_path / "model")
        assert again.get_params() == fitted.get_params() and again.hidden_weight == 0.25
        np.testing.assert_array_equal(again.partial_fit(X).theta_, fitted.partial_fit(X).theta_)


def test_checkpoints_of_a_subclass_keep_what_its_constructor_does_not_name(tmp_path):
    class Sub(RAE):
        def __init__(self, layers=(1, 2), seed=0):
            super().__init__(3, learning_rate=0.01, max_iter=3, random_state=seed, checkpoint=tmp_path / "fit")
            self.layers, self.seed = layers, seed

    whole = Sub().fit(X)
    np.testing.assert_array_equal(Sub().fit(X, resume=True).theta_, whole.theta_)
    other = Sub()
    other.learning_rate = 0.5
    with pytest.raises(ValueError, match="with learning_rate=0.01, not 0.5"):
        other.fit(X, resume=True)
    with pytest.raises(ValueError, match=r"with layers=\[1, 2\], not \(3,\)"):
        Sub(layers=(3,)).fit(X, resume=True)
    with pytest.raises(ValueError, match="layers is a ndarray, which a model file cannot hold"):
        Sub(layers=np.zeros(2)).fit(X)


def test_fields_of_a_subclass_need_not_be_hyperparameters():
    @dataclass(eq=False, repr=False)
    class Noted(RAE):
        note: str = "none"

    model = clone(Noted(3, note="mine", max_iter=1)).fit(X)
    assert model.note == "mine" and "note" not in hyperparameters.declarations(model)


@pytest.mark.parametrize("with_slots", [False, True])
def test_slots_travel(with_slots):
    class Slot(RAE):
        __slots__ = ("extra",)

    @dataclass(eq=False, repr=False, slots=True)
    class Slots(RAE):
        _: KW_ONLY
        width: int = declared(3, hyperparameters.integer(1))

    model = (Slots if with_slots else Slot)(3, max_iter=1, random_state=0).fit(X)
    name = "width" if with_slots else "extra"
    setattr(model, name, 7)
    again = copy.deepcopy(model)
    assert getattr(again, name) == getattr(copy.copy(model), name) == 7
    np.testing.assert_array_equal(again.partial_fit(X).theta_, model.partial_fit(X).theta_)


def test_a_hyperparameter_may_depend_on_another_attribute():
    class Slower(RAE):
        @property
        def learning_rate(self):
            return self._rate

        @learning_rate.setter
        def learning_rate(self, value):
            self._rate = value

    model = Slower(3, solver="sgd", max_iter=0, init="normal", relative_rates=False, learning_rate=0.1).fit(X)
    model.partial_fit(X)
    model._rate = 1e-300
    theta = model.theta_.copy()
    np.testing.assert_array_equal(model.partial_fit(X).theta_, theta)


def test_messages_name_the_estimator():
    class Mine(RAE):
        pass

    model = Mine(3, max_iter=1, random_state=0)
    for call in (lambda: model.transform(X), lambda: model.theta_):
        with pytest.raises((ValueError, AttributeError), match="this Mine is not fitted"):
            call()
    model.fit(X)
    with pytest.raises(ValueError, match="but Mine is expecting 3 features"):
        model.transform(X[:, :, :2])
    with pytest.raises(ValueError, match="this pickle of a Mine"):
        model.__setstate__({})
    assert model.get_feature_names_out()[0] == "mine0"


def test_settings_are_checked_values_of_every_declared_name():
    settings = hyperparameters.check(RAE(np.int8(3), tol=np.float32(0.5), n_jobs=None, callbacks=print))
    assert set(vars(settings)) == set(hyperparameters.declarations(RAE)) | set(hyperparameters.NOT_DECLARED)
    assert (type(settings.n_hidden), type(settings.tol), settings.n_jobs) == (int, float, 1)
    assert settings.callbacks == (print,)
    other = settings.but(tol=1.0)
    assert (other.tol, settings.tol, other.n_hidden) == (1.0, 0.5, 3)
    for part in (SequenceParameters, TrainingParameters):
        assert set(hyperparameters.declarations(part)) < set(hyperparameters.declarations(RAE))
