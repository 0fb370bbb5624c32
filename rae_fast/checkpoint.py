"""A fit on disk, and how it is taken up again: a checkpoint is a model file with the fit in it.

Nothing of it is trusted: whatever is taken is checked first, and ValueError raised where it cannot be of such a fit.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import model_file, persistence
from rae_fast._batch import Batch
from rae_fast._messages import shown
from rae_fast.learned import Learned
from rae_fast.training import Baseline, Fit

Floats = NDArray[Any]

_RECORD = {"status", "fingerprint", "stalled", "in_pass", "position", "stalled_passes", "stop_at", "bits"}
_STATUSES = ("running", "finished", "converged", "stopped")
# The largest values that NumPy's bit generators may have in fields that are no arrays: beyond them some read
# outside their own memory.
_BIT_LIMITS = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1, "state": 2**128 - 1,
               "inc": 2**128 - 1}


@dataclass
class Saved:
    """A checkpoint that has been read: its estimator, what had been learned, and what is in the file besides."""

    path: Path
    model: Any
    learned: Learned
    arrays: persistence.Arrays
    metadata: dict[str, str]


def target_of(path: Path | None) -> Path | None:
    """Where a fit's checkpoints are written, wherever its callbacks may take the process; ValueError where none could
    be: found before a fit, not an hour into it."""
    if path is None:
        return None
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"checkpoint={shown(os.fspath(path))} must name a file in a folder that exists and can be "
                         "written")
    persistence.check_target(path)
    return path.absolute()


def place(resume: Any, checkpoint: Path | None) -> Path | None:
    """The checkpoint to go on from, None to start afresh."""
    if resume is False:
        return None
    if resume is True:
        if checkpoint is None:
            raise ValueError("resume=True goes on from the file that checkpoint names, but checkpoint is None")
        return checkpoint if checkpoint.exists() else None
    if not isinstance(resume, (str, os.PathLike)):
        raise ValueError(f"resume must be True, False or the path of a checkpoint; got {shown(resume)}")
    return Path(os.fsdecode(persistence.checked(resume)))


def fingerprint(batch: Batch, weights: Floats | None, classes: NDArray[Any] | None = None) -> int:
    """A checksum of the sequences, their weights and what their labels are called: tells other data, guards against
    nothing."""
    value = 0 if classes is None else zlib.crc32(repr(classes.tolist()).encode())
    for array in batch.memory():
        value = zlib.crc32(np.ascontiguousarray(array).data.cast("B"), value)
    value = zlib.crc32(batch.offsets.astype(np.int64).tobytes(), value)
    return value if weights is None else zlib.crc32(weights.tobytes(), value)


def write(path: Path, kind: str, model: Any, fit: Fit, rng: np.random.Generator, checksum: int) -> None:
    """Write a model and its fit, on data of that checksum, to the checkpoint file."""
    held_out, state, learned = fit.held_out, fit.stepper.state(), fit.learned
    # Numbers that JSON has no text for, infinity among them, go into an array.
    losses = [state["best"], state["pass_loss"], held_out.best_score if held_out else 0.0,
              fit.baseline.error if fit.baseline else 0.0]
    arrays = {"fit.order": state["order"].astype(np.int64), "fit.losses": np.array(losses)}
    model_arrays, metadata = model_file.pack(kind, model, learned)
    form, theta = learned.form, learned.theta
    if held_out is not None:
        arrays |= {"fit.held_out": held_out.chosen.astype(np.int64)}
    if fit.baseline is not None:
        arrays |= model_file.named(model_file.FIT_BASELINE, form, form.views(fit.baseline.theta))
    left = held_out.best_theta if held_out is not None else fit.left
    if left is not None:
        # The file's model is what the fit would leave, or has left: the best so far.
        model_file.check_array(left, "the best theta", theta.shape, theta.dtype)
        arrays |= model_file.named(model_file.FIT_THETA, form, form.views(theta))
        model_arrays |= model_file.named("", form, form.views(left))
    record = {"status": fit.status, "fingerprint": checksum, "stalled": held_out.stalled if held_out else 0,
              "stop_at": fit.stop_at,
              **{name: state[name] for name in ("in_pass", "position", "stalled_passes")},
              "bits": _plain(rng.bit_generator.state)}
    persistence.write(path, {**model_arrays, **arrays}, {**metadata, "fit": json.dumps(record)})


def read(path: Path, cls: type, kind: str) -> Saved:
    """The checkpoint at a path; ValueError where there is none of such an estimator."""
    arrays, metadata = persistence.read(path)
    return Saved(path, *model_file.unpack(cls, kind, path, arrays, metadata), arrays, metadata)


def check_resumable(saved: Saved, model: Any, batch: Batch) -> None:
    """ValueError unless the checkpoint has the model's hyper-parameters and the kind of the data."""
    now, then = model_file.saved_params(model), model_file.saved_params(saved.model)
    for name, value in now.items():
        if name != "random_state" and json.loads(model_file.as_json(name, value)) != then[name]:
            raise ValueError(f"{saved.path} is a checkpoint of a fit with {name}={shown(then[name])}, not "
                             f"{shown(value)}; resume with the same hyper-parameters, or call fit without resume")
    dtype, n_features = saved.learned.memory.dtype, saved.learned.n_features
    if dtype != batch.dtype or n_features != batch.n_features:
        raise ValueError(f"{saved.path} is a checkpoint of a fit on {dtype} data with {n_features} features; X is "
                         f"{batch.dtype} with {batch.n_features}")


