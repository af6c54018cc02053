"""What a run wants written and does not wait for: it rides along with whatever the run writes next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError
from holdfast.core.failure import Failure
from holdfast.core.journal import EntryKind, state_name
from holdfast.store.writes import JournalWrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.worker.desk import Desk
    from holdfast.worker.held import Unit
    from holdfast.workflow.notes import Note

_LINGER = 0.02
"""Seconds after which a state is written by itself, if the run has not written anything meanwhile."""


class Notes:
    """The notes of one run in memory, until they are written."""

    __slots__ = ("_handle", "_rows", "_urgent")

    def __init__(self) -> None:
        self._rows: dict[str, JournalWrite] = {}
        self._urgent = False  # somebody waits for one of them
        self._handle: asyncio.TimerHandle | None = None

    def add(self, note: Note, seq: int, desk: Desk) -> None:
        """To be written; an earlier value of the same state need not be any more."""
        output, failure = note.output, note.failure
        if output is not None:
            try:
                output = desk.seal.close(output, what=f"the value of {note.key}")
            except HoldfastError as refusal:
                # It is written that there is none, and why: nothing of the run depends on it.
                output, failure = None, Failure.of(refusal)
        error = None if failure is None else desk.sealed(failure)
        name = state_name(note.key)[0] if note.kind is EntryKind.STATE else note.key
        self._rows.pop(name, None)
        self._rows[name] = JournalWrite(seq, note.kind, note.key, None, output, error, 0, None, None, None)
        self._urgent = self._urgent or note.kind is EntryKind.REPLY

    def __bool__(self) -> bool:
        return bool(self._rows)

    def join(self, unit: Unit) -> None:
        """They are written with this unit, in the order of seq."""
        unit.journal = sorted([*unit.journal, *self._rows.values()], key=_by_seq)
        unit.replied = self._urgent
        self._rows.clear()
        self._urgent = False
        self.disarm()

    def settle(self, write: Callable[[], None]) -> None:
        """Calls ``write``, at once if somebody waits for one of them, else soon, if nothing takes them along."""
        if self._urgent:
            write()
        elif self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(_LINGER, write)

    def disarm(self) -> None:
        """Nothing is called any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def _by_seq(row: JournalWrite) -> int:
    return row.seq
