"""A fit under way: passes, validation, callbacks, and where it stands.

A Learned holds what has been learned; a Fit holds what else it takes to go on: a stepper that makes passes, the random
stream, the sequences held out and the best parameters so far. checkpoint.py writes both down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rae_fast import factored
from rae_fast._batch import Batch
from rae_fast._form import AnyForm
from rae_fast._objectives import objective_of
from rae_fast._progress import Progress
from rae_fast._training import Passes, Updates
from rae_fast.closed_form import ENOUGH_SEQUENCES
from rae_fast.hyperparameters import Settings
from rae_fast.inputs import largest, way_to_scale
from rae_fast.lbfgs import LBFGS
from rae_fast.learned import Learned
from rae_fast.solvers import SOLVERS, Solver

Floats = NDArray[Any]

# How long a stepper works between two looks at the clock, and the time between two reports by default.
_SECONDS_PER_CALL = 0.1
# Passes that one such call can make; a pass takes a microsecond or more.
_PASSES_PER_CALL = 1 << 17
# max_iter="auto": passes that make this many updates, within these limits, and batch_size="auto" (docs/quality.md,
# "Defaults"). Small codes gain by more updates where a trial (trial.py) says when to stop: of no more sequences than
# that, for beyond no overfitting was seen, and no fewer, which a fifth cannot judge (docs/quality.md, "Sizes").
_TRIED, _MOST_TRIED_PASSES, _TRIED_BATCH = (ENOUGH_SEQUENCES, 512), 1000, 8


class Amounts(NamedTuple):
    """What "auto" is made for: so many updates, within these limits of passes, and sequences a batch."""

    updates: int
    fewest: int
    most: int
    batch: int
    tried: bool = False    # a trial says when to stop, where that pays


AMOUNTS = Amounts(25_000, 20, 500, 32, True)


class Stepper(Protocol):
    """What makes passes over the data and enters them into the record of what is learned."""

    @property
    def status(self) -> str:
        """"running", "finished" (max_iter passes) or "converged" (by its own rule)."""

    @property
    def resumable(self) -> bool:
        """Whether a fit could be taken up from where it stands now."""

    def advance(self, most: int, after: Callable[[], bool]) -> None:
        """Some passes, up to `most`, and then `after()`, which says whether that is enough; or `after` after each."""

    def end(self) -> None:
        """Let threads go home; whoever keeps what an exception has left behind keeps none."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs besides the record."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state; ValueError if it cannot be one."""


class ByUpdates:
    """The stepper of solvers that go update by update: the compiled loop, for about 0.1 s a call."""

    def __init__(self, learned: Learned, batch: Batch, weights: Floats | None, settings: Settings, tol: float,
                 bits: np.random.BitGenerator | None) -> None:
        size = min(settings.batch_size, batch.n_sequences)
        self.learned, self.settings, self.batch, self.weights = learned, settings, batch, weights
        outputs = factored.outputs_of(learned, settings, learned.form, batch)
        learned.lay_out(outputs)
        learned.output_update = "dense" if outputs is None else "factored"
        updates = updates_of(learned, learned.form, settings, batch)
        self.objective = objective_of(learned.form, batch, weights, size, settings.max_memory, settings.n_jobs,
                                      learned.solver.residual_unit(learned.form), updates.by_rows, outputs)
        self.passes = Passes(self.objective, updates, learned.record, size,
                             settings.max_iter, tol, settings.n_iter_no_change, bits if settings.shuffle else None)

    @property
    def status(self) -> str:
        return self.passes.status

    @property
    def resumable(self) -> bool:
        return True  # after a whole number of updates

    def advance(self, most: int, after: Callable[[], bool]) -> None:
        record = self.learned.record
        before = record.n_iter
        try:
            self.passes.run(self.learned.memory, most, _SECONDS_PER_CALL)
        finally:
            self.learned.settle()
        if self.passes.status == "non-finite":
            raise not_made(self.learned, self.settings, self.batch, self.weights)
        if record.n_iter > before:
            after()

    def end(self) -> None:
        self.objective.end_team()
        self.learned.lay_out(None)

    def state(self) -> dict[str, Any]:
        return self.passes.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.passes.restore(state)


def stepper(learned: Learned, batch: Batch, weights: Floats | None, settings: Settings, tol: float,
            bits: np.random.BitGenerator) -> Stepper:
    """That of the settings' solver."""
    if SOLVERS[settings.solver].whole:
        if settings.dropout:
            raise ValueError(f"dropout={settings.dropout} is drawn anew for every update, and "
                             f"solver={settings.solver!r} compares losses between updates; choose another solver")
        check_decay(learned.form, settings)
        objective = objective_of(learned.form, batch, weights, 0, settings.max_memory, settings.n_jobs,
                                 learned.solver.residual_unit(learned.form))
        return LBFGS(learned, objective, settings, tol)
    return ByUpdates(learned, batch, weights, settings, tol, bits)


