from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._batch import Batch
from rae_fast._form import Form

Floats = NDArray[Any]
Integers = NDArray[np.intp]

def encode(theta: Floats, batch: Batch, form: Form, last_only: bool = ..., n_jobs: int = ...) -> Floats: ...
def codes_of(theta: Floats, states: Floats, form: Form) -> Floats: ...
def unroll(theta: Floats, codes: Floats, lengths: int | Integers, form: Form, chronological: bool,
           n_jobs: int = ...) -> Floats: ...
def step(theta: Floats, state: Any, x: Any, form: Form, out: Floats | None = ..., ids: bool = ...) -> Floats | None: ...
