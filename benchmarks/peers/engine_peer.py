"""rae_fast itself: the compiled training loop, without the Python class around it."""

import numpy as np

from peers import layout
from rae_fast import _config, _products, hyperparameters
from rae_fast._batch import Batch
from rae_fast._form import Form
from rae_fast._objectives import objective_of
from rae_fast._record import Record
from rae_fast._training import Passes, Updates
from rae_fast.learned import new_solver
from rae_fast.solvers import Solver

# Never reached: the fit of these updates has no end.
PASSES = 2**62


def about():
    return {"kernels": _config.config()["kernels"]}


def as_ours(theta, form):
    """Parameters in the contestants' order (layout.py) as the package stores them."""
    ours = form.empty(theta.dtype)
    for name, values in layout.named(theta, form.n_inputs, form.n_hidden).items():
        form.views(ours)[name][...] = values
    return ours


def sgd(rate):
    """Plain SGD with a constant rate."""
    declared = hyperparameters.TrainingParameters(solver="sgd", learning_rate=rate, schedule="constant")
    return Solver.of(hyperparameters.check(declared))


class Engine:
    """Stepwise SGD."""

    def __init__(self, theta, X, n_hidden, threads):
        B, T, I = X.shape
        self.form, self.B, self.threads = Form(I, n_hidden), B, threads
        self.theta = as_ours(theta, self.form)
        self.batch = Batch(np.ascontiguousarray(X).reshape(-1, I), np.arange(0, B * T + 1, T, dtype=np.intp))
        self.choice = _products.use_gemm("auto")
        _products.use_gemm(self.choice)
        self.moved, self.objectives = {}, {}

    def forms(self):
        """The products of RAE_FAST_GEMM, "auto" where it is not set; sweep.py asks for "own" and "blas" too."""
        return [self.choice]

    def _objective(self, form):
        _products.use_gemm(form)
        if form not in self.objectives:
            self.objectives[form] = objective_of(self.form, self.batch, n_jobs=self.threads)
            self.moved[form] = self.form.empty(self.theta.dtype)
            self.moved[form][:] = self.theta
        return self.objectives[form]

    def loss_and_grad(self, form):
        objective = self._objective(form)
        grad = objective.new_gradient()
        return objective.loss_and_grad(self.theta, grad), layout.from_names(grad.views())

    def update(self, form, n, rate):
        objective, theta, record = self._objective(form), self.moved[form], Record()
        updates = Updates(self.form, sgd(rate), [], None, 1.0, theta.dtype == np.float32)
        # As RAE.fit does it: a call ends with the last of so many passes.
        Passes(objective, updates, record, self.B, PASSES).run(theta, n, 1e9)
        assert record.n_updates == n, f"{n} updates were asked for, {record.n_updates} made"

    def parameters(self, form):
        return layout.from_names(self.form.views(self.moved[form]))


class DefaultEngine:
    """Unfold, tanh decoder, Adam in the units of relative rates."""

    def __init__(self, case, theta, X, lengths, scale, unit, threads):
        self.case, self.form, self.threads, self.unit = case, case.form, threads, unit
        self.theta, self.B = case.as_ours(theta), len(lengths)
        self.batch = Batch(case.rows(X), np.concatenate([[0], np.cumsum(lengths)]))
        self.scale, _ = case.units(theta.dtype)
        self.choice = _products.use_gemm("auto")
        _products.use_gemm(self.choice)
        self.moved, self.steppers = {}, {}

    def forms(self):
        return [self.choice]

    def loss_and_grad(self, form):
        objective = objective_of(self.form, self.batch, n_jobs=self.threads)
        grad = objective.new_gradient()
        return objective.loss_and_grad(self.theta, grad), layout.from_names(grad.views())

    def update(self, form, n, rate):
        solver = self.case.solver(rate)
        if form not in self.moved:
            self.moved[form] = self.theta.copy()
            self.state = new_solver(solver, self.form, self.theta.dtype, self.scale, self.unit)
            self.objective = objective_of(self.form, self.batch, None, 0, 2**30, self.threads,
                                          self.state.residual_unit(self.form))
            self.record = Record()
        record, before = self.record, self.record.n_updates
        updates = Updates(self.form, solver, list(self.state.state.values()), self.state.scale, self.state.unit,
                          self.theta.dtype == np.float32)
        # As RAE.fit does it: a call ends with the last of so many passes.
        Passes(self.objective, updates, record, self.B, PASSES).run(self.moved[form], n, 1e9)
        assert record.n_updates == before + n, f"{n} updates were asked for, {record.n_updates - before} made"

    def parameters(self, form):
        return layout.from_names(self.form.views(self.moved[form]))