def check_decay(form: AnyForm, settings: Settings) -> None:
    """ValueError for a weight decay of blocks that a model has no numbers of."""
    own = {block.name for block in form.blocks}
    decay = settings.weight_decay if isinstance(settings.weight_decay, dict) else {}
    if strange := [name for name in decay if name not in own]:
        why = "is the transpose of W in a tied model" if strange[0] in form.views(np.empty(form.size)) else "it has not"
        raise ValueError(f"weight_decay has {strange[0]!r}, which {why}; the blocks of this model are {', '.join(own)}")


def updates_of(learned: Learned, form: AnyForm, settings: Settings, batch: Batch) -> Updates:
    """How a model is updated by such a batch, under the objective of that form, by the settings' solver."""
    check_decay(form, settings)
    solver, chosen = learned.solver, Solver.of(settings)
    chosen.check_for(learned.memory.dtype)
    output_rate = None
    if learned.outputs is not None:
        output_rate = settings.learning_rate if settings.solver == "sgd" else settings.output_learning_rate
    return Updates(form, chosen, list(solver.state.values()), solver.scale, solver.unit,
                   learned.memory.dtype == np.float32, factored.by_rows(settings, form, batch, learned.outputs),
                   output_rate)


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

    def score(self, theta: Floats, errors: Callable[[Floats, Batch], Floats]) -> float:
        """Minus the weighted mean of the reconstruction errors."""
        return -float(np.average(errors(theta, self.batch), weights=self.weights))


@dataclass(frozen=True)
class Baseline:
    """Parameters that a fit must not end above, and their mean error on its data."""

    theta: Floats
    error: float


