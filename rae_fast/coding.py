"""Codes of sequences, and sequences of codes: what an encoder and decoder of sequences is used for.

A mixin of its own for every estimator that reads a sequence into a code and unrolls that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from sys import modules
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import _codes, dense, hyperparameters, inputs, outputs
from rae_fast._batch import Batch, SparseBatch, pack, ready, ready_codes, ready_ids
from rae_fast._form import Form
from rae_fast._kernels import threads
from rae_fast._learner import Given, Learner
from rae_fast.hyperparameters import Settings
from rae_fast.learned import Learned
from rae_fast.scaling import Scaling, Whitening

Floats = NDArray[Any]
Integers = NDArray[np.intp]

# Outputs that are looked at at once where a user asks for symbols, or rows are sparse: 32 MB of float64, or those of
# one sequence.
_UNROLLED = 1 << 22


class Coding(Learner):
    """A Learner that encodes and decodes sequences."""

    # Declared by its subclasses' parameters.
    pooling: str
    standardize_codes: bool
    whiten: bool

    def transform(self, X: Any) -> Floats:
        """Encode: the last code of each sequence.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, C), the model's dtype; without `n_code` C is H, and elements lie in [-1, 1]. By `pooling`
            the code of the last state, the mean of those of all states, or both beside each other, (N, 2 C); with
            `standardize_codes` less the mean and over the deviation of those that fit saw, with `whiten` uncorrelated
            too. A frame with a column for each element where `set_output` chose one.

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.transform([np.eye(3), np.eye(3)[:2]]).shape
        (2, 4)
        """
        learned = self._learned or self._fitted()
        batch = self._read(X, learned)
        if not learned.plain:
            batch = learned.read(batch)
        if self.pooling == "last" and self.standardize_codes is False and self.whiten is False:
            codes = self._codes(learned, batch)
        else:
            settings = self._checked or hyperparameters.check(self)
            codes = self._pooled(learned, batch, settings.pooling)
            if (units := _code_units(learned, settings)) is not None:
                codes = units.rows(codes)
        if not self._sklearn_output_config and "sklearn" not in modules:
            return codes
        output: Floats = self._in_output(codes, self.get_feature_names_out)
        return output

    def hidden_states(self, X: Any) -> Floats | list[Floats]:
        """The state after every step, without h0.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, T, H), or for a list a list of (T_n, H) arrays; with `patch_length` k one state for k
        rows, ceil(T / k) in place of T

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> [h.shape for h in model.hidden_states([np.eye(3), np.eye(3)[:2]])]
        [(3, 4), (2, 4)]
        """
        learned = self._learned or self._fitted()
        batch = learned.read(self._read(X, learned))
        return batch.in_container(_codes.encode(learned.memory, batch, learned.form, False, threads(self.n_jobs)))

    def last_states(self, X: Any) -> Floats:
        """The state after the last step, of which the code is made: `transform` where a code has no size of its own.

        Parameters
        ----------
        X : sequences

        Returns
        -------
        ndarray of shape (N, H)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, n_code=2, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.last_states([np.eye(3), np.eye(3)[:2]]).shape
        (2, 4)
        """
        learned = self._learned or self._fitted()
        batch = learned.read(self._read(X, learned))
        states: Floats = _codes.encode(learned.memory, batch, learned.form, True, threads(self.n_jobs))
        return states

    def encode_states(self, states: Any) -> Floats:
        """The codes of states, such as `hidden_states` and `step` give: a stream has a code at any time.

        Parameters
        ----------
        states : array-like of shape (H,) or (N, H)

        Returns
        -------
        ndarray of shape (C,) or (N, C): ``states W_hc + b_c``; the states themselves where `n_code` is None. With
        ``pooling="last"`` in the units of `transform`, as `unroll` takes them; other poolings are of whole sequences,
        and the code of a state is then as it is.

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, n_code=2, max_iter=0, random_state=0).fit(np.eye(3))
        >>> state = model.initial_state()
        >>> for x in np.eye(3):
        ...     state = model.step(state, x)
        >>> np.allclose(model.encode_states(state), model.transform(np.eye(3))[0])
        True
        """
        learned = self._learned or self._fitted()
        one = np.ndim(states) == 1
        rows = inputs.as_matrix([states] if one else states, "states", learned.form.n_hidden, learned.memory.dtype)
        codes = _codes.codes_of(learned.memory, rows, learned.form)
        settings = self._checked or hyperparameters.check(self)
        if settings.pooling == "last" and (units := _code_units(learned, settings)) is not None:
            codes = units.rows(codes)
        return codes[0] if one else codes

    def unroll(self, codes: Any, n_steps: int, *, logits: bool = False) -> Floats:
        """Decode latest input first.

        Parameters
        ----------
        codes : array-like of shape (N, C)
        n_steps : int, at least 1
        logits : bool, default=False
            With categorical output, return the outputs (logits) instead of probabilities.

        Returns
        -------
        ndarray of shape (N, n_steps, I)
            Step k is ``y_k V_hx + c_x`` with ``y_1 = code`` (with `n_code` ``code V_ch + c_1``),
            ``y_{k+1} = y_k V_hh + c_h`` (its tanh with ``decoder="tanh"``); with categorical output its probabilities.

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.unroll(model.transform(np.eye(3)), 5).shape
        (1, 5, 3)
        """
        learned = self._learned or self._fitted()
        codes = self._read_codes(codes, learned)
        length = inputs.as_length("n_steps", n_steps, len(codes))
        patches = learned.patches
        number = length if patches is None else patches.number(length)
        rows = _codes.unroll(learned.theta, codes, number, learned.form, False, threads(self.n_jobs))
        if patches is not None:
            rows = patches.rows_latest_first(rows, length)
        return _outputs(learned.shown(rows), learned.form, logits)

    def inverse_transform(self, codes: Any, lengths: Any = None, *, logits: bool = False,
                          symbols: bool | None = None) -> Floats | list[Floats]:
        """Decode in chronological order.

        Parameters
        ----------
        codes : array-like of shape (N, C)
        lengths : int, sequence of N ints, or None
            Steps to unroll. None is the length of the sequences seen in fit, if that was one.
        logits : bool, default=False
            With categorical output, return the outputs (logits) instead of probabilities.
        symbols : bool, optional
            Whether to return, of each step, the feature with the largest output: as token ids. By default of a model
            that was fitted on token ids, unless `logits` are asked for.

        Returns
        -------
        ndarray of shape (N, length, I), or for a sequence of lengths a list of (length_n, I) arrays; of symbols
            integers, (N, length) or (length_n,)

        Raises
        ------
        ValueError
            For bad input, or lengths=None where fit saw sequences of different lengths.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> codes = model.transform(np.eye(3))
        >>> model.inverse_transform(codes).shape, model.inverse_transform(codes, [2])[0].shape
        ((1, 3, 3), (2, 3))
        """
        learned = self._learned or self._fitted()
        codes = self._read_codes(codes, learned)
        steps = _steps(learned, codes, lengths)
        if _as_symbols(learned, symbols, logits):
            return self._given_back(learned, codes, steps)
        rows = _outputs(self._rows(learned, codes, steps), learned.form, logits)
        return rows if isinstance(steps, int) else pack(rows, steps, True)

    def reconstruct(self, X: Any, *, logits: bool = False, symbols: bool | None = None) -> Floats | list[Floats]:
        """Each sequence unrolled from its last code, in chronological order.

        Parameters
        ----------
        X : sequences
        logits : bool, default=False
            With categorical output, return the outputs (logits) instead of probabilities.
        symbols : bool, optional
            As in `inverse_transform`.

        Returns
        -------
        ndarray of shape (N, T, I), or for a list a list of (T_n, I) arrays; of symbols integers, (N, T) or (T_n,)

        Raises
        ------
        ValueError
            For bad input.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(np.eye(3))
        >>> model.reconstruct(np.eye(3)).shape
        (1, 3, 3)
        """
        learned = self._learned or self._fitted()
        batch = self._read(X, learned)
        codes = self._codes(learned, learned.read(batch))
        steps = batch.offsets if batch.is_list else batch.longest
        if _as_symbols(learned, symbols, logits):
            return self._given_back(learned, codes, steps)
        rows = self._rows(learned, codes, steps)
        return batch.in_container(_outputs(rows, learned.form, logits))

    def top_k(self, codes: Any, lengths: Any = None, k: int | None = None) -> tuple[Any, Any]:
        """The most probable symbols of each step, in chronological order.

        Parameters
        ----------
        codes : array-like of shape (N, C)
        lengths : int, sequence of N ints, or None
            As in `inverse_transform`.
        k : int, optional
            How many of each step, at most I; by default five, or all if there are fewer.

        Returns
        -------
        symbols : ndarray of shape (N, length, k), or for a sequence of lengths a list of (length_n, k) arrays
            Numbers of features, or token ids, the most probable first.
        probabilities : the same of floats

        Raises
        ------
        ValueError
            For bad input, and of a model without categorical output.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> X = [np.array([0, 1, 2]), np.array([2, 0])]
        >>> model = RAE(n_hidden=4, max_iter=0, random_state=0).fit(X)
        >>> symbols, probabilities = model.top_k(model.transform(X), [3, 2], k=2)
        >>> symbols[0].shape, probabilities[1].shape
        ((3, 2), (2, 2))
        """
        learned = self._learned or self._fitted()
        if not learned.form.categorical:
            raise ValueError("top_k is for categorical outputs, which are probabilities; this model's are linear")
        codes = self._read_codes(codes, learned)
        k = min(5, learned.form.n_inputs) if k is None else inputs.as_length("k", k, 1)
        if k > learned.form.n_inputs:
            raise ValueError(f"k={k} is more than the {learned.form.n_inputs} symbols that there are")
        steps = _steps(learned, codes, lengths)
        offsets = _offsets(codes, steps)
        found, probabilities = np.empty((offsets[-1], k), np.intp), np.empty((offsets[-1], k), learned.theta.dtype)
        for part, rows in self._in_pieces(learned, codes, offsets):
            rank = outputs.ranked(rows, learned.form)
            most = np.argpartition(-rank, k - 1, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(rank, most, axis=1), axis=1, kind="stable")
            found[part] = np.take_along_axis(most, order, axis=1)
            probabilities[part] = np.take_along_axis(outputs.probabilities(rows, learned.form), found[part],
                                                      axis=1)
        as_list = not isinstance(steps, int)
        return pack(found, offsets, as_list), pack(probabilities, offsets, as_list)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the code's elements: rae0, rae1, ...

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects, of shape (C,)

        Raises
        ------
        NotFittedError
            Before the first fit.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> RAE(n_hidden=2, max_iter=0).fit(np.eye(3)).get_feature_names_out().tolist()
        ['rae0', 'rae1']
        """
        prefix = type(self).__name__.lower()
        n = self._fitted().form.code_size * len((self._checked or hyperparameters.check(self)).pooling.split("+"))
        return np.array([f"{prefix}{i}" for i in range(n)], dtype=object)

    def read_rows(self, rows: Any) -> Floats:
        """Rows (..., I) as the model reads them: standardised, with means in place of what is missing.

        Parameters
        ----------
        rows : array-like of shape (..., I)

        Returns
        -------
        ndarray of the same shape

        Raises
        ------
        ValueError
            For another number of features.

        Examples
        --------
        >>> import numpy as np
        >>> from rae_fast import RAE
        >>> model = RAE(n_hidden=4, standardize="channel", max_iter=0, random_state=0).fit(np.eye(3))
        >>> np.allclose(model.read_rows(np.eye(3)).std(axis=0), 1)
        True
        """
        learned = self._fitted()
        array = inputs.as_numbers(rows, "rows").astype(learned.memory.dtype, copy=False)
        if array.ndim < 1 or array.shape[-1] != learned.n_features:
            raise ValueError(f"rows have shape {array.shape}; the model reads {learned.n_features} features")
        if learned.gaps is not None:
            array = learned.gaps.rows(array)
        return array if learned.scaling is None else learned.scaling.rows(array)

    # ---- what these share --------------------------------------------------------------------------

    def _read(self, X: Any, learned: Learned) -> Batch:
        """Sequences for a fitted model, as the user has them."""
        if learned.takes_ready and (batch := ready(X, learned.memory, learned.form)) is not None:
            return batch
        if learned.reads_ids and learned.feature_names is None:
            if (batch := ready_ids(X, learned.n_features, learned.memory.dtype)) is not None:
                return batch
        batch = inputs.as_batch(X, learned.memory.dtype, learned.n_features, type(self).__name__,
                                True if learned.reads_ids else False if learned.patches is None else None,
                                learned.missing)
        if batch.is_ids and not learned.reads_ids:
            raise ValueError(f"X holds token ids, but {type(self).__name__} was fitted on rows of numbers")
        inputs.check_feature_names(X, learned.feature_names, type(self).__name__)
        return batch

    def _completed_by(self, learned: Learned, settings: Settings, given: Given) -> None:
        if settings.standardize_codes or settings.whiten:
            batch, weights = given()
            codes = self._pooled(learned, batch, settings.pooling)
            w = None if weights is None else weights.astype(np.float64) / weights.max()
            learned.code_units = (Whitening.of(settings.pooling, codes, w) if settings.whiten else
                                  replace(Scaling.of("channel", codes, w), kind=settings.pooling))

    def _read_codes(self, codes: Any, learned: Learned) -> Floats:
        """Codes that `transform` has given, or the like, as the model unrolls them."""
        if self.pooling == "last" and self.standardize_codes is False and self.whiten is False:
            found = ready_codes(codes, learned.memory, learned.form)
            if found is not None:
                return found
            return inputs.as_matrix(codes, "codes", learned.form.code_size, learned.memory.dtype)
        settings = self._checked or hyperparameters.check(self)
        parts, C = settings.pooling.split("+"), learned.form.code_size
        if "last" not in parts:
            raise ValueError("codes of pooling='mean' cannot be unrolled; choose 'last+mean' where both are needed")
        found = inputs.as_matrix(codes, "codes", C * len(parts), learned.memory.dtype)
        if (units := _code_units(learned, settings)) is not None:
            found = units.back(found)
        first = C * parts.index("last")
        return np.ascontiguousarray(found[:, first:first + C])

    def _in_pieces(self, learned: Learned, codes: Floats, offsets: Integers, unrolls: Learned | None = None,
                   whole: bool = False) -> Iterator[tuple[slice, Floats]]:
        """Codes unrolled in chronological order (by `unrolls`, if that is another), with the rows of offsets that they
        are: some at a time, or all."""
        unrolls = unrolls or learned
        first, n = 0, len(codes)
        while first < n:
            last = n
            if not whole:
                most = offsets[first] + max(1, _UNROLLED // unrolls.form.n_inputs)
                last = max(first + 1, int(np.searchsorted(offsets, most, side="right")) - 1)
            if not whole and last == first + 1 and offsets[last] > most:
                yield from self._in_steps(unrolls, codes[first:last], offsets[first], offsets[last])
            else:
                yield (slice(offsets[first], offsets[last]),
                       self._unrolled(unrolls, codes[first:last], offsets[first:last + 1] - offsets[first]))
            first = last

    def _in_steps(self, learned: Learned, code: Floats, first: int, end: int) -> Iterator[tuple[slice, Floats]]:
        """The same of one long sequence: its states, of which there are fewer numbers, as a whole."""
        states = self._unrolled(self._states_of_outputs(learned), code, np.array([0, end - first]))
        weights = learned.form.views(learned.theta)
        at_once = max(1, _UNROLLED // learned.form.n_inputs)
        for start in range(first, end, at_once):
            part = slice(start, min(start + at_once, end))
            rows = dense.product(states[part.start - first:part.stop - first], weights["V_hx"], threads(self.n_jobs))
            yield part, rows + weights["c_x"]

    def _states_of_outputs(self, learned: Learned) -> Learned:
        """A model that unrolls into the states of which outputs are made, in place of these."""
        form = learned.form
        plain = Form(form.n_hidden, form.n_hidden, "unfold", form.decoder, "linear", n_code=form.n_code)
        theta = np.zeros(plain.size, learned.memory.dtype)
        found, views = form.views(learned.memory), plain.views(theta)
        for name in ("V_hh", "c_h", "V_ch", "c_1"):
            if name in views:
                views[name][...] = found[name]
        np.fill_diagonal(views["V_hx"], 1)
        return Learned(plain, theta, learned.record, learned.solver)

    def _symbols(self, learned: Learned, codes: Floats, offsets: Integers) -> Integers:
        """The feature with the largest output of each row."""
        pieces = self._in_pieces(learned, codes, offsets)
        return np.concatenate([outputs.ranked(learned.shown(rows), learned.form).argmax(axis=1) for _, rows in pieces])

    def _codes(self, learned: Learned, batch: Batch) -> Floats:
        states = _codes.encode(learned.memory, batch, learned.form, True, threads(self.n_jobs))
        return _codes.codes_of(learned.memory, states, learned.form)

    def _pooled(self, learned: Learned, batch: Batch, pooling: str) -> Floats:
        """Codes of the last states, means of those of all, or both."""
        found = []
        for part in pooling.split("+"):
            states = _codes.encode(learned.memory, batch, learned.form, part == "last", threads(self.n_jobs))
            if part == "mean":  # which is the mean of their codes, for these are linear in states
                states = states.reshape(-1, learned.form.n_hidden)
                sums = np.add.reduceat(states, batch.offsets[:-1], dtype=np.float64)
                states = (sums / batch.lengths()[:, None]).astype(states.dtype)
            found.append(_codes.codes_of(learned.memory, states, learned.form))
        return found[0] if len(found) == 1 else np.hstack(found)

    def _unrolled(self, learned: Learned, codes: Floats, steps: int | Integers) -> Floats:
        """Codes unrolled in the model's steps, in chronological order: (N, steps, n_inputs), or of offsets one sequence
        after the other."""
        return _codes.unroll(learned.theta, codes, steps, learned.form, True, threads(self.n_jobs))

    def _recalled(self, learned: Learned, batch: Batch) -> NDArray[np.bool_]:
        """Of every step, whether the symbol with the largest output is its own."""
        found = self._symbols(learned, self._codes(learned, batch), batch.offsets)
        if isinstance(batch, SparseBatch) and batch.is_ids:
            same: NDArray[np.bool_] = found == batch.columns
            return same
        at_once = max(1, _UNROLLED // batch.n_features)
        parts = (slice(a, min(a + at_once, batch.n_rows)) for a in range(0, batch.n_rows, at_once))
        return np.concatenate([found[part] == learned.shown(batch.dense_rows(part)).argmax(axis=1) for part in parts])

    def _given_back(self, learned: Learned, codes: Floats, steps: int | Integers) -> Integers | list[Integers]:
        """The symbols of codes in the user's container."""
        offsets = _offsets(codes, steps)
        ids = self._symbols(learned, codes, offsets)
        return ids.reshape(-1, steps) if isinstance(steps, int) else pack(ids, offsets, True)

    def _rows(self, learned: Learned, codes: Floats, steps: int | Integers) -> Floats:
        """The same in the user's rows."""
        patches = learned.patches
        if learned.plain:
            return self._unrolled(learned, codes, steps)
        if patches is None:
            rows = self._unrolled(learned, codes, steps)
        elif isinstance(steps, int):
            rows = self._unrolled(learned, codes, patches.number(steps)).reshape(len(codes), -1, learned.n_features)
            rows = np.ascontiguousarray(rows[:, -steps:])
        else:
            rows = patches.rows(self._unrolled(learned, codes, patches.offsets(steps)), steps)
        return rows if learned.scaling is None else learned.shown(rows)


def _code_units(learned: Learned, settings: Settings) -> Scaling | Whitening | None:
    """The units in which codes are given, of the pooling that fit saw; None for their own."""
    if not (settings.standardize_codes or settings.whiten):
        return None
    name, kind = ("whiten", Whitening) if settings.whiten else ("standardize_codes", Scaling)
    if not isinstance(learned.code_units, kind) or learned.code_units.kind != settings.pooling:
        raise ValueError(f"{name}=True with pooling={settings.pooling!r} needs what fit finds with these settings; "
                         "call fit")
    return learned.code_units


def _steps(learned: Learned, codes: Floats, lengths: Any) -> int | Integers:
    """One length for all codes, or their offsets; of None the length of the sequences seen in fit."""
    lengths = learned.record.n_steps if lengths is None else lengths
    if lengths is None:
        raise ValueError("the model was fitted on sequences of different lengths; pass lengths")
    return inputs.as_lengths(lengths, len(codes))


def _offsets(codes: Floats, steps: int | Integers) -> Integers:
    return np.arange(0, len(codes) * steps + 1, steps) if isinstance(steps, int) else steps


def _as_symbols(learned: Learned, symbols: bool | None, logits: bool) -> bool:
    """Whether outputs are given as symbols."""
    if symbols is None:
        return learned.reads_ids and not logits
    if symbols and (logits or learned.patches is not None):
        raise ValueError("symbols=True and logits=True exclude each other" if logits else
                         "symbols=True is for models that read row by row (patch_length=1)")
    return bool(symbols)


def _outputs(rows: Floats, form: Form, logits: bool) -> Floats:
    """What the user gets of unrolled rows: probabilities where outputs are categorical."""
    return outputs.probabilities(rows, form) if form.categorical and not logits else rows
