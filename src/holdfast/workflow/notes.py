"""What a run writes down for others: its state, and its answers. Nothing of it is ever delivered to the run.

A state is written once for each moment at which it changed, and a moment is a place in what the run has seen: so many
deliveries. On a replay the code comes by the same places, so it is known which of its changes stand in the journal
already, however many of them a crash has swallowed and however many were written as one.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.errors import RunEnded
from holdfast.core.failure import Failure
from holdfast.core.journal import Entry, EntryKind, state_key, state_name
from holdfast.core.remake import type_name


class Note(NamedTuple):
    """A row that is to be written, and that nothing waits for."""

    kind: EntryKind
    key: str
    output: str | None
    """JSON text."""
    failure: Failure | None = None


class Notes:
    """The notes of one run."""

    __slots__ = ("_answers", "_fresh", "_places", "_taken")

    def __init__(self) -> None:
        self._places: dict[str, int] = {}  # of the latest change of each state that is written, or about to be
        self._answers: dict[str, bool] = {}  # by key; whether it was refused before the code saw it
        self._taken: dict[str, None] = {}  # keys of the answers to what the code has been given
        self._fresh: dict[str, Note] = {}

    def record(self, entry: Entry) -> None:
        """A row of the journal."""
        if entry.kind is EntryKind.REPLY:
            self._answers[entry.key] = entry.error is not None and Failure.from_json(entry.error).reason == "refused"
            return
        name, place = state_name(entry.key)
        self._places[name] = max(place, self._places.get(name, -1))

    def set_state(self, name: str, text: str, place: int, *, replaying: bool) -> None:
        """The state ``name`` changes at this place; of several changes before they are taken the last one counts."""
        written = self._places.get(name, -1)
        if place <= written:
            if replaying:
                return
            # Code that was changed has come by fewer places than the code before it.
            place = written + 1
        self._fresh[f"state:{name}"] = Note(EntryKind.STATE, state_key(name, place), text)

    def answered(self, key: str) -> bool | None:
        """Whether what this answers was refused before the code saw it; None if there is no answer."""
        return self._answers.get(key)

    def taken(self, key: str) -> None:
        """What this answers was given to the code."""
        self._taken[key] = None

    def leave(self) -> None:
        """The run goes on as a new one, which does not know of what was given to this one and has no answer."""
        for key in self._taken:
            self.answer(key, None, _LEFT)

    def answer(self, key: str, text: str | None, failure: Failure | None) -> None:
        """An answer, once: one that stands in the journal stays, whatever the code says now."""
        if key not in self._answers:
            self._answers[key] = failure is not None and failure.reason == "refused"
            self._fresh[key] = Note(EntryKind.REPLY, key, text, failure)

    def take(self) -> tuple[Note, ...]:
        """What is to be written now, once."""
        fresh = tuple(self._fresh.values())
        self._fresh.clear()
        for note in fresh:
            if note.kind is EntryKind.STATE:
                name, place = state_name(note.key)
                self._places[name] = place
        return fresh


_LEFT = Failure(type=type_name(RunEnded), message="it goes on as a new run, which does not know of the update")
