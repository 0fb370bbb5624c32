"""The linear recursive auto-encoder in closed form: init="linear".

Sperduti (2006); Pasa & Sperduti (NIPS 2014). Stack every reversed, zero-padded prefix
[x_t - mu, x_{t-1} - mu, ...] of every sequence as a row of Xi (sum T, L I), and let U (L I, r) hold its
first right singular vectors. With features in rows, I of them::

    W_xh = U[:I]    W_hh = U[:-I]^T U[I:]    V_hx = W_xh^T    V_hh = W_hh^T    c_x = mu    b_h = -mu W_xh

reads a sequence into its coordinates in that basis and gives it back. W_xh and b_h are scaled by e, V_hx by
1 / e, so that tanh stays near linear.

A code smaller than the state is the principal components of the last states, in the metric of what unrolls from them:
with A_k = V_hh^k V_hx, G = sum_k A_k A_k^T = R R^T and P the first eigenvectors of R^T cov(h_T) R::

    W_hc = R P    b_c = -mean(h_T) W_hc    V_ch = P^T R^-1    c_1 = mean(h_T)

with the codes scaled to a root mean square of 1. Where the states hold whole sequences that is the PCA of these.

Xi itself is formed only where it has few rows. A prefix is a shifted piece of the whole sequence, so
Xi^T Xi is the Gram matrix of the whole reversed sequences (one row a sequence) added up along its block
diagonals. Where L I is too large for that, blocks of vectors are multiplied by Xi and Xi^T without either: step by
step where there are few lags or the data are sparse, else as convolutions.

All products are the package's own (dense.py), so that neither BLAS's threads nor n_jobs change a bit; and all is done
in a unit of the data, a power of two, so that their scale changes no bit either.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import log_softmax

from rae_fast import _codes, dense
from rae_fast._batch import Batch, SparseBatch
from rae_fast._form import Form
from rae_fast._progress import Progress
from rae_fast.inputs import sample

Floats = NDArray[Any]

# Columns L I of Xi up to which its Gram matrix is formed (8 bytes x 4096^2 = 134 MB) ...
_GRAM_COLUMNS = 4096
# ... up to which it is reduced as a whole, and the most that are used: steps further back than
# _MOST_COLUMNS / I are left out of the closed form.
_DENSE_COLUMNS = 1024
_MOST_COLUMNS = 1 << 16
# Elements of a piece of the sequences, and of their transforms that are kept: 8 and 512 MB.
_PIECE = 1 << 20
_KEPT_TRANSFORMS = 1 << 25
# Part of non-zero elements up to which sequences are taken as sparse. Nanoseconds for a step of one vector's product
# with Xi and back: an element that is looked up, one that is multiplied in a product, and as convolutions for each
# feature and each step (docs/performance.md, "The closed form").
_SPARSE = 0.1
_LOOKED_UP, _MULTIPLIED, _TRANSFORMED, _TRANSFORMED_STEP = 1.5, 0.3, 18.0, 30.0
# Rows times lags of sparse sequences that are looked at: what is left out starts at 0. (Lines of 114 characters, 128
# units: 32 % of held-out characters recalled with 2^19, 30 % with 2^18, in 22 and 5 s.)
_MOST_LOOKED_UP = 1 << 19
# Where all of their features would leave steps out, some that occur most are looked at, two a unit: lags are
# worth more. (Lines of 21 words, 20,893 different ones, 128 units: with 8,192 of them and 8 lags 15 % of held-out words
# recalled, in 60 s; with 256 and all lags 26 %, in 7 s, where eigenvectors need not be as exact.)
_FEWEST_FEATURES, _FEATURES_A_UNIT, _ENOUGH_TOLERANCE = 256, 2, 1e-2
# Errors of eigenvectors where not all are found, as a fraction of the largest eigenvalue.
_TOLERANCE = 1e-4
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
# The same where a code is smaller than the state: it competes with PCA, and larger states buy it little. What training
# gains lies in bending here, so half of the variance may be lost, if there are sequences enough to learn from
# (docs/quality.md, "Sizes").
_CLOSE_CODE, _MOST_LOST_CODE, _LEFT_TO_GAIN_CODE = 1.005, 0.5, 1e-3
# Sequences that are enough to learn from, here and in sizes.py and training.py; and the part of them that a trial
# learns from (trial.py), whose start must be what the fit's is.
ENOUGH_SEQUENCES, TRIED_PART = 100, 0.8
# Sharpness of softmax outputs that are tried.
_SHARPNESS = 2.0 ** np.arange(7)


def initialise(form: Form, batch: Batch, weights: Floats | None, rng: np.random.Generator, *,
               threads: int = 1, name: str = "", verbose: bool = False,
               wanted: tuple[bool, bool] = (True, True), exact: bool = True) -> tuple[Floats | None, Floats | None]:
    """The closed form for the batch, as the start of a training and as a model by itself: two thetas of its dtype,
    which differ by the scale e alone.

    Parameters
    ----------
    form : what is to be initialised; with softmax output the linear outputs become changes of the logits of
        the mean distribution, with tied parameters e is the scale that gives the least error.
    batch : the sequences
    weights : (N,) their weights in the mean and in Xi; None for equal ones
    rng : draws the start of the iteration and the values of units beyond the rank
    threads : how many; their number changes no bit
    name, verbose : of the estimator, and whether to show progress
    wanted : which of the two; the other may be None
    exact : whether eigenvectors are found as exactly as where all features are looked at
    """
    kept = _kept_features(form, batch)
    if kept is not None and isinstance(batch, SparseBatch) and form.output == "linear":
        return _of_some_features(form, batch, kept, weights, rng, threads, name, verbose, wanted)
    H = form.n_hidden
    # Only the ratios of weights matter here.
    w = np.ones(batch.n_sequences) if weights is None else weights.astype(np.float64) / float(weights.max())
    lengths = batch.lengths()
    mu, exponent = _mean_and_unit(batch, np.repeat(w, lengths))
    some, some_w = _enough(batch, w, kept)
    n_lags, K = _lags(some, some.n_features), some.n_features
    n = min(H, n_lags * K, some.n_rows)
    prefixes = _Prefixes(some, mu if kept is None else mu[kept], np.ldexp(np.sqrt(some_w), -exponent), n_lags, threads)
    tolerance = None if kept is None and exact else _ENOUGH_TOLERANCE
    progress = Progress(f"{name}, closed form", 0, verbose, unit="product")
    values, U = _singular_vectors(prefixes, n, rng, progress, tolerance)
    rank = int((values > _RANK_TOLERANCE * values.max(initial=0)).sum())
    # An eigenvector's sign means nothing: its largest element is positive.
    U = U[:rank] * np.sign(U[np.arange(rank), np.abs(U[:rank]).argmax(axis=1)])[:, None]

    theta = np.zeros(form.size)
    p = form.views(theta)
    p["W_xh"][slice(None) if kept is None else kept, :rank] = U[:, :K].T
    p["W_hh"][:rank, :rank] = dense.product(U[:, :-K], U[:, K:].T, threads)
    _pad(p, form, rank, rng)
    if not form.tied:
        p["V_hh"][...] = p["W_hh"].T
        p["V_hx"][...] = p["W_xh"].T
    p["c_x"][:] = mu
    p["b_h"][:] = -np.einsum("i,ij->j", mu, p["W_xh"])
    # The size of a state before tanh: the root mean square over its elements.
    steps = float((some_w * some.lengths()).sum())
    size = np.sqrt(values[:rank].sum() / (max(steps, np.finfo(float).tiny) * H))
    size = float(np.ldexp(size, exponent)) or 1.0
    judged = sample(batch, weights)
    many = batch.n_sequences >= ENOUGH_SEQUENCES * TRIED_PART
    best = theta
    if form.n_code:
        moments = _moments(theta, form, batch, w, size, threads)
        regressed = theta.copy()
        _set_code_maps(theta, form, moments, threads)
        if not form.tied:
            _set_code_maps(regressed, form, moments, threads, regression=True)
            best = min(theta, regressed, key=lambda x: error(_with_scale(x, form, _LINEAR / size), form, *judged))
    start, alone = form.empty(batch.dtype), form.empty(batch.dtype)
    start[:], alone[:] = _scaled(best, form, judged, size, many)
    if best is not theta and form.code_size == H:
        # Training goes on better from states that are given back as they are.
        start[:], _ = _scaled(theta, form, judged, size, many)
    return start, alone


def _of_some_features(form: Form, batch: SparseBatch, kept: NDArray[np.intp], weights: Floats | None,
                      rng: np.random.Generator, threads: int, name: str, verbose: bool,
                      wanted: tuple[bool, bool]) -> tuple[Floats | None, Floats | None]:
    """initialise by the features that occur most; of the others the mean is given back."""
    some_form = Form(len(kept), form.n_hidden, form.objective, form.decoder, form.output, form.tied, form.hidden_weight,
                     form.reconstruct_h0, form.n_code)
    thetas = initialise(some_form, batch.with_features(kept), weights, rng, threads=threads, name=name, verbose=verbose,
                        exact=False)
    w = np.ones(batch.n_sequences) if weights is None else weights.astype(np.float64)
    rows_w = np.repeat(w, batch.lengths())
    mean = batch.matrix(np.float64).T @ (rows_w / rows_w.sum())

    def whole(some: Floats) -> Floats:
        theta = form.empty(batch.dtype)
        theta[:] = 0
        found, views = some_form.views(some), form.views(theta)
        for view_name, view in views.items():
            if view_name == "c_x":
                view[:] = mean
            elif view_name == "W_xh":
                view[kept] = found[view_name]
            elif view_name == "V_hx":
                view[:, kept] = found[view_name]
            else:
                view[...] = found[view_name]
        return theta

    start, alone = (whole(some) if needed and some is not None else None for some, needed in zip(thetas, wanted))
    return start, alone


def _kept_features(form: Form, batch: Batch) -> NDArray[np.intp] | None:
    """The features that are looked at, or None for all."""
    n = max(_FEWEST_FEATURES, _FEATURES_A_UNIT * form.n_hidden)
    if not isinstance(batch, SparseBatch) or batch.n_features * batch.longest <= _MOST_COLUMNS or n >= batch.n_features:
        return None
    counts = np.bincount(batch.columns, minlength=batch.n_features)
    return np.sort(np.argsort(-counts, kind="stable")[:n])


def _enough(batch: Batch, w: Floats, kept: NDArray[np.intp] | None) -> tuple[Batch, Floats]:
    """The sequences whose directions are looked for, of the features kept, and their weights: of sparse ones that are
    many some, evenly spaced."""
    if isinstance(batch, SparseBatch):
        n_lags = _lags(batch, batch.n_features if kept is None else len(kept))
        most = _MOST_LOOKED_UP // n_lags
        if batch.n_rows > most and n_lags * batch.n_features > _GRAM_COLUMNS:
            n = max(1, batch.n_sequences * most // batch.n_rows)
            places = np.linspace(0, batch.n_sequences - 1, n).astype(np.intp)
            batch, w = batch.select(places), w[places]
        if kept is not None:
            batch = batch.with_features(kept)
    return batch, w


def _lags(batch: Batch, n_features: int) -> int:
    """How far back steps are looked at."""
    return min(batch.longest, max(1, _MOST_COLUMNS // n_features))


def _mean_and_unit(batch: Batch, rows_w: Floats) -> tuple[Floats, int]:
    """The weighted mean of the steps, and the power of two next to the largest deviation from it.

    ValueError where the squares of the deviations are beyond the range of numbers, in which losses are given.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if isinstance(batch, SparseBatch):
            rows = batch.matrix(np.float64)
            mu = rows.T @ (rows_w / rows_w.sum())
            highest, lowest = rows.max(axis=0).toarray().ravel(), rows.min(axis=0).toarray().ravel()
        else:
            mu = np.average(batch.data, axis=0, weights=rows_w).astype(np.float64)
            highest, lowest = batch.data.max(axis=0), batch.data.min(axis=0)
        above, below = highest - mu, mu - lowest
        largest = float(np.maximum(above, below).max())
        squares = largest * largest * batch.n_rows * batch.n_features
        if np.isfinite(largest) and largest <= 8 * np.finfo(batch.dtype).eps * float(np.abs(mu).max()):
            return mu, 0  # of constant data that is rounding
    if not np.isfinite(mu).all() or not np.isfinite(squares):
        raise ValueError("the squares of X overflow: scale it down, or choose another init than 'linear'")
    if 0 < largest and squares < np.finfo(float).tiny:
        raise ValueError("the squares of X underflow: scale it up, or choose another init than 'linear'")
    return mu, int(np.frexp(largest)[1])


