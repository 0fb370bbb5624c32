"""What a model file holds of an RAE, and the checks on the way back.

Arrays: the eight parameters by name (of tied models without V), `solver.<name>` of the solver's state,
`rate_scale`, `loss_curve`, `validation_scores`. Metadata: JSON of the hyper-parameters, of the sizes and
of the counters. Nothing in a file is trusted: what comes back is checked as a user's arguments are.
"""

from __future__ import annotations

import json
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rae_fast import _blas, hyperparameters, parameters
from rae_fast.parameters import Form
from rae_fast.persistence import Arrays, FilePath, bad, parse_json
from rae_fast.solvers import SOLVERS

if TYPE_CHECKING:
    from rae_fast.rae import RAE

Model = TypeVar("Model", bound="RAE")

# 2: V is stored transposed, which moves the elements of flat arrays such as the solver's state.
_FORMAT, _VERSION = "rae_fast.RAE", "2"
# Hyper-parameters of where and how a fit runs, not of what is learned: not in files, where a stranger could
# have put them, and free to change when a fit is resumed.
NOT_SAVED = ("callbacks", "report_every", "checkpoint", "checkpoint_seconds", "n_jobs", "max_memory", "verbose")
# Of a Form, what is fixed when a model is fitted.
_SIZES = ("n_inputs", "n_hidden", "decoder", "output", "tied")
# Arrays that a checkpoint has besides the model's.
FIT_ARRAYS = ("fit.order", "fit.losses", "fit.held_out", "fit.theta")


def named(model: RAE, theta: Any) -> Arrays:
    """The parameters in theta by name; of tied ones without V, which is W transposed."""
    return {name: view for name, view in parameters.views(theta, model._form).items()
            if not (model._form.tied and name in ("V_hh", "V_hx"))}


def pack(model: RAE) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of the file of a fitted model; ValueError for one that `unpack` would refuse."""
    hyperparameters.check(model.get_params())
    model._theta()
    arrays = named(model, model.theta_)
    arrays |= {f"solver.{name}": array for name, array in model.solver_state_.items()}
    if model.rate_scale_ is not None:
        arrays["rate_scale"] = model.rate_scale_
    for name, array in arrays.items():
        check_array(array, name, array.shape, model.theta_.dtype)
    arrays["loss_curve"] = np.array(model.loss_curve_, dtype=np.float64)
    arrays["validation_scores"] = np.array(model.validation_scores_, dtype=np.float64)
    params = {name: plain(value) for name, value in model.get_params().items() if name not in NOT_SAVED}
    if not isinstance(params["random_state"], int) or params["random_state"] < 0:
        params["random_state"] = None
    record = {"n_iter": model.n_iter_, "n_updates": model.n_updates_, "n_steps": model.n_steps_,
              "solver": model._solver_name, "loss_unit": model._loss_unit}
    return arrays, {"format": _FORMAT, "format_version": _VERSION, "params": json.dumps(params),
                    "form": json.dumps({name: getattr(model._form, name) for name in _SIZES}),
                    "record": json.dumps(record)}


def plain(value: Any) -> Any:
    """A hyper-parameter as JSON holds it: every kind of number and boolean becomes Python's."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def unpack(cls: type[Model], path: FilePath, arrays: Arrays, metadata: dict[str, str]) -> Model:
    """The model in a file that `read` has read; ValueError where it holds none."""
    if metadata.get("format") != _FORMAT:
        raise bad(path, f"it does not say that it is one ({_FORMAT})")
    if metadata.get("format_version") != _VERSION:
        raise bad(path, f"it has format version {metadata.get('format_version')!r}; this rae_fast reads {_VERSION!r}")
    try:
        params, form, record = (parse_json(path, metadata[name]) for name in ("params", "form", "record"))
        model = cls(**params)
        if wrong := [name for name in NOT_SAVED if name in params]:
            raise ValueError(f"it sets {wrong[0]!r}, which no model file may")
        if not isinstance(model.random_state, int | None):
            raise ValueError(f"random_state is {model.random_state!r}; files have None or an integer")
        hyperparameters.check(model.get_params())
        hyperparameters.generator(model.random_state)
        _take(model, form, record, arrays)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise bad(path, f"something is missing or of another kind ({type(error).__name__}: {error})") from None
    except ValueError as error:
        raise bad(path, str(error)) from None
    return model


def _take(model: RAE, form: dict[str, Any], record: dict[str, Any], arrays: Arrays) -> None:
    """Make the model what the file says."""
    I, H = form["n_inputs"], form["n_hidden"]
    if set(form) != set(_SIZES) or type(I) is not int or type(H) is not int or min(I, H) < 1:
        raise ValueError("its sizes are not counts")
    _blas.check_size(I + H, "n_hidden plus the number of features")
    hyperparameters.check({**model.get_params(), **{name: form[name] for name in _SIZES if name != "n_inputs"}})
    model._form = Form(**form)
    dtype = arrays["W_hh"].dtype
    # Before anything of these sizes is made: the file must really hold as much.
    if dtype not in (np.float32, np.float64) or arrays["W_hh"].shape != (H, H) or arrays["W_xh"].shape != (I, H):
        raise ValueError("W_hh and W_xh do not have the shapes that its sizes say")
    model.theta_ = parameters.empty(model._form, dtype)
    parts = named(model, model.theta_)
    for name, view in parts.items():
        check_array(arrays[name], name, view.shape, dtype)
        view[...] = arrays[name]

    model._solver_name = record["solver"]
    flat = {f"solver.{name}": name for name in SOLVERS[model._solver_name].state}
    for name in (*flat, *(name for name in ("rate_scale",) if name in arrays)):
        check_array(arrays[name], name, model.theta_.shape, dtype)
    model.solver_state_ = {name: arrays[key] for key, name in flat.items()}
    model.rate_scale_ = arrays.get("rate_scale")
    if model.rate_scale_ is not None and not (model.rate_scale_ > 0).all():
        raise ValueError("rate_scale has values that are not positive")
    unit = record["loss_unit"]
    if type(unit) is not float or not 0 < unit < np.inf:
        raise ValueError(f"loss_unit is {unit!r}, not a positive number")
    model._loss_unit = unit

    for name in ("loss_curve", "validation_scores"):
        # Not all of these need be finite: a training that was about to overflow has such losses.
        if arrays[name].ndim != 1 or arrays[name].dtype != np.float64:
            raise ValueError(f"{name} is not a vector of float64 numbers")
    model.loss_curve_, model.validation_scores_ = arrays["loss_curve"].tolist(), arrays["validation_scores"].tolist()
    counts = {name: 1 if name == "n_steps" and record[name] is None else record[name]
              for name in ("n_iter", "n_updates", "n_steps")}
    for name, count in counts.items():
        if type(count) is not int or not (name == "n_steps") <= count < 2**62:
            raise ValueError(f"{name} is {count!r}, not a count")
    model.n_features_in_, model.n_steps_ = I, record["n_steps"]
    model.n_iter_, model.n_updates_ = counts["n_iter"], counts["n_updates"]

    known = {*parts, *flat, "rate_scale", "loss_curve", "validation_scores"}
    for name in arrays:
        if name not in known and name not in FIT_ARRAYS:
            raise ValueError(f"it has an array {name!r}, which no RAE has")


def check_array(array: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """ValueError unless the array has this shape and dtype and only finite values."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; {dtype} of shape {shape} is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite")
