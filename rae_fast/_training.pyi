from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast.parameters import Form
from rae_fast.solvers import Solver

Floats = NDArray[Any]
Integers = NDArray[np.intp]

class Training:
    n_updates: int
    n_iter: int
    batch_size: int
    status: str
    def __init__(self, offsets: Integers, batch_size: int) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...

def update_once(model: dict[str, Any], theta: Floats, data: Floats, offsets: Integers, weights: Floats | None,
                form: Form, solver: Solver, state: list[Floats], scale: Floats | None, unit: float, n_steps: int | None,
                max_memory: int, n_jobs: int) -> bool: ...
def train(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None, form: Form,
          solver: Solver, state: list[Floats], scale: Floats | None, unit: float, t0: int,
          bit_generator: np.random.BitGenerator | None, max_iter: int, tol: float,
          n_iter_no_change: int, run: Training, losses: NDArray[np.float64], seconds: float,
          max_memory: int = ..., n_jobs: int = ...) -> None: ...