# The scale at which states are read for the principal components: tanh is linear there within its square over 3, and
# what float32 rounds is far smaller yet than what a component of any use holds.
_LINEAR = 2.0**-8
# Steps of unrolling that weigh a state at most; directions of states that unroll into less than this part are noise,
# and in less than that no regression has anything to go by.
_MOST_UNROLLED, _LEAST_UNROLLED, _LEAST_REGRESSED = 1 << 14, 1e-12, 1e-4


class _Moments(NamedTuple):
    """Of the last states of all sequences, before tanh: their mean and covariance C; and eigenvalues and vectors (in
    rows) of G, what unrolls from them."""

    mean: Floats
    covariance: Floats
    values: Floats
    rows: Floats


def _moments(theta: Floats, form: Form, batch: Batch, w: Floats, size: float, threads: int) -> _Moments:
    H = form.n_hidden
    scaled = _with_scale(theta, form, _LINEAR / size).astype(batch.dtype)
    states = _codes.encode(scaled, batch, form, True, threads).astype(np.float64) * (size / _LINEAR)
    mean = np.average(states, axis=0, weights=w)
    rows = np.zeros((len(states), dense.padded(H)))
    rows[:, :H] = (states - mean) * np.sqrt(w / w.sum())[:, None]
    covariance = np.zeros((H, H))
    dense.add_gram(rows, covariance, threads)
    dense.mirror(covariance)
    metric = _unrolled_metric(form.views(theta), batch.lengths(), w, threads)
    return _Moments(mean, covariance, *dense.reduced(metric, H, threads))


