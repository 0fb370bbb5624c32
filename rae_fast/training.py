"""A fit under way: passes, validation, callbacks, checkpoints, and how it is taken up again.

RAE holds what has been learned; a Fit holds what else it takes to go on: where the pass stands, the random
stream, the sequences held out and the best parameters so far. A checkpoint is a model file with both.
"""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from rae_fast import _sequence, model_file, persistence
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
# What the checkpoint's part of a file is called.
_PREFIX = "fit."


@dataclass
class HeldOut:
    """Sequences kept for early stopping, and what they said so far."""

    batch: Batch
    weights: Floats | None
    chosen: NDArray[np.intp]
    best_theta: Floats = field(init=False)
    best_score: float = -np.inf
    stalled: int = 0

    def score(self, model: RAE) -> float:
        """Minus the weighted mean of the reconstruction errors."""
        return -float(np.average(model._errors(model.theta_, self.batch), weights=self.weights))


@dataclass
class Fit:
    """One fit of `model`: its data, settings and random stream, and where it stands."""

    model: RAE
    settings: Hyperparameters
    form: Form
    batch: Batch
    weights: Floats | None
    rng: np.random.Generator
    fingerprint: int
    held_out: HeldOut | None = None
    status: str = "running"
    training: _sequence.Training = field(init=False)
    reported: int = field(init=False)      # passes when callbacks were last called
    report_at: float = field(init=False)   # when they are next to be

    def __post_init__(self) -> None:
        size = min(self.settings.batch_size, self.batch.n_sequences)
        self.training = _sequence.Training(self.batch.offsets, size)

    # ---- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until max_iter, a stopping rule, a callback or an exception ends it."""
        model, settings = self.model, self.settings
        one_by_one = settings.solver.name == "lbfgs"  # looks after each of its iterations itself
        self.reported, self.report_at = model.n_iter_, time.monotonic() + _SECONDS_PER_CALL
        save_at = time.monotonic() + settings.checkpoint_seconds
        at_a_seam = True
        try:
            if self.held_out is not None and len(model.validation_scores_) < model.n_iter_:
                self._validate(self.held_out)  # where Ctrl-C came just before that
            with Progress(settings.max_iter, settings.verbose > 0, model.n_iter_) as progress:
                while self.status == "running":
                    before = model.n_iter_
                    at_a_seam = not one_by_one
                    self._advance()
                    at_a_seam = True
                    if not one_by_one and model.n_iter_ > before:
                        self._after_pass()
                    progress.advance(model.n_iter_ - before, model.loss_curve_[-1] if model.loss_curve_ else None)
                    if settings.checkpoint and (self.status != "running" or time.monotonic() >= save_at):
                        self.save()
                        save_at = time.monotonic() + settings.checkpoint_seconds
        except BaseException:
            # After a whole number of updates: as good a place to go on from as any.
            if settings.checkpoint and at_a_seam:
                self.save()
            raise
        finally:
            if self.held_out is not None:
                model.theta_[:] = self.held_out.best_theta

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
        if settings.solver.name == "lbfgs":
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
        self.status = advance(self.model, self.training, self.batch, self.weights, self.form, settings, bits, tol, most)

    def _validate(self, held_out: HeldOut) -> None:
        """Judge the parameters by the sequences held out; keep the best, notice when they stay the best."""
        model, settings = self.model, self.settings
        best, score = held_out.best_score, held_out.score(model)
        if score > best:
            held_out.best_theta, held_out.best_score = model.theta_.copy(), score
        held_out.stalled = 0 if score > best + settings.tol * abs(best) else held_out.stalled + 1
        model.validation_scores_.append(score)
        if settings.tol > 0 and held_out.stalled >= settings.n_iter_no_change and self.status == "running":
            self.status = "converged"

    # ---- L-BFGS ------------------------------------------------------------------------------------

    def _lbfgs_round(self) -> None:
        """Up to LBFGS_ROUND iterations of scipy's L-BFGS-B from theta_, each counted as a pass."""
        model, settings = self.model, self.settings
        dtype = model.theta_.dtype
        scale = np.ones(model.theta_.size) if model.rate_scale_ is None else model.rate_scale_.astype(np.float64)
        decay = settings.solver.weight_decay
        # Within this limit no gradient overflows when it is scaled and squared.
        huge = float(np.finfo(np.float64).max) ** 0.25
        grad = np.empty_like(model.theta_)

        def objective(u: Floats) -> tuple[float, Floats]:
            with np.errstate(over="ignore"):
                theta = (u * scale).astype(dtype)
            loss = _sequence.loss_and_grad(theta, self.batch.data, self.batch.offsets, self.weights, self.form, grad)
            g = grad * scale
            if decay:
                loss += 0.5 * decay * float(theta @ theta)
                g += decay * theta * scale
            if not abs(loss) < huge or not np.abs(g).max() < huge:
                return huge, np.zeros_like(u)  # too far: the line search comes back
            return loss, g

        def after_iteration(intermediate_result: Any) -> None:
            model.theta_[:] = intermediate_result.x * scale
            model.n_iter_ += 1
            model.n_updates_ += 1
            model.loss_curve_.append(float(intermediate_result.fun))
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
                raise FloatingPointError("The loss or its gradient is non-finite at the start of lbfgs; scale the data "
                                         "down or choose another init; the model keeps its parameters")
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
        state = self.training.state()
        arrays = {"order": state.pop("order").astype(np.int64)}
        # Numbers that JSON has no text for, infinity among them.
        arrays["losses"] = np.array([state.pop("best"), state.pop("pass_loss"),
                                     self.held_out.best_score if self.held_out else 0.0])
        model_arrays, metadata = model_file.pack(self.model)
        if self.held_out is not None:
            # The file's model is what the fit would leave: the best so far.
            arrays["theta"] = self.model.theta_
            arrays["held_out"] = self.held_out.chosen.astype(np.int64)
            model_arrays |= model_file.named(self.model, self.held_out.best_theta)
        record = {"status": self.status, "training": state, "fingerprint": self.fingerprint,
                  "stalled": 0 if self.held_out is None else self.held_out.stalled,
                  "bits": _plain(self.rng.bit_generator.state)}
        persistence.write(self.settings.checkpoint,
                          {**model_arrays, **{_PREFIX + name: array for name, array in arrays.items()}},
                          {**metadata, "fit": json.dumps(record)})

    def resume(self, path: persistence.FilePath, arrays: persistence.Arrays, metadata: dict[str, str]) -> None:
        """Go on from a checkpoint of a fit with the same settings on the same data.

        arrays and metadata are the file's; the model has already taken over its own part.
        """
        if "fit" not in metadata:
            raise ValueError(f"{path} is a saved model, not a checkpoint: there is no fit to resume")
        record = persistence.parse_json(path, metadata["fit"])
        if record.get("fingerprint") != self.fingerprint:
            raise ValueError(f"{path} is a checkpoint of a fit on other data or sample weights; resume with the same")
        try:
            best, pass_loss, best_score = arrays[_PREFIX + "losses"].tolist()
            self.training.restore({**record["training"], "order": arrays[_PREFIX + "order"], "best": best,
                                   "pass_loss": pass_loss})
            self.rng.bit_generator.state = _arrays(record["bits"])
            if self.held_out is not None:
                self.held_out.best_theta, self.held_out.best_score = self.model.theta_.copy(), best_score
                self.held_out.stalled = int(record["stalled"])
                self.model.theta_[:] = arrays[_PREFIX + "theta"]
            self.status = record["status"]
            if self.status not in ("running", "finished", "converged", "stopped"):
                raise ValueError(f"unknown status {self.status!r}")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise persistence.bad(path, f"its record of the fit cannot be used ({error})") from None


