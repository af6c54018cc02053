"""The version of a workflow's code, and the name under which the tasks of its runs wait for it."""

from __future__ import annotations

import re

from holdfast.core.errors import DefinitionError

MARK = "@"
"""Between name and version, in the name of a task: ``order@2``. No name contains it."""

_LONGEST = 50
_NUMBERS = re.compile(r"(\d+)")

Rank = tuple[tuple[int, int, str], ...]


def checked_version(value: object, what: str) -> str | None:
    """The version as text; None where there is none.

    Raises:
        DefinitionError: it is neither a whole number nor a short text that can be printed and has no blanks.
    """
    if value is None:
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if (
        not isinstance(text, str)
        or not 1 <= len(text) <= _LONGEST
        or not text.isprintable()
        or MARK in text
        or any(character.isspace() for character in text)
    ):
        raise DefinitionError(
            f"{what}: version= is a whole number or a text of 1 to {_LONGEST} characters without blanks and without "
            f"{MARK!r}, such as 2 or '2026-03-01', not {value!r}"
        )
    return text


def task_name(name: str, version: str | None) -> str:
    """What the tasks of runs of this workflow are called, once a worker with that version has taken them."""
    return name if version is None else f"{name}{MARK}{version}"


def version_in(task: str) -> str | None:
    """The version in the name of a task."""
    return task.partition(MARK)[2] or None


def rank(version: str | None) -> Rank:
    """What versions are ordered by: numbers in them count as numbers, and none at all comes before every other."""
    if version is None:
        return ()
    parts = _NUMBERS.split(version)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part)
