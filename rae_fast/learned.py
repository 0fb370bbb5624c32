"""What was learned: everything of a fitted model that is not a hyper-parameter, in one object.

An estimator holds one Learned, and its attributes (theta_, loss_curve_, ...) are read from there; to replace the model
is one assignment. What compiled code advances is in the record. Nothing that could be made anew is in here: what a
model keeps for its next call is the estimator's own affair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast._factored import OutputFactor
from rae_fast._form import AnyForm, Blocks
from rae_fast._record import Record
from rae_fast.gaps import Gaps
from rae_fast.patches import Patches
from rae_fast.scaling import Scaling, Whitening
from rae_fast.solvers import Solver
from rae_fast.vocabulary import Vocabulary

Floats = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class SolverState:
    """A solver's memory, and the units in which it works."""

    name: str
    state: dict[str, Blocks] = field(default_factory=dict)
    scale: Blocks | None = None    # of theta, with relative rates
    unit: float = 1.0              # of the loss

    def residual_unit(self, form: AnyForm) -> float:
        """The power of two in which compiled calls measure the errors of outputs: about the root of the loss's unit,
        within what theta's type holds when it is squared.

        1 where the solver has no units of its own, or the loss is no sum of squared errors of outputs alone.
        """
        if self.scale is None or form.categorical or form.objective != "unfold" or form.n_classes:
            return 1.0
        most = 100 if self.scale.memory.dtype == np.float32 else 500
        return 2.0 ** min(most, max(-most, math.frexp(self.unit)[1] // 2))


def new_solver(solver: Solver, form: AnyForm, dtype: np.dtype[Any], scale: Blocks | None, unit: float) -> SolverState:
    """That of a solver which has made no update yet."""
    state = {name: Blocks(form, dtype) for name in solver.kind.state}
    for name, attribute in solver.kind.starts_at:
        state[name].memory[:] = getattr(solver, attribute)
    return SolverState(solver.name, state, scale, unit)


@dataclass(eq=False, slots=True)
class Learned:
    """A fitted model: form and parameters, the record of its training, and the solver's memory."""

    form: Any         # Form or TreeForm
    memory: Floats    # theta; but while it learns the output weights may be in factors, which are of use to nobody else
    record: Record
    solver: SolverState
    validation_scores: list[float] = field(default_factory=list)
    feature_names: tuple[str, ...] | None = None    # of the columns that fit saw, where they have names
    patches: Patches | None = None                  # where several rows are one step
    reads_ids: bool = False                         # fit saw token ids: integers are
    vocabulary: Vocabulary | None = None            # that came with the model's file
    output_update: str = "dense"                    # how output weights were updated last
    classes: NDArray[Any] | None = None             # of labels, in the order of their numbers
    scaling: Scaling | None = None                  # where channels are read in units of their own
    gaps: Gaps | None = None                        # where numbers may be missing
    code_units: Scaling | Whitening | None = None   # of what transform gives; its kind says of which pooling
    outputs: OutputFactor | None = None             # the factors that they are in, if they are
    lent: ReferenceType[Floats] | None = None       # a view of theta that a user got, and may have kept
    given_away: bool = False                        # a user has got theta itself
    # For small calls, which look at one of these in place of several: whether a batch may be made of numbers as they
    # are, and whether that is what the model reads.
    takes_ready: bool = field(init=False)
    plain: bool = field(init=False)

    def __post_init__(self) -> None:
        self.takes_ready = self.patches is None and self.missing != "padding"
        self.plain = self.patches is None and self.gaps is None and self.scaling is None

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.form, self.theta, self.record, self.solver, self.validation_scores, self.feature_names,
                        self.patches, self.reads_ids, self.vocabulary, self.output_update, self.classes, self.scaling,
                        self.gaps, self.code_units)

    @property
    def theta(self) -> Floats:
        """The parameters, to read and to write."""
        if self.outputs is not None:
            self.outputs.make_true(self.memory)
        return self.memory

    @theta.setter
    def theta(self, theta: Floats) -> None:
        self.lay_out(None)
        self.memory, self.given_away = theta, True

    def lend(self) -> Floats:
        """theta for a user, who may keep it and write into it whenever nothing is learned."""
        if self.outputs is None and not self.reads_ids:
            self.given_away = True
            return self.memory
        view = None if self.lent is None else self.lent()
        if view is None or not np.may_share_memory(view, self.memory):
            # By way of a buffer: all that is made of the view refers to it, and not to the memory behind it.
            view = np.asarray(self.memory.data)
            self.lent = ref(view)
        if self.outputs is not None:
            self.outputs.make_true(self.memory)
        return view

    def settle(self) -> None:
        """After an update: where somebody may have kept theta, that is to be true."""
        if self.outputs is not None and (self.given_away or self.lent is not None and self.lent() is not None):
            self.outputs.make_true(self.memory)

    def lay_out(self, outputs: OutputFactor | None) -> None:
        """Keep the output weights in these factors from here on, or as they are."""
        if outputs is not self.outputs and self.outputs is not None:
            self.outputs.make_true(self.memory)
        self.outputs = outputs

    @property
    def n_features(self) -> int:
        """Of a row that a user passes."""
        return self.form.n_inputs if self.patches is None else len(self.patches.fill)

    @property
    def patch_length(self) -> int:
        return 1 if self.patches is None else self.patches.length

    def read(self, batch: Batch) -> Batch:
        """A user's sequences as the model's steps."""
        if self.gaps is not None:
            batch = self.gaps.read(batch)
        if self.scaling is not None:
            batch = self.scaling.read(batch)
        return batch if self.patches is None else self.patches.read(batch)

    def shown(self, rows: Floats) -> Floats:
        """Rows (..., I) that the model gives in the user's units."""
        return rows if self.scaling is None else self.scaling.back(rows)

    @property
    def missing(self) -> str:
        return "error" if self.gaps is None else self.gaps.kind

    @property
    def standardize(self) -> str:
        return "none" if self.scaling is None else self.scaling.kind

    def with_solver(self, solver: SolverState) -> Learned:
        """The same model with another solver, which starts anew."""
        record = Record(self.record.n_steps, self.record.n_iter, 0, self.record.loss_curve)
        return Learned(self.form, self.theta, record, solver, self.validation_scores, self.feature_names, self.patches,
                       self.reads_ids, self.vocabulary, self.output_update, self.classes, self.scaling, self.gaps,
                       self.code_units, None, self.lent, self.given_away)


def _again(form: Any, theta: Floats, *rest: Any) -> Learned:
    """A copy, or what was pickled: theta begins on a cache line again, unless it is another's memory."""
    if type(theta) is np.ndarray and theta.flags.owndata:
        aligned = form.empty(theta.dtype)
        aligned[:] = theta
        theta = aligned
    return Learned(form, theta, *rest)
