from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._form import AnyForm, Blocks
from rae_fast._objective import Objective
from rae_fast._record import Record
from rae_fast.solvers import Solver

Floats = NDArray[Any]

class Updates:
    form: AnyForm
    solver: Solver
    by_rows: bool
    def __init__(self, form: AnyForm, solver: Solver, state: list[Blocks], scale: Blocks | None, unit: float,
                 single: bool, by_rows: bool = ..., output_rate: float | None = ...) -> None: ...
    def once(self, theta: Floats, objective: Objective, record: Record) -> bool: ...
    def apply(self, theta: Floats, grad: Blocks, loss: float, n_steps: int | None, record: Record) -> bool: ...

class Passes:
    status: str
    batch_size: int
    def __init__(self, objective: Objective, updates: Updates, record: Record, batch_size: int, max_iter: int,
                 tol: float = ..., patience: int = ..., bit_generator: np.random.BitGenerator | None = ...) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...
    def run(self, theta: Floats, most: int, seconds: float) -> None: ...
