"""The benchmark cases: sizes, data, and what they cost."""

from dataclasses import dataclass

import numpy as np
import peers
from peers import layout

from rae_fast import hyperparameters, parameters, reference, relative_rates
from rae_fast._batch import Batch
from rae_fast._form import Form
from rae_fast.solvers import Solver


@dataclass(frozen=True)
class Case:
    """B sequences of T steps with I features, H hidden units: an update by stepwise SGD."""

    name: str
    I: int
    H: int
    T: int
    B: int
    what: str
    C: int = 0                 # size of a code, where it is not the state
    shortest: int | None = None

    path = "stepwise SGD"

    @property
    def lengths(self):
        """(B,), spread evenly from the shortest to T, in no order."""
        if self.shortest is None:
            return np.full(self.B, self.T)
        rng = np.random.default_rng([self.T, self.B])
        return rng.permutation(np.round(np.linspace(self.shortest, self.T, self.B)).astype(int))

    @property
    def flops(self):
        """Multiplications and additions of one update's matrix products: 12 H^2 + 10 H I a step."""
        return int(self.lengths.sum()) * (12 * self.H**2 + 10 * self.H * self.I) + 12 * self.B * self.H * self.C

    @property
    def form(self):
        return Form(self.I, self.H)

    @property
    def sizes(self):
        steps = self.T if self.shortest is None else f"{self.shortest}-{self.T}"
        return f"({self.I},{self.H},{steps},{self.B})" + (f" C={self.C}" if self.C else "")

    def data(self, dtype):
        """theta (peers/layout.py), X (B, T, I), 0 where sequences have ended, and offsets; small numbers, so that no
        run overflows."""
        rng = np.random.default_rng([self.I, self.H, self.T, self.B])
        theta = parameters.initialise(self.form, 0.5 / np.sqrt(self.I + self.H), rng, np.dtype(dtype))
        X = 0.3 * rng.standard_normal((self.B, self.T, self.I)).astype(dtype)
        if self.name == "A":
            X = np.eye(8, dtype=dtype)[None]
        X[np.arange(self.T) >= self.lengths[:, None]] = 0
        theta = layout.from_names(self.form.views(theta))
        return theta, X, np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.intp)

    def make(self, peer, dtype, threads):
        """A contestant for this case."""
        theta, X, _ = self.data(dtype)
        return peer(theta, X, self.H, threads)

    def as_ours(self, theta):
        """Parameters in the contestants' order (layout.py) as the package stores them."""
        ours = self.form.empty(theta.dtype)
        for name, values in layout.named(theta, self.I, self.H, self.C).items():
            self.form.views(ours)[name][...] = values
        return ours

    def check_rate(self, theta, grad):
        """A rate with which an update changes every block of parameters, and stays stable."""
        return 0.02 * np.abs(theta).max() / np.abs(grad).max()

    def rows(self, X):
        """The sequences one after the other, without padding."""
        return np.ascontiguousarray(X[np.arange(self.T) < self.lengths[:, None]])

    def moved(self, theta, data, offsets, rate, n):
        """theta, in our own layout, after n updates by the reference."""
        for _ in range(n):
            theta = theta - rate * reference.loss_and_grad(theta, data, offsets, None, self.form)[1]
        return theta


class DefaultCase(Case):
    """The same of what everybody runs: unfold, tanh decoder, Adam, relative rates."""

    path = peers.DEFAULTS

    @property
    def form(self):
        return Form(self.I, self.H, "unfold", "tanh", n_code=self.C or None)

    def solver(self, rate):
        """Adam with a constant rate; an epsilon of the size of gradients, lest rounding decide the sign of a step."""
        declared = hyperparameters.TrainingParameters(learning_rate=float(rate), schedule="constant", epsilon=1e-2)
        return Solver.of(hyperparameters.check(declared))

    def units(self, dtype):
        """The units of relative rates: Blocks of numbers, one each in W_xh too, and that of the loss."""
        theta, X, offsets = self.data(dtype)
        scale, unit = relative_rates.units(self.as_ours(theta), self.form, Batch(self.rows(X), offsets), None)
        scale.views()["W_xh"][...] = scale.views()["W_xh"].mean()  # rivals have one rate for an array
        return scale, unit

    def make(self, peer, dtype, threads):
        theta, X, _ = self.data(dtype)
        scale, unit = self.units(dtype)
        numbers = {name: float(np.ravel(view)[0]) for name, view in scale.views().items()}
        return peer(self, theta, X, self.lengths, numbers, unit, threads)

    def check_rate(self, theta, grad):
        return 0.1

    def moved(self, theta, data, offsets, rate, n):
        scale, unit = self.units(np.float64)
        each, theta = self.form.empty(np.dtype(np.float64)), theta.copy()
        for name, view in self.form.views(each).items():
            view[...] = np.ravel(scale.views()[name])[0]
        state = [np.zeros(self.form.size), np.zeros(self.form.size)]
        for t in range(1, n + 1):
            grad = reference.loss_and_grad(theta, data, offsets, None, self.form)[1]
            reference.update(self.solver(rate), rate, grad, state, each, unit, t, theta)
        return theta


CASES = {case.name: case for case in [
    Case("A", 8, 24, 8, 1, "the original experiment"),
    Case("B", 64, 128, 50, 1, "one sequence"),
    Case("C", 64, 128, 50, 32, "a batch"),
    Case("D", 256, 512, 100, 1, "one long sequence, weights beyond the cache"),
    Case("E", 256, 512, 100, 64, "a large batch"),
    DefaultCase("F", 8, 32, 8, 32, "defaults: few steps"),
    DefaultCase("G", 3, 64, 150, 32, "defaults: long sequences"),
    DefaultCase("H", 12, 16, 29, 32, "defaults: lengths differ", shortest=7),
    DefaultCase("J", 64, 128, 50, 32, "defaults: a large batch"),
    DefaultCase("K", 1, 64, 140, 32, "defaults: a code of 8 of a long series", C=8),
]}
DTYPES = ("float64", "float32")
