"""python benchmarks/tokens.py: an update with softmax outputs over a vocabulary, and PyTorch's with the same weights.

PyTorch: Embedding, nn.RNN for reading and for unrolling, Linear and cross_entropy, plain SGD; loss and the gradient of
the output weights are compared with ours before anything is timed. One thread each, rounds interleaved, the least of
them. GFLOP/s counts the products over the vocabulary and the recurrences; exponentials are time, and no work.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402

from rae_fast import RAE, show_config  # noqa: E402

try:
    import torch
except ImportError:
    torch = None

CASES = ((5_000, 128, 32, 20), (5_000, 256, 32, 20), (5_000, 512, 32, 20), (20_000, 128, 32, 20), (50_000, 256, 32, 20))
RATE = 1e-6


class Unfolding:
    """The model's weights in PyTorch."""

    def __init__(self, model):
        p = {name: torch.tensor(view.copy()) for name, view in model.parameters_.items()}
        V, H = p["W_xh"].shape
        self.embedding, self.output = torch.nn.Embedding(V, H), torch.nn.Linear(H, V)
        self.encoder, self.decoder = torch.nn.RNN(H, H, batch_first=True), torch.nn.RNN(1, H, batch_first=True)
        with torch.no_grad():
            self.embedding.weight[:] = p["W_xh"]
            self.output.weight[:], self.output.bias[:] = p["V_hx"].T, p["c_x"]
            for rnn, weights, bias in ((self.encoder, "W_hh", "b_h"), (self.decoder, "V_hh", "c_h")):
                rnn.weight_hh_l0[:], rnn.bias_hh_l0[:] = p[weights].T, p[bias]
                rnn.bias_ih_l0[:] = 0
            self.encoder.weight_ih_l0[:] = torch.eye(H)
        parts = (self.embedding, self.output, self.encoder, self.decoder)
        self.parameters = [q for part in parts for q in part.parameters()]
        self.sgd = torch.optim.SGD(self.parameters, lr=RATE)

    def loss(self, ids):
        _, code = self.encoder(self.embedding(ids))
        states, _ = self.decoder(torch.zeros(len(ids), ids.shape[1] - 1, 1), code)
        logits = self.output(torch.cat([code[0][:, None], states], dim=1))
        targets = ids.flip(1).flatten()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum") / len(ids)

    def update(self, ids):
        self.sgd.zero_grad()
        self.loss(ids).backward()
        self.sgd.step()


def least(rounds, *calls):
    """Of each call the least time in seconds, one after the other in each round."""
    found = [np.inf] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            found[i] = min(found[i], time.perf_counter() - start)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    show_config()
    if torch is None:
        print("\nwithout PyTorch (pip install torch==2.13.0), ours alone")
    else:
        torch.set_num_threads(1)
    a, b = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((640, 512), (512, 5000)))
    a @ b
    gemm = 2 * 640 * 512 * 5000 / least(options.rounds, lambda: a @ b)[0] / 1e9
    print(f"\nfloat32, one thread; GEMM of 640 x 512 x 5,000 here: {gemm:.1f} GFLOP/s")
    print(f"{'V':>8}{'H':>5}{'rows':>6}{'ours, ms':>10}{'GFLOP/s':>9}{'of GEMM':>9}{'PyTorch, ms':>13}{'ahead':>7}")
    for V, H, B, T in CASES:
        X = np.random.default_rng(0).integers(0, V, (B, T))
        model = RAE(H, n_features=V, dtype="float32", init="orthogonal", max_iter=0, random_state=0, solver="sgd",
                    relative_rates=False, learning_rate=RATE).fit(X)
        calls = [lambda model=model, X=X: model.partial_fit(X)]
        if torch is not None:
            other, ids = Unfolding(model), torch.tensor(X)
            loss, grad = model.loss_and_grad(X)
            other.loss(ids).backward()
            assert abs(other.loss(ids).item() - loss) < 1e-4 * loss
            error = np.abs(other.output.weight.grad.numpy().T - grad["V_hx"]).max() / np.abs(grad["V_hx"]).max()
            assert error < 1e-3, error
            calls.append(lambda other=other, ids=ids: other.update(ids))
        for call in calls:
            call()
        times = least(options.rounds, *calls)
        rate = (6 * B * T * V * H + 12 * B * T * H * H) / times[0] / 1e9
        rival = f"{times[1] * 1e3:>13.1f}{times[1] / times[0]:>6.2f}x" if torch is not None else ""
        print(f"{V:>8,}{H:>5}{B * T:>6}{times[0] * 1e3:>10.1f}{rate:>9.1f}{rate / gemm:>9.0%}{rival}", flush=True)


if __name__ == "__main__":
    main()
