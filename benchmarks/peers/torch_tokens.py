"""PyTorch on token ids: Embedding, nn.RNN to read and to unroll, Linear, plain SGD; with the weights of a model."""

import torch

from peers.torch_peer import about

__all__ = ["Tokens", "about"]


class Tokens:
    """Cross-entropy of a softmax, or squared errors of all outputs against one-hot rows."""

    def __init__(self, model, rate):
        torch.set_num_threads(1)
        p = {name: torch.tensor(view.copy()) for name, view in model.parameters_.items()}
        V, H = p["W_xh"].shape
        self.softmax = model._learned.form.output == "softmax"
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
        self.sgd = torch.optim.SGD([q for part in parts for q in part.parameters()], lr=rate)

    def loss(self, ids):
        _, code = self.encoder(self.embedding(ids))
        states, _ = self.decoder(torch.zeros(len(ids), ids.shape[1] - 1, 1), code)
        outputs = self.output(torch.cat([code[0][:, None], states], dim=1)).flatten(0, 1)
        targets = ids.flip(1).flatten()
        if self.softmax:
            return torch.nn.functional.cross_entropy(outputs, targets, reduction="sum") / len(ids)
        # |o - e_i|^2 = |o|^2 - 2 o_i + 1, without a one-hot row.
        return (outputs.square().sum() - 2 * outputs.gather(1, targets[:, None]).sum() + len(targets)) / len(ids)

    def loss_and_gradient(self, ids):
        """The loss and that of the output weights."""
        loss = self.loss(torch.tensor(ids))
        loss.backward()
        return loss.item(), self.output.weight.grad.numpy().T.copy()

    def update(self, ids):
        self.sgd.zero_grad()
        self.loss(torch.tensor(ids)).backward()
        self.sgd.step()
