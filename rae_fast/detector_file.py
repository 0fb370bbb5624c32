"""Files of detectors: the file of the model, and beside it what was learned of normal data, by names of its own.

What comes back is checked as a model's file is: nothing in it is trusted, and nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rae_fast import _learner, hyperparameters, persistence
from rae_fast._estimator import Estimator
from rae_fast._messages import shown
from rae_fast.model_file import as_json, check_array, plain
from rae_fast.persistence import Arrays, FilePath
from rae_fast.rae import RAE

_PREFIX = "detector."


@dataclass(frozen=True)
class Kept:
    """What a detector keeps: its fitted model, arrays of float64, and facts that are numbers, strings or lists."""

    model: RAE
    arrays: Arrays
    facts: dict[str, Any]


def save(path: FilePath, detector: Estimator, kept: Kept) -> None:
    """Write the file, whole or not at all; the `model` that a detector was made with as the fitted one's settings."""
    params = detector.get_params(deep=False)
    arrays, metadata = _learner.packed(kept.model)
    own = {name: plain(value) for name, value in params.items() if name not in ("model", "n_jobs")}
    if not isinstance(own["random_state"], int) or own["random_state"] < 0:
        own["random_state"] = None
    for name, value in own.items():
        as_json(name, value)
    arrays |= {_PREFIX + name: np.asarray(array, dtype=np.float64) for name, array in kept.arrays.items()}
    metadata |= {"format": f"rae_fast.{type(detector).__name__}",
                 "detector": json.dumps({"params": own, "default": params["model"] is None, "facts": kept.facts})}
    persistence.write(path, arrays, metadata)


def load(path: FilePath, cls: type[Any], shapes: dict[str, int], take: Callable[[Any, Kept], None]) -> Any:
    """A detector. shapes: the dimensions of each array, all of which there are or none; `take` gives it what it kept,
    or says by a ValueError what is wrong with that."""
    arrays, metadata = persistence.read(path)
    if metadata.get("format") != f"rae_fast.{cls.__name__}":
        raise persistence.bad(path, f"it does not say that it is one (rae_fast.{cls.__name__})")
    own = {name: arrays.pop(_PREFIX + name) for name in shapes if _PREFIX + name in arrays}
    model = _learner.unpacked(RAE, path, arrays, metadata | {"format": "rae_fast.RAE"})
    try:
        said = persistence.parse_json(path, metadata["detector"])
        if set(own) not in (set(), set(shapes)):
            raise ValueError("arrays of its detector are missing")
        for name, array in own.items():
            check_array(array, name, array.shape, np.dtype(np.float64))
            if array.ndim != shapes[name]:
                raise ValueError(f"{name} has {array.ndim} dimensions")
        if type(said["default"]) is not bool or not isinstance(said["facts"], dict):
            raise ValueError("what it says of its detector is of another kind")
        template = None if said["default"] else RAE(**model.get_params(deep=False))
        found = cls(template, **said["params"])
        hyperparameters.generator(found.random_state)
        take(found, Kept(model, own, said["facts"]))
    except (TypeError, KeyError, AttributeError) as error:
        raise persistence.bad(path, "something is missing or of another kind "
                              f"({type(error).__name__}: {error})") from None
    except ValueError as error:
        raise persistence.bad(path, str(error)) from None
    return found


def number(value: Any, name: str, least: float | None = None, infinite: bool = False) -> float:
    """A number, above `least` and finite unless it may be infinite; ValueError for none."""
    is_one = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if (not is_one or np.isnan(value) or not infinite and np.isinf(value)
            or least is not None and not value > least):
        raise ValueError(f"{name} is {shown(value)}, which is no number that it could be")
    return float(value)
