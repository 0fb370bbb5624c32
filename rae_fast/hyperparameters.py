"""Hyper-parameters, each declared once: its default, what it may be, whether files keep it.

They are fields of dataclasses that estimators inherit. The constructor and its signature, get_params, clone, help, type
checkers and model files follow from the declaration; what each means stands in the estimators' docstrings, which
tests/test_hyperparameters.py holds against it. The checks give one sentence that names the parameter and what it may
be.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rae_fast import _objectives, persistence
from rae_fast._form import DECODERS, ORDER, OUTPUTS
from rae_fast._kernels import threads
from rae_fast._messages import shown
from rae_fast._tree_form import LABEL_LOSSES, REDUCTIONS, TREE_OBJECTIVES, TREE_OUTPUTS, TREES
from rae_fast.gaps import MISSING
from rae_fast.scaling import STANDARDIZE
from rae_fast.solvers import MOMENTUM_SCHEDULES, SCHEDULES, SOLVERS

Check = Callable[[str, Any], Any]


# What no hyper-parameter is.
NOTHING = object()


class Declaration(NamedTuple):
    """What is declared of a hyper-parameter besides its name, type and default."""

    check: Check           # name and value -> the value as it is used; ValueError if it cannot be
    saved: bool            # files keep it: it is about what is learned, not about where and how a fit runs
    chosen: Any            # the value that leaves the choice to the data, if there is one


def declared(default: Any, check: Check, *, saved: bool = True, chosen: Any = NOTHING) -> Any:
    """A field of a dataclass of hyper-parameters."""
    return field(default=default, metadata={"declaration": Declaration(check, saved, chosen)})


def declarations(owner: Any) -> dict[str, Declaration]:
    """What an estimator, or its class, declares and inherits, by name; fields that are no hyper-parameters left out."""
    return {f.name: f.metadata["declaration"] for f in fields(owner) if "declaration" in f.metadata}


class Settings:
    """Checked hyper-parameters, by the names of the declared ones."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def but(self, **changes: Any) -> Settings:
        """The same with some changed."""
        return Settings(**{**self.__dict__, **changes})

    if TYPE_CHECKING:
        def __getattr__(self, name: str) -> Any: ...


# What models do that declare none of these.
NOT_DECLARED = {"relative_rates": False, "output_update": "dense", "output_learning_rate": 1.0, "max_memory": 2**30,
                "alpha": 1.0, "label_loss": "cross_entropy", "leaf_weight": 1.0, "inner_weight": 1.0,
                "root_weight": 1.0, "dropout": 0.0, "stretch_length": None}


def check(estimator: Any) -> Settings:
    """The hyper-parameters that an estimator has now, checked: Settings, or a ValueError."""
    checked = {name: declaration.check(name, getattr(estimator, name))
               for name, declaration in declarations(estimator).items()}
    return Settings(**NOT_DECLARED | checked)


# ---- checks --------------------------------------------------------------------------------------


