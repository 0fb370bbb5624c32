"""PyTensor: back-propagation by hand (faster than pytensor.grad throughout), weights as shared variables.

Forms: the recurrence as a scan or unrolled into the graph, compiled to C or by Numba. The loop over updates is in
C where PyTensor's virtual machine has one, else in Python. PyTensor's C code wants a BLAS to link with, and
pip brings none; SciPy's is used, the same as rae_fast's, whose names have a prefix.
"""

import os
from pathlib import Path

import environment
import numpy as np
import scipy

UNROLL_UP_TO = {"C": 50, "Numba": 16}  # steps: compiling the graph of more takes minutes
ROUTINES = ("gemm", "gemv", "ger", "dot", "axpy", "scal", "nrm2", "asum", "copy", "swap", "rot", "symm", "syrk",
            "syr2k", "symv", "syr", "syr2", "trmm", "trsm", "trmv", "trsv")


def flags():
    march = "haswell" if environment.held_to_avx2() else "native"
    compiler = f"-O3 -march={march} -ffast-math"
    libraries = list((Path(scipy.__file__).parent.parent / "scipy.libs").glob("libscipy_openblas*"))
    if not libraries:
        return f"gcc__cxxflags={compiler}"
    library = libraries[0]
    names = " ".join(f"-D{p}{routine}_=scipy_{p}{routine}_" for routine in ROUTINES for p in "sd")
    return f"gcc__cxxflags={compiler} {names},blas__ldflags=-L{library.parent} -l:{library.name}"


os.environ.setdefault("PYTENSOR_FLAGS", flags())

import pytensor  # noqa: E402
import pytensor.tensor as pt  # noqa: E402

from peers.layout import stacked  # noqa: E402


def about():
    return {"pytensor": pytensor.__version__, "compiler": pytensor.config.cxx.rsplit("/", 1)[-1],
            "BLAS": pytensor.config.blas__ldflags.rsplit("-l:", 1)[-1]}


def loss_and_grads(weights, x, T, B, unrolled):
    W_hh, W_xh, b, h0, V, c = weights
    H = W_hh.get_value(borrow=True).shape[0]
    R, step = T * B, (H,) if B == 1 else (B, H)
    first = h0 if B == 1 else pt.broadcast_to(h0, step)
    p = (x @ W_xh + b).reshape((T, *step))

    def forward(p_t, h, W_hh):
        return pt.tanh(h @ W_hh + p_t)

    def backward(dh_t, slope_t, da, W_T):
        return (da @ W_T + dh_t) * slope_t

    if unrolled:
        hidden = [first]
        for t in range(T):
            hidden.append(forward(p[t], hidden[-1], W_hh))
        h = pt.stack(hidden[1:])
    else:
        h = pytensor.scan(forward, sequences=[p], outputs_info=[first], non_sequences=[W_hh], strict=True,
                          return_updates=False)
    before, now = pt.concatenate([first[None], h[:-1]]).reshape((R, H)), h.reshape((R, H))
    back = now @ V + c
    d_h = pt.set_subtensor((back[:, :H] - before)[:B], 0)
    d = pt.concatenate([d_h, back[:, H:] - x], axis=1)
    g = d * np.asarray(2 / B, x.dtype)
    dh = pt.inc_subtensor((g @ V.T)[:-B], -g[B:, :H]).reshape((T, *step))
    slope = 1 - h**2
    if unrolled:
        das = [dh[T - 1] * slope[T - 1]]
        for t in range(T - 2, -1, -1):
            das.append(backward(dh[t], slope[t], das[-1], W_hh.T))
        da = pt.stack(das[::-1])
    else:
        da = pytensor.scan(backward, sequences=[dh, slope], outputs_info=[pt.zeros(step, x.dtype)],
                           non_sequences=[W_hh.T], go_backwards=True, strict=True, return_updates=False)[::-1]
    da = da.reshape((R, H))
    dh0 = da[:B].sum(axis=0) @ W_hh.T
    return (d**2).sum() / B, [before.T @ da, x.T @ da, da.sum(axis=0), dh0, now.T @ g, g.sum(axis=0)]


class PyTensorPeer:
    def __init__(self, theta, X, n_hidden, threads):
        self.B, self.T, I = X.shape
        W, b, h0, V, c = stacked(theta, I, n_hidden)
        self.start = (W[:n_hidden], W[n_hidden:], b, h0, V, c)
        self.x = pytensor.shared(np.ascontiguousarray(X.transpose(1, 0, 2)).reshape(-1, I))
        self.rate = pytensor.shared(np.asarray(0, theta.dtype))
        self.made = {}

    def forms(self):
        compilers = ["C", "Numba"] if pytensor.config.cxx else ["Numba"]
        return [f"{how}, {compiler}" for compiler in compilers for how in ("scan", "unrolled")
                if how == "scan" or self.T <= UNROLL_UP_TO[compiler]]

    def _make(self, form):
        """The weights of a form, its gradient and its update."""
        if form not in self.made:
            how, compiler = form.split(", ")
            mode = "CVM" if compiler == "C" else "NUMBA"
            weights = [pytensor.shared(np.array(part)) for part in self.start]
            loss, grads = loss_and_grads(weights, self.x, self.T, self.B, how == "unrolled")
            gradient = pytensor.function([], [loss, *grads], mode=mode)
            updates = [(weight, weight - self.rate * grad) for weight, grad in zip(weights, grads)]
            self.made[form] = weights, gradient, pytensor.function([], [], updates=updates, mode=mode)
        return self.made[form]

    def loss_and_grad(self, form):
        loss, *grads = self._make(form)[1]()
        return float(loss), np.concatenate([grad.ravel() for grad in grads])

    def update(self, form, n, rate):
        update = self._make(form)[2]
        self.rate.set_value(np.asarray(rate, self.rate.dtype))
        if form.endswith(", C"):
            update.vm(n_calls=n)
        else:
            for _ in range(n):
                update()

    def parameters(self, form):
        return np.concatenate([weight.get_value().ravel() for weight in self._make(form)[0]])