def held_out_in(saved: Saved, n: int) -> NDArray[np.intp]:
    """The sequences that the fit of a checkpoint holds out."""
    chosen = saved.arrays.get("fit.held_out", np.zeros(0))
    if (chosen.dtype != np.int64 or chosen.ndim != 1 or not 0 < chosen.size < n or chosen.min() < 0
            or chosen.max() >= n or (np.diff(chosen) <= 0).any()):
        raise persistence.bad(saved.path, "it does not say which sequences are held out")
    return chosen.astype(np.intp)


def resume(saved: Saved, fit: Fit, rng: np.random.Generator, checksum: int) -> None:
    """Let a fit of the saved model, with the same settings on the same data, go on from the checkpoint."""
    if "fit" not in saved.metadata:
        raise ValueError(f"{saved.path} is a saved model, not a checkpoint: there is no fit to resume")
    record = persistence.parse_json(saved.path, saved.metadata["fit"])
    if record.get("fingerprint") != checksum:
        raise ValueError(f"{saved.path} is a checkpoint of a fit on other data or sample weights; resume with the same")
    try:
        _take(record, saved.arrays, fit)
        rng.bit_generator.state = _like(rng.bit_generator.state, record["bits"], "bits")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise persistence.bad(saved.path, f"its record of the fit cannot be used ({error})") from None


def _take(record: dict[str, Any], arrays: persistence.Arrays, fit: Fit) -> None:
    """What `write` wrote, except for the random stream."""
    learned, held_out = fit.learned, fit.held_out
    n_iter = learned.record.n_iter
    if set(record) != _RECORD:
        raise ValueError("it holds other things than a fit")
    for name in ("position", "stalled", "stalled_passes"):
        if type(record[name]) is not int or not 0 <= record[name] < 2**62:
            raise ValueError(f"{name} is {record[name]!r}, not a count")
    stop_at = record["stop_at"]
    if stop_at is not None and (type(stop_at) is not int or not 0 <= stop_at < 2**62):
        raise ValueError(f"stop_at is {stop_at!r}, not a count")
    fit.stop_at = stop_at
    if type(record["in_pass"]) is not bool or record["status"] not in _STATUSES:
        raise ValueError(f"in_pass is {record['in_pass']!r} and status {record['status']!r}")
    order, losses = arrays["fit.order"], arrays["fit.losses"]
    if order.dtype != np.int64 or losses.dtype != np.float64 or losses.shape != (4,) or np.isnan(losses).any():
        raise ValueError("its order or losses are of another kind")
    n_scores = len(learned.validation_scores)
    if (len(learned.record.loss_curve) != n_iter
            or not (n_scores in (n_iter - 1, n_iter) if held_out else n_scores == 0)):
        raise ValueError("its counters do not agree with each other")
    best, pass_loss, best_score, baseline_error = losses.tolist()
    fit.stepper.restore({**{name: record[name] for name in ("in_pass", "position", "stalled_passes")},
                         "order": order, "best": best, "pass_loss": pass_loss})
    if any(name.startswith(model_file.FIT_BASELINE) for name in arrays):
        fit.baseline = Baseline(_theta_in(arrays, model_file.FIT_BASELINE, learned), baseline_error)
    if held_out is not None:
        held_out.best_theta, held_out.best_score = learned.theta.copy(), best_score
        held_out.stalled, held_out.judged = record["stalled"], n_scores
    if held_out is not None or any(name.startswith(model_file.FIT_THETA) for name in arrays):
        learned.theta[:] = _theta_in(arrays, model_file.FIT_THETA, learned)
    # What a callback has stopped goes on.
    fit.status = "running" if record["status"] == "stopped" else record["status"]


def _theta_in(arrays: persistence.Arrays, prefix: str, learned: Learned) -> Floats:
    """A vector of parameters from the arrays with that prefix."""
    form, dtype = learned.form, learned.theta.dtype
    theta: Floats = form.empty(dtype)
    for name, view in model_file.named(prefix, form, form.views(theta)).items():
        model_file.check_array(arrays[name], name, view.shape, dtype)
        view[...] = arrays[name]
    return theta


def _plain(value: Any) -> Any:
    """A bit generator's state as JSON: arrays become lists, which get their dtype back from a live one."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _like(now: Any, saved: Any, name: str) -> Any:
    """saved, if it has the structure of the present state and values that its fields can have."""
    if isinstance(now, dict):
        if not isinstance(saved, dict) or saved.keys() != now.keys():
            raise ValueError("its random stream is of another kind than random_state's")
        return {key: _like(now[key], saved[key], key) for key in now}
    if isinstance(now, np.ndarray):
        limit = np.iinfo(now.dtype).max
        if not isinstance(saved, list) or len(saved) != now.size or not all(
                type(n) is int and 0 <= n <= limit for n in saved):
            raise ValueError(f"{name} of its random stream is not {now.size} numbers of {now.dtype}")
        return np.array(saved, dtype=now.dtype)
    if isinstance(now, str):
        if saved != now:
            raise ValueError(f"its random stream is of another kind than random_state's ({now})")
        return saved
    if type(saved) is not int or name not in _BIT_LIMITS or not 0 <= saved <= _BIT_LIMITS[name]:
        raise ValueError(f"{name} of its random stream is {saved!r}"[:200])
    return saved
