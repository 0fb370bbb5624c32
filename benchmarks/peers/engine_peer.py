"""rae_fast itself: the compiled training loop, without the Python class around it."""

import sys

import numpy as np

from peers import layout
from rae_fast import _config, _products, _sequence, _training
from rae_fast.parameters import Form, empty, views
from rae_fast.solvers import Solver


def about():
    return {"kernels": _config.config()["kernels"]}


def with_threads(threads):
    """What tells the compiled loop its number of threads; BLAS's own number is set in environment.py."""
    return {"n_jobs": threads}


def as_ours(theta, form):
    """Parameters in the contestants' order (layout.py) as the package stores them."""
    ours = empty(form, theta.dtype)
    for name, values in layout.named(theta, form.n_inputs, form.n_hidden).items():
        views(ours, form)[name][...] = values
    return ours


class Engine:
    def __init__(self, theta, X, n_hidden, threads):
        B, T, I = X.shape
        self.form, self.B, self.threads = Form(I, n_hidden), B, with_threads(threads)
        self.theta, self.data = as_ours(theta, self.form), np.ascontiguousarray(X).reshape(-1, I)
        self.offsets = np.arange(0, B * T + 1, T, dtype=np.intp)
        self.choice = _products.use_gemm("auto")
        _products.use_gemm(self.choice)
        self.moved = {}

    def forms(self):
        """The products of RAE_FAST_GEMM, "auto" where it is not set; sweep.py asks for "own" and "blas" too."""
        return [self.choice]

    def loss_and_grad(self, form):
        _products.use_gemm(form)
        grad = np.empty_like(self.theta)
        loss = _sequence.loss_and_grad(self.theta, self.data, self.offsets, None, self.form, grad, **self.threads)
        return loss, layout.from_names(views(grad, self.form))

    def update(self, form, n, rate):
        _products.use_gemm(form)
        if form not in self.moved:
            self.moved[form] = empty(self.form, self.theta.dtype), _training.Training(self.offsets, self.B)
            self.moved[form][0][:] = self.theta
        theta, run = self.moved[form]
        before = run.n_updates
        # As RAE.fit does it: a call of one run ends with the pass that fills the array of losses.
        _training.train(theta, self.data, self.offsets, None, self.form, Solver(learning_rate=rate), [], None, 1.0, 0,
                        None, sys.maxsize, 0.0, 1, run, np.empty(n), 1e9, **self.threads)
        assert run.n_updates - before == n, f"{n} updates were asked for, {run.n_updates - before} made"

    def parameters(self, form):
        return layout.from_names(views(self.moved[form][0], self.form))
