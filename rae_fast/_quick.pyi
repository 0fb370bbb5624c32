from typing import Any

from numpy.typing import NDArray

from rae_fast.parameters import Form

def code_of(theta: NDArray[Any], X: Any, form: Form, n_jobs: int) -> NDArray[Any] | None: ...
def step_of(theta: NDArray[Any], state: Any, x: Any, form: Form) -> NDArray[Any] | None: ...
