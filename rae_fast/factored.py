"""When output weights are kept in factors while a model learns: output_update. What the factors are: _factored.pyx."""

from __future__ import annotations

import numpy as np

from rae_fast._batch import Batch, SparseBatch
from rae_fast._factored import OutputFactor
from rae_fast._form import AnyForm, Form
from rae_fast.hyperparameters import Settings
from rae_fast.learned import Learned
from rae_fast.solvers import SOLVERS

# From so many features on, for each number of [h, 1] and beside, factors are faster, at one step an update as at two
# thousand (docs/performance.md, "Outputs in factors").
_MANY, _BESIDE = 6, 300
# Units that are sums of squares without further care.
_NEAR = 2.0**20


def by_rows(settings: Settings, form: AnyForm, batch: Batch, outputs: OutputFactor | None) -> bool:
    """Whether gradients have only those rows of W_xh that their sequences name: a solver's memory of others rests."""
    if outputs is not None:
        return True
    solver = SOLVERS[settings.solver]
    rests = solver.rests and settings.weight_decay == 0  # then both ways are the same
    wanted = settings.input_update == "rows" and bool(solver.state) or rests
    return wanted and isinstance(batch, SparseBatch) and not form.tied


def outputs_of(learned: Learned, settings: Settings, form: Form, batch: Batch) -> OutputFactor | None:
    """The factors in which the output weights are updated by such a batch, the present ones if they do; or None."""
    if not chosen(settings, form, batch):
        return None
    bias = 1.0
    if learned.solver.scale is not None:
        scale = learned.solver.scale.views()
        with np.errstate(all="ignore"):
            bias = float(scale["c_x"] / scale["V_hx"])
    # What is far from 1 would be rounded beside the rest, as squares of residuals would in their own units.
    if not (_NEAR > bias > 1 / _NEAR and _NEAR > learned.solver.residual_unit(form) > 1 / _NEAR):
        if settings.output_update == "factored":
            raise ValueError("output_update='factored' needs data near 1, whose squares are numbers of their type, and "
                             "an init to match; scale X, or choose 'dense'")
        return None
    single = learned.memory.dtype.itemsize == 4
    outputs = learned.outputs
    if outputs is None or outputs.bias != bias or outputs.single != single:
        outputs = OutputFactor(learned.form, single, bias)
    return outputs


def chosen(settings: Settings, form: Form, batch: Batch) -> bool:
    """Whether output weights are to be kept in factors; ValueError where a user wants them and they cannot be."""
    wanted = settings.output_update
    if wanted == "dense":
        return False
    reason = None
    if not isinstance(batch, SparseBatch):
        reason = "token ids or sparse rows as input; X is dense"
    elif form.output == "softmax":
        reason = "output='linear' or 'spherical': a softmax needs every output"
    elif form.tied:
        reason = "tied=False"
    elif SOLVERS[settings.solver].whole:
        reason = f"a solver that goes update by update, not {settings.solver!r}"
    if reason is not None:
        if wanted == "factored":
            raise ValueError(f"output_update='factored' needs {reason}")
        return False
    if wanted == "factored":
        return True
    # Beside another solver the result would be another.
    return settings.solver == "sgd" and form.n_inputs >= _MANY * (form.n_hidden + 1) + _BESIDE
