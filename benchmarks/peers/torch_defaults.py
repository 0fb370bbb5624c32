"""PyTorch on the path of the defaults: torch.nn.RNN and autograd, back-propagation by hand into buffers, or compiled.

By hand sequences are sorted by length and their rows packed step by step, so that there is no padding. Adam is
torch.optim.Adam(fused=True) with a rate for every parameter: a step in units of a scale is one with the rate times
that, and epsilon over it. The compiled form (torch.compile, loops over time unrolled) does its Adam in the same code.
"""

import environment
import numpy as np
import torch

from peers.layout import from_names, named
from peers.torch_peer import COMPILE_UP_TO, about

__all__ = ["TorchDefaults", "about"]

BETA_1, BETA_2 = 0.9, 0.999


class Packed:
    """Rows of all sequences step by step, the longest first: x in order, and latest first."""

    def __init__(self, X, lengths):
        order = np.argsort(-lengths, kind="stable")
        self.lengths = lengths = lengths[order]
        self.T, self.B = int(lengths[0]), len(lengths)
        self.active = [int((lengths > t).sum()) for t in range(self.T)]
        starts = np.concatenate([[0], np.cumsum(self.active)])
        self.rows = [slice(int(a), int(b)) for a, b in zip(starts[:-1], starts[1:])]
        self.number = int(starts[-1])
        places = [(n, t) for t in range(self.T) for n in range(self.active[t])]
        self.x = torch.tensor(np.array([X[order[n], t] for n, t in places]))
        self.latest = torch.tensor(np.array([X[order[n], lengths[n] - 1 - t] for n, t in places]))
        # Where each sequence's last state is.
        self.last = torch.tensor([int(starts[lengths[n] - 1]) + n for n in range(self.B)])


