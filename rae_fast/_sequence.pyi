from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast.parameters import Form

Floats = NDArray[Any]
Integers = NDArray[np.intp]

def spare_isa() -> str | None: ...
def worthwhile(n_jobs: int, form: Form, rows: int) -> int: ...
def loss_and_grad(theta: Floats, data: Floats, offsets: Integers, weights: Floats | None,
                  form: Form, grad: Floats, max_memory: int = ..., n_jobs: int = ...) -> float: ...
