"""The benchmark cases: sizes, data, and what they cost."""

from dataclasses import dataclass

import numpy as np
from peers import layout

from rae_fast import parameters
from rae_fast._form import Form


@dataclass(frozen=True)
class Case:
    """B sequences of T steps with I features, H hidden units."""

    name: str
    I: int
    H: int
    T: int
    B: int
    what: str

    @property
    def flops(self):
        """Multiplications and additions of one update's matrix products: B T (12 H^2 + 10 H I)."""
        return self.B * self.T * (12 * self.H**2 + 10 * self.H * self.I)

    @property
    def form(self):
        return Form(self.I, self.H)

    @property
    def sizes(self):
        return f"({self.I},{self.H},{self.T},{self.B})"

    def data(self, dtype):
        """theta (peers/layout.py), X (B, T, I) and offsets; small numbers, so that no run overflows."""
        rng = np.random.default_rng([self.I, self.H, self.T, self.B])
        theta = parameters.initialise(self.form, 0.5 / np.sqrt(self.I + self.H), rng, np.dtype(dtype))
        X = 0.3 * rng.standard_normal((self.B, self.T, self.I)).astype(dtype)
        if self.name == "A":
            X = np.eye(8, dtype=dtype)[None]
        theta = layout.from_names(self.form.views(theta))
        return theta, X, np.arange(0, self.B * self.T + 1, self.T, dtype=np.intp)


CASES = {case.name: case for case in [
    Case("A", 8, 24, 8, 1, "the original experiment"),
    Case("B", 64, 128, 50, 1, "one sequence"),
    Case("C", 64, 128, 50, 32, "a batch"),
    Case("D", 256, 512, 100, 1, "one long sequence, weights beyond the cache"),
    Case("E", 256, 512, 100, 64, "a large batch"),
]}
DTYPES = ("float64", "float32")
