"""Durations as people say them."""

from __future__ import annotations

from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span_in_words(span: timedelta) -> str:
    """In the largest unit of which there are two or more: ``3 d``, ``26 h``, ``4 s``; ``0 s`` for what is shorter."""
    seconds = max(0.0, span.total_seconds())
    for unit, size in _UNITS:
        if seconds >= 2 * size or unit == "s":
            return f"{int(seconds // size):,} {unit}"
    raise AssertionError("the last unit takes all")
