from typing import Any

from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast._form import AnyForm, Blocks

Floats = NDArray[Any]

class Objective:
    form: AnyForm
    batch: Batch | None
    sample_weight: Floats | None
    unit: float
    def loss_and_grad(self, theta: Floats, grad: Blocks, update: int = ...) -> float: ...
    def end_team(self) -> None: ...
    def new_gradient(self) -> Blocks: ...