class ByHand:
    """Every result has its buffer."""

    def __init__(self, p, packed):
        self.p, self.s = p, packed
        H, I, R, B = len(p["b_h"]), packed.x.shape[1], packed.number, packed.B
        C = len(p["b_c"]) if "b_c" in p else 0

        def new(*shape):
            return torch.zeros(*shape, dtype=packed.x.dtype)

        self.grad = {name: torch.zeros_like(value) for name, value in p.items()}
        for name, value in p.items():
            value.grad = self.grad[name]
        self.h, self.y, self.da, self.slope, self.before = (new(R, H) for _ in range(5))
        self.g, self.codes, self.dh, self.ones, self.h0 = new(R, I), new(B, H), new(B, H), torch.ones(R,
                                                           dtype=packed.x.dtype), new(B, H)
        self.code, self.dcode = new(B, C), new(B, C)
        self.back, self.ends = new(B, H), [int(a) for a in packed.active[1:]] + [0]
        self.equal = packed.active[-1] == B

    def loss_and_grad(self):
        p, s, h, y, g, da, B = self.p, self.s, self.h, self.y, self.g, self.da, self.s.B
        rows, active = s.rows, s.active
        self.h0.copy_(p["h0"])
        torch.addmm(p["b_h"], s.x, p["W_xh"], out=h)
        previous = self.h0
        for t in range(s.T):
            now = h[rows[t]]
            now.addmm_(previous[:active[t]], p["W_hh"]).tanh_()
            previous = now
        torch.index_select(h, 0, s.last, out=self.codes)
        first = y[rows[0]]
        if "W_hc" in p:
            torch.addmm(p["b_c"], self.codes, p["W_hc"], out=self.code)
            torch.addmm(p["c_1"], self.code, p["V_ch"], out=first)
        else:
            first.copy_(self.codes)
        previous = first
        for k in range(1, s.T):
            now = y[rows[k]]
            torch.addmm(p["c_h"], previous[:active[k]], p["V_hh"], out=now)
            previous = now.tanh_()
        torch.addmm(p["c_x"], y, p["V_hx"], out=g).sub_(s.latest)
        loss = torch.dot(g.view(-1), g.view(-1)) / B
        g.mul_(2 / B)
        torch.mm(g, p["V_hx"].T, out=da)
        torch.mul(y, y, out=self.slope)
        torch.sub(1, self.slope, out=self.slope)
        V_T = p["V_hh"].T
        for k in range(s.T - 1, 0, -1):
            now = da[rows[k]].mul_(self.slope[rows[k]])
            da[rows[k - 1]][:active[k]].addmm_(now, V_T)
        grad, later = self.grad, s.rows[0].stop
        torch.mm(y[rows[0]].T if s.T == 1 else self._previous(y).T, da[later:], out=grad["V_hh"])
        torch.mv(da[later:].T, self.ones[later:], out=grad["c_h"])
        torch.mm(y.T, g, out=grad["V_hx"])
        torch.mv(g.T, self.ones, out=grad["c_x"])
        dy_1 = da[rows[0]]
        if "W_hc" in p:
            torch.mm(dy_1, p["V_ch"].T, out=self.dcode)
            torch.mm(self.code.T, dy_1, out=grad["V_ch"])
            torch.sum(dy_1, 0, out=grad["c_1"])
            torch.mm(self.codes.T, self.dcode, out=grad["W_hc"])
            torch.sum(self.dcode, 0, out=grad["b_c"])
            torch.mm(self.dcode, p["W_hc"].T, out=self.dh)
        else:
            self.dh.copy_(dy_1)
        torch.mul(h, h, out=self.slope)
        torch.sub(1, self.slope, out=self.slope)
        W_T = p["W_hh"].T
        for t in range(s.T - 1, -1, -1):
            now, more = da[rows[t]], self.ends[t]
            if more:
                torch.mm(da[rows[t + 1]], W_T, out=now[:more])
            if more < active[t]:
                now[more:].copy_(self.dh[more:active[t]])
            now.mul_(self.slope[rows[t]])
        torch.mv(W_T.T, da[rows[0]].sum(0), out=grad["h0"])
        self.before[:B].copy_(self.h0)
        self._previous(h, self.before[B:])
        torch.mm(self.before.T, da, out=grad["W_hh"])
        torch.mm(s.x.T, da, out=grad["W_xh"])
        torch.mv(da.T, self.ones, out=grad["b_h"])
        return loss

    def _previous(self, states, out=None):
        """The states before those of every step but the first."""
        s = self.s
        if self.equal:
            found = states[:s.number - s.B]
            return found if out is None else out.copy_(found)
        out = self.before[s.B:] if out is None else out
        for t in range(1, s.T):
            out[s.rows[t].start - s.B:s.rows[t].stop - s.B].copy_(states[s.rows[t - 1]][:s.active[t]])
        return out


class Autograd:
    """torch.nn.RNN reads and unrolls; the linear layers are hoisted."""

    def __init__(self, p, packed):
        self.p, self.s = p, packed
        H, I = len(p["b_h"]), packed.x.shape[1]
        self.encoder = torch.nn.RNN(I, H, dtype=packed.x.dtype)
        self.decoder = torch.nn.RNN(1, H, dtype=packed.x.dtype)
        for rnn, names in ((self.encoder, ("W_xh", "W_hh", "b_h")), (self.decoder, (None, "V_hh", "c_h"))):
            for slot, name in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), names):
                value = torch.zeros(H, 1, dtype=packed.x.dtype)
                if name is not None:
                    value = p[name].mT.contiguous() if p[name].ndim == 2 else p[name].clone()
                setattr(rnn, slot, torch.nn.Parameter(value, requires_grad=name is not None))
                if name is not None:
                    p[name] = getattr(rnn, slot)
            rnn.bias_hh_l0.requires_grad_(False).zero_()
        for value in p.values():
            value.requires_grad_(True)
        counts = torch.tensor(packed.active)
        self.packed = torch.nn.utils.rnn.PackedSequence(packed.x, counts)
        self.nothing = torch.nn.utils.rnn.PackedSequence(
            torch.zeros(packed.number - packed.B, 1, dtype=packed.x.dtype), counts[1:])

    def loss_and_grad(self):
        with torch.enable_grad():
            p, s = self.p, self.s
            for value in p.values():
                value.grad = None
            _, last = self.encoder(self.packed, p["h0"].expand(1, s.B, -1).contiguous())
            code = last[0]
            y_1 = (code @ p["W_hc"] + p["b_c"]) @ p["V_ch"] + p["c_1"] if "W_hc" in p else code
            unrolled, _ = self.decoder(self.nothing, y_1[None, :self.nothing.batch_sizes[0]].contiguous())
            d = torch.addmm(p["c_x"], torch.cat([y_1, unrolled.data]), p["V_hx"]) - s.latest
            loss = (d * d).sum() / s.B
            loss.backward()
        return loss.detach()


