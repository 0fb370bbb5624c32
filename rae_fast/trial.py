"""How many passes of a training do any good on sequences that it does not see: max_iter="auto" for small codes.

Few sequences are known by heart before the given number of passes is over. So a part of them is held out in a trial,
with a training of its own on the others, before the real one on all of them makes as many passes as did best there:
early stopping that gives up no data (Goodfellow, Bengio & Courville, Deep Learning, 2016, algorithm 7.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast._progress import Progress
from rae_fast.closed_form import TRIED_PART
from rae_fast.hyperparameters import Settings
from rae_fast.learned import Learned
from rae_fast.training import draw_held_out, hold_out, stepper

Floats = NDArray[Any]
Errors = Callable[[Floats, Batch], Floats]

# How often what is held out is judged in all, how near the best there counts as good (what is judged is noisy, and the
# more passes, the more the falling rate settles), after how much of the training without any as good the trial is over,
# and how much better than the closed form training must be: docs/quality.md, "Sizes".
_JUDGED, _GOOD, _PATIENCE, _WORTH = 25, 1.02, 0.4, 0.99


def useful_passes(start: Callable[[Batch, Floats | None], tuple[Learned, Floats | None]], errors: Errors, batch: Batch,
                  weights: Floats | None, settings: Settings, rng: np.random.Generator, name: str) -> int:
    """Passes, of settings.max_iter, with which a fit does well on sequences that are held out; 0 where nothing does
    better than the closed form.

    start : makes a model that is to learn from sequences and weights, and the closed form to compare with
    errors : of parameters and a batch, the reconstruction error of each sequence

    FloatingPointError where the trial overflows, as the fit would.
    """
    part, part_weights, held_out = hold_out(batch, weights, draw_held_out(batch.n_sequences, 1 - TRIED_PART, rng))
    learned, alone = start(part, part_weights)
    if alone is None:
        return int(settings.max_iter)
    every = max(1, settings.max_iter // _JUDGED)
    patience = max(every, int(_PATIENCE * settings.max_iter))

    def judge(theta: Floats) -> float:
        with np.errstate(all="ignore"):
            return -held_out.score(theta, errors)

    trial = stepper(learned, part, part_weights, settings, settings.tol, rng.bit_generator)
    record, best, good_at = learned.record, np.inf, 0
    worth = _WORTH * judge(alone)
    with Progress(f"{name}, trial", settings.max_iter, settings.verbose > 0) as progress:
        try:
            while trial.status == "running" and record.n_iter - good_at < patience:
                before = record.n_iter
                trial.advance(every - record.n_iter % every, lambda: False)
                progress.advance(record.n_iter - before, record.loss_curve[-1] if record.loss_curve else None)
                if record.n_iter % every == 0 and record.n_iter > before:
                    found = judge(learned.theta)
                    if found <= _GOOD * best:
                        best, good_at = min(best, found), record.n_iter
        finally:
            trial.end()
    return good_at if best <= worth else 0
