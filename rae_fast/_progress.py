"""Progress of a long fit: tqdm's bar where it is installed, else a line a second on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """Counts passes of an estimator's fit up to a total; says nothing unless enabled."""

    def __init__(self, name: str, total: int, enabled: bool, done: int = 0) -> None:
        self.name, self.total, self.count = name, total, done
        self.enabled = enabled
        self.bar: Any = None
        self.last_line = 0.0

    def __enter__(self) -> Progress:
        if self.enabled:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                self.last_line = time.monotonic()
            else:
                self.bar = tqdm(total=self.total, initial=self.count, unit="pass", mininterval=0.2)
        return self

    def advance(self, passes: int, loss: float | None) -> None:
        """Count passes; loss is that of the last one, None before the first has ended."""
        if not self.enabled:
            return
        self.count += passes
        text = "" if loss is None else f"{loss:.6g}"
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {text}", refresh=False)
            self.bar.update(passes)
        elif time.monotonic() - self.last_line >= 1:
            self.last_line = time.monotonic()
            self._line(text)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.enabled:
            self._line("stopped" if kind else "done")

    def _line(self, text: str) -> None:
        print(f"{self.name}: pass {self.count} of {self.total}, {text}", file=sys.stderr)
