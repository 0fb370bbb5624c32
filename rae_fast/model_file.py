"""What a model file holds, and the checks on the way back.

Arrays, all by the names and in the shapes of parameters (of tied models without V): the parameters themselves,
`solver.<state>.<block>` of the solver's memory, `rate_scale.<block>`; and `loss_curve`, `validation_scores`, and
`patch_fill` where several rows are one step. Metadata: JSON of the hyper-parameters, of the form and of the counters.
Nothing in a file is trusted: what comes back is checked as a user's arguments are. persistence.py writes and reads the
bytes.
"""

from __future__ import annotations

import json
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from rae_fast import _blas, hyperparameters
from rae_fast._estimator import constructor_parameters
from rae_fast._form import Blocks, Form
from rae_fast._record import Record
from rae_fast.gaps import MISSING, Gaps
from rae_fast.learned import Learned, SolverState
from rae_fast.patches import Patches
from rae_fast.persistence import Arrays, FilePath, bad, parse_json
from rae_fast.relative_rates import BY_ROW
from rae_fast.scaling import STANDARDIZE, Scaling, Whitening
from rae_fast.solvers import SOLVERS
from rae_fast.vocabulary import Vocabulary

Model = TypeVar("Model")

# 5: token ids. 6: how output weights are updated. 7: classes of labels. 8: and of sequences. 9: units of channels.
# 10: how gaps are read.
_VERSION = "10"
# Types that numbers of classes can have.
_NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
# Losses in the file of a model, which may go on learning for ever; a checkpoint's are those of one fit, and whole.
MOST_LOSSES = 100_000
# Arrays that a checkpoint has besides the model's: these, and theta's blocks with that prefix.
FIT_ARRAYS, FIT_THETA, FIT_BASELINE = ("fit.order", "fit.losses", "fit.held_out"), "fit.theta.", "fit.baseline."


def named(prefix: str, form: Any, views: Arrays) -> Arrays:
    """The views by name, without those that another block stands for."""
    own = {block.name for block in form.blocks}
    return {prefix + name: view for name, view in views.items() if name in own}


def pack(kind: str, model: Any, learned: Learned, most_losses: int | None = None) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of the file of a fitted model, and its vocabulary; ValueError for one that `unpack` would
    refuse.

    most_losses: of the loss curve and the validation scores no more than so many, the last ones.
    """
    hyperparameters.check(model)
    form, solver, record = learned.form, learned.solver, learned.record
    arrays = named("", form, form.views(learned.theta))
    for name, blocks in solver.state.items():
        arrays |= named(f"solver.{name}.", form, blocks.views())
    if solver.scale is not None:
        arrays |= named("rate_scale.", form, solver.scale.views())
    for name, array in arrays.items():
        check_array(array, name, array.shape, learned.theta.dtype)
    if learned.patches is not None:
        arrays["patch_fill"] = learned.patches.fill
    if learned.scaling is not None:
        arrays |= {"scaling_mean": learned.scaling.mean, "scaling_scale": learned.scaling.scale}
    if learned.code_units is not None:
        units = learned.code_units
        arrays["code_mean"] = units.mean
        arrays |= ({"code_scale": units.scale} if isinstance(units, Scaling) else
                   {"code_forward": units.forward, "code_inverse": units.inverse})
    if learned.gaps is not None:
        arrays |= {"missing_mean": learned.gaps.mean, "missing_correlation": learned.gaps.correlation}
    if learned.vocabulary is not None:
        arrays["vocabulary"] = np.frombuffer(learned.vocabulary.to_json().encode(), dtype=np.uint8)
    first = 0 if most_losses is None else -most_losses
    arrays["loss_curve"] = np.array(record.loss_curve[first:], dtype=np.float64)
    arrays["validation_scores"] = np.array(learned.validation_scores[first:], dtype=np.float64)
    params = saved_params(model)
    if not isinstance(params["random_state"], int) or params["random_state"] < 0:
        params["random_state"] = None
    for name, value in params.items():
        as_json(name, value)
    counts = {"n_iter": record.n_iter, "n_updates": record.n_updates, "n_steps": record.n_steps,
              "solver": solver.name, "loss_unit": solver.unit, "feature_names": learned.feature_names,
              "patch_length": learned.patch_length, "standardize": learned.standardize, "missing": learned.missing,
              "code_pooling": None if learned.code_units is None else learned.code_units.kind,
              "reads_ids": learned.reads_ids, "output_update": learned.output_update,
              "classes": None if learned.classes is None else [_dtype_name(learned.classes), learned.classes.tolist()]}
    return arrays, {"format": f"rae_fast.{kind}", "format_version": _VERSION, "params": json.dumps(params),
                    "form": json.dumps({name: getattr(form, name) for name in form.FIXED}),
                    "record": json.dumps(counts)}


def saved_params(model: Any) -> dict[str, Any]:
    """The hyper-parameters that files keep: the constructor's, and all that are declared."""
    declared = hyperparameters.declarations(model)
    values = {name: getattr(model, name) for name in declared} | model.get_params()
    return {name: plain(value) for name, value in values.items() if name not in declared or declared[name].saved}