def _set_code_maps(theta: Floats, form: Form, moments: _Moments, threads: int, regression: bool = False) -> None:
    """W_hc, b_c, V_ch and c_1 for the scale 1, from the last states of all sequences: principal components of what
    unrolls from them, or the regression of the sequences on them, of that rank.

    With A the linear unrolling from a state, G = A A' = R R' (in the mean over sequences) and C the states' covariance,
    the maps K = W_hc V_ch are to make h K A close to the sequences x. Where h A is x, K is best near I: the components
    P of R' C R give K = R P' P R^-1. Else, as V is W', A x' is h' itself, so that the error is |x|^2 - 2 tr(K C) +
    tr(K' C K G), least at G^-1, and of that rank at K = R'^-1 P' P R^-1 with the components of R^-1 C R'^-1.
    """
    p, C = form.views(theta), form.code_size
    mean, covariance, values, rows = moments
    root = np.sqrt(np.maximum(values, _LEAST_UNROLLED * values[0]))
    R = rows.T * root
    if regression:
        R = rows.T * np.where(values > _LEAST_REGRESSED * values[0], 1 / root, 0.0)
    variances, P = dense.reduced(dense.product(dense.product(R.T, covariance, threads), R, threads), C, threads)
    unit = float(np.sqrt(max(variances.sum(), 0.0) / C)) or 1.0
    W_hc = dense.product(R, P.T, threads)
    signs = np.sign(W_hc[np.abs(W_hc).argmax(axis=0), np.arange(C)])  # a component's means nothing, as above
    p["W_hc"][...] = W_hc * signs / unit
    p["V_ch"][...] = dense.product(P, rows / root[:, None], threads) * signs[:, None] * unit
    p["c_1"][:] = mean
    p["b_c"][:] = -np.einsum("i,ij->j", mean, p["W_hc"])


