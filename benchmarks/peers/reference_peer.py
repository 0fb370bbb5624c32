"""The readable specification in NumPy: no rival, but it shows the scale."""

import numpy as np

from peers import layout
from peers.engine_peer import as_ours
from rae_fast import reference
from rae_fast._form import Form


def about():
    return {}


class Reference:
    def __init__(self, theta, X, n_hidden, threads):
        B, T, I = X.shape
        self.form, self.data = Form(I, n_hidden), X.reshape(-1, I)
        self.theta = as_ours(theta, self.form)
        self.offsets = range(0, B * T + 1, T)

    def forms(self):
        return ["as specified"]

    def loss_and_grad(self, form):
        loss, grad = self._loss_and_grad()
        return loss, layout.from_names(self.form.views(grad))

    def _loss_and_grad(self):
        return reference.loss_and_grad(self.theta, self.data, self.offsets, None, self.form)

    def update(self, form, n, rate):
        for _ in range(n):
            self.theta -= rate * self._loss_and_grad()[1]

    def parameters(self, form):
        return layout.from_names(self.form.views(self.theta))


class ReferenceDefaults:
    """The same on the path of the defaults."""

    def __init__(self, case, theta, X, lengths, scale, unit, threads):
        self.case, self.data, self.offsets = case, case.rows(X), np.concatenate([[0], np.cumsum(lengths)])
        self.theta = self.start = case.as_ours(theta)

    def forms(self):
        return ["as specified"]

    def loss_and_grad(self, form):
        loss, grad = reference.loss_and_grad(self.start, self.data, self.offsets, None, self.case.form)
        return loss, layout.from_names(self.case.form.views(grad))

    def update(self, form, n, rate):
        self.theta = self.case.moved(self.theta, self.data, self.offsets, rate, n)

    def parameters(self, form):
        return layout.from_names(self.case.form.views(self.theta))