def plain(value: Any) -> Any:
    """Numbers and booleans of every kind as Python's own; dictionaries with keys that are no text as pairs."""
    if isinstance(value, dict):
        if all(type(key) is str for key in value) and "" not in value:
            return {key: plain(of_key) for key, of_key in value.items()}
        return {"": [[plain(key), plain(of_key)] for key, of_key in value.items()]}
    if isinstance(value, np.str_):
        return str(value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _dictionary(value: Any) -> Any:
    """A dictionary of pairs as `plain` has written it."""
    if isinstance(value, dict) and set(value) == {""}:
        if any(type(key) not in (str, int, float, bool) for key, _ in value[""]):
            raise ValueError("a dictionary in it has keys that are no labels")
        return {key: of_key for key, of_key in value[""]}
    return value


def as_json(name: str, value: Any) -> str:
    """A hyper-parameter's text in a file; ValueError for what has none."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{name} is a {type(value).__name__}, which a model file cannot hold; it holds numbers, "
                         "strings, booleans, None, and lists and dictionaries of these") from None


def unpack(cls: type[Model], kind: str, path: FilePath, arrays: Arrays,
           metadata: dict[str, str]) -> tuple[Model, Learned]:
    """The estimator, not fitted, and what it had learned, in a file that `read` has read; ValueError for none."""
    if metadata.get("format") != f"rae_fast.{kind}":
        raise bad(path, f"it does not say that it is one (rae_fast.{kind})")
    if metadata.get("format_version") != _VERSION:
        raise bad(path, f"it has format version {metadata.get('format_version')!r}; this rae_fast reads {_VERSION!r}")
    try:
        params, sizes, record = (parse_json(path, metadata[name]) for name in ("params", "form", "record"))
        params = {name: _dictionary(value) for name, value in params.items()}
        in_constructor, declared = constructor_parameters(cls), hyperparameters.declarations(cls)
        if wrong := [name for name in params if name in declared and not declared[name].saved]:
            raise ValueError(f"it sets {wrong[0]!r}, which no model file may")
        if wrong := [name for name in params if name not in declared and name not in in_constructor]:
            raise ValueError(f"it sets {wrong[0]!r}, which no {cls.__name__} has")
        model = cls(**{name: value for name, value in params.items() if name in in_constructor})
        for name in params.keys() - in_constructor.keys():
            setattr(model, name, params[name])
        settings = hyperparameters.check(model)
        if not isinstance(settings.random_state, int | None):
            raise ValueError(f"random_state is {settings.random_state!r}; files have None or an integer")
        hyperparameters.generator(settings.random_state)
        form_type = cls._form_type  # type: ignore[attr-defined]
        for name in form_type.FIXED:
            if name in declared:
                declared[name].check(name, sizes[name])
        form = _form(form_type, sizes).under(settings)
        learned = _learned(cls.__name__, form, record, arrays)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise bad(path, f"something is missing or of another kind ({type(error).__name__}: {error})") from None
    except ValueError as error:
        raise bad(path, str(error)) from None
    return model, learned


def _form(form_type: Any, sizes: dict[str, Any]) -> Any:
    I, H = sizes["n_inputs"], sizes["n_hidden"]
    if set(sizes) != set(form_type.FIXED) or type(I) is not int or type(H) is not int or min(I, H) < 1:
        raise ValueError("its sizes are not counts")
    _blas.check_size(I + H, "n_hidden plus the number of features")
    return form_type(**sizes, objective="unfold")  # under which a form may be anything


def _learned(owner: str, form: Any, record: dict[str, Any], arrays: Arrays) -> Learned:
    """What the file says was learned; `owner` is the estimator's name."""
    I, H = form.n_inputs, form.n_hidden
    dtype = arrays["W_hh"].dtype
    # Before anything of these sizes is made: the file must really hold as much.
    inputs_are = "W_xh" not in {block.name for block in form.blocks} or arrays["W_xh"].shape == (I, H)
    if dtype not in (np.float32, np.float64) or arrays["W_hh"].shape != (H, H) or not inputs_are:
        raise ValueError("W_hh and W_xh do not have the shapes that its sizes say")
    if form.n_classes and arrays["W_hy"].shape != (form.code_size, form.n_classes):
        raise ValueError("W_hy does not have the shape that its sizes say")
    known = {"loss_curve", "validation_scores", "patch_fill", "scaling_mean", "scaling_scale", "missing_mean",
             "missing_correlation", "code_mean", "code_scale", "code_forward", "code_inverse", "vocabulary"}

    def take(prefix: str, views: Arrays) -> None:
        for name, view in named(prefix, form, views).items():
            check_array(arrays[name], name, view.shape, dtype)
            view[...] = arrays[name]
            known.add(name)

    theta = form.empty(dtype)
    take("", form.views(theta))
    state = {name: Blocks(form, dtype) for name in SOLVERS[record["solver"]].state}
    for name, blocks in state.items():
        take(f"solver.{name}.", blocks.views())
        if name in SOLVERS[record["solver"]].at_least_0 and (blocks.memory < 0).any():
            raise ValueError(f"solver.{name} has values below 0, which {record['solver']} never keeps")
    scale = None
    if any(name.startswith("rate_scale.") for name in arrays):
        scale = Blocks(form, dtype, BY_ROW)
        take("rate_scale.", scale.views())
        if not (scale.memory > 0).all():
            raise ValueError("rate_scale has values that are not positive")
    unit = record["loss_unit"]
    if type(unit) is not float or not 0 < unit < np.inf:
        raise ValueError(f"loss_unit is {unit!r}, not a positive number")
    for name in ("loss_curve", "validation_scores"):
        # Not all of these need be finite: a training that was about to overflow has such losses.
        if arrays[name].ndim != 1 or arrays[name].dtype != np.float64:
            raise ValueError(f"{name} is not a vector of float64 numbers")
    known.update(FIT_ARRAYS, *(named(prefix, form, form.views(theta)) for prefix in (FIT_THETA, FIT_BASELINE)))
    for name in arrays:
        if name not in known:
            raise ValueError(f"it has an array {name!r}, which no {owner} has")
    counts = {name: 1 if name == "n_steps" and record[name] is None else record[name]
              for name in ("n_iter", "n_updates", "n_steps")}
    for name, count in counts.items():
        if type(count) is not int or not (name == "n_steps") <= count < 2**62:
            raise ValueError(f"{name} is {count!r}, not a count")
    patches, n_features = _patches(record, arrays, form, dtype)
    if type(record["reads_ids"]) is not bool or record["reads_ids"] and patches is not None:
        raise ValueError(f"reads_ids is {record['reads_ids']!r}, which does not fit")
    if record["output_update"] not in ("dense", "factored"):
        raise ValueError(f"output_update is {record['output_update']!r}, which does not fit")
    names = record["feature_names"]
    if names is not None and (not isinstance(names, list) or len(names) != n_features
                              or not all(isinstance(name, str) for name in names)):
        raise ValueError("its names of features are not one for each")
    history = Record(record["n_steps"], counts["n_iter"], counts["n_updates"], arrays["loss_curve"].tolist())
    return Learned(form, theta, history, SolverState(record["solver"], state, scale, unit),
                   arrays["validation_scores"].tolist(), None if names is None else tuple(names), patches,
                   record["reads_ids"], _vocabulary(arrays, n_features), record["output_update"],
                   _classes(record, form), _scaling(record, arrays, n_features, dtype),
                   _gaps(record, arrays, n_features, dtype), _code_units(record, arrays, form, dtype))


def _dtype_name(classes: Any) -> str:
    """Of text without its length."""
    return "str" if classes.dtype.kind == "U" else str(classes.dtype)


def _classes(record: dict[str, Any], form: Any) -> Any:
    """Those of labels, which rise."""
    found, n = record["classes"], form.n_classes
    if found is None and n == 0:
        return None
    if (not isinstance(found, list) or len(found) != 2 or found[0] not in ("str", "bool", *_NUMBERS)
            or not isinstance(found[1], list)):
        raise ValueError("its classes are of another kind")
    classes = np.array(found[1])
    if found[0] in _NUMBERS and classes.dtype.kind in "iuf":
        classes = classes.astype(found[0])
    if classes.shape != (n,) or _dtype_name(classes) != found[0] or (classes[1:] <= classes[:-1]).any():
        raise ValueError(f"it has not {n} different classes that rise")
    return classes


def _vocabulary(arrays: Arrays, n_features: int) -> Vocabulary | None:
    if "vocabulary" not in arrays:
        return None
    found = arrays["vocabulary"]
    if found.dtype != np.uint8 or found.ndim != 1:
        raise ValueError("its vocabulary is no text")
    vocabulary = Vocabulary.from_json(found.tobytes().decode())  # UnicodeDecodeError is a ValueError
    check_vocabulary(vocabulary, n_features)
    return vocabulary


def check_vocabulary(vocabulary: Any, n_features: int) -> None:
    """ValueError unless it is one, with no more symbols than a model knows ids."""
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"vocabulary must be a Vocabulary; got {type(vocabulary).__name__}")
    if not 0 < len(vocabulary) <= n_features:
        raise ValueError(f"vocabulary must be fitted and have at most {n_features} symbols, as many as the model knows "
                         f"(n_features); it has {len(vocabulary)}")
    try:
        Vocabulary.from_json(vocabulary.to_json())
    except (TypeError, ValueError) as error:
        raise ValueError(f"vocabulary cannot be written: {error}") from None