def _unrolled_metric(p: dict[str, Floats], lengths: NDArray[np.intp], w: Floats, threads: int) -> Floats:
    """G (H, H): what a deviation of the first state adds to the squares of a sequence, by the linear decoder."""
    A = p["V_hx"].copy()
    G = np.zeros((len(A), len(A)))
    alive = np.bincount(lengths, weights=w)[::-1].cumsum()[::-1] / w.sum()  # the weight of sequences of k steps or more
    for k in range(1, min(len(alive), _MOST_UNROLLED)):
        G += alive[k] * dense.product(A, A.T, threads)
        A = dense.product(p["V_hh"], A, threads)
    return (G + G.T) / 2


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


def _singular_vectors(prefixes: _Prefixes, n: int, rng: np.random.Generator,
                      progress: Progress, tolerance: float | None = None) -> tuple[Floats, Floats]:
    """The n largest eigenvalues of Xi^T Xi, falling, and their vectors in rows (n, n_lags I)."""
    tolerance = _TOLERANCE if tolerance is None else tolerance
    columns, rows, threads = prefixes.columns, prefixes.n_rows, prefixes.threads
    if rows * 4 <= columns and rows * columns <= _GRAM_COLUMNS**2:
        # A flat Xi: the eigenvectors of Xi Xi^T.
        xi = prefixes.written_out()
        values, left = dense.largest(dense.product(xi, xi.T, threads), n, rng, tolerance, _DENSE_COLUMNS, threads)
        return values, dense.product(left, xi, threads) / np.sqrt(np.maximum(values, np.finfo(float).tiny))[:, None]
    # (A window shorter than the longest sequence has some _MOST_COLUMNS columns, more than _GRAM_COLUMNS.)
    if columns <= _GRAM_COLUMNS:
        return dense.largest(prefixes.gram(), n, rng, tolerance, _DENSE_COLUMNS, threads)
    prefixes.choose()
    progress.total = dense.most_products(n, columns)

    def multiply(vectors: Floats) -> Floats:
        product = prefixes.gram_times(vectors)
        progress.advance(1, None)
        return product

    with progress:
        return dense.krylov(multiply, columns, n, rng, tolerance, threads)


