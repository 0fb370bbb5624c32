"""What a training is worth on sequences that it does not see: max_iter="auto" for small codes, and their units.

Few sequences are known by heart before the given number of passes is over, and the sooner the more units there are. So
a part of them is held out in a trial, with a training of its own on the others, before the real one on all of them
makes as many passes as did best there: early stopping that gives up no data (Goodfellow, Bengio & Courville, Deep
Learning, 2016, algorithm 7.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast._form import Form
from rae_fast._progress import Progress
from rae_fast.closed_form import TRIED_PART
from rae_fast.hyperparameters import Settings
from rae_fast.learned import Learned
from rae_fast.training import draw_held_out, hold_out, stepper

Floats = NDArray[Any]
Start = Callable[[Form, Batch, Floats | None], tuple[Learned, Floats | None]]
Errors = Callable[[Learned, Floats, Batch], Floats]

# How often what is held out is judged in all, how near the best there counts as good (what is judged is noisy, and the
# more passes, the more the falling rate settles), after how much of the training without any as good the trial is over,
# and how much less error, by how many standard errors, makes something clearly better: docs/quality.md, "Sizes".
_JUDGED, _GOOD, _PATIENCE, _LESS, _SURE = 25, 1.02, 0.4, 0.01, 2.0


@dataclass
class _Judge:
    """What is held out, and what each of its sequences counts."""

    batch: Batch
    share: Floats

    def mean(self, errors: Floats) -> float:
        return float(self.share @ errors)

    def clearly_better(self, errors: Floats, than: Floats) -> bool:
        """Whether the errors are lower by more than chance, one sequence with the other (a paired t-test)."""
        with np.errstate(all="ignore"):
            gain = (than - errors) / self.mean(than)
            mean, n = self.mean(gain), len(gain)
            deviation = np.sqrt(np.sum((self.share * (gain - mean)) ** 2) * n / (n - 1))
            return bool(mean >= max(_LESS, _SURE * deviation))


def best(start: Start, errors: Errors, forms: Sequence[Form], batch: Batch, weights: Floats | None, settings: Settings,
         rng: np.random.Generator, name: str) -> tuple[Form, int]:
    """The form whose training does best on sequences held out, the first unless another is clearly better, and passes
    with which it does well; 0 where nothing does clearly better than its closed form.

    start : makes a model that is to learn from sequences and weights, and the closed form to compare with
    errors : of a model with other parameters and a batch, the reconstruction error of each sequence

    FloatingPointError where a trial overflows, as the fit would.
    """
    part, part_weights, held_out = hold_out(batch, weights, draw_held_out(batch.n_sequences, 1 - TRIED_PART, rng))
    share = np.ones(held_out.batch.n_sequences) if held_out.weights is None else held_out.weights.astype(np.float64)
    judge = _Judge(held_out.batch, share / share.sum())
    chosen, lowest = (forms[0], 0), None
    for form in forms:
        learned, alone = start(form, part, part_weights)
        passes, found = _useful_passes(learned, alone, errors, part, part_weights, judge, settings, rng, name)
        if lowest is None or judge.clearly_better(found, lowest):
            chosen, lowest = (form, passes), found
    return chosen


def _useful_passes(learned: Learned, alone: Floats | None, errors: Errors, part: Batch, weights: Floats | None,
                   judge: _Judge, settings: Settings, rng: np.random.Generator, name: str) -> tuple[int, Floats]:
    """Passes, of settings.max_iter, that do well, and the errors there of what is held out."""
    def judged(theta: Floats) -> Floats:
        with np.errstate(all="ignore"):
            return errors(learned, theta, judge.batch)

    if alone is None:
        return int(settings.max_iter), judged(learned.theta)
    every = max(1, settings.max_iter // _JUDGED)
    patience = max(every, int(_PATIENCE * settings.max_iter))
    trial = stepper(learned, part, weights, settings, settings.tol, rng.bit_generator)
    record, good_at = learned.record, 0
    untrained = judged(alone)
    best = untrained
    least = np.inf
    with Progress(f"{name}, trial", settings.max_iter, settings.verbose > 0) as progress:
        try:
            while trial.status == "running" and record.n_iter - good_at < patience:
                before = record.n_iter
                trial.advance(every - record.n_iter % every, lambda: False)
                progress.advance(record.n_iter - before, record.loss_curve[-1] if record.loss_curve else None)
                if record.n_iter % every == 0 and record.n_iter > before:
                    found = judged(learned.theta)
                    mean = judge.mean(found)
                    if mean <= _GOOD * least:
                        good_at = record.n_iter
                        if mean <= least:
                            best, least = found, mean
        finally:
            trial.end()
    return (good_at, best) if judge.clearly_better(best, untrained) else (0, untrained)
