from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast.parameters import Form

Floats = NDArray[Any]
Integers = NDArray[np.intp]

def hidden_states(theta: Floats, data: Floats, offsets: Integers, form: Form, out: Floats,
                  last_only: bool = ..., n_jobs: int = ...) -> None: ...
def unroll(theta: Floats, codes: Floats, offsets: Integers, form: Form, chronological: bool,
           out: Floats, n_jobs: int = ...) -> None: ...
def step(theta: Floats, state: Floats, x: Floats, form: Form, out: Floats) -> None: ...