class _Prefixes:
    """Xi of weighted sequences with the mean removed, which is not formed: its Gram matrix, and products with that."""

    def __init__(self, batch: Batch, mu: Floats, root_weights: Floats, n_lags: int, threads: int) -> None:
        self.batch, self.mu, self.root_weights, self.n_lags, self.threads = batch, mu, root_weights, n_lags, threads
        self.lengths = batch.lengths()
        self.columns, self.n_rows = n_lags * len(mu), batch.n_rows
        self.times: Any = None

    def written_out(self) -> Floats:
        """Xi (rows, n_lags I)."""
        xi = np.zeros((self.n_rows, self.n_lags, len(self.mu)))
        for n, (first, end) in enumerate(zip(self.batch.offsets[:-1], self.batch.offsets[1:])):
            x = self.root_weights[n] * (self.batch.dense_rows(slice(first, end)) - self.mu)
            for t in range(len(x)):
                back = x[max(0, t + 1 - self.n_lags):t + 1][::-1]
                xi[first + t, :len(back)] = back
        return xi.reshape(len(xi), -1)

    def _reversed(self, first: int, last: int) -> Floats:
        """Sequences first:last, mean removed, latest step first, padded with 0: (last - first, padded(n_lags I))."""
        lengths, I = self.lengths[first:last], len(self.mu)
        back = np.arange(self.n_lags)
        rows = np.maximum(self.batch.offsets[first + 1:last + 1, None] - 1 - back, 0)
        out = np.zeros((last - first, dense.padded(self.columns)))
        x = self.batch.dense_rows(rows).astype(np.float64, copy=False) - self.mu
        x *= np.where(back < lengths[:, None], self.root_weights[first:last, None], 0.0)[:, :, None]
        out[:, :self.n_lags * I] = x.reshape(last - first, -1)
        return out

    def gram(self) -> Floats:
        """Xi^T Xi (L I, L I) with L the longest length.

        Block (k, l) is the sum over all prefixes of x_{t-k}^T x_{t-l}. With G1 the same sum over the whole
        sequences alone: cutting off the last step turns lags k + 1 and l + 1 of a sequence into k and l of its
        longest proper prefix, so G[k, l] = G1[k, l] + G[k+1, l+1].
        """
        L, I = self.n_lags, len(self.mu)
        total = np.zeros((self.columns, self.columns))
        at_once = max(1, _PIECE // self.columns)
        for first in range(0, len(self.lengths), at_once):
            dense.add_gram(self._reversed(first, min(first + at_once, len(self.lengths))), total, self.threads)
        dense.mirror(total)
        blocks = total.reshape(L, I, L, I)
        for k in range(L - 2, -1, -1):
            blocks[k, :, :-1] += blocks[k + 1, :, 1:]
        return total

    def choose(self) -> None:
        """Choose how `gram_times` multiplies."""
        I = len(self.mu)
        batch = self.batch
        found = len(batch.columns) if isinstance(batch, SparseBatch) else np.count_nonzero(batch.data)
        filled = found / (batch.n_rows * batch.n_features)
        looked_up = filled * _LOOKED_UP if filled <= _SPARSE else np.inf
        stepwise = self.n_lags * I * min(looked_up, _MULTIPLIED)
        if stepwise > I * _TRANSFORMED + _TRANSFORMED_STEP:
            self.times = _ByConvolution(self)
        else:
            self.times = _BySteps(self, looked_up < _MULTIPLIED)

    def gram_times(self, vectors: Floats) -> Floats:
        """Xi^T (Xi v) of each of some rows v (b, n_lags I)."""
        b = len(vectors)
        v = np.ascontiguousarray(vectors.reshape(b, self.n_lags, -1).transpose(1, 2, 0))    # (n_lags, I, b)
        product = self.times(v)
        return np.ascontiguousarray(product.transpose(2, 0, 1)).reshape(b, -1)


class _BySteps:
    """(n_lags, I, b) -> Xi^T Xi times them, every step's numbers multiplied by all lags at once: x_t v_k."""

    def __init__(self, prefixes: _Prefixes, sparse: bool) -> None:
        self.of, self.sparse = prefixes, None
        if sparse:
            import scipy.sparse  # for few fits
            batch = prefixes.batch
            data = (batch.matrix(np.float64) if isinstance(batch, SparseBatch)
                    else scipy.sparse.csr_array(batch.data, dtype=np.float64))
            row_weights = np.repeat(prefixes.root_weights, prefixes.lengths)
            data.data *= np.repeat(row_weights, np.diff(data.indptr))
            self.sparse, self.row_weights = data, row_weights

    def __call__(self, v: Floats) -> Floats:
        of = self.of
        n_lags, I, b = v.shape
        offsets = of.batch.offsets
        wide = np.ascontiguousarray(v.transpose(1, 0, 2)).reshape(I, n_lags * b)
        total = np.zeros((I, n_lags * b))
        at_once = max(1, _PIECE // (n_lags * b if self.sparse is not None else max(I, n_lags * b)))
        first = 0
        while first < len(of.lengths):
            last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + at_once, side="right")) - 1)
            rows = slice(offsets[first], offsets[last])
            # How many steps each step has before it in its sequence.
            place = np.arange(offsets[first], offsets[last]) - np.repeat(offsets[first:last], of.lengths[first:last])
            if self.sparse is not None:
                self._add(self.sparse[rows], self.row_weights[rows], place, wide, n_lags, total)
            else:
                x = of.batch.dense_rows(rows) - of.mu
                x *= np.repeat(of.root_weights[first:last], of.lengths[first:last])[:, None]
                products = dense.product(x, wide, of.threads).reshape(-1, n_lags, b)
                dense.add_product(x, self._back(self._summed(products, place), place, n_lags), total, of.threads)
            first = last
        return np.ascontiguousarray(total.reshape(I, n_lags, b).transpose(1, 0, 2))

    def _add(self, x: Any, w: Floats, place: NDArray[np.intp], wide: Floats, n_lags: int, total: Floats) -> None:
        """The same of rows that are not 0 in few places, from which the mean is taken afterwards."""
        mu = self.of.mu
        products = x @ wide
        products -= w[:, None] * np.einsum("i,ij->j", mu, wide)
        back = self._back(self._summed(products.reshape(len(w), n_lags, -1), place), place, n_lags)
        total += x.T @ back
        total -= mu[:, None] * np.einsum("i,ij->j", w, back)

    @staticmethod
    def _summed(products: Floats, place: NDArray[np.intp]) -> Floats:
        """y_t = sum_k x_{t-k} v_k, of products[t, k] = x_t v_k."""
        y = products[:, 0].copy()
        for k in range(1, products.shape[1]):
            y[k:] += np.where((place[k:] >= k)[:, None], products[:-k, k], 0)
        return y

    @staticmethod
    def _back(y: Floats, place: NDArray[np.intp], n_lags: int) -> Floats:
        """y_{t+k} for every step t and lag k, 0 beyond the sequence's end: (rows, n_lags b)."""
        out = np.zeros((len(y), n_lags, y.shape[1]))
        out[:, 0] = y
        for k in range(1, n_lags):
            out[:-k, k] = np.where((place[k:] >= k)[:, None], y[k:], 0)
        return out.reshape(len(y), -1)