@dataclass
class Fit:
    """One fit: what is learned, by which stepper and settings, from which random stream, and where it stands.

    Ctrl-C may come between any two steps of Python. So the record is kept by `_settle`, which derives all of
    it from what changed last (compiled counters, and HeldOut, which change as a whole) and can be
    repeated at any time.

    Attributes
    ----------
    name : the estimator's, for what is shown
    batch, weights : what is learned from
    errors : of parameters and a batch, the reconstruction error of each sequence
    notify : calls the callbacks; whether one of them ends the fit
    write : writes a checkpoint, where there are any
    stop_at : the pass after which it is over, if that is not settings.max_iter
    left : what an ended fit leaves, where that is neither theta as it was trained nor the best on what is held out
    """

    learned: Learned
    settings: Settings
    stepper: Stepper
    name: str
    batch: Batch
    weights: Floats | None
    errors: Callable[[Floats, Batch], Floats]
    notify: Callable[[], bool]
    held_out: HeldOut | None = None
    baseline: Baseline | None = None
    write: Callable[[Fit], None] | None = None
    stop_at: int | None = None
    left: Floats | None = None
    status: str = "running"
    reported: int = 0          # passes when callbacks were last called
    report_at: float = 0.0     # when they are next to be

    def run(self) -> None:
        """Train until max_iter, a stopping rule, a callback or an exception ends it."""
        record, settings = self.learned.record, self.settings
        self.reported, self.report_at = record.n_iter, time.monotonic() + _SECONDS_PER_CALL
        save_at = time.monotonic() + settings.checkpoint_seconds
        try:
            self._settle()
            if self.held_out is not None and self.held_out.judged < record.n_iter:
                self._validate(self.held_out)  # where Ctrl-C came just before that
            if self.status != "running":  # a fit that had ended already, or that makes no pass
                self._choose()
                if self.write is not None:
                    self.write(self)
            total = settings.max_iter if self.stop_at is None else self.stop_at
            with Progress(self.name, total, settings.verbose > 0, record.n_iter) as progress:
                while self.status == "running":
                    before = record.n_iter
                    self.stepper.advance(self._passes_to_do(), self._after_pass)
                    self._settle()
                    progress.advance(record.n_iter - before, record.loss_curve[-1] if record.loss_curve else None)
                    self._choose()
                    if self.write is not None and (self.status != "running" or time.monotonic() >= save_at):
                        self.write(self)
                        save_at = time.monotonic() + settings.checkpoint_seconds
        except BaseException as error:
            # After a whole number of updates: as good a place to go on from as any.
            self._settle()
            if self.write is not None and self.stepper.resumable:
                try:
                    self.write(self)
                except (OSError, ValueError) as failed:
                    error.add_note(f"the checkpoint could not be written: {failed}")
            raise
        finally:
            self.stepper.end()
            if self.held_out is not None:
                self.learned.theta[:] = self.held_out.best_theta
        if self.left is not None:
            self.learned.theta[:] = self.left

    def mean_error(self, theta: Floats) -> float:
        """The weighted mean of the reconstruction errors of what is learned from."""
        with np.errstate(all="ignore"):
            return float(np.average(self.errors(theta, self.batch), weights=self.weights))

    def set_baseline(self, theta: Floats) -> None:
        """Let the fit end no higher than theta does, if its error is a number."""
        error = self.mean_error(theta)
        if np.isfinite(error):
            self.baseline = Baseline(theta, error)

    def _choose(self) -> None:
        """At the end, fall back to the baseline if training has ended above it."""
        if (self.status != "running" and self.baseline is not None
                and not self.mean_error(self.learned.theta) <= self.baseline.error):
            self.left = self.baseline.theta

    def _settle(self) -> None:
        """Bring the record and the status up to what has happened."""
        if self.held_out is not None:
            if self.held_out.judged > len(self.learned.validation_scores):
                self.learned.validation_scores.append(self.held_out.last_score)
            if self.held_out.stalled >= self.settings.n_iter_no_change and self.status == "running":
                self.status = "converged"
        if self.status == "running" and self.stepper.status in ("finished", "converged"):
            self.status = self.stepper.status
        if self.status == "running" and self.stop_at is not None and self.learned.record.n_iter >= self.stop_at:
            self.status = "finished"

    def _passes_to_do(self) -> int:
        """Passes until something is done after one."""
        every = self.settings.report_every
        if self.held_out is not None:
            return 1
        n_iter = self.learned.record.n_iter
        most = _PASSES_PER_CALL if self.stop_at is None else min(_PASSES_PER_CALL, self.stop_at - n_iter)
        return min(every - n_iter % every, most) if every else most

    def _after_pass(self) -> bool:
        """Validation and callbacks, which may end the fit: whether they do."""
        n_iter, every = self.learned.record.n_iter, self.settings.report_every
        if self.held_out is not None:
            self._validate(self.held_out)
        self._settle()
        due = n_iter // every > self.reported // every if every else time.monotonic() >= self.report_at
        if due or self.status != "running":
            self.reported, self.report_at = n_iter, time.monotonic() + _SECONDS_PER_CALL
            if self.notify() and self.status == "running":
                self.status = "stopped"
        return self.status != "running"

    def _validate(self, held_out: HeldOut) -> None:
        """Judge the parameters by the sequences held out; keep the best, notice when they stay the best."""
        best, score = held_out.best_score, held_out.score(self.learned.theta, self.errors)
        enough = best + self.settings.tol * abs(best) if np.isfinite(best) else best
        news: dict[str, Any] = {"last_score": score, "judged": self.learned.record.n_iter,
                                "stalled": 0 if score > enough else held_out.stalled + 1}
        if score > best:
            news |= {"best_theta": self.learned.theta.copy(), "best_score": score}
        held_out.__dict__.update(news)  # all or nothing, whenever Ctrl-C comes
        self._settle()


