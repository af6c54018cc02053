"""Spans of time as people write them: ``90``, ``250ms``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def read_period(text: str) -> timedelta:
    """``90`` seconds, ``1h30m``, ``11d``, ``250ms``.

    Raises:
        ValueError: it is none of these, or longer than any duration.
    """
    text = text.strip()
    try:
        if re.fullmatch(r"\d+(?:\.\d+)?", text):
            return timedelta(seconds=float(text))
        if text and not _PART.sub("", text).strip():
            parts = (float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
            return sum(parts, timedelta())
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than any duration") from error
    raise ValueError(f"{text!r} is not a duration; write seconds, or 250ms, 1h30m, 11d, 2w")


def write_period(span: timedelta) -> str:
    """As ``read_period`` reads it: ``30d``, ``1h30m``, ``2.5s``, ``250ms``."""
    if span < timedelta():
        return f"-{write_period(-span)}"
    words: list[str] = []
    for unit in ("d", "h", "m"):
        count, span = divmod(span, _UNITS[unit])
        if count:
            words.append(f"{count}{unit}")
    if span < _UNITS["s"] and span and not words:
        words.append(f"{span / _UNITS['ms']:.15g}ms")
    elif span or not words:
        words.append(f"{span.total_seconds():.15g}s")
    return "".join(words)