class _ByConvolution:
    """The same by fast convolution, sequences of up to twice the same length together."""

    def __init__(self, prefixes: _Prefixes) -> None:
        self.of = prefixes
        lengths, I = prefixes.lengths, len(prefixes.mu)
        self.pieces: list[NDArray[np.intp]] = []
        elements = 0
        by_length = np.argsort(lengths, kind="stable")
        first = 0
        while first < len(by_length):
            longest = 2 * lengths[by_length[first]]
            at_once = max(1, _PIECE // (2 * longest * I))
            last = int(np.searchsorted(lengths[by_length], longest, side="right"))
            self.pieces.append(by_length[first:min(last, first + at_once)])
            elements += len(self.pieces[-1]) * longest * I
            first += len(self.pieces[-1])
        self.kept: list[Floats] | None = None
        if elements <= _KEPT_TRANSFORMS:
            self.kept = [self._transform(piece) for piece in self.pieces]

    def _sizes(self, piece: NDArray[np.intp]) -> tuple[NDArray[np.intp], int, int]:
        """Lengths of the sequences, lags that they have, and the size of a transform."""
        lengths = self.of.lengths[piece]
        n_lags = min(self.of.n_lags, int(lengths.max()))
        # Linear, not circular, convolution.
        return lengths, n_lags, scipy.fft.next_fast_len(int(lengths.max()) + n_lags - 1, real=True)

    def _transform(self, piece: NDArray[np.intp]) -> Floats:
        """Of the sequences, first step first: (frequencies, n, I)."""
        of = self.of
        lengths, _, n_fft = self._sizes(piece)
        steps = np.zeros((lengths.max(), len(piece), len(of.mu)))
        for k, n in enumerate(piece):
            x = of.batch.dense_rows(slice(of.batch.offsets[n], of.batch.offsets[n + 1]))
            steps[:len(x), k] = of.root_weights[n] * (x - of.mu)
        transformed: Floats = scipy.fft.rfft(steps, n_fft, axis=0, overwrite_x=True)
        return transformed

    def __call__(self, v: Floats) -> Floats:
        total = np.zeros_like(v)
        for k, piece in enumerate(self.pieces):
            lengths, n_lags, n_fft = self._sizes(piece)
            X = self._transform(piece) if self.kept is None else self.kept[k]
            V = scipy.fft.rfft(v[:n_lags], n_fft, axis=0)
            # y_t = sum_k x_{t-k} v_k at the steps that there are; then back, sum_t x_{t-k} y_t.
            y = scipy.fft.irfft(np.einsum("fni,fib->fnb", X, V), n_fft, axis=0)
            y[np.arange(n_fft)[:, None] >= lengths] = 0
            Y = scipy.fft.rfft(y, n_fft, axis=0)
            back = np.einsum("fni,fnb->fib", X.conj(), Y)
            total[:n_lags] += scipy.fft.irfft(back, n_fft, axis=0)[:n_lags]
        return total


# ---- scales -------------------------------------------------------------------------------------------


def _with_scale(theta: Floats, form: Form, scale: float) -> Floats:
    scaled = theta.copy()
    p = form.views(scaled)
    p["W_xh"] *= scale
    p["b_h"] *= scale
    if not form.tied:
        p["V_hx"] /= scale
    if form.n_code:
        p["W_hc"] /= scale
        p["V_ch"] *= scale
        p["c_1"] *= scale
    return scaled


def _unrolled(theta: Floats, form: Form, judged: Batch) -> Floats:
    codes = _codes.codes_of(theta, _codes.encode(theta, judged, form, True), form)
    return _codes.unroll(theta, codes, judged.offsets, form, True)


def error(theta: Floats, form: Form, judged: Batch, w: Floats) -> float:
    """The weighted sum of the squared errors of the unrolled rows, as if outputs were linear."""
    rows = _unrolled(theta, form, judged)
    rows -= judged.data
    if judged.missing is not None:
        rows[judged.missing] = 0
    return _squares(rows, judged, w)


def _squares(rows: Floats, judged: Batch, w: Floats) -> float:
    return float(np.einsum("i,ij,ij->", np.repeat(w, judged.lengths()), rows, rows))


def _scaled(theta: Floats, form: Form, judged_by: tuple[Batch, Floats], size: float,
            many: bool) -> tuple[Floats, Floats]:
    """theta with the scale e, and the sharpness of softmax outputs, that suit some sequences and their weights: for the
    start of a training, and alone."""
    judged, w = judged_by
    mu = form.views(theta)["c_x"].copy()

    @cache
    def at(scale: float) -> float:
        return error(_with_scale(theta, form, scale / size), form, judged, w)

    def largest(allowed: float) -> float:
        return float(next((scale for scale in _SCALES if at(scale) <= allowed), _SCALES[-1]))

    @cache
    def chosen(scale: float) -> Floats:
        scaled = _with_scale(theta, form, scale / size)
        if form.output == "linear":
            return scaled
        return _sharpened(scaled, form, judged, np.repeat(w, judged.lengths())[:, None], mu)

    if form.tied:
        best = chosen(min(_SCALES, key=at))
        return best, best
    linear, variance = at(_SCALES[-1]), _squares(judged.data - mu, judged, w)
    close = (_CLOSE_CODE if form.n_code else _CLOSE) * linear + _CLOSE_TO_ZERO * variance
    bent, most = close, _MOST_LOST_CODE if form.n_code and many else _MOST_LOST
    if form.decoder == "tanh" and linear > (_LEFT_TO_GAIN_CODE if form.n_code else _LEFT_TO_GAIN) * variance:
        bent = max(bent, linear + most * (variance - linear))
    return chosen(largest(bent)), chosen(largest(close))


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
