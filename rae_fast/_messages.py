"""How error messages show what a user has passed."""

from __future__ import annotations

import reprlib
from typing import Any

_MOST = 100

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = _MOST
_short.maxlevel = 3


def shown(value: Any) -> str:
    """repr(value) on one line and of bounded length, whatever the value is and does.

    Examples
    --------
    >>> shown(0.5), len(shown(["x" * 10_000] * 10_000)) < 400
    ('0.5', True)
    """
    try:
        text = " ".join(_short.repr(value).split())
    except Exception:  # of the value's own making, or an integer of too many digits
        return f"{'an' if type(value).__name__[:1] in 'aeiou' else 'a'} {type(value).__name__}"
    return text if len(text) <= 3 * _MOST else text[:3 * _MOST - 3] + "..."
