"""Training for so many seconds on one thread: what the auto-encoders in PyTorch share."""

import time

import numpy as np
import torch


def fit_for(seconds, net, n, loss, learning_rate, batch_size, seed):
    """Adam with clipping and a cosine schedule over the time; loss: of chosen ones of n sequences. How many updates."""
    adam = torch.optim.Adam(net.parameters(), lr=learning_rate)
    rng = np.random.default_rng(seed)
    start, n_updates = time.perf_counter(), 0
    while True:
        order = torch.tensor(rng.permutation(n))
        for first in range(0, n, batch_size):
            done = (time.perf_counter() - start) / seconds
            if done >= 1:
                return n_updates
            for group in adam.param_groups:
                group["lr"] = learning_rate * (1 + np.cos(np.pi * done)) / 2
            adam.zero_grad()
            loss(order[first:first + batch_size]).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.step()
            n_updates += 1
