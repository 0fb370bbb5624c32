"""The linear recursive auto-encoder in closed form: init="linear".

Sperduti (2006); Pasa & Sperduti (NIPS 2014). Stack every reversed, zero-padded prefix
[x_t - mu, x_{t-1} - mu, ...] of every sequence as a row of Xi (sum T, L I), and let U (L I, r) hold its
first right singular vectors. With features in rows, I of them::

    W_xh = U[:I]    W_hh = U[:-I]^T U[I:]    V_hx = W_xh^T    V_hh = W_hh^T    c_x = mu    b_h = -mu W_xh

reads a sequence into its coordinates in that basis and gives it back. W_xh and b_h are scaled by e, V_hx by
1 / e, so that tanh stays near linear.

Xi itself is formed only where it has few rows. A prefix is a shifted piece of the whole sequence, so
Xi^T Xi is the Gram matrix of the whole reversed sequences (one row a sequence) added up along its block
diagonals. Where L I is too large for that, Lanczos iterations multiply by Xi and Xi^T as convolutions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.sparse.linalg
from numpy.typing import NDArray
from scipy.special import log_softmax

from rae_fast import _codes
from rae_fast._batch import Batch
from rae_fast._form import Form
from rae_fast.inputs import sample

Floats = NDArray[Any]

# Columns L I of Xi up to which its Gram matrix is formed (8 bytes x 4096^2 = 134 MB) ...
_GRAM_COLUMNS = 4096
# ... up to which all its eigenvalues are found, and the most that are used: steps further back than
# _MOST_COLUMNS / I are left out of the closed form.
_DENSE_COLUMNS = 1024
_MOST_COLUMNS = 1 << 16
# Elements of a piece of the reversed sequences, and of their transforms that are kept: 64 and 512 MB.
_PIECE = 1 << 23
_KEPT_TRANSFORMS = 1 << 25
# Relative accuracy of Lanczos' eigenvalues, and its restarts at most.
_LANCZOS_TOLERANCE, _LANCZOS_RESTARTS = 1e-4, 100
# Eigenvalues below this fraction of the largest are rounding: the rank ends there.
_RANK_TOLERANCE = 1e-12
# Units beyond the rank start as normal draws with this fraction of the others' root mean square.
_PADDING = 1e-3
# The scale e is the largest power of 2 with which the error of unrolled sequences is at most this times the
# error of the linear model plus this fraction of the variance. As the start of a training whose tanh decoder
# has to have something to bend, it is the largest that loses at most a tenth of the variance that the
# linear model explains, unless that leaves less than a hundredth (docs/quality.md, "Defaults").
_SCALES = 2.0 ** -np.arange(15)
_CLOSE, _CLOSE_TO_ZERO, _MOST_LOST, _LEFT_TO_GAIN = 1.05, 1e-4, 0.1, 0.01
# Sharpness of softmax outputs that are tried.
_SHARPNESS = 2.0 ** np.arange(7)


def initialise(form: Form, batch: Batch, weights: Floats | None, rng: np.random.Generator, *,
               to_be_trained: bool) -> Floats:
    """A new theta of the batch's dtype, the closed form for the batch.

    Parameters
    ----------
    form : what is to be initialised; with softmax output the linear outputs become changes of the logits of
        the mean distribution, with tied parameters e is the scale that gives the least error.
    batch : the sequences
    weights : (N,) their weights in the mean and in Xi; None for equal ones
    rng : draws the start of the Lanczos iteration and the values of units beyond the rank
    to_be_trained : whether this is the start of a training and not the model itself
    """
    I, H = form.n_inputs, form.n_hidden
    # Only the ratios of weights matter here.
    w = np.ones(batch.n_sequences) if weights is None else weights.astype(np.float64) / float(weights.max())
    lengths = batch.lengths()
    with np.errstate(over="ignore", invalid="ignore"):
        mu = np.average(batch.data, axis=0, weights=np.repeat(w, lengths)).astype(np.float64)
        squares = np.einsum("ij,ij->", batch.data, batch.data, dtype=np.float64)
    if not np.isfinite(mu).all() or not np.isfinite(squares):
        raise ValueError("the squares of X overflow: scale it down, or choose another init than 'linear'")
    n_lags = min(int(lengths.max()), max(1, _MOST_COLUMNS // I))
    n = min(H, n_lags * I, len(batch.data))
    values, U = _singular_vectors(batch, mu, np.sqrt(w), n_lags, n, rng)
    rank = int((values > _RANK_TOLERANCE * values.max(initial=0)).sum())
    U = U[:, :rank]

    theta = np.zeros(form.size)
    p = form.views(theta)
    p["W_xh"][:, :rank] = U[:I]
    p["W_hh"][:rank, :rank] = U[:-I].T @ U[I:]
    _pad(p, form, rank, rng)
    if not form.tied:
        p["V_hh"][...] = p["W_hh"].T
        p["V_hx"][...] = p["W_xh"].T
    p["c_x"][:] = mu
    p["b_h"][:] = -mu @ p["W_xh"]
    # The size of a code before tanh: the root mean square over its elements.
    size = np.sqrt(values[:rank].sum() / (max(float(w @ lengths), np.finfo(float).tiny) * H)) or 1.0
    to_be_bent = to_be_trained and form.decoder == "tanh"
    start = form.empty(batch.dtype)
    start[:] = _scaled(theta, form, sample(batch, weights), size, to_be_bent)
    return start


def _pad(p: dict[str, Floats], form: Form, rank: int, rng: np.random.Generator) -> None:
    """Small normal draws for the encoder's weights into, from and between units beyond the rank."""
    H = form.n_hidden
    if rank == H:
        return
    for name in ("W_xh", "W_hh"):
        known = p[name][:, :rank] if name == "W_xh" else p[name][:rank, :rank]
        size = np.sqrt(np.mean(known**2)) if known.any() else 1 / np.sqrt(H)
        draws = _PADDING * size * rng.standard_normal(p[name].shape)
        draws[: len(known), :rank] = known
        p[name][...] = draws


