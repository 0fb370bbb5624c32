"""The readable specification in NumPy: no rival, but it shows the scale."""

from rae_fast import reference
from rae_fast.parameters import Form


def about():
    return {}


class Reference:
    def __init__(self, theta, X, n_hidden, threads):
        B, T, I = X.shape
        self.form, self.theta, self.data = Form(I, n_hidden), theta.copy(), X.reshape(-1, I)
        self.offsets = range(0, B * T + 1, T)

    def forms(self):
        return ["as specified"]

    def loss_and_grad(self, form):
        return reference.loss_and_grad(self.theta, self.data, self.offsets, None, self.form)

    def update(self, form, n, rate):
        for _ in range(n):
            self.theta -= rate * self.loss_and_grad(form)[1]

    def parameters(self, form):
        return self.theta