class Compiled:
    """Back-propagation by hand without a buffer, and Adam, compiled together."""

    def __init__(self, p, packed, scale, unit, epsilon):
        import torch._inductor.config as inductor

        inductor.compile_threads = 1
        self.names, self.p, self.s = list(p), p, packed
        self.m, self.v = ([torch.zeros_like(value) for value in p.values()] for _ in range(2))
        self.t, names = 0, self.names

        def work(rate, first, second, p, m, v):
            loss, grad = functional(dict(zip(names, p)), packed)
            for name, p_, m_, v_ in zip(names, p, m, v):
                g = grad[name] * (scale[name] / unit)
                m_.mul_(BETA_1).add_(g, alpha=1 - BETA_1)
                v_.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
                p_.sub_(rate * scale[name] / first * m_ / ((v_ / second).sqrt() + epsilon))
            return loss, grad

        options = {"cpp_wrapper": True}
        if environment.held_to_avx2():
            options |= {"cpp.simdlen": 256, "cpp.march": "haswell"}
        self.work = torch.compile(work, dynamic=False, options=options)

    def update(self, rate):
        self.t += 1
        numbers = (torch.tensor(number, dtype=self.s.x.dtype) for number in (
            rate, 1 - BETA_1**self.t, 1 - BETA_2**self.t))
        return self.work(*numbers, list(self.p.values()), self.m, self.v)

    def loss_and_grad(self):
        loss, grad = self.update(0.0)
        self.t = 0
        for array in self.m + self.v:
            array.zero_()
        for name, value in self.p.items():
            value.grad = grad[name]
        return loss


