"""The solvers: their numbers, their formulas, and the state they keep between updates.

The updates themselves are C functions (csrc/solvers_body.h); their twins are in reference.update. A solver is one entry
of SOLVERS here, one function there and its twin; its name is that of both. With rate e, gradient g (clipped to
clip_norm as a whole, then weight_decay * theta added), update number t from 1, all products elementwise:

    sgd       theta -= e g
    momentum  v = mu v - e g;  theta += v                                         (Polyak 1964)
    nesterov  v = mu v - e g;  theta += mu v - e g                    (Sutskever et al., ICML 2013)
    adagrad   s = s + g^2;  theta -= e g / (sqrt s + epsilon)             (Duchi, Hazan & Singer, JMLR 2011)
    rmsprop   s = rho s + (1 - rho) g^2;  theta -= e g / (sqrt s + epsilon)     (Hinton, lecture 6e)
    adadelta  s as above;  d = sqrt((m + epsilon) / (s + epsilon)) g;  m = rho m + (1 - rho) d^2;
              theta -= e d                                                    (Zeiler, arXiv 1212.5701)
    adam      m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;
              theta -= e / (1 - b1^t) m / (sqrt(s / (1 - b2^t)) + epsilon)      (Kingma & Ba 2015)
    rprop     a step of its own per parameter, times 1.2 where g keeps its sign, times 0.5 where it
              changes (no move then), between 1e-6 and 50, starting at e  (Riedmiller & Braun 1993, iRprop-)
    lbfgs     scipy.optimize's L-BFGS-B on the whole data, with a line search in place of a rate; it has no
              state here because fit starts it anew every LBFGS_ROUND iterations        (Liu & Nocedal 1989)

With relative_rates the solver works on theta / scale, scale as in relative_rates.scales: g becomes
scale g, and its step is multiplied by scale.

momentum_schedule "sutskever" uses mu_t = min(1 - 3 / (t + 4), momentum) at update t, which is
min(1 - 3 / (t' + 5), momentum) counted from t' = 0 as the 2014 program did.
Schedules of the rate over a fit, f the fraction of its updates done: "constant"; "cosine"
e (1 + cos(pi f)) / 2; "step" e, 0.1 e from f = 1/2, 0.01 e from f = 3/4; "inverse" e / (1 + 10 f).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np


class Kind(NamedTuple):
    """What a solver is made of."""

    state: tuple[str, ...] = ()      # the names of its state arrays, up to two, as its C function takes them
    numbers: tuple[str, ...] = ()    # the attributes of Solver that its C function takes as numbers, likewise
    at_least_0: tuple[str, ...] = ()  # those of them that hold nothing below 0
    squares: bool = False            # whether it squares gradients, which then must not overflow
    adds: bool = False               # its step is the rate times the gradient, whose sums theta can take at once
    rests: bool = False              # where a gradient is 0, nothing moves, memory included
    whole: bool = False              # it needs all the data at once, and each of its iterations is a pass
    # State arrays that do not start as 0, with the attribute of Solver that they start as.
    starts_at: tuple[tuple[str, str], ...] = ()


SOLVERS = {
    "sgd": Kind(adds=True),
    "momentum": Kind(("velocity",), ("momentum", "rising")),
    "nesterov": Kind(("velocity",), ("momentum", "rising")),
    "adagrad": Kind(("square",), ("epsilon",), ("square",), squares=True, rests=True),
    "rmsprop": Kind(("square",), ("rho", "epsilon"), ("square",), squares=True),
    "adadelta": Kind(("square", "moved"), ("rho", "epsilon"), ("square", "moved"), squares=True),
    "adam": Kind(("mean", "square"), ("beta_1", "beta_2", "epsilon"), ("square",), squares=True),
    "rprop": Kind(("previous", "step"), (), ("step",), squares=True, starts_at=(("step", "learning_rate"),)),
    "lbfgs": Kind(whole=True),
}
# Iterations of lbfgs between two places where a fit can be taken up again, and the pairs it remembers.
LBFGS_ROUND = 100
LBFGS_MEMORY = 20
# Numbers that must not become 0 in the model's type, and those that must not become 1.
_DIVISORS = ("learning_rate", "clip_norm", "epsilon")
_FRACTIONS = ("momentum", "rho", "beta_1", "beta_2")
SCHEDULES = ("constant", "cosine", "step", "inverse")
MOMENTUM_SCHEDULES = ("constant", "sutskever")


@dataclass(frozen=True)
class Solver:
    """Checked hyper-parameters of solvers, with the same names, `name` being `solver`."""

    name: str
    learning_rate: float
    schedule: str
    momentum: float
    momentum_schedule: str
    rho: float
    beta_1: float
    beta_2: float
    epsilon: float
    clip_norm: float | None
    weight_decay: float | dict[str, float]    # of all blocks, or by their names

    def check_for(self, dtype: np.dtype[Any]) -> None:
        """ValueError for a number that is of no use once it is of the model's type."""
        tiny = float(np.finfo(dtype).tiny)
        checked: dict[str, Any] = {name: getattr(self, name) for name in
                                   ("learning_rate", "clip_norm", "weight_decay", *self.kind.numbers)}
        if isinstance(self.weight_decay, dict):
            del checked["weight_decay"]
            checked |= {f"weight_decay[{name!r}]": value for name, value in self.weight_decay.items()}
        for name, value in checked.items():
            with np.errstate(all="ignore"):
                cast = 0.0 if value is None else float(dtype.type(value))
            if value and (cast == np.inf or (name in _DIVISORS and cast < tiny) or (name in _FRACTIONS and cast == 1)):
                # Numbers below tiny are taken for 0 while a model learns.
                shown = "0" if cast < tiny else f"{cast:g}"
                raise ValueError(f"{name}={value!r} is {shown} in {dtype}, the type of the model; choose another, or "
                                 "pass X as float64")

    @classmethod
    def of(cls, settings: Any) -> Self:
        """That of checked hyper-parameters.

        Examples
        --------
        >>> from rae_fast import RAE, hyperparameters
        >>> solver = Solver.of(hyperparameters.check(RAE(solver="rmsprop", rho=0.9)))
        >>> solver.kind.state, solver.numbers
        (('square',), [0.9, 1e-08])
        """
        return cls(settings.solver, *(getattr(settings, f.name) for f in fields(cls)[1:]))

    @property
    def kind(self) -> Kind:
        return SOLVERS[self.name]

    def decay_of(self, block: str) -> float:
        """The weight decay of a block of parameters."""
        return self.weight_decay.get(block, 0.0) if isinstance(self.weight_decay, dict) else self.weight_decay

    @property
    def rising(self) -> bool:
        """Whether the momentum rises with the number of the update."""
        return self.momentum_schedule == "sutskever"

    @property
    def numbers(self) -> list[float]:
        """Those that its C function takes, in its order."""
        return [float(getattr(self, name)) for name in self.kind.numbers]
