from typing import Any

from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast._factored import OutputFactor
from rae_fast._form import AnyForm
from rae_fast._objective import Objective

Floats = NDArray[Any]

NAMES: tuple[str, ...]

def objective_of(form: AnyForm, batch: Batch, sample_weight: Floats | None = ..., batch_size: int = ...,
                 max_memory: int = ..., n_jobs: int = ..., unit: float = ..., by_rows: bool = ...,
                 outputs: OutputFactor | None = ...) -> Objective: ...
def borrow(form: AnyForm, batch: Batch, sample_weight: Floats | None, max_memory: int, n_jobs: int,
           unit: float = ..., by_rows: bool = ..., outputs: OutputFactor | None = ...) -> Objective: ...
def give_back(objective: Objective) -> None: ...
def spare_isa() -> str | None: ...
