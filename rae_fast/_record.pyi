from collections.abc import Iterable

class Record:
    n_iter: int
    n_updates: int
    n_steps: int | None
    loss_curve: list[float]
    def __init__(self, n_steps: int | None = ..., n_iter: int = ..., n_updates: int = ...,
                 loss_curve: Iterable[float] = ...) -> None: ...
    def enter_iteration(self, loss: float) -> None: ...
