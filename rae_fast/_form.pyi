from collections.abc import Iterable
from typing import Any, NamedTuple

from numpy.typing import NDArray

Floats = NDArray[Any]

NAMES: tuple[str, ...]
DECODERS: tuple[str, ...]
OUTPUTS: tuple[str, ...]
SMOOTHING: float

class Block(NamedTuple):
    name: str
    start: int
    shape: tuple[int, int]
    turned: bool
    mark: str

class Form:
    FIXED: tuple[str, ...]
    n_inputs: int
    n_hidden: int
    n_code: int | None
    code_size: int
    objective: str
    decoder: str
    output: str
    tied: bool
    hidden_weight: float
    reconstruct_h0: bool
    categorical: bool
    def __init__(self, n_inputs: int, n_hidden: int, objective: str = ..., decoder: str = ..., output: str = ...,
                 tied: bool = ..., hidden_weight: float = ..., reconstruct_h0: bool = ...,
                 n_code: int | None = ...) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def blocks(self) -> list[Block]: ...
    def learned_by(self, objective: str, hidden_weight: float, reconstruct_h0: bool) -> Form: ...
    def with_linear_outputs(self) -> Form: ...
    def empty(self, dtype: Any) -> Floats: ...
    def views(self, theta: Floats) -> dict[str, Floats]: ...

class Blocks:
    form: Form
    memory: Floats
    def __init__(self, form: Form, dtype: Any, by_row: Iterable[str] | None = ...,
                 memory: Floats | None = ...) -> None: ...
    def views(self) -> dict[str, Floats]: ...

def check_theta(theta: Any, form: Form, to_write: bool = ...) -> Floats: ...
