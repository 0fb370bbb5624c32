"""The stepper of solver="lbfgs": scipy's L-BFGS-B on the whole batch, each iteration counted as a pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast._objective import Objective
from rae_fast.hyperparameters import Settings
from rae_fast.inputs import way_to_scale
from rae_fast.learned import Learned
from rae_fast.solvers import LBFGS_MEMORY, LBFGS_ROUND, Solver

Floats = NDArray[Any]


class LBFGS:
    """Rounds of up to LBFGS_ROUND iterations, each starting with an empty memory: training.Stepper.

    scipy's state cannot be taken out and put back, so the seams between two rounds are where a fit can be taken up.
    """

    def __init__(self, learned: Learned, objective: Objective, settings: Settings, tol: float) -> None:
        self.learned, self.objective, self.settings, self.tol = learned, objective, settings, tol
        self.status = "running"
        self.resumable = True

    def advance(self, most: int, after: Callable[[], bool]) -> None:
        """A round of iterations from theta, with `after` after each."""
        import scipy.optimize  # a fifth of the time that importing this package would take, for one solver

        learned, settings, record = self.learned, self.settings, self.learned.record
        theta, decay = learned.theta, self._decay()
        # The loss's unit, as the objective measures it and as the user does.
        unit, own_unit = learned.solver.unit / self.objective.unit / self.objective.unit, learned.solver.unit
        scale = self._scale()
        grad = self.objective.new_gradient()
        # Within this limit no gradient overflows when it is scaled and squared.
        huge = float(np.finfo(np.float64).max) ** 0.25

        def function(u: Floats) -> tuple[float, Floats]:
            with np.errstate(over="ignore", invalid="ignore"):
                at = (u * scale).astype(theta.dtype)
                loss = self.objective.loss_and_grad(at, grad) / unit
                g = grad.memory * (scale / unit)
                if decay is not None:
                    loss += 0.5 / own_unit * float(decay @ np.square(at, dtype=np.float64))
                    g += (decay / own_unit) * at * scale
            if not abs(loss) < huge or not np.abs(g).max() < huge:
                return huge, np.zeros_like(u)  # too far: the line search comes back
            return loss, g

        def after_iteration(intermediate_result: Any) -> None:
            theta[:] = intermediate_result.x * scale
            record.enter_iteration(float(intermediate_result.fun) * own_unit)
            if self._stalled():
                self.status = "converged"
            elif record.n_iter >= settings.max_iter:
                self.status = "finished"
            if after() or self.status != "running":
                raise StopIteration

        start = record.n_iter
        most = min(LBFGS_ROUND, settings.max_iter - start)
        if most > 0:
            self.resumable = False
            if function(theta / scale)[0] >= huge:
                way = way_to_scale(self.objective.batch) if self.objective.batch else "down"
                raise FloatingPointError("The loss or its gradient is beyond what lbfgs can square at its start; "
                                         f"choose another init, or scale the data {way}; the model keeps its "
                                         "parameters")
            scipy.optimize.minimize(function, theta / scale, jac=True, method="L-BFGS-B", callback=after_iteration,
                                    options={"maxiter": most, "maxfun": 50 * most, "maxcor": LBFGS_MEMORY,
                                             "ftol": 0.0, "gtol": 0.0})
            self.resumable = True
        if self.status == "running" and record.n_iter == start:
            # max_iter=0, or no descent from here although nothing is remembered.
            self.status = "finished" if most == 0 else "converged"

    def end(self) -> None:
        self.objective.end_team()

    def _decay(self) -> Floats | None:
        """The weight decay of each number of theta, None where there is none."""
        solver, form = Solver.of(self.settings), self.learned.form
        decay = form.empty(np.float64)
        for block in form.blocks:  # of a tied model without V
            end = block.start + block.shape[0] * block.shape[1]
            decay[block.start:end] = solver.decay_of(block.name)
        return decay if decay.any() else None

    def _scale(self) -> Floats:
        """The units of theta, number by number."""
        form, scale = self.learned.form, np.ones(self.learned.theta.size)
        if self.learned.solver.scale is not None:
            views = form.views(scale)
            for name, value in self.learned.solver.scale.views().items():
                views[name][...] = value
        return scale

    def _stalled(self) -> bool:
        """Whether n_iter_no_change iterations in a row improved by less than tol: the loss curve falls."""
        n, curve = self.settings.n_iter_no_change, self.learned.record.loss_curve
        return bool(self.tol > 0 and len(curve) > n
                    and all(not a - b >= self.tol * a for a, b in zip(curve[-n - 1:-1], curve[-n:])))

    def state(self) -> dict[str, Any]:
        """What `restore` needs besides the record: nothing. The order of sequences is of no account."""
        return {"in_pass": False, "position": 0, "pass_loss": 0.0, "best": np.inf, "stalled_passes": 0,
                "order": np.arange(self.objective.batch.n_sequences if self.objective.batch else 0)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state; ValueError if it cannot be one."""
        if state["in_pass"] or state["position"] or self.learned.record.n_iter > self.settings.max_iter:
            raise ValueError("the counters of the fit do not agree with each other")