# Values or weights beyond these are named where an update cannot be made: others will hardly be the cause.
_SMALL, _LARGE = 1e-3, 1e3


def not_made(learned: Learned, settings: Settings, batch: Batch, weights: Floats | None) -> FloatingPointError:
    """The error for an update that was not made: learned.record's next one."""
    remedies = [f"lower learning_rate (now {settings.learning_rate})"]
    if not _SMALL <= largest(batch) <= _LARGE:
        remedies.append(f"scale the data {way_to_scale(batch)}")
    if weights is not None and float(weights.max()) > _LARGE:
        remedies.insert(0, f"divide sample_weight (up to {float(weights.max()):.3g}) by its mean")
    advice = " or ".join(remedies)
    return FloatingPointError(
        "The loss, its gradient or the step became non-finite, or too large for "
        f"{learned.memory.dtype}, at update {learned.record.n_updates + 1}. {advice[0].upper()}{advice[1:]}; the model "
        "keeps parameters from before that update")


def draw_held_out(n: int, fraction: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """A random part of n sequences, at least one and not all, in rising order."""
    if n < 2:
        raise ValueError("early_stopping needs at least 2 sequences that weigh anything, one of them to hold out; "
                         f"X has {n}")
    return np.sort(rng.permutation(n)[:min(n - 1, max(1, round(fraction * n)))])


def hold_out(batch: Batch, weights: Floats | None,
             chosen: NDArray[np.intp]) -> tuple[Batch, Floats | None, HeldOut]:
    """The batch and its weights without the chosen sequences, and those."""
    rest = np.setdiff1d(np.arange(batch.n_sequences), chosen)
    kept, out = (None, None) if weights is None else (weights[rest], weights[chosen])
    return batch.select(rest), kept, HeldOut(batch.select(chosen), out, chosen)


def is_tried(settings: Settings, n_sequences: int, amounts: Amounts = AMOUNTS) -> bool:
    """Whether max_iter="auto" is to be found by a trial: of a small code of some hundred sequences, with a closed form
    to compare with. (L-BFGS cannot be judged between its rounds.)"""
    of_model = vars(settings)
    return (amounts.tried and settings.max_iter == "auto"
            and _TRIED[0] <= n_sequences <= _TRIED[1] and of_model.get("n_code") is not None
            and of_model.get("init") == "linear" and settings.relative_rates and not settings.early_stopping
            and not SOLVERS[settings.solver].whole)


def with_amounts(settings: Settings, n_sequences: int, amounts: Amounts = AMOUNTS) -> Settings:
    """The settings with "auto" made a batch size and a number of passes over so many sequences."""
    tried = is_tried(settings, n_sequences, amounts)
    if settings.batch_size == "auto":
        settings = settings.but(batch_size=_TRIED_BATCH if tried else amounts.batch)
    if settings.max_iter != "auto":
        return settings
    per_pass = -(-n_sequences // settings.batch_size)
    most = _MOST_TRIED_PASSES if tried else amounts.most
    passes = most if SOLVERS[settings.solver].whole else -(-amounts.updates // per_pass)
    return settings.but(max_iter=min(most, max(amounts.fewest, passes)))
