"""From text to token ids and back: a list of symbols with numbers."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rae_fast import persistence
from rae_fast._messages import shown
from rae_fast.hyperparameters import OneOf, integer

Ids = NDArray[np.intp]

_LEVELS = ("words", "characters", "tokens")


class Vocabulary:
    """Symbols of text, numbered by how often they occur.

    Parameters
    ----------
    level : {"words", "characters", "tokens"}, default="words"
        What a line is: words with white space between them, characters, or already a list of tokens.
    min_count : int, default=1
        Rarer symbols have no number of their own, but that of `unknown`.
    unknown : str or None, default="<unk>"
        The symbol for all that have none, which has the number 0. None: there is no such symbol, and what has no number
        is an error.

    Attributes
    ----------
    symbols_ : list of str
        Symbol i has the id i: `unknown` first, then the most frequent ones; of equals in the order of their text.

    Notes
    -----
    Of Unicode text characters are code points. Words keep their case and punctuation; text that needs more care, such
    as subwords, is a tokenizer's, whose ids a model takes as they are.

    Examples
    --------
    >>> from rae_fast import RAE, Vocabulary
    >>> lines = ["a fine film", "a film of charm", "fine charm"]
    >>> vocabulary = Vocabulary().fit(lines)
    >>> X = vocabulary.encode(lines)
    >>> [x.tolist() for x in X]
    [[1, 4, 3], [1, 3, 5, 2], [4, 2]]
    >>> model = RAE(12, n_features=len(vocabulary), random_state=0).fit(X)
    >>> vocabulary.decode(model.reconstruct(X))
    ['a fine film', 'a film of charm', 'fine charm']
    """

    def __init__(self, level: str = "words", *, min_count: int = 1, unknown: str | None = "<unk>") -> None:
        self.level, self.min_count, self.unknown = level, min_count, unknown
        self.symbols_: list[str] = []
        self._numbers: dict[str, int] = {}

    def fit(self, lines: Iterable[Any]) -> Vocabulary:
        """Number the symbols of lines.

        Parameters
        ----------
        lines : iterable of str, or with ``level="tokens"`` of lists of str

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters, lines of another kind, and where no symbol is left.

        Examples
        --------
        >>> Vocabulary("characters").fit(["abba", "a"]).symbols_
        ['<unk>', 'a', 'b']
        """
        OneOf(*_LEVELS)("level", self.level)
        integer(1)("min_count", self.min_count)
        if self.unknown is not None and not isinstance(self.unknown, str):
            raise ValueError(f"unknown must be None or a string; got {shown(self.unknown)}")
        counts: Counter[str] = Counter()
        for tokens in self._split(lines):
            counts.update(tokens)
        kept = sorted((s for s, n in counts.items() if n >= self.min_count and s != self.unknown),
                      key=lambda s: (-counts[s], s))
        first = [] if self.unknown is None else [self.unknown]
        if not kept and not first:
            raise ValueError(f"no symbol occurs {self.min_count} times or more")
        return self._take(first + kept)

    def __len__(self) -> int:
        return len(self.symbols_)

    def encode(self, lines: Iterable[Any]) -> list[Ids]:
        """Ids of lines: what a model reads.

        Parameters
        ----------
        lines : as in `fit`

        Returns
        -------
        list of ndarray of integers, one a line

        Raises
        ------
        ValueError
            For lines of another kind or without symbols, and with ``unknown=None`` for symbols without a number.

        Examples
        --------
        >>> Vocabulary().fit(["one two"]).encode(["two three"])[0].tolist()
        [2, 0]
        """
        self._check_fitted()
        default = None if self.unknown is None else self._numbers[self.unknown]
        found = []
        for n, tokens in enumerate(self._split(lines)):
            if not tokens:
                raise ValueError(f"line {n} has no symbols; a sequence needs at least one step")
            if default is None and (strange := [t for t in tokens if t not in self._numbers]):
                raise ValueError(f"line {n} has {shown(strange[0])}, which has no number, and unknown is None")
            found.append(np.array([self._numbers.get(t, default) for t in tokens], dtype=np.intp))
        return found

    def decode(self, ids: Iterable[Any]) -> list[Any]:
        """Lines of ids, such as `RAE.reconstruct` gives: `encode` undone, but for unknown symbols and white space.

        Parameters
        ----------
        ids : iterable of sequences of integers

        Returns
        -------
        list of str, or with ``level="tokens"`` of lists of str

        Raises
        ------
        ValueError
            For ids that no symbol has.

        Examples
        --------
        >>> Vocabulary("tokens").fit([["a", "b"]]).decode([[1, 2], [2]])
        [['a', 'b'], ['b']]
        """
        self._check_fitted()
        found: list[Any] = []
        for n, row in enumerate(ids):
            array = np.asarray(row)
            if array.ndim != 1 or array.dtype.kind not in "iu":
                raise ValueError(f"element {n} is no sequence of integer ids")
            if wrong := [int(i) for i in array if not 0 <= i < len(self)]:
                raise ValueError(f"element {n} has the id {wrong[0]}, but there are {len(self)} symbols")
            tokens = [self.symbols_[i] for i in array]
            found.append(tokens if self.level == "tokens" else ("" if self.level == "characters" else " ").join(tokens))
        return found

    # ---- files -----------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Everything as JSON text.

        Returns
        -------
        str

        Examples
        --------
        >>> Vocabulary.from_json(Vocabulary().fit(["a b"]).to_json()).symbols_
        ['<unk>', 'a', 'b']
        """
        return json.dumps({"format": "rae_fast.Vocabulary", "level": self.level, "min_count": int(self.min_count),
                           "unknown": self.unknown, "symbols": self.symbols_}, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> Vocabulary:
        """A vocabulary that `to_json` wrote.

        Parameters
        ----------
        text : str

        Returns
        -------
        Vocabulary

        Raises
        ------
        ValueError
            If it is none.
        """
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this is no JSON text ({error})") from None
        keys = {"format", "level", "min_count", "unknown", "symbols"}
        if not isinstance(parts, dict) or set(parts) != keys or parts["format"] != "rae_fast.Vocabulary":
            raise ValueError("this is no vocabulary of rae_fast")
        symbols, unknown = parts["symbols"], parts["unknown"]
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            raise ValueError("the symbols of a vocabulary are strings")
        if len(set(symbols)) != len(symbols):
            raise ValueError("a symbol occurs twice in the vocabulary")
        if parts["level"] not in _LEVELS or unknown is not None and unknown not in symbols:
            raise ValueError("level or unknown of the vocabulary does not fit")
        return Vocabulary(parts["level"], min_count=parts["min_count"], unknown=unknown)._take(symbols)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to a file in UTF-8.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            If a symbol is no valid Unicode text, or something else than a regular file stands at `path`.
        OSError
            If the file cannot be written; an older one at `path` is then still there.
        """
        try:
            text = self.to_json().encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"a symbol cannot be written in UTF-8 ({error.reason})") from None
        persistence.replace(path, [text])

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Vocabulary:
        """A vocabulary that `save` wrote.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        Vocabulary

        Raises
        ------
        ValueError
            If the file holds none.
        OSError
            If it cannot be read.
        """
        with open(path, encoding="utf-8") as file:
            return Vocabulary.from_json(file.read())

    # ---- what the others share -------------------------------------------------------------------

    def _take(self, symbols: list[str]) -> Vocabulary:
        self.symbols_, self._numbers = symbols, {s: i for i, s in enumerate(symbols)}
        return self

    def _check_fitted(self) -> None:
        if not self.symbols_:
            raise ValueError("this Vocabulary has no symbols yet; call fit first")

    def _split(self, lines: Iterable[Any]) -> Iterable[list[str]]:
        if isinstance(lines, str):
            raise ValueError("lines is one string; pass a list of lines, [line] for one")
        if not isinstance(lines, Iterable):
            raise ValueError(f"lines is of type {type(lines).__name__}; pass a list of lines")
        for n, line in enumerate(lines):
            if self.level == "tokens":
                tokens = [] if isinstance(line, str) or not isinstance(line, Iterable) else list(line)
                if not all(isinstance(t, str) for t in tokens) or (not tokens and not isinstance(line, (list, tuple))):
                    raise ValueError(f"line {n} is no list of strings, which level='tokens' needs")
                yield tokens
            elif not isinstance(line, str):
                raise ValueError(f"line {n} is a {type(line).__name__}, not a string; lists of tokens need "
                                 "level='tokens'")
            else:
                yield line.split() if self.level == "words" else list(line)
