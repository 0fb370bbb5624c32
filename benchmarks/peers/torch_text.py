"""A GRU auto-encoder of token ids in PyTorch: embedding, encoder, a linear code, decoder, logits over the vocabulary.

The decoder starts from the code, gets it as its input at every step as well, and gives the sequence back latest step
first, like RAE. Adam with clipping and a cosine schedule over the time that is given.
"""

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from peers.torch_fit import fit_for

EMBEDDING = 64


class Net(torch.nn.Module):
    def __init__(self, n_symbols, n_hidden, n_code):
        super().__init__()
        self.embedding = torch.nn.Embedding(n_symbols, EMBEDDING)
        self.encoder = torch.nn.GRU(EMBEDDING, n_hidden, batch_first=True)
        self.code = torch.nn.Linear(n_hidden, n_code)
        self.start = torch.nn.Linear(n_code, n_hidden)
        self.decoder = torch.nn.GRU(n_code, n_hidden, batch_first=True)
        self.output = torch.nn.Linear(n_hidden, n_symbols)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        code = self.code(self.encoder(packed)[1][0])
        inputs = code[:, None].expand(-1, int(lengths.max()), -1)
        return self.output(self.decoder(inputs, self.start(code)[None])[0])


class GRUText:
    """fit for so many seconds on one thread."""

    def __init__(self, n_symbols, n_hidden, n_code, learning_rate, seconds, batch_size=32, seed=0):
        self.n_symbols, self.n_hidden, self.n_code = n_symbols, n_hidden, n_code
        self.learning_rate, self.seconds, self.batch_size, self.seed = learning_rate, seconds, batch_size, seed

    @staticmethod
    def _padded(X):
        """Ids, targets (reversed, -100 where there are none) and lengths."""
        lengths = torch.tensor([len(x) for x in X])
        ids = np.zeros((len(X), int(lengths.max())), np.int64)
        targets = np.full(ids.shape, -100, np.int64)
        for n, x in enumerate(X):
            ids[n, :len(x)], targets[n, :len(x)] = x, x[::-1]
        return torch.tensor(ids), torch.tensor(targets), lengths

    def fit(self, X):
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        ids, targets, lengths = self._padded(X)
        self.net = Net(self.n_symbols, self.n_hidden, self.n_code)

        def loss(chosen):
            longest = int(lengths[chosen].max())
            outputs = self.net(ids[chosen, :longest], lengths[chosen])
            return torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets[chosen, :longest].flatten(),
                                                     reduction="sum") / len(chosen)

        self.n_updates = fit_for(self.seconds, self.net, len(X), loss, self.learning_rate, self.batch_size, self.seed)
        return self

    def reconstruct(self, X):
        """Ids in chronological order."""
        found = []
        with torch.no_grad():
            for first in range(0, len(X), 64):
                some = X[first:first + 64]
                ids, _, lengths = self._padded(some)
                best = self.net(ids, lengths).argmax(dim=2).numpy()
                found += [row[:len(x)][::-1] for row, x in zip(best, some)]
        return found
