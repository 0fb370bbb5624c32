from typing import Any

from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast._objective import Objective
from rae_fast._tree_form import TreeForm

Floats = NDArray[Any]

class TreeObjective(Objective):
    def codes(self, theta: Floats, roots: bool) -> tuple[Floats, NDArray[Any]]: ...

def encode(theta: Floats, batch: Batch, form: TreeForm, n_jobs: int = ...,
           roots: bool = ...) -> tuple[Floats, NDArray[Any]]: ...
