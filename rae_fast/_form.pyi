from collections.abc import Iterable
from typing import Any, NamedTuple

from numpy.typing import NDArray

Floats = NDArray[Any]

NAMES: tuple[str, ...]
ORDER: tuple[str, ...]
DECODERS: tuple[str, ...]
OUTPUTS: tuple[str, ...]
SMOOTHING: float

class Block(NamedTuple):
    name: str
    start: int
    shape: tuple[int, int]
    turned: bool
    mark: str

class AnyForm:
    n_inputs: int
    n_hidden: int
    objective: str
    decoder: str
    output: str
    categorical: bool
    tied: bool
    n_classes: int
    dropout: float
    def choices(self) -> tuple[Any, ...]: ...
    @property
    def size(self) -> int: ...
    @property
    def blocks(self) -> list[Block]: ...
    def empty(self, dtype: Any) -> Floats: ...
    def views(self, theta: Floats) -> dict[str, Floats]: ...

class Form(AnyForm):
    FIXED: tuple[str, ...]
    engine: str
    n_code: int | None
    code_size: int
    hidden_weight: float
    reconstruct_h0: bool
    loss_unit: float
    hidden_unit: float
    alpha: float
    def __init__(self, n_inputs: int, n_hidden: int, objective: str = ..., decoder: str = ..., output: str = ...,
                 tied: bool = ..., hidden_weight: float = ..., reconstruct_h0: bool = ...,
                 n_code: int | None = ..., n_classes: int = ..., loss_unit: float = ...,
                 hidden_unit: float = ..., alpha: float = ..., dropout: float = ...) -> None: ...
    def choices(self) -> tuple[Any, ...]: ...
    def under(self, settings: Any) -> Form: ...
    def learned_by(self, objective: str, hidden_weight: float, reconstruct_h0: bool, alpha: float = ...,
                   dropout: float = ...) -> Form: ...
    def with_labels(self, n_classes: int, loss_unit: float, hidden_unit: float, alpha: float,
                    dropout: float = ...) -> Form: ...
    def without_labels(self) -> Form: ...
    def with_linear_outputs(self) -> Form: ...

class Blocks:
    form: AnyForm
    memory: Floats
    def __init__(self, form: AnyForm, dtype: Any, by_row: Iterable[str] | None = ...,
                 memory: Floats | None = ...) -> None: ...
    def views(self) -> dict[str, Floats]: ...

def check_theta(theta: Any, form: AnyForm, to_write: bool = ...) -> Floats: ...
