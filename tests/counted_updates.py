"""Run by test_instructions.py under callgrind: counted_updates.py MARK, a library with tests/native/mark.c.

Between the second and the third mark of each case are twice as many updates as between the first and the second.
"""

import ctypes
import itertools
import sys

import numpy as np
from problems import problem, solver_of

from rae_fast import _objectives
from rae_fast._batch import Batch
from rae_fast._form import Blocks, Form
from rae_fast._record import Record
from rae_fast._training import Passes, Updates

# I, H, T, B, and the updates of which twice as many are compared.
SIZES = {"small": (8, 24, 8, 1, 100), "mid": (64, 128, 50, 8, 1)}
CASES = [*itertools.product(SIZES, ("sgd", "adam"), ("float32", "float64"))]


def prepared(size, solver, dtype):
    """Passes of one update each, and what they train."""
    I, H, T, B, _ = SIZES[size]
    form = Form(I, H)
    theta, data, offsets, _ = problem(form, T, B, ragged=False)
    theta, data = theta.astype(dtype), data.astype(dtype)
    solver = solver_of(solver, 1e-3)
    updates = Updates(form, solver, [Blocks(form, theta.dtype) for _ in solver.kind.state], None, 1.0,
                      dtype == "float32")
    return Passes(_objectives.objective_of(form, Batch(data, offsets)), updates, Record(), B, 10**6), theta


def main(mark):
    for size, solver, dtype in CASES:
        passes, theta = prepared(size, solver, dtype)
        n = SIZES[size][-1]
        mark()
        passes.run(theta, n, 1e9)
        mark()
        passes.run(theta, 2 * n, 1e9)
        mark()
        assert np.isfinite(theta).all() and passes.status == "running"


if __name__ == "__main__":
    main(ctypes.CDLL(sys.argv[1]).rae_mark)