def functional(p, s):
    """Loss and gradients; of sequences of different lengths step by step over those that still run."""
    H, B = len(p["b_h"]), s.B
    a = torch.addmm(p["b_h"], s.x, p["W_xh"])
    h = []
    previous = p["h0"].expand(B, H)
    for t in range(s.T):
        previous = torch.tanh(torch.addmm(a[s.rows[t]], previous[:s.active[t]], p["W_hh"]))
        h.append(previous)
    states = torch.cat(h)
    codes = h[-1] if s.active[-1] == B else states[s.last]
    code = codes @ p["W_hc"] + p["b_c"] if "W_hc" in p else codes
    y = [code @ p["V_ch"] + p["c_1"] if "W_hc" in p else codes]
    for k in range(1, s.T):
        y.append(torch.tanh(torch.addmm(p["c_h"], y[-1][:s.active[k]], p["V_hh"])))
    flat = torch.cat(y)
    d = torch.addmm(p["c_x"], flat, p["V_hx"]) - s.latest
    g = d * (2 / B)
    dy = g @ p["V_hx"].T
    das, later = [], None
    for k in range(s.T - 1, -1, -1):
        now = dy[s.rows[k]]
        if later is not None:
            more = later @ p["V_hh"].T
            now = now + more if s.active[k] == len(more) else torch.cat([now[:len(more)] + more, now[len(more):]])
        later = now * (1 - y[k] * y[k]) if k else now
        das.append(later)
    dy_1 = das.pop()
    da = torch.cat(das[::-1])
    before = torch.cat([y[k - 1][:s.active[k]] for k in range(1, s.T)])
    grad = {"V_hh": before.T @ da, "c_h": da.sum(0), "V_hx": flat.T @ g, "c_x": g.sum(0)}
    dh = dy_1
    if "W_hc" in p:
        dcode = dy_1 @ p["V_ch"].T
        grad |= {"V_ch": code.T @ dy_1, "c_1": dy_1.sum(0), "W_hc": codes.T @ dcode, "b_c": dcode.sum(0)}
        dh = dcode @ p["W_hc"].T
    das, later = [], None
    for t in range(s.T - 1, -1, -1):
        if later is None:
            now = dh[:s.active[t]]
        else:
            more = later @ p["W_hh"].T
            now = more if s.active[t] == len(more) else torch.cat([more, dh[len(more):s.active[t]]])
        later = now * (1 - h[t] * h[t])
        das.append(later)
    da = torch.cat(das[::-1])
    before = torch.cat([p["h0"].expand(B, H), *[h[t - 1][:s.active[t]] for t in range(1, s.T)]])
    grad |= {"W_hh": before.T @ da, "W_xh": s.x.T @ da, "b_h": da.sum(0),
             "h0": (later.sum(0, keepdim=True) @ p["W_hh"].T)[0]}
    return (d * d).sum() / B, grad


class TorchDefaults:
    FORMS = {"by hand, out=": ByHand, "by hand, torch.compile": Compiled, "nn.RNN, autograd": Autograd}

    def __init__(self, case, theta, X, lengths, scale, unit, threads):
        torch.set_num_threads(threads)
        self.case, self.scale, self.unit, self.epsilon = case, scale, unit, case.solver(1.0).epsilon
        self.I, self.theta, self.packed = X.shape[2], theta, Packed(X, lengths)
        self.made, self.adams = {}, {}

    def forms(self):
        return [form for form in self.FORMS if form != "by hand, torch.compile" or self.packed.T <= COMPILE_UP_TO]

    def _make(self, form):
        if form not in self.made:
            p = {name: torch.tensor(np.array(view))
                 for name, view in named(self.theta, self.I, self.case.H, self.case.C).items()}
            more = (self.scale, self.unit, self.epsilon) if self.FORMS[form] is Compiled else ()
            self.made[form] = self.FORMS[form](p, self.packed, *more)
        return self.made[form]

    def _named(self, arrays, form):
        """Arrays by name as everyone has them; those of nn.RNN are transposed."""
        turned = ("W_xh", "W_hh", "V_hh") if self.FORMS[form] is Autograd else ()
        found = {name: value.detach().numpy() for name, value in arrays.items()}
        return from_names({name: value.T if name in turned else value for name, value in found.items()})

    @torch.no_grad()
    def loss_and_grad(self, form):
        made = self._make(form)
        loss = made.loss_and_grad()
        return float(loss), self._named({name: value.grad for name, value in made.p.items()}, form).copy()

    @torch.no_grad()
    def update(self, form, n, rate):
        made = self._make(form)
        if isinstance(made, Compiled):
            for _ in range(n):
                made.update(rate)
            return
        if form not in self.adams:
            # One number of epsilon for all is not the same in every unit: groups.
            self.adams[form] = torch.optim.Adam(
                [{"params": [value], "eps": self.epsilon * self.unit / self.scale[name]}
                 for name, value in made.p.items()], lr=1.0, betas=(BETA_1, BETA_2), fused=True)
        adam = self.adams[form]
        for group, name in zip(adam.param_groups, made.p):
            group["lr"] = rate * self.scale[name]
        for _ in range(n):
            made.loss_and_grad()
            adam.step()

    def parameters(self, form):
        return self._named(self._make(form).p, form)
