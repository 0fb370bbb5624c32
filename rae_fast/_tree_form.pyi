from typing import Any

from rae_fast._form import AnyForm

TREE_OBJECTIVES: tuple[str, ...]
TREES: tuple[str, ...]
TREE_OUTPUTS: tuple[str, ...]
LABEL_LOSSES: tuple[str, ...]
REDUCTIONS: tuple[str, ...]

class TreeForm(AnyForm):
    FIXED: tuple[str, ...]
    OF_LOSS: tuple[str, ...]
    code_size: int
    tree: str
    label_loss: str
    reduction: str
    embeds: bool
    normalize_codes: bool
    normalize_reconstruction: bool
    word_weights: bool
    stop_targets: bool
    hidden_weight: float
    alpha: float
    leaf_weight: float
    inner_weight: float
    root_weight: float
    def __init__(self, n_inputs: int, n_hidden: int, n_classes: int = ..., embeds: bool = ..., decoder: str = ...,
                 output: str = ..., normalize_codes: bool = ..., normalize_reconstruction: bool = ..., tree: str = ...,
                 objective: str = ...,
                 alpha: float = ..., hidden_weight: float = ..., word_weights: bool = ..., reduction: str = ...,
                 stop_targets: bool = ..., label_loss: str = ..., leaf_weight: float = ..., inner_weight: float = ...,
                 root_weight: float = ...) -> None: ...
    engine: str
    def choices(self) -> tuple[Any, ...]: ...
    def under(self, settings: Any) -> TreeForm: ...
    def but(self, **changes: Any) -> TreeForm: ...