class OneOf:
    """A string of these."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, self.choices))}; got {shown(value)}")
        return value


def integer(low: int) -> Check:
    def check(name: str, value: Any) -> int:
        if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < low:
            raise ValueError(f"{name} must be an integer of at least {low}; got {shown(value)}")
        if int(value) > np.iinfo(np.intp).max:
            raise ValueError(f"{name} must fit a machine integer; got {shown(value)}")
        return int(value)

    return check


def real(name: str, value: Any, positive: bool = False) -> float:
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer beyond float
        number = math.inf
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise ValueError(f"{name} must be a finite number {'above' if positive else 'of at least'} 0; "
                         f"got {shown(value)}")
    return number


def positive(name: str, value: Any) -> float:
    return real(name, value, positive=True)


def fraction(name: str, value: Any) -> float:
    if (number := real(name, value)) >= 1:
        raise ValueError(f"{name} must lie in [0, 1); got {shown(value)}")
    return number


def positive_fraction(name: str, value: Any) -> float:
    if (number := positive(name, value)) >= 1:
        raise ValueError(f"{name} must lie in (0, 1); got {shown(value)}")
    return number


def fraction_or_one(name: str, value: Any) -> float:
    if (number := real(name, value)) > 1:
        raise ValueError(f"{name} must lie in [0, 1]; got {shown(value)}")
    return number


def class_weights(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str) and value == "balanced":
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be None, 'balanced' or a dict of a weight for each class; got {shown(value)}")
    return {label: real(f"{name}[{label!r}]", weight) for label, weight in value.items()}


def decays(name: str, value: Any) -> float | dict[str, float]:
    if not isinstance(value, dict):
        return real(name, value)
    if strange := [block for block in value if block not in ORDER]:
        raise ValueError(f"{name} has {shown(strange[0])}, which names no block of parameters; those of a model are "
                         "the keys of its parameters_")
    return {block: real(f"{name}[{block!r}]", decay) for block, decay in value.items()}


def joined(*choices: str) -> Check:
    def check(name: str, value: Any) -> str:
        parts = value.split("+") if isinstance(value, str) else []
        if not parts or any(part not in choices for part in parts) or len(set(parts)) < len(parts):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, or several joined by '+'; got "
                             f"{shown(value)}")
        return str(value)

    return check


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False; got {shown(value)}")
    return bool(value)


def optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def auto_or_integer(low: int) -> Check:
    def check(name: str, value: Any) -> int | str:
        if isinstance(value, str):
            if value != "auto":
                raise ValueError(f"{name} must be 'auto' or an integer of at least {low}; got {shown(value)}")
            return value
        checked: int = integer(low)(name, value)
        return checked

    return check


def callbacks(name: str, value: Any) -> tuple[Callable[[Any], Any], ...]:
    several = () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(callable(one) for one in several):
        raise ValueError(f"{name} must be None, a function of the model, or a list of such; got {shown(value)}")
    return several


def path(name: str, value: Any) -> Path | None:
    try:
        return None if value is None else Path(persistence.checked(value))
    except ValueError:
        raise ValueError(f"{name} must be None or the path of a file; got {shown(value)}") from None


def n_threads(name: str, value: Any) -> int:
    return threads(value)


def verbosity(name: str, value: Any) -> int:
    level: int = int(value) if isinstance(value, bool) else integer(0)(name, value)
    return level


def as_it_is(name: str, value: Any) -> Any:
    return value


def generator(random_state: Any) -> np.random.Generator:
    """The Generator that a random_state stands for."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.Generator(random_state._bit_generator)
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        raise ValueError("random_state must be None, a non-negative integer, or a NumPy Generator, "
                         f"BitGenerator, SeedSequence or RandomState; got {shown(random_state)}") from None


# ---- declarations --------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class SequenceParameters:
    """What a model of sequences is, and how it starts."""

    n_hidden: int | None = declared(None, optional(integer(1)), chosen=None)
    _: KW_ONLY
    n_code: int | None = declared(None, optional(integer(1)))
    n_features: int | None = declared(None, optional(integer(1)), chosen=None)
    dtype: str = declared("auto", OneOf("auto", "float32", "float64"), chosen="auto")
    patch_length: int | str = declared("auto", auto_or_integer(1), chosen="auto")
    standardize: str = declared("none", OneOf(*STANDARDIZE))
    missing: str = declared("error", OneOf(*MISSING))
    objective: str = declared("unfold", OneOf(*_objectives.NAMES))
    hidden_weight: float = declared(1.0, real)
    reconstruct_h0: bool = declared(False, boolean)
    decoder: str = declared("tanh", OneOf(*DECODERS))
    output: str = declared("auto", OneOf("auto", *OUTPUTS), chosen="auto")
    tied: bool = declared(False, boolean)
    init: str = declared("linear", OneOf("linear", "normal", "orthogonal"))
    init_scale: float = declared(0.1, real)
    relative_rates: bool = declared(True, boolean)
    output_update: str = declared("auto", OneOf("auto", "dense", "factored"))
    output_learning_rate: float = declared(0.3, positive)
    pooling: str = declared("last", joined("last", "mean"))
    standardize_codes: bool = declared(False, boolean)
    whiten: bool = declared(False, boolean)
    max_memory: int = declared(2**30, integer(0), saved=False)


