"""A fit under way: passes, validation, callbacks, checkpoints, and how it is taken up again.

RAE holds what has been learned; a Fit holds what else it takes to go on: where the pass stands, the random
stream, the sequences held out and the best parameters so far. A checkpoint is a model file with both.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _sequence, _training, model_file, persistence
from rae_fast._progress import Progress
from rae_fast.hyperparameters import Hyperparameters
from rae_fast.parameters import Form
from rae_fast.sequences import Batch
from rae_fast.solvers import LBFGS_MEMORY, LBFGS_ROUND

if TYPE_CHECKING:
    from rae_fast.rae import RAE

Floats = NDArray[Any]

# How long the compiled loop runs between two returns to Python, and between two reports by default.
_SECONDS_PER_CALL = 0.1
# Passes whose losses one such call can report; a pass takes a microsecond or more.
_PASSES_PER_CALL = 1 << 17
# max_iter="auto": passes that make this many updates, within these limits (docs/quality.md, "Defaults").
_ENOUGH_UPDATES, _FEWEST_PASSES, _MOST_PASSES = 25_000, 20, 500
_STATUSES = ("running", "finished", "converged", "stopped")
# The largest values that NumPy's bit generators may have in fields that are no arrays: beyond them some read
# outside their own memory.
_BIT_LIMITS = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1, "state": 2**128 - 1,
               "inc": 2**128 - 1}


@dataclass
class HeldOut:
    """Sequences kept for early stopping, and what they said so far."""

    batch: Batch
    weights: Floats | None
    chosen: NDArray[np.intp]
    best_theta: Floats = field(init=False)
    best_score: float = -np.inf
    last_score: float = -np.inf
    judged: int = 0    # passes judged
    stalled: int = 0   # of these, the last ones in a row that were no better

    def score(self, model: RAE) -> float:
        """Minus the weighted mean of the reconstruction errors."""
        return -float(np.average(model._errors(model.theta_, self.batch), weights=self.weights))


@dataclass
class Fit:
    """One fit of `model`: its data, settings and random stream, and where it stands.

    Ctrl-C may come between any two steps of Python. So the record is kept by `_settle`, which derives all of
    it from what changed last (the compiled Training, and HeldOut, which change as a whole) and can be
    repeated at any time.
    """

    model: RAE
    settings: Hyperparameters
    form: Form
    batch: Batch
    weights: Floats | None
    rng: np.random.Generator
    fingerprint: int
    held_out: HeldOut | None = None
    status: str = "running"
    training: _training.Training = field(init=False)
    losses: Floats = field(init=False)     # of the passes from first_pass on
    first_pass: int = 0
    reported: int = field(init=False)      # passes when callbacks were last called
    report_at: float = field(init=False)   # when they are next to be

    def __post_init__(self) -> None:
        size = min(self.settings.batch_size, self.batch.n_sequences)
        self.training = _training.Training(self.batch.offsets, size)
        self.losses = np.empty(0)

    # ---- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until max_iter, a stopping rule, a callback or an exception ends it."""
        model, settings = self.model, self.settings
        self.reported, self.report_at = model.n_iter_, time.monotonic() + _SECONDS_PER_CALL
        save_at = time.monotonic() + settings.checkpoint_seconds
        at_a_seam = True
        try:
            self._settle()
            if self.held_out is not None and self.held_out.judged < model.n_iter_ and not self._one_by_one:
                self._validate(self.held_out)  # where Ctrl-C came just before that
            with Progress(settings.max_iter, settings.verbose > 0, model.n_iter_) as progress:
                while self.status == "running":
                    before = model.n_iter_
                    at_a_seam = not self._one_by_one
                    self._advance()
                    at_a_seam = True
                    if not self._one_by_one and model.n_iter_ > before:
                        self._after_pass()
                    progress.advance(model.n_iter_ - before, model.loss_curve_[-1] if model.loss_curve_ else None)
                    if settings.checkpoint and (self.status != "running" or time.monotonic() >= save_at):
                        self.save()
                        save_at = time.monotonic() + settings.checkpoint_seconds
        except BaseException as error:
            # After a whole number of updates: as good a place to go on from as any.
            self._settle()
            if settings.checkpoint and at_a_seam:
                try:
                    self.save()
                except (OSError, ValueError) as failed:
                    error.add_note(f"the checkpoint could not be written: {failed}")
            raise
        finally:
            if self.held_out is not None:
                model.theta_[:] = self.held_out.best_theta

    @property
    def _one_by_one(self) -> bool:
        """Whether the solver looks after each of its iterations itself."""
        return self.settings.solver.name == "lbfgs"

    def _settle(self) -> None:
        """Bring the model's record up to what has happened."""
        model, run = self.model, self.training
        if not self._one_by_one:
            missing = run.n_iter - len(model.loss_curve_)
            if missing > 0:
                end = run.n_iter - self.first_pass
                model.loss_curve_.extend(self.losses[end - missing:end].tolist())
            model.n_iter_, model.n_updates_ = run.n_iter, run.n_updates
            if self.status == "running":
                self.status = run.status
        if self.held_out is not None:
            if self.held_out.judged > len(model.validation_scores_):
                model.validation_scores_.append(self.held_out.last_score)
            if self.held_out.stalled >= self.settings.n_iter_no_change and self.status == "running":
                self.status = "converged"

    def _after_pass(self) -> None:
        """Validation and callbacks, which may end the fit."""
        model, every = self.model, self.settings.report_every
        if self.held_out is not None:
            self._validate(self.held_out)
        due = (model.n_iter_ // every > self.reported // every if every else time.monotonic() >= self.report_at)
        if due or self.status != "running":
            self.reported, self.report_at = model.n_iter_, time.monotonic() + _SECONDS_PER_CALL
            answers = [callback(model) for callback in self.settings.callbacks]
            if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
                self.status = "stopped" if self.status == "running" else self.status

    def _advance(self) -> None:
        """Some updates: about 0.1 s of them, to the end of a pass where something is done after each."""
        settings = self.settings
        if self._one_by_one:
            self._lbfgs_round()
            return
        most = settings.max_iter
        if self.held_out is not None:
            most = 1
        elif settings.report_every:
            most = settings.report_every - self.model.n_iter_ % settings.report_every
        # With sequences held out they decide when to stop, not the training loss.
        tol = settings.tol if self.held_out is None else 0.0
        bits = self.rng.bit_generator if settings.shuffle else None
        losses = np.empty(max(1, min(settings.max_iter, most, _PASSES_PER_CALL)))
        self.__dict__.update(losses=losses, first_pass=self.training.n_iter)
        try:
            advance(self.model, self.training, self.batch, self.weights, self.form, settings, bits, tol, losses)
        finally:
            self._settle()
        if self.status == "non-finite":
            self.status = "running"
            raise too_large(settings, self.training.n_updates + 1, self.model.theta_.dtype)

    def _validate(self, held_out: HeldOut) -> None:
        """Judge the parameters by the sequences held out; keep the best, notice when they stay the best."""
        model, settings = self.model, self.settings
        best, score = held_out.best_score, held_out.score(model)
        enough = best + settings.tol * abs(best) if np.isfinite(best) else best
        news: dict[str, Any] = {"last_score": score, "judged": model.n_iter_,
                                "stalled": 0 if score > enough else held_out.stalled + 1}
        if score > best:
            news |= {"best_theta": model.theta_.copy(), "best_score": score}
        held_out.__dict__.update(news)  # all or nothing, whenever Ctrl-C comes
        self._settle()

    # ---- L-BFGS ------------------------------------------------------------------------------------

    def _lbfgs_round(self) -> None:
        """Up to LBFGS_ROUND iterations of scipy's L-BFGS-B from theta_, each counted as a pass."""
        import scipy.optimize  # a fifth of the time that importing this package would take, for one solver

        model, settings = self.model, self.settings
        dtype = model.theta_.dtype
        scale = np.ones(model.theta_.size) if model.rate_scale_ is None else model.rate_scale_.astype(np.float64)
        unit, decay = model._loss_unit, settings.solver.weight_decay
        # Within this limit no gradient overflows when it is scaled and squared.
        huge = float(np.finfo(np.float64).max) ** 0.25
        grad = np.empty_like(model.theta_)

        def objective(u: Floats) -> tuple[float, Floats]:
            with np.errstate(over="ignore", invalid="ignore"):
                theta = (u * scale).astype(dtype)
                loss = _sequence.loss_and_grad(theta, self.batch.data, self.batch.offsets, self.weights, self.form,
                                               grad, settings.max_memory, settings.n_jobs) / unit
                g = grad * (scale / unit)
                if decay:
                    loss += 0.5 * decay / unit * float(theta @ theta)
                    g += (decay / unit) * theta * scale
            if not abs(loss) < huge or not np.abs(g).max() < huge:
                return huge, np.zeros_like(u)  # too far: the line search comes back
            return loss, g

        def after_iteration(intermediate_result: Any) -> None:
            model.theta_[:] = intermediate_result.x * scale
            model.n_iter_ += 1
            model.n_updates_ += 1
            model.loss_curve_.append(float(intermediate_result.fun) * unit)
            if self.held_out is None and self._stalled():
                self.status = "converged"
            elif model.n_iter_ >= settings.max_iter:
                self.status = "finished"
            self._after_pass()
            if self.status != "running":
                raise StopIteration

        start = model.n_iter_
        most = min(LBFGS_ROUND, settings.max_iter - start)
        if most > 0:
            before = objective(model.theta_ / scale)[0]
            if before >= huge:
                raise FloatingPointError("The loss or its gradient is beyond what lbfgs can square at its start; "
                                         "choose another init or scale the data; the model keeps its parameters")
            scipy.optimize.minimize(objective, model.theta_ / scale, jac=True, method="L-BFGS-B",
                                    callback=after_iteration,
                                    options={"maxiter": most, "maxfun": 50 * most, "maxcor": LBFGS_MEMORY,
                                             "ftol": 0.0, "gtol": 0.0})
        if self.status == "running" and model.n_iter_ == start:
            # max_iter=0, or no descent from here although nothing is remembered.
            self.status = "finished" if most == 0 else "converged"

    def _stalled(self) -> bool:
        """Whether n_iter_no_change iterations in a row improved by less than tol: loss_curve_ falls."""
        n, curve = self.settings.n_iter_no_change, self.model.loss_curve_
        return bool(self.settings.tol > 0 and len(curve) > n
                    and all(not a - b >= self.settings.tol * a for a, b in zip(curve[-n - 1:-1], curve[-n:])))

    # ---- checkpoints -------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the model and this fit to the checkpoint file."""
        assert self.settings.checkpoint is not None
        held_out, state = self.held_out, self.training.state()
        # Numbers that JSON has no text for, infinity among them, go into an array.
        losses = [state["best"], state["pass_loss"], held_out.best_score if held_out else 0.0]
        arrays = {"fit.order": state["order"].astype(np.int64), "fit.losses": np.array(losses)}
        model_arrays, metadata = model_file.pack(self.model)
        if held_out is not None:
            # The file's model is what the fit would leave: the best so far.
            theta = self.model.theta_
            model_file.check_array(held_out.best_theta, "the best theta", theta.shape, theta.dtype)
            arrays |= {"fit.theta": theta, "fit.held_out": held_out.chosen.astype(np.int64)}
            model_arrays |= model_file.named(self.model, held_out.best_theta)
        record = {"status": self.status if self.status in _STATUSES else "running", "fingerprint": self.fingerprint,
                  "stalled": held_out.stalled if held_out else 0,
                  **{name: state[name] for name in ("n_iter", "n_updates", "in_pass", "position", "stalled_passes")},
                  "bits": _plain(self.rng.bit_generator.state)}
        persistence.write(self.settings.checkpoint, {**model_arrays, **arrays}, {**metadata, "fit": json.dumps(record)})

    def resume(self, path: persistence.FilePath, arrays: persistence.Arrays, metadata: dict[str, str]) -> None:
        """Go on from a checkpoint of a fit with the same settings on the same data.

        arrays and metadata are the file's; the model has already taken over its own part. Nothing of them is
        trusted: whatever is taken is checked first, and ValueError raised where it cannot be of such a fit.
        """
        if "fit" not in metadata:
            raise ValueError(f"{path} is a saved model, not a checkpoint: there is no fit to resume")
        record = persistence.parse_json(path, metadata["fit"])
        if record.get("fingerprint") != self.fingerprint:
            raise ValueError(f"{path} is a checkpoint of a fit on other data or sample weights; resume with the same")
        try:
            self._take(record, arrays)
            _restore(self.rng, record["bits"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise persistence.bad(path, f"its record of the fit cannot be used ({error})") from None

    def _take(self, record: dict[str, Any], arrays: persistence.Arrays) -> None:
        """What `save` wrote, except for the random stream."""
        model, run = self.model, self.training
        for name in ("n_iter", "n_updates", "position", "stalled", "stalled_passes"):
            if type(record[name]) is not int or not 0 <= record[name] < 2**62:
                raise ValueError(f"{name} is {record[name]!r}, not a count")
        if type(record["in_pass"]) is not bool or record["status"] not in _STATUSES:
            raise ValueError(f"in_pass is {record['in_pass']!r} and status {record['status']!r}")
        order, losses = arrays["fit.order"], arrays["fit.losses"]
        if order.dtype != np.int64 or losses.dtype != np.float64 or losses.shape != (3,) or np.isnan(losses).any():
            raise ValueError("its order or losses are of another kind")
        n_iter, position = record["n_iter"], record["position"]
        per_pass = -(-self.batch.n_sequences // run.batch_size)
        if self._one_by_one:
            counts = (0, 0)
            right = not record["in_pass"] and position == 0
        else:
            counts = (model.n_iter_, model.n_updates_)
            right = record["n_updates"] == n_iter * per_pass + -(-position // run.batch_size)
            right = right and (record["in_pass"] or position == 0)
        n_scores = len(model.validation_scores_)
        if (not right or counts != (n_iter, record["n_updates"]) or model.n_iter_ > self.settings.max_iter
                or len(model.loss_curve_) != model.n_iter_
                or not (n_scores in (model.n_iter_ - 1, model.n_iter_) if self.held_out else n_scores == 0)):
            raise ValueError("its counters do not agree with each other")
        best, pass_loss, best_score = losses.tolist()
        run.restore({**{name: record[name] for name in ("n_iter", "n_updates", "in_pass", "position",
                                                        "stalled_passes")},
                     "order": order, "best": best, "pass_loss": pass_loss})
        if self.held_out is not None:
            theta = arrays["fit.theta"]
            model_file.check_array(theta, "the theta of the fit", model.theta_.shape, model.theta_.dtype)
            self.held_out.best_theta, self.held_out.best_score = model.theta_.copy(), best_score
            self.held_out.stalled, self.held_out.judged = record["stalled"], n_scores
            model.theta_[:] = theta
        # What a callback has stopped goes on.
        self.status = "running" if record["status"] == "stopped" else record["status"]


def advance(model: RAE, run: _training.Training, batch: Batch, weights: Floats | None, form: Form,
            settings: Hyperparameters, bits: np.random.BitGenerator | None, tol: float,
            losses: Floats) -> None:
    """Let the compiled loop work for a moment."""
    _training.train(model._theta(to_write=True), batch.data, batch.offsets, weights, form, settings.solver,
                    state_of(model, settings), model.rate_scale_, model._loss_unit, 0, bits, settings.max_iter, tol,
                    settings.n_iter_no_change, run, losses, _SECONDS_PER_CALL, settings.max_memory, settings.n_jobs)


def state_of(model: RAE, settings: Hyperparameters) -> list[Floats]:
    """The solver's arrays, in the order in which the compiled loop takes them."""
    return [model.solver_state_[name] for name in settings.solver.kind.state if name in model.solver_state_]


def too_large(settings: Hyperparameters, update: int, dtype: np.dtype[Any]) -> FloatingPointError:
    """The error for an update that was not made."""
    return FloatingPointError(
        f"The loss or its gradient became non-finite, or too large for {dtype}, at update {update}. Lower "
        f"learning_rate (now {settings.solver.learning_rate}) or scale the data down; the model keeps parameters "
        "from before that update")


def draw_held_out(n: int, fraction: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """A random part of n sequences, at least one and not all, in rising order."""
    if n < 2:
        raise ValueError("early_stopping needs at least 2 sequences, one of them to hold out; X has 1")
    return np.sort(rng.permutation(n)[:min(n - 1, max(1, round(fraction * n)))])


def hold_out(batch: Batch, weights: Floats | None,
             chosen: NDArray[np.intp]) -> tuple[Batch, Floats | None, HeldOut]:
    """The batch and its weights without the chosen sequences, and those."""
    rest = np.setdiff1d(np.arange(batch.n_sequences), chosen)
    if weights is not None and not (weights[chosen].any() and weights[rest].any()):
        raise ValueError("early_stopping held out sequences such that one of the two parts weighs nothing; pass "
                         "larger sample_weight or another random_state")
    kept, out = (None, None) if weights is None else (weights[rest], weights[chosen])
    return batch.select(rest), kept, HeldOut(batch.select(chosen), out, chosen)


def chosen_in(path: persistence.FilePath, arrays: persistence.Arrays, n: int) -> NDArray[np.intp]:
    """The sequences that the fit of a checkpoint holds out."""
    chosen = arrays.get("fit.held_out", np.zeros(0))
    if (chosen.dtype != np.int64 or chosen.ndim != 1 or not 0 < chosen.size < n or chosen.min() < 0
            or chosen.max() >= n or (np.diff(chosen) <= 0).any()):
        raise persistence.bad(path, "it does not say which sequences are held out")
    return chosen.astype(np.intp)


def fingerprint(batch: Batch, weights: Floats | None) -> int:
    """A checksum of the sequences and their weights: tells other data, guards against nothing."""
    value = zlib.crc32(batch.data.data.cast("B"))
    value = zlib.crc32(batch.offsets.astype(np.int64).tobytes(), value)
    return value if weights is None else zlib.crc32(weights.tobytes(), value)


def with_passes(settings: Hyperparameters, n_sequences: int) -> Hyperparameters:
    """The settings with max_iter="auto" made a number of passes over so many sequences."""
    if settings.max_iter >= 0:
        return settings
    per_pass = -(-n_sequences // settings.batch_size)
    passes = _MOST_PASSES if settings.solver.name == "lbfgs" else -(-_ENOUGH_UPDATES // per_pass)
    return replace(settings, max_iter=min(_MOST_PASSES, max(_FEWEST_PASSES, passes)))


def one_update(settings: Hyperparameters) -> Hyperparameters:
    """The settings of a single update, which is no part of a schedule."""
    return replace(settings, solver=replace(settings.solver, schedule="constant"), max_iter=1)


def check_checkpoint(path: Any) -> None:
    """ValueError where no checkpoint could be written: found before a fit, not an hour into it."""
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK)):
        raise ValueError(f"checkpoint={os.fspath(path)!r} must name a file in a folder that exists and can be written")


def _plain(value: Any) -> Any:
    """A bit generator's state as JSON: arrays become lists, which get their dtype back from a live one."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _restore(rng: np.random.Generator, saved: Any) -> None:
    """Set rng to a saved state of the same kind of bit generator; ValueError for anything else."""
    rng.bit_generator.state = _like(rng.bit_generator.state, saved, "bits")


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
