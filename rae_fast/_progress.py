"""Progress of a long fit: tqdm's bar where it is installed, else a line a second on stderr.

Showing it must never end a fit: where the output cannot be written to (there is none, it was closed, its disk is full,
nobody reads the pipe any more), nothing more is shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

# Between two lines without tqdm.
SECONDS = 1.0


class Progress:
    """Counts passes of an estimator's fit, or other units, up to a total; says nothing unless enabled."""

    def __init__(self, name: str, total: int, enabled: bool, done: int = 0, unit: str = "pass") -> None:
        self.name, self.total, self.count, self.unit = name, total, done, unit
        self.enabled = enabled
        self.bar: Any = None
        self.last_line = 0.0

    def __enter__(self) -> Progress:
        if self.enabled:
            self._show(self._open)
        return self

    def advance(self, passes: int, loss: float | None) -> None:
        """Count passes; loss is that of the last one, None before the first has ended."""
        self.count += passes
        text = "" if loss is None else f"{loss:.6g}"
        if self.bar is not None:
            self._show(lambda: self._update(passes, text))
        elif self.enabled and time.monotonic() - self.last_line >= SECONDS:
            self.last_line = time.monotonic()
            self._show(lambda: self._line(text))

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self.bar is not None:
            self._show(self.bar.close)
        elif self.enabled:
            self._show(lambda: self._line("stopped" if kind else "done"))

    def _show(self, action: Callable[[], Any]) -> None:
        """Whatever a stream, or tqdm with the settings of a user's environment, raises: say nothing from here on."""
        try:
            action()
        except Exception:
            if self.bar is not None:
                self.bar.disable = True  # or it would try again when it is deleted
            self.enabled, self.bar = False, None

    def _open(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self.last_line = time.monotonic()
        else:
            self.bar = tqdm(total=self.total, initial=self.count, unit=self.unit, desc=self.name)

    def _update(self, passes: int, text: str) -> None:
        if text:
            self.bar.set_postfix_str(f"loss {text}", refresh=False)
        self.bar.update(passes)

    def _line(self, text: str) -> None:
        text = text and f", {text}"
        print(f"{self.name}: {self.unit} {self.count} of {self.total}{text}", file=sys.stderr, flush=True)
