from typing import Any

from numpy.typing import NDArray

from rae_fast._form import Form

def use_limits(most: float, at_once: float) -> tuple[float, float]: ...

class OutputFactor:
    form: Form
    single: bool
    is_true: bool
    n_corrections: int
    n_folds: int
    n_dense_updates: int
    def __init__(self, form: Form, single: bool, bias: float = ...) -> None: ...
    @property
    def bias(self) -> float: ...
    def make_true(self, theta: NDArray[Any]) -> None: ...
    def factors(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