@dataclass(eq=False, repr=False)
class StretchParameters:
    """In which parts long sequences are learned from."""

    _: KW_ONLY
    stretch_length: int | str | None = declared("auto", optional(auto_or_integer(1)))


@dataclass(eq=False, repr=False)
class TreeParameters:
    """What a model of trees is, and how it starts."""

    n_hidden: int | None = declared(50, integer(1))
    _: KW_ONLY
    n_features: int | None = declared(None, optional(integer(1)), chosen=None)
    dtype: str = declared("auto", OneOf("auto", "float32", "float64"), chosen="auto")
    min_count: int = declared(2, integer(1))
    tree: str = declared("auto", OneOf("auto", *TREES), chosen="auto")
    embedding: str = declared("auto", OneOf("auto", "trained", "identity"))
    output: str = declared("auto", OneOf("auto", *TREE_OUTPUTS), chosen="auto")
    objective: str = declared("stepwise", OneOf(*TREE_OBJECTIVES))
    decoder: str = declared("tanh", OneOf(*DECODERS))
    normalize_codes: bool = declared(False, boolean)
    normalize_reconstruction: bool = declared(False, boolean)
    hidden_weight: float = declared(1.0, real)
    word_weights: bool = declared(False, boolean)
    reduction: str = declared("mean", OneOf(*REDUCTIONS))
    stop_targets: bool = declared(False, boolean)
    init: str = declared("identity", OneOf("identity", "uniform"))
    embedding_scale: float = declared(0.05, positive)
    pooling: str = declared("root", joined("root", "mean", "leaves", "inner"))


@dataclass(eq=False, repr=False)
class LabelParameters:
    """How codes are labelled."""

    _: KW_ONLY
    alpha: float = declared(0.2, fraction_or_one)
    dropout: float = declared(0.0, fraction)
    class_weight: Any = declared(None, class_weights)


@dataclass(eq=False, repr=False)
class NodeLabelParameters:
    """How labels of the nodes of trees are judged."""

    _: KW_ONLY
    label_loss: str = declared("cross_entropy", OneOf(*LABEL_LOSSES))
    leaf_weight: float = declared(1.0, real)
    inner_weight: float = declared(0.5, real)
    root_weight: float = declared(0.5, real)


@dataclass(eq=False, repr=False)
class TrainingParameters:
    """How a model learns, and where."""

    _: KW_ONLY
    solver: str = declared("adam", OneOf(*SOLVERS))
    learning_rate: float = declared(0.3, positive)
    schedule: str = declared("cosine", OneOf(*SCHEDULES))
    momentum: float = declared(0.9, fraction)
    momentum_schedule: str = declared("constant", OneOf(*MOMENTUM_SCHEDULES))
    rho: float = declared(0.95, fraction)
    beta_1: float = declared(0.9, fraction)
    beta_2: float = declared(0.999, fraction)
    epsilon: float = declared(1e-8, positive)
    clip_norm: float | None = declared(None, optional(positive))
    weight_decay: float | dict[str, float] = declared(0.0, decays)
    input_update: str = declared("dense", OneOf("dense", "rows"))
    batch_size: int | str = declared("auto", auto_or_integer(1))
    max_iter: int | str = declared("auto", auto_or_integer(0))
    tol: float = declared(0.0, real)
    n_iter_no_change: int = declared(10, integer(1))
    early_stopping: bool = declared(False, boolean)
    validation_fraction: float = declared(0.1, positive_fraction)
    shuffle: bool = declared(True, boolean)
    # Not in files, where a stranger could have put them, and free to change when a fit is resumed:
    callbacks: Any = declared(None, callbacks, saved=False)
    report_every: int | None = declared(None, optional(integer(1)), saved=False)
    checkpoint: str | os.PathLike[str] | None = declared(None, path, saved=False)
    checkpoint_seconds: float = declared(60.0, real, saved=False)
    n_jobs: int | None = declared(1, n_threads, saved=False)
    random_state: Any = declared(None, as_it_is)
    verbose: int = declared(0, verbosity, saved=False)
