"""python benchmarks/tokens.py, or run.py --case tokens: updates by token ids, at any vocabulary.

Two tables. Squared errors of linear outputs, 128 units, 64 steps: ours in factors, ours computing every output, of
ids and of one-hot rows, and PyTorch (Embedding, nn.RNN, Linear, squared errors). Cross-entropy of a softmax over the
vocabulary: ours, PyTorch and JAX. Everyone does plain SGD from the same weights; the loss and the gradient of the
output weights are compared before anything is timed. One thread each, and one after the other. Of factors the time is
the mean over --updates updates, corrections and folds included, of others the least of a few. GFLOP/s counts the
products over the vocabulary and the recurrences; exponentials are time, and no work.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import importlib  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402

from rae_fast import RAE, show_config  # noqa: E402

VOCABULARIES, BATCHES, H, T = (100, 1_000, 10_000, 100_000, 1_000_000), (1, 16), 128, 64
RNG = np.random.default_rng(0)
SOFTMAX = ((5_000, 128, 32, 20), (5_000, 256, 32, 20), (5_000, 512, 32, 20), (20_000, 128, 32, 20),
           (50_000, 256, 32, 20))
RATE = 1e-6
MULTIPLES = (4, 6, 8, 12, 16, 24, 32, 64)
# About a fifth of what diverges with these states.
SQUARED_RATE = 1e-4
# One-hot rows of a batch, and outputs of it, up to this many bytes.
MOST_BYTES = 1 << 30


def rivals(*names):
    """The modules of peers that are installed, by name."""
    found = {}
    for name, module in names:
        try:
            found[name] = importlib.import_module(f"peers.{module}").Tokens
        except ImportError:
            print(f"without {name}, which is not installed (make bench installs it)")
    return found


def least(rounds, *calls):
    """Of each call the least time in seconds, one after the other in each round."""
    found = [np.inf] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            found[i] = min(found[i], time.perf_counter() - start)
    return found


def agree(model, other, X):
    loss, grad = model.loss_and_grad(X)
    theirs, gradient = other.loss_and_gradient(X)
    assert abs(theirs - loss) < 1e-3 * abs(loss), (theirs, loss)  # sums of 10^8 numbers of float32
    error = np.abs(gradient - grad["V_hx"]).max() / np.abs(grad["V_hx"]).max()
    assert error < 1e-3, error


def words(V, B, n, rng):
    """n batches of ids as frequent as words are."""
    return np.minimum((V ** rng.random((n, B, T))).astype(np.intp), V - 1)


def model_of(V, dtype, update, rate):
    model = RAE(H, n_features=V, dtype=dtype, output="linear", solver="sgd", relative_rates=False, learning_rate=rate,
                output_update=update, init="orthogonal", random_state=0, max_iter=0).fit(words(V, 1, 1, RNG)[0])
    model.parameters_["V_hx"][...] /= np.sqrt(V)
    return model


def factored(V, B, dtype, updates):
    """Seconds: the mean of an update, that of one without a fold, and a fold; and corrections an update."""
    batches = words(V, B, min(updates, 2000), np.random.default_rng(1))
    model = model_of(V, dtype, "factored", SQUARED_RATE)
    for X in batches[:20]:
        model.partial_fit(X)
    outputs = model._learned.outputs
    corrections, total, plain, folds = outputs.n_corrections, 0.0, [], []
    for i in range(updates):
        before, start = outputs.n_folds, time.perf_counter()
        model.partial_fit(batches[i % len(batches)])
        took = time.perf_counter() - start
        total += took
        (plain if outputs.n_folds == before else folds).append(took)
    plain = float(np.median(plain or folds))
    if not folds:
        start = time.perf_counter()
        outputs.make_true(model._learned.memory)
        folds.append(time.perf_counter() - start + plain)
    return total / updates, plain, float(np.mean(folds)) - plain, (outputs.n_corrections - corrections) / updates


def squared(options):
    found = rivals(("PyTorch", "torch_tokens"))
    print(f"\nSquared errors, H = {H}, T = {T}, one thread, ms an update (folds: ms of one; corrections: of an update)")
    print(f"{'dtype':>8}{'V':>10}{'B':>4}{'factored':>10}{'median':>8}{'fold':>8}{'corr.':>7}{'ids':>9}{'ahead':>7}"
          f"{'one-hot':>9}{'ahead':>7}{'PyTorch':>9}{'ahead':>7}")
    for dtype in options.dtype:
        for B in BATCHES:
            for V in VOCABULARIES:
                if V > options.most:
                    continue
                mean, plain, fold, corrections = factored(V, B, dtype, options.updates)
                X = words(V, B, 1, np.random.default_rng(2))[0]
                size = B * T * V * np.dtype(dtype).itemsize
                rows = ""
                calls = {"ids": None, "one-hot": None, "PyTorch": None}
                if size <= MOST_BYTES:
                    model = model_of(V, dtype, "dense", RATE).partial_fit(X)
                    calls["ids"] = lambda model=model, X=X: model.partial_fit(X)
                    one_hot = np.zeros((B, T, V), dtype)
                    np.put_along_axis(one_hot, X[:, :, None], 1, axis=2)
                    dense = model_of(V, dtype, "dense", RATE).partial_fit(one_hot)
                    calls["one-hot"] = lambda dense=dense, X=one_hot: dense.partial_fit(X)
                    if found and dtype == "float32":
                        other = found["PyTorch"](model, RATE)
                        agree(model, other, X)
                        calls["PyTorch"] = lambda other=other, X=X: other.update(X)
                times = least(options.rounds, *(call for call in calls.values() if call))
                for call in calls.values():
                    took = times.pop(0) if call else None
                    rows += f"{took * 1e3:>9.1f}{took / mean:>6.0f}x" if call else f"{'-':>9}{'-':>7}"
                print(f"{dtype:>8}{V:>10,}{B:>4}{mean * 1e3:>10.2f}{plain * 1e3:>8.2f}{fold * 1e3:>8.1f}"
                      f"{corrections:>7.3f}{rows}", flush=True)


def threshold():
    """Where factors begin to be faster (rae_fast/factored.py): ids computing every output, over factors."""
    print("\nids computing every output over factors, least times, float32, at multiples of H + 1 features")
    print(f"{'H':>5}{'B':>4}{'T':>4}" + "".join(f"{m:>7}" for m in MULTIPLES))
    for units in (8, 24, 64, 128):
        for B, steps in ((1, 8), (1, 64), (16, 16)):
            row = ""
            for multiple in MULTIPLES:
                X = RNG.integers(0, multiple * (units + 1), (B, steps))
                models = [RAE(units, n_features=multiple * (units + 1), dtype="float32", output="linear", solver="sgd",
                              init="normal", init_scale=0.01, relative_rates=False, learning_rate=1e-4, random_state=0,
                              output_update=update).partial_fit(X) for update in ("dense", "factored")]
                dense, factors = least(200, *(lambda model=model, X=X: model.partial_fit(X) for model in models))
                row += f"{dense / factors:>7.2f}"
            print(f"{units:>5}{B:>4}{steps:>4}{row}", flush=True)


def softmax(options):
    found = rivals(("PyTorch", "torch_tokens"), ("JAX", "jax_tokens"))
    a, b = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((640, 512), (512, 5000)))
    a @ b
    gemm = 2 * 640 * 512 * 5000 / least(options.rounds, lambda: a @ b)[0] / 1e9
    print(f"\nSoftmax, float32, one thread; GEMM of 640 x 512 x 5,000 here: {gemm:.1f} GFLOP/s")
    print(f"{'V':>8}{'H':>5}{'rows':>6}{'ours, ms':>10}{'GFLOP/s':>9}{'of GEMM':>9}"
          + "".join(f"{name + ', ms':>13}{'ahead':>7}" for name in found))
    for V, units, B, steps in SOFTMAX:
        if V > options.most:
            continue
        X = np.random.default_rng(0).integers(0, V, (B, steps))
        model = RAE(units, n_features=V, dtype="float32", init="orthogonal", max_iter=0, random_state=0, solver="sgd",
                    relative_rates=False, learning_rate=RATE).fit(X)
        calls = [lambda model=model, X=X: model.partial_fit(X)]
        for peer in found.values():
            other = peer(model, RATE)
            agree(model, other, X)
            calls.append(lambda other=other, X=X: other.update(X))
        for call in calls:
            call()
        ours, *theirs = least(options.rounds, *calls)
        rate = (6 * B * steps * V * units + 12 * B * steps * units * units) / ours / 1e9
        print(f"{V:>8,}{units:>5}{B * steps:>6}{ours * 1e3:>10.1f}{rate:>9.1f}{rate / gemm:>9.0%}"
              + "".join(f"{took * 1e3:>13.1f}{took / ours:>6.2f}x" for took in theirs), flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=1000, help="of factors, for each row of the table")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--most", type=int, default=max(VOCABULARIES), help="no larger vocabularies")
    parser.add_argument("--only", choices=("squared", "softmax", "threshold"), help="threshold: by itself alone")
    options = parser.parse_args(arguments)
    show_config()
    if options.only == "threshold":
        threshold()
    if options.only in (None, "squared"):
        squared(options)
    if options.only in (None, "softmax"):
        softmax(options)


if __name__ == "__main__":
    main()
