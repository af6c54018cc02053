"""What a journal says of the attempts at activities, beside their outcomes."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from holdfast.core.journal import Entry, EntryKind, handed_attempt
from holdfast.workflow.outside import Outside


class Attempts(NamedTuple):
    """The failed attempts of an activity so far."""

    failed: int = 0
    not_before: datetime | None = None
    details: str | None = None
    """What they said last, as JSON text."""
    outside: Outside | None = None
    """What is known of the next one, if that was handed over."""


class Tries:
    """The attempts by the key of their step."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Attempts] = {}

    def of(self, key: str) -> Attempts:
        """Those of this step."""
        return self._known.get(key, _NONE)

    def feed(self, entry: Entry) -> None:
        """Takes note of a row that is about an attempt."""
        if entry.kind is EntryKind.ATTEMPT:
            key, _, attempt = entry.key.rpartition("@")
            self._known[key] = Attempts(int(attempt), entry.not_before, entry.output or self.of(key).details)
            return
        key, number = handed_attempt(entry.key)
        known = self.of(key)
        if number != known.failed + 1:
            return  # it came too late
        outside = known.outside or Outside()
        if entry.kind is EntryKind.HANDED:
            outside = outside._replace(handed_at=entry.at, until=entry.not_before)
        else:
            outside = outside._replace(came=entry)
        self._known[key] = known._replace(outside=outside)


_NONE = Attempts()
