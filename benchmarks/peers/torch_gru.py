"""A GRU auto-encoder in PyTorch, the usual way: the last state of one GRU is the code, a second GRU starts from it.

The decoder gets no input and gives the sequence back latest step first, like RAE. Data are standardised,
lengths may differ, Adam with clipping and a cosine schedule over the time that is given.
"""

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from peers.torch_fit import fit_for


class Net(torch.nn.Module):
    def __init__(self, n_inputs, n_hidden):
        super().__init__()
        self.encoder = torch.nn.GRU(n_inputs, n_hidden, batch_first=True)
        self.decoder = torch.nn.GRU(1, n_hidden, batch_first=True)
        self.output = torch.nn.Linear(n_hidden, n_inputs)

    def forward(self, X, lengths):
        _, code = self.encoder(pack_padded_sequence(X, lengths, batch_first=True, enforce_sorted=False))
        nothing = torch.zeros(len(X), int(lengths.max()), 1)
        return self.output(self.decoder(nothing, code)[0])


class GRUAutoEncoder:
    """fit for so many seconds on one thread; unroll gives outputs (logits for softmax) in the data's units."""

    def __init__(self, n_hidden, learning_rate, seconds, softmax=False, batch_size=32, seed=0):
        self.n_hidden, self.learning_rate, self.seconds = n_hidden, learning_rate, seconds
        self.softmax, self.batch_size, self.seed = softmax, batch_size, seed

    def _padded(self, X):
        """Inputs, reversed targets and mask (N, T, .), and lengths."""
        lengths = torch.tensor([len(x) for x in X])
        inputs = np.zeros((len(X), int(lengths.max()), X[0].shape[1]), np.float32)
        targets, mask = inputs.copy(), inputs[:, :, :1].copy()
        for n, x in enumerate(X):
            z = (x - self.mean) / self.scale
            inputs[n, :len(x)], targets[n, :len(x)], mask[n, :len(x)] = z, z[::-1], 1
        return torch.tensor(inputs), torch.tensor(targets), torch.tensor(mask), lengths

    def _loss(self, outputs, targets, mask):
        if self.softmax:
            return -(targets * torch.log_softmax(outputs, dim=2) * mask).sum()
        return (((outputs - targets) * mask) ** 2).sum()

    def fit(self, X):
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        rows = np.concatenate(list(X))
        self.mean = 0.0 if self.softmax else rows.mean(axis=0)
        self.scale = 1.0 if self.softmax else np.sqrt(((rows - self.mean) ** 2).mean())
        inputs, targets, mask, lengths = self._padded(X)
        self.net = Net(inputs.shape[2], self.n_hidden)

        def loss(chosen):
            longest = int(lengths[chosen].max())
            outputs = self.net(inputs[chosen], lengths[chosen])
            return self._loss(outputs, targets[chosen, :longest], mask[chosen, :longest]) / len(chosen)

        self.n_updates = fit_for(self.seconds, self.net, len(X), loss, self.learning_rate, self.batch_size, self.seed)
        return self

    def reconstruct(self, X):
        """Outputs in chronological order, one array a sequence."""
        inputs, _, _, lengths = self._padded(X)
        with torch.no_grad():
            outputs = self.net(inputs, lengths).numpy()
        return [out[:len(x)][::-1] * self.scale + self.mean for out, x in zip(outputs, X)]