# ---- singular vectors of Xi --------------------------------------------------------------------------


def _singular_vectors(batch: Batch, mu: Floats, root_weights: Floats, n_lags: int, n: int,
                      rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The n largest eigenvalues of Xi^T Xi, falling, and their vectors (n_lags I, n); fewer if not found."""
    columns, rows = n_lags * len(mu), len(batch.data)
    if rows * 4 <= columns and rows * columns <= _GRAM_COLUMNS**2:
        # A flat Xi: the eigenvectors of Xi Xi^T.
        xi = _prefixes(batch, mu, root_weights, n_lags)
        values, left = scipy.linalg.eigh(xi @ xi.T, subset_by_index=(max(0, rows - n), rows - 1))
        vectors = xi.T @ left / np.sqrt(np.maximum(values, np.finfo(float).tiny))
    else:
        # (A window shorter than the longest sequence has some _MOST_COLUMNS columns, more than _GRAM_COLUMNS.)
        if columns <= _GRAM_COLUMNS:
            operator: Any = gram(batch, mu, root_weights)
        else:
            operator = _GramOperator(batch, mu, root_weights, n_lags)
        if columns <= _DENSE_COLUMNS or (columns <= _GRAM_COLUMNS and 32 * n > columns):
            values, vectors = scipy.linalg.eigh(operator, subset_by_index=(columns - n, columns - 1))
        else:
            values, vectors = _lanczos(operator, min(n, columns - 1), rng)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def _lanczos(operator: Any, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    # A random start: a fixed one may have no part in an eigenvector that is looked for.
    start = rng.standard_normal(operator.shape[0])
    try:
        values, vectors = scipy.sparse.linalg.eigsh(operator, k=n, v0=start, tol=_LANCZOS_TOLERANCE,
                                                    maxiter=_LANCZOS_RESTARTS)
    except scipy.sparse.linalg.ArpackNoConvergence as stopped:
        # Nearly equal singular values: what has been found is used, the other units start as padding.
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
    return values, vectors


def _prefixes(batch: Batch, mu: Floats, root_weights: Floats, n_lags: int) -> Floats:
    """Xi (rows, n_lags I) written out."""
    xi = np.zeros((len(batch.data), n_lags, len(mu)))
    for n, (first, end) in enumerate(zip(batch.offsets[:-1], batch.offsets[1:])):
        x = root_weights[n] * (batch.data[first:end] - mu)
        for t in range(len(x)):
            back = x[max(0, t + 1 - n_lags):t + 1][::-1]
            xi[first + t, :len(back)] = back
    return xi.reshape(len(xi), -1)


def _reversed(batch: Batch, mu: Floats, root_weights: Floats, first: int, last: int, n_lags: int) -> Floats:
    """Sequences first:last, mean removed, latest step first, padded with 0: (last - first, n_lags, I)."""
    lengths = np.diff(batch.offsets[first:last + 1])
    back = np.arange(n_lags)
    rows = np.maximum(batch.offsets[first + 1:last + 1, None] - 1 - back, 0)
    out: Floats = batch.data[rows].astype(np.float64, copy=False) - mu
    out *= np.where(back < lengths[:, None], root_weights[first:last, None], 0.0)[:, :, None]
    return out


def gram(batch: Batch, mu: Floats, root_weights: Floats) -> Floats:
    """Xi^T Xi (L I, L I) with L the longest length.

    Block (k, l) is the sum over all prefixes of x_{t-k}^T x_{t-l}. With G1 the same sum over the whole
    sequences alone: cutting off the last step turns lags k + 1 and l + 1 of a sequence into k and l of its
    longest proper prefix, so G[k, l] = G1[k, l] + G[k+1, l+1].
    """
    longest = int(np.diff(batch.offsets).max())
    columns = longest * len(mu)
    total = np.zeros((columns, columns))
    at_once = max(1, _PIECE // columns)
    for first in range(0, batch.n_sequences, at_once):
        last = min(first + at_once, batch.n_sequences)
        rows = _reversed(batch, mu, root_weights, first, last, longest).reshape(last - first, columns)
        total += rows.T @ rows
    blocks = total.reshape(longest, len(mu), longest, len(mu))
    for k in range(longest - 2, -1, -1):
        blocks[k, :, :-1] += blocks[k + 1, :, 1:]
    return total


class _GramOperator(scipy.sparse.linalg.LinearOperator):  # type: ignore[misc]
    """v -> Xi^T (Xi v) by fast convolution, sequences of up to twice the same length together."""

    def __init__(self, batch: Batch, mu: Floats, root_weights: Floats, n_lags: int) -> None:
        columns = n_lags * len(mu)
        super().__init__(np.dtype(np.float64), (columns, columns))
        self.batch, self.mu, self.root_weights, self.n_lags = batch, mu, root_weights, n_lags
        lengths = np.diff(batch.offsets)
        self.pieces: list[NDArray[np.intp]] = []
        elements = 0
        by_length = np.argsort(lengths, kind="stable")
        first = 0
        while first < len(by_length):
            longest = 2 * lengths[by_length[first]]
            at_once = max(1, _PIECE // (2 * longest * len(mu)))
            last = int(np.searchsorted(lengths[by_length], longest, side="right"))
            self.pieces.append(by_length[first:min(last, first + at_once)])
            elements += len(self.pieces[-1]) * longest * len(mu)
            first += len(self.pieces[-1])
        self.kept: list[Floats] | None = None
        if elements <= _KEPT_TRANSFORMS:
            self.kept = [self._transform(piece) for piece in self.pieces]

    def _sizes(self, piece: NDArray[np.intp]) -> tuple[NDArray[np.intp], int, int]:
        """Lengths of the sequences, lags that they have, and the size of a transform."""
        lengths = np.diff(self.batch.offsets)[piece]
        n_lags = min(self.n_lags, int(lengths.max()))
        # Linear, not circular, convolution.
        return lengths, n_lags, scipy.fft.next_fast_len(int(lengths.max()) + n_lags - 1, real=True)

    def _transform(self, piece: NDArray[np.intp]) -> Floats:
        """Of the sequences, first step first: (frequencies, n, I)."""
        lengths, _, n_fft = self._sizes(piece)
        steps = np.zeros((lengths.max(), len(piece), len(self.mu)))
        for k, n in enumerate(piece):
            x = self.batch.data[self.batch.offsets[n]:self.batch.offsets[n + 1]]
            steps[:len(x), k] = self.root_weights[n] * (x - self.mu)
        transformed: Floats = scipy.fft.rfft(steps, n_fft, axis=0, overwrite_x=True)
        return transformed

    def _matvec(self, v: Floats) -> Floats:
        v = v.reshape(self.n_lags, -1)
        total = np.zeros_like(v)
        for k, piece in enumerate(self.pieces):
            lengths, n_lags, n_fft = self._sizes(piece)
            X = self._transform(piece) if self.kept is None else self.kept[k]
            V = scipy.fft.rfft(v[:n_lags], n_fft, axis=0)
            # y_t = sum_k x_{t-k} v_k at the steps that there are; then back, sum_t x_{t-k} y_t.
            y = scipy.fft.irfft((X @ V[:, :, None])[:, :, 0], n_fft, axis=0)
            y[np.arange(n_fft)[:, None] >= lengths] = 0
            Y = scipy.fft.rfft(y, n_fft, axis=0)
            back = (Y.conj()[:, None, :] @ X)[:, 0, :].conj()
            total[:n_lags] += scipy.fft.irfft(back, n_fft, axis=0)[:n_lags]
        return total.reshape(-1)


# ---- scales -------------------------------------------------------------------------------------------


def _with_scale(theta: Floats, form: Form, scale: float) -> Floats:
    scaled = theta.copy()
    p = form.views(scaled)
    p["W_xh"] *= scale
    p["b_h"] *= scale
    if not form.tied:
        p["V_hx"] /= scale
    return scaled


def _unrolled(theta: Floats, form: Form, judged: Batch) -> Floats:
    codes = _codes.encode(theta, judged, form, True)
    return _codes.unroll(theta, codes, judged.offsets, form, True)


def _scaled(theta: Floats, form: Form, judged_by: tuple[Batch, Floats], size: float, to_be_bent: bool) -> Floats:
    """theta with the scale e, and the sharpness of softmax outputs, that suit some sequences and their weights."""
    judged, w = judged_by
    rows_w = np.repeat(w, judged.lengths())[:, None]
    mu = form.views(theta)["c_x"].copy()

    def error(scale: float) -> float:
        rows = _unrolled(_with_scale(theta, form, scale / size), form, judged)
        return float((rows_w * np.square(rows - judged.data)).sum())

    if form.tied:
        best = min(_SCALES, key=error)
    else:
        linear, variance = error(_SCALES[-1]), float((rows_w * np.square(judged.data - mu)).sum())
        allowed = _CLOSE * linear + _CLOSE_TO_ZERO * variance
        if to_be_bent and linear > _LEFT_TO_GAIN * variance:
            allowed = max(allowed, linear + _MOST_LOST * (variance - linear))
        best = next((scale for scale in _SCALES if error(scale) <= allowed), _SCALES[-1])
    chosen = _with_scale(theta, form, best / size)
    if form.output == "softmax":
        chosen = _sharpened(chosen, form, judged, rows_w, mu)
    return chosen


def _sharpened(theta: Floats, form: Form, judged: Batch, rows_w: Floats, mu: Floats) -> Floats:
    """Outputs x^ turned into logits log mu + s (x^ - mu), with the s of least cross-entropy."""
    log_mu = np.log(np.maximum(mu, 1e-6))
    deviations = _unrolled(theta, form, judged) - mu
    losses = []
    for s in _SHARPNESS:
        losses.append(-float((rows_w * judged.data * log_softmax(log_mu + s * deviations, axis=1)).sum()))
    sharp = theta.copy()
    p = form.views(sharp)
    p["c_x"][:] = log_mu
    if not form.tied:
        p["V_hx"] *= _SHARPNESS[int(np.argmin(losses))]
    return sharp
