"""PyTorch: torch.nn.RNN and autograd, and back-propagation by hand into buffers made beforehand or compiled.

The compiled form (torch.compile, the loop over time unrolled) needs a C++ compiler; its code calls the operators
from C++ and fuses what is elementwise. One function updates the weights and returns the gradient, because
compiling it takes up to half a minute.
"""

import re

import environment
import numpy as np
import torch

from peers.layout import stacked

COMPILE_UP_TO = 100  # steps


def about():
    mkl = re.search(r"Math Kernel Library Version (\S+)", torch.__config__.show())
    return {"torch": torch.__version__, "MKL": mkl and mkl[1], "kernels": torch.backends.cpu.get_cpu_capability()}


class ByHand:
    """Every result has its buffer; gradients are views of one flat vector, so that the update is one call."""

    def __init__(self, theta, x, B, n_hidden):
        R, I = x.shape
        H, K, T = n_hidden, n_hidden + I, R // B
        self.theta, self.grad = torch.tensor(theta), torch.zeros(theta.size, dtype=x.dtype)
        W, self.b, self.h0, self.V, self.c = map(torch.from_numpy, stacked(self.theta.numpy(), I, H))
        dW, self.db, self.dh0, self.dV, self.dc = map(torch.from_numpy, stacked(self.grad.numpy(), I, H))
        self.W_hh, self.W_xh, self.dW_hh, self.dW_xh = W[:H], W[H:], dW[:H], dW[H:]
        self.W_T, self.V_T, self.B, self.x, self.H = self.W_hh.T, self.V.T, B, x, H

        def new(rows, columns):
            return torch.zeros(rows, columns, dtype=x.dtype)

        h, self.g = new(R + B, H), new(R, K)
        self.p, self.slope, self.dh, self.da = (new(R, H) for _ in range(4))
        self.h_first, self.now, self.before = h[:B], h[B:], h[:R]
        step = (lambda z: z[0]) if B == 1 else (lambda z: z)
        blocks = [slice(t * B, (t + 1) * B) for t in range(T)]
        self.forward = [(step(h[rows]), step(self.p[rows]), step(self.now[rows])) for rows in blocks]
        self.backward = [(step(self.da[blocks[t + 1]]), step(self.dh[blocks[t]]), step(self.slope[blocks[t]]),
                          step(self.da[blocks[t]])) for t in range(T - 2, -1, -1)]
        self.last, self.ones = blocks[-1], torch.ones(R, dtype=x.dtype)

    def loss_and_grad(self):
        g, dh, da, H, B = self.g, self.dh, self.da, self.H, self.B
        self.h_first.copy_(self.h0)
        torch.addmm(self.b, self.x, self.W_xh, out=self.p)
        if B == 1:
            for h, p, h_next in self.forward:
                torch.addmv(p, self.W_T, h, out=h_next).tanh_()
        else:
            for h, p, h_next in self.forward:
                torch.addmm(p, h, self.W_hh, out=h_next).tanh_()
        torch.addmm(self.c, self.now, self.V, out=g)
        g[:, :H].sub_(self.before)
        g[:, H:].sub_(self.x)
        g[:B, :H].zero_()
        loss = torch.dot(g.view(-1), g.view(-1)) / B
        g.mul_(2 / B)
        torch.mm(g, self.V_T, out=dh)
        dh[:-B].sub_(g[B:, :H])
        torch.mul(self.now, self.now, out=self.slope)
        torch.sub(1, self.slope, out=self.slope)
        torch.mul(dh[self.last], self.slope[self.last], out=da[self.last])
        if B == 1:
            for da_next, dh_t, slope, da_t in self.backward:
                torch.addmv(dh_t, self.W_hh, da_next, out=da_t).mul_(slope)
        else:
            for da_next, dh_t, slope, da_t in self.backward:
                torch.addmm(dh_t, da_next, self.W_T, out=da_t).mul_(slope)
        torch.mm(self.before.T, da, out=self.dW_hh)
        torch.mm(self.x.T, da, out=self.dW_xh)
        torch.mm(self.now.T, g, out=self.dV)
        torch.mv(da.T, self.ones, out=self.db)
        torch.mv(g.T, self.ones, out=self.dc)
        torch.mv(self.W_hh, da[:B].sum(0), out=self.dh0)
        return loss, self.grad

    def update(self, rate):
        self.loss_and_grad()
        self.theta.sub_(self.grad, alpha=rate)

    def parameters(self):
        return self.theta


