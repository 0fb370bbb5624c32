"""Sizes that a user leaves to the data: n_hidden=None and patch_length="auto". Measured in docs/quality.md, "Sizes"."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import closed_form
from rae_fast._batch import Batch, SparseBatch
from rae_fast._form import Form
from rae_fast.hyperparameters import Settings
from rae_fast.patches import Patches

Floats = NDArray[Any]

# Without n_code: the units of the original program.
_PLAIN = 24
# With codes of C numbers: 32 + 3/2 C units lose little of what so many principal components hold; a third of the number
# of sequences at most. Where these are few, they are soon known by heart, and a small state guards against that.
_BESIDE, _A_NUMBER, _SEQUENCES_A_UNIT, _FEW = 32, 1.5, 3, 8
# Where training is tried first (trial.py), fewer units than by the rule are tried too.
_FEWER, _FEWER_BESIDE = 24, 8
# A series has about so many steps when its rows are read together.
_STEPS = 12
# Sequences that choose a patch length at most, the part of them that judges, and how much worse than single rows
# patches, which train in a fraction of the time, may be there.
_CHOOSING, _JUDGING, _NO_WORSE = 1000, 0.2, 1.05


def decided(settings: Settings, batch: Batch, weights: Floats | None, rng: np.random.Generator) -> tuple[int, int]:
    """n_hidden and patch_length for a model of these sequences, in rows as the user has them."""
    n_hidden, length = settings.n_hidden, settings.patch_length
    if n_hidden is None:
        n_hidden = hidden_units(settings.n_code, batch.n_sequences)
    if isinstance(batch, SparseBatch):
        if length not in ("auto", 1):
            raise ValueError(f"patch_length={length} is for dense rows; token ids and sparse rows are read one by one")
        length = 1
    elif length == "auto":
        length = 1
        if settings.n_code is not None and settings.output == "linear" and settings.init == "linear":
            length = _patch_length(settings.n_code, max(n_hidden, settings.n_code), batch, weights, rng,
                                   settings.n_jobs)
    elif length > 1 and settings.output != "linear":
        raise ValueError(f"patch_length={length} needs output='linear': a softmax is over the symbols of one row")
    return n_hidden, length


def hidden_units(n_code: int | None, n_sequences: int) -> int:
    """The rule for n_hidden=None."""
    if n_code is None:
        return _PLAIN
    if n_sequences < closed_form.ENOUGH_SEQUENCES:
        return max(n_code, _FEW)
    return max(n_code, min(_BESIDE + int(_A_NUMBER * n_code), n_sequences // _SEQUENCES_A_UNIT))


def others(settings: Settings, n_hidden: int) -> list[int]:
    """What else than n_hidden, which is the rule's, a trial of n_hidden=None looks at."""
    if settings.n_hidden is not None or settings.n_code is None:
        return []
    fewer = max(_FEWER, settings.n_code + _FEWER_BESIDE)
    return [fewer] if fewer < n_hidden else []


def check_memory(form: Form, dtype: np.dtype[Any], n_vectors: int) -> None:
    """ValueError where so many vectors of parameters are more than this machine's memory."""
    needed = form.size * dtype.itemsize * n_vectors
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return  # nobody knows
    if needed > there > 0:
        raise ValueError(f"{form.n_inputs} features and n_hidden={form.n_hidden} make {form.size:,} parameters, and "
                         f"to train them takes {needed / 1e9:.1f} GB; this machine has {there / 1e9:.1f}: lower "
                         "n_hidden or the number of features or ids (Vocabulary's min_count), or choose "
                         "dtype='float32'")


def _patch_length(n_code: int, n_hidden: int, batch: Batch, weights: Floats | None, rng: np.random.Generator,
                  threads: int) -> int:
    """1, or the length that makes series short, if the closed form gives back others as well with it."""
    length = round(batch.n_rows / batch.n_sequences / _STEPS)
    n = min(batch.n_sequences, _CHOOSING)
    held = round(_JUDGING * n)
    if length <= 1 or n < closed_form.ENOUGH_SEQUENCES:
        return 1  # sharing weights among more steps guards as well
    order = rng.permutation(batch.n_sequences)[:n]

    def lost(length: int) -> float:
        """The error of the closed form of most of them on the others."""
        part, w_part = batch.select(order[held:]), None if weights is None else weights[order[held:]]
        patches = Patches.of(part, w_part, length)
        form = Form(length * batch.n_features, n_hidden, "unfold", "tanh", n_code=n_code)
        with np.errstate(all="ignore"):
            _, theta = closed_form.initialise(form, patches.read(part), w_part, np.random.default_rng(0),
                                              threads=threads)
        w = np.ones(held) if weights is None else weights[order[:held]].astype(np.float64)
        assert theta is not None
        with np.errstate(all="ignore"):
            return closed_form.error(theta, form, patches.read(batch.select(order[:held])), w)

    return length if lost(length) <= _NO_WORSE * lost(1) else 1
