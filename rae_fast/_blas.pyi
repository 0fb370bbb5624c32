from typing import Any

from numpy.typing import NDArray

BLAS_INT_MAX: int

def check_size(n: int, what: str) -> None: ...
def gemm(A: NDArray[Any], B: NDArray[Any], C: NDArray[Any], ta: bool = ..., tb: bool = ...,
         accumulate: bool = ...) -> None: ...
