"""Checks of the hyper-parameters of RAE: one sentence that names the parameter and what it may be."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from rae_fast.solvers import MOMENTUM_SCHEDULES, SCHEDULES, SOLVERS, Solver

CHOICES = {"objective": ("stepwise", "unfold"), "decoder": ("linear", "tanh"), "output": ("linear", "softmax"),
           "init": ("linear", "normal", "orthogonal"), "solver": tuple(SOLVERS), "schedule": SCHEDULES,
           "momentum_schedule": MOMENTUM_SCHEDULES}

# A batch has at most 16 parts (_sequence.pyx), so more threads would have nothing to do.
_MOST_THREADS = 64


@dataclass(frozen=True)
class Hyperparameters:
    """Checked values; the meaning of each is documented in RAE."""

    n_hidden: int
    objective: str
    decoder: str
    output: str
    tied: bool
    hidden_weight: float
    reconstruct_h0: bool
    init: str
    init_scale: float
    solver: Solver
    relative_rates: bool
    batch_size: int
    max_iter: int  # -1 stands for "auto", which training.with_passes makes a number
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    shuffle: bool
    callbacks: tuple[Callable[[Any], Any], ...]
    report_every: int | None
    checkpoint: Path | None
    checkpoint_seconds: float
    n_jobs: int
    max_memory: int
    verbose: int


def check(params: dict[str, Any]) -> Hyperparameters:
    """Hyperparameters from RAE.get_params(), or a ValueError."""
    for name, valid in CHOICES.items():
        if not isinstance(params[name], str) or params[name] not in valid:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, valid))}; got {params[name]!r}")
    return Hyperparameters(
        n_hidden=_integer(params, "n_hidden", 1),
        objective=params["objective"],
        decoder=params["decoder"],
        output=params["output"],
        tied=_boolean(params, "tied"),
        hidden_weight=_real(params, "hidden_weight"),
        reconstruct_h0=_boolean(params, "reconstruct_h0"),
        init=params["init"],
        init_scale=_real(params, "init_scale"),
        solver=Solver(
            name=params["solver"],
            learning_rate=_real(params, "learning_rate", positive=True),
            schedule=params["schedule"],
            momentum=_fraction(params, "momentum"),
            momentum_schedule=params["momentum_schedule"],
            rho=_fraction(params, "rho"),
            beta_1=_fraction(params, "beta_1"),
            beta_2=_fraction(params, "beta_2"),
            epsilon=_real(params, "epsilon", positive=True),
            clip_norm=None if params["clip_norm"] is None else _real(params, "clip_norm", positive=True),
            weight_decay=_real(params, "weight_decay"),
        ),
        relative_rates=_boolean(params, "relative_rates"),
        batch_size=_integer(params, "batch_size", 1),
        max_iter=_passes(params["max_iter"]),
        tol=_real(params, "tol"),
        n_iter_no_change=_integer(params, "n_iter_no_change", 1),
        early_stopping=_boolean(params, "early_stopping"),
        validation_fraction=_fraction(params, "validation_fraction", positive=True),
        shuffle=_boolean(params, "shuffle"),
        callbacks=_callbacks(params["callbacks"]),
        report_every=None if params["report_every"] is None else _integer(params, "report_every", 1),
        checkpoint=_path(params["checkpoint"]),
        checkpoint_seconds=_real(params, "checkpoint_seconds"),
        n_jobs=threads(params["n_jobs"]),
        max_memory=_integer(params, "max_memory", 0),
        verbose=int(params["verbose"]) if isinstance(params["verbose"], bool) else
        _integer(params, "verbose", 0),
    )


def generator(random_state: Any) -> np.random.Generator:
    """The Generator that a random_state stands for."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.Generator(random_state._bit_generator)
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError):
        raise ValueError("random_state must be None, a non-negative integer, or a NumPy Generator, "
                         f"BitGenerator, SeedSequence or RandomState; got {random_state!r}") from None


def threads(n_jobs: Any) -> int:
    """How many threads n_jobs stands for: None is 1, -1 every CPU that this process may use, -2 all but one, ..."""
    if n_jobs is None or (type(n_jobs) is int and n_jobs == 1):
        return 1
    if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise ValueError(f"n_jobs must be None, a number of threads, or negative (-1 for every CPU); got {n_jobs!r}")
    if int(n_jobs) > 0:
        return min(int(n_jobs), _MOST_THREADS)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, usable + 1 + int(n_jobs)), _MOST_THREADS)


def _integer(params: dict[str, Any], name: str, low: int) -> int:
    value = params[name]
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < low:
        raise ValueError(f"{name} must be an integer of at least {low}; got {value!r}")
    if int(value) > np.iinfo(np.intp).max:
        raise ValueError(f"{name} must fit a machine integer; got {value!r}")
    return int(value)


def _real(params: dict[str, Any], name: str, positive: bool = False) -> float:
    value = params[name]
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer beyond float
        number = math.inf
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise ValueError(f"{name} must be a finite number {'above' if positive else 'of at least'} 0; "
                         f"got {value!r}")
    return number


def _fraction(params: dict[str, Any], name: str, positive: bool = False) -> float:
    value = _real(params, name, positive)
    if value >= 1:
        raise ValueError(f"{name} must lie in {'(' if positive else '['}0, 1); got {params[name]!r}")
    return value


def _passes(value: Any) -> int:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"max_iter must be 'auto' or an integer of at least 0; got {value!r}")
        return -1
    return _integer({"max_iter": value}, "max_iter", 0)


def _callbacks(value: Any) -> tuple[Callable[[Any], Any], ...]:
    several = () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(callable(one) for one in several):
        raise ValueError(f"callbacks must be None, a function of the model, or a list of such; got {value!r}")
    return several


def _path(value: Any) -> Path | None:
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"checkpoint must be None or the path of a file; got {value!r}")
    return Path(text)


def _boolean(params: dict[str, Any], name: str) -> bool:
    value = params[name]
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False; got {value!r}")
    return bool(value)
