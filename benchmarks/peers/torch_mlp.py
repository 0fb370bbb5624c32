"""An auto-encoder of two hidden layers in PyTorch on zero-padded, flattened sequences: the usual first thing to try.

D - 128 - C - 128 - D with ReLU, Adam with clipping and a cosine schedule over the time that is given; data are
standardised, padding counts in no loss.
"""

import numpy as np
import torch

from peers.torch_fit import fit_for

WIDTH = 128


class MLPAutoEncoder:
    """fit for so many seconds on one thread. longest: steps of the longest sequence that is ever passed."""

    def __init__(self, n_code, learning_rate, seconds, longest, batch_size=32, seed=0):
        self.n_code, self.learning_rate, self.seconds, self.longest = n_code, learning_rate, seconds, longest
        self.batch_size, self.seed = batch_size, seed

    def _flat(self, X):
        data = np.zeros((len(X), self.longest, X[0].shape[1]), np.float32)
        mask = data.copy()
        for n, x in enumerate(X):
            data[n, :len(x)], mask[n, :len(x)] = (x - self.mean) / self.scale, 1
        return torch.tensor(data.reshape(len(X), -1)), torch.tensor(mask.reshape(len(X), -1))

    def fit(self, X):
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        rows = np.concatenate(list(X))
        self.mean = rows.mean(axis=0)
        self.scale = np.sqrt(((rows - self.mean) ** 2).mean())
        data, mask = self._flat(X)
        D = data.shape[1]
        self.net = torch.nn.Sequential(
            torch.nn.Linear(D, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, self.n_code),
            torch.nn.Linear(self.n_code, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, D))

        def loss(chosen):
            return (((self.net(data[chosen]) - data[chosen]) * mask[chosen]) ** 2).sum() / len(chosen)

        self.n_updates = fit_for(self.seconds, self.net, len(X), loss, self.learning_rate, self.batch_size, self.seed)
        return self

    def reconstruct(self, X):
        data, _ = self._flat(X)
        with torch.no_grad():
            outputs = self.net(data).numpy().reshape(len(X), self.longest, -1)
        return [out[:len(x)] * self.scale + self.mean for out, x in zip(outputs, X)]