def _patches(record: dict[str, Any], arrays: Arrays, form: Form,
             dtype: np.dtype[Any]) -> tuple[Patches | None, int]:
    """How rows are read, and their features."""
    length = record["patch_length"]
    if type(length) is not int or length < 1 or form.n_inputs % length or (length > 1) != ("patch_fill" in arrays):
        raise ValueError(f"patch_length is {length!r}, which does not fit")
    n_features = form.n_inputs // length
    if length == 1:
        return None, n_features
    check_array(arrays["patch_fill"], "patch_fill", (n_features,), dtype)
    return Patches(length, arrays["patch_fill"].copy()), n_features


def _scaling(record: dict[str, Any], arrays: Arrays, n_features: int, dtype: np.dtype[Any]) -> Scaling | None:
    """The units in which channels are read."""
    kind = record["standardize"]
    if kind not in STANDARDIZE or (kind == "none") == ("scaling_mean" in arrays):
        raise ValueError(f"standardize is {kind!r}, which does not fit")
    if kind == "none":
        return None
    for name in ("scaling_mean", "scaling_scale"):
        check_array(arrays[name], name, (n_features,), dtype)
    if not (arrays["scaling_scale"] > 0).all():
        raise ValueError("scaling_scale has values that are not positive")
    return Scaling(kind, arrays["scaling_mean"].copy(), arrays["scaling_scale"].copy())


