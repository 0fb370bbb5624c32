"""python benchmarks/interrupt.py: how long Ctrl-C waits, in sizes small and large; the goal is 0.3 s."""

import os
import signal
import threading
import time

import numpy as np

from rae_fast import RAE

SIZES = [  # (N, T, I), n_hidden
    ((1, 8, 8), 24), ((40_000, 8, 8), 24), ((300_000, 3, 2), 4), ((64, 100, 256), 512), ((1, 1_000_000, 4), 64),
    ((2000, 30, 64), 512), ((512, 10, 64), 2048), ((20_000, 4, 16), 1024), ((4, 10, 16), 4096),
]


def latency(call, after):
    """Seconds from SIGINT to KeyboardInterrupt; None if the call was over before."""
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, send)
    timer.start()
    try:
        call()
        timer.cancel()
        timer.join()
        return None
    except KeyboardInterrupt:
        return time.monotonic() - sent[0]


def main():
    rng = np.random.default_rng(0)
    for shape, n_hidden in SIZES:
        X = rng.standard_normal(shape)
        model = RAE(n_hidden, max_iter=10**9, tol=0, learning_rate=1e-9, batch_size=10**9, random_state=0)
        small = X[:1, :1]
        fitted = RAE(n_hidden, max_iter=0, init_scale=1e-3, random_state=0).fit(small)
        calls = {
            "fit": lambda model=model, X=X: model.fit(X),
            "transform": lambda model=fitted, X=X: [model.transform(X) for _ in range(10**6)],
            "reconstruct": lambda model=fitted, X=X: [model.reconstruct(X) for _ in range(10**6)],
        }
        for name, call in calls.items():
            waits = [latency(call, after) for after in rng.uniform(0.05, 0.8, 6)]
            print(f"X {shape}, n_hidden {n_hidden}, {name}: longest of 6 waits {max(waits) * 1e3:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
