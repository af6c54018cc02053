"""What the command prints: words and tables for people, JSON for programs, never both on one stream.

With ``--json`` stdout carries JSON and nothing else; everything for people goes to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from uuid import UUID

from rich.console import Console, RenderableType

JsonLike = object

_WIDTH = 130


class Output:
    """Where answers go. ``people`` is stdout, or stderr when stdout belongs to JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Where nobody looks on, lines are as long as they need to be, and tables have room.
        width = None if sys.stdout.isatty() else _WIDTH
        # What users have written is shown as it is: brackets are no markup, and colons make no pictures.
        self.people = Console(
            stderr=as_json, highlight=False, markup=False, emoji=False, soft_wrap=width is not None, width=width
        )
        self.notes = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def answer(self, value: JsonLike, *shown: RenderableType) -> None:
        """The answer of a command: ``value`` as one JSON document, or what is ``shown`` for people."""
        if self.as_json:
            print(json.dumps(value, default=plain, ensure_ascii=False))  # noqa: T201 - stdout is the product
        else:
            for one in shown:
                self.people.print(one)

    def note(self, text: str) -> None:
        """A remark for people, on stderr, with ``--json`` too."""
        self.notes.print(text)


def plain(value: object) -> JsonLike:
    """The JSON form of what JSON does not know: times as ISO 8601, durations in seconds, ids and paths as text."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Enum():
            return value.value
        case UUID() | Path():
            return str(value)
        case Mapping():
            return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case tuple() | set() | frozenset():
            return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")