def functional(W_hh, W_xh, b, h0, V, c, x, B):
    """Back-propagation by hand without a buffer, for torch.compile."""
    R, H = len(x), len(b)
    p = torch.addmm(b, x, W_xh)
    hidden = [h0.expand(B, H)]
    for r in range(0, R, B):
        hidden.append(torch.tanh(torch.addmm(p[r:r + B], hidden[-1], W_hh)))
    before, now = torch.cat(hidden[:-1]), torch.cat(hidden[1:])
    d = torch.addmm(c, now, V) - torch.cat([before, x], 1)
    d = torch.cat([torch.cat([torch.zeros_like(d[:B, :H]), d[B:, :H]]), d[:, H:]], 1)
    g = d * (2 / B)
    dh = g @ V.T
    dh = torch.cat([dh[:-B] - g[B:, :H], dh[-B:]])
    slope = 1 - now * now
    das = [dh[-B:] * slope[-B:]]
    for r in range(R - 2 * B, -1, -B):
        das.append(torch.addmm(dh[r:r + B], das[-1], W_hh.T) * slope[r:r + B])
    da = torch.cat(das[::-1])
    dh0 = (da[:B].sum(0, keepdim=True) @ W_hh.T)[0]
    return (d * d).sum() / B, before.T @ da, x.T @ da, da.sum(0), dh0, now.T @ g, g.sum(0)


class Compiled:
    def __init__(self, theta, x, B, n_hidden):
        import torch._inductor.config as inductor

        inductor.compile_threads = 1
        W, b, h0, V, c = stacked(theta, x.shape[1], n_hidden)
        self.weights = [torch.tensor(part) for part in (W[:n_hidden], W[n_hidden:], b, h0, V, c)]

        def update(rate, *weights):
            loss, *grads = functional(*weights, x, B)
            for weight, grad in zip(weights, grads):
                weight.sub_(rate * grad)
            return loss, *grads

        options = {"cpp_wrapper": True}
        if environment.held_to_avx2():
            options |= {"cpp.simdlen": 256, "cpp.march": "haswell"}
        self._update = torch.compile(update, dynamic=False, options=options)

    def loss_and_grad(self):
        loss, *grads = self.update(0.0)
        return loss, torch.cat([grad.reshape(-1) for grad in grads])

    def update(self, rate):
        return self._update(torch.tensor(rate, dtype=self.weights[0].dtype), *self.weights)

    def parameters(self):
        return torch.cat([weight.reshape(-1) for weight in self.weights])


class Autograd:
    """torch.nn.RNN between two hoisted linear layers."""

    def __init__(self, theta, x, B, n_hidden):
        I, H = x.shape[1], n_hidden
        W, b, h0, V, c = stacked(theta, I, H)
        self.rnn = torch.nn.RNN(I, H, bias=True, dtype=x.dtype)
        self.rnn.bias_hh_l0.requires_grad_(False).zero_()
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(torch.tensor(W[:H].T))
            self.rnn.weight_ih_l0.copy_(torch.tensor(W[H:].T))
            self.rnn.bias_ih_l0.copy_(torch.tensor(b))
        self.h0, self.V, self.c = (torch.tensor(part, requires_grad=True) for part in (h0, V, c))
        self.weights = [self.rnn.weight_hh_l0, self.rnn.weight_ih_l0, self.rnn.bias_ih_l0, self.h0, self.V, self.c]
        self.x, self.B, self.H = x, B, H

    def _gradients(self):
        x, B, H = self.x, self.B, self.H
        states, _ = self.rnn(x.view(-1, B, x.shape[1]), self.h0.expand(1, B, H).contiguous())
        now = states.reshape(-1, H)
        back = torch.addmm(self.c, now, self.V)
        d_h, d_x = back[B:, :H] - now[:-B], back[:, H:] - x
        loss = ((d_h * d_h).sum() + (d_x * d_x).sum()) / B
        return loss, torch.autograd.grad(loss, self.weights)

    def _flat(self, parts):
        W_hh, W_xh, *others = parts
        return torch.cat([part.detach().reshape(-1) for part in (W_hh.T, W_xh.T, *others)])

    def loss_and_grad(self):
        with torch.enable_grad():
            loss, grads = self._gradients()
        return loss.detach(), self._flat(grads)

    def update(self, rate):
        with torch.enable_grad():
            _, grads = self._gradients()
        torch._foreach_add_(self.weights, grads, alpha=-rate)

    def parameters(self):
        return self._flat(self.weights)


class TorchPeer:
    FORMS = {"by hand, out=": ByHand, "by hand, torch.compile": Compiled, "nn.RNN, autograd": Autograd}

    def __init__(self, theta, X, n_hidden, threads):
        torch.set_num_threads(threads)
        self.B, self.T, I = X.shape
        self.theta, self.n_hidden, self.made = theta, n_hidden, {}
        self.x = torch.from_numpy(np.ascontiguousarray(X.transpose(1, 0, 2)).reshape(-1, I))

    def forms(self):
        return [form for form in self.FORMS if form != "by hand, torch.compile" or self.T <= COMPILE_UP_TO]

    def _make(self, form):
        if form not in self.made:
            self.made[form] = self.FORMS[form](self.theta, self.x, self.B, self.n_hidden)
        return self.made[form]

    @torch.no_grad()
    def loss_and_grad(self, form):
        loss, grad = self._make(form).loss_and_grad()
        return float(loss), grad.numpy()

    @torch.no_grad()
    def update(self, form, n, rate):
        update = self._make(form).update
        for _ in range(n):
            update(rate)

    def parameters(self, form):
        return self._make(form).parameters().numpy()