def advance(model: RAE, training: _sequence.Training, batch: Batch, weights: Floats | None, form: Form,
            settings: Hyperparameters, bits: np.random.BitGenerator | None, tol: float, most: int) -> str:
    """Let the compiled loop work for a moment, to the end of `most` passes; keep the record true however it ends."""
    losses = np.empty(max(1, min(settings.max_iter, most, _PASSES_PER_CALL)))
    done, updates = training.n_iter, training.n_updates
    try:
        _sequence.train(model._theta(to_write=True), batch.data, batch.offsets, weights, form, settings.solver,
                        list(model.solver_state_.values()), model.rate_scale_, model.n_updates_ - updates, bits,
                        settings.max_iter, tol, settings.n_iter_no_change, training, losses, _SECONDS_PER_CALL)
    finally:
        model.n_updates_ += training.n_updates - updates
        model.loss_curve_.extend(losses[:training.n_iter - done].tolist())
        model.n_iter_ += training.n_iter - done
    if training.status == "non-finite":
        raise FloatingPointError(
            f"The loss or its gradient became non-finite at update {training.n_updates + 1} (pass "
            f"{model.n_iter_ + 1}). Lower learning_rate (now {settings.solver.learning_rate}) or scale the "
            "data down; the model keeps its parameters from before that update")
    return training.status


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
    chosen = arrays.get(_PREFIX + "held_out", np.zeros(0)).astype(np.intp)
    if not 0 < chosen.size < n or chosen.min() < 0 or chosen.max() >= n or (np.diff(chosen) <= 0).any():
        raise persistence.bad(path, "it does not say which sequences are held out")
    return chosen


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


def _plain(value: Any) -> Any:
    """A bit generator's state as JSON: arrays become lists marked as such."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.str}
    return value.item() if isinstance(value, np.generic) else value


def _arrays(value: Any) -> Any:
    """The inverse of _plain."""
    if isinstance(value, dict):
        if set(value) == {"array", "dtype"}:
            return np.array(value["array"], dtype=np.dtype(value["dtype"]))
        return {key: _arrays(item) for key, item in value.items()}
    return value