def _code_units(record: dict[str, Any], arrays: Arrays, form: Any, dtype: np.dtype[Any]) -> Scaling | Whitening | None:
    """The units in which codes are given."""
    pooling = record["code_pooling"]
    if (pooling is None) == ("code_mean" in arrays) or pooling not in (None, "last", "mean", "last+mean", "mean+last"):
        raise ValueError(f"code_pooling is {pooling!r}, which does not fit")
    if pooling is None:
        return None
    n = form.code_size * len(pooling.split("+"))
    check_array(arrays["code_mean"], "code_mean", (n,), dtype)
    if "code_forward" in arrays:
        for name in ("code_forward", "code_inverse"):
            check_array(arrays[name], name, (n, n), dtype)
        return Whitening(pooling, *(arrays[f"code_{name}"].copy() for name in ("mean", "forward", "inverse")))
    check_array(arrays["code_scale"], "code_scale", (n,), dtype)
    if not (arrays["code_scale"] > 0).all():
        raise ValueError("code_scale has values that are not positive")
    return Scaling(pooling, arrays["code_mean"].copy(), arrays["code_scale"].copy())


def _gaps(record: dict[str, Any], arrays: Arrays, n_features: int, dtype: np.dtype[Any]) -> Gaps | None:
    """How missing numbers are read."""
    kind = record["missing"]
    if kind not in MISSING or (kind == "error") == ("missing_mean" in arrays):
        raise ValueError(f"missing is {kind!r}, which does not fit")
    if kind == "error":
        return None
    for name in ("missing_mean", "missing_correlation"):
        check_array(arrays[name], name, (n_features,), dtype)
    correlation = arrays["missing_correlation"]
    if not ((correlation >= 0) & (correlation < 1)).all():
        raise ValueError("missing_correlation has values that are no correlations below 1")
    return Gaps(kind, arrays["missing_mean"].copy(), correlation.copy())


def check_array(array: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """ValueError unless the array has this shape and dtype and only finite values."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; {dtype} of shape {shape} is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite")
