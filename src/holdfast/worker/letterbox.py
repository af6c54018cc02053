"""What came to the inbox of a run in memory, and how far it has been journaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.journal import EntryKind, cancel_key, completion_key, letter_number, signal_key, update_key
from holdfast.workflow.agenda import RECEIVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.journal import Entry
    from holdfast.store.work import Letter

_RECEIVED = (
    EntryKind.SIGNAL,
    EntryKind.CANCEL,
    EntryKind.CHILD,
    EntryKind.UPDATE,
    EntryKind.COMPLETED,
    EntryKind.FAILED,
)


class Letterbox:
    """The inbox of one run, as its worker sees it."""

    __slots__ = ("_under_way", "cancels", "seen", "unread")

    def __init__(self, journal: Sequence[Entry]) -> None:
        self.seen = 0
        """The number of the last letter that is journaled, or about to be."""
        self.cancels: set[str] = set()
        """The keys of the requests to cancel."""
        for entry in journal:
            if entry.kind in _RECEIVED:
                self.seen = max(self.seen, letter_number(entry))
                if entry.kind is EntryKind.CANCEL:
                    self.cancels.add(entry.key)
        self.unread: Sequence[Letter] = ()
        """What lay in the inbox when the run was claimed, until its code is entered."""
        self._under_way: list[tuple[Letter, str]] = []

    @property
    def timed_out(self) -> bool:
        """Whether the first request to cancel came from the run's own timeout."""
        return cancel_key(0) in self.cancels and min(self.cancels) == cancel_key(0)

    @property
    def unheard(self) -> list[str]:
        """The keys of what is being journaled: the code has not heard of it, and the inbox has it no more."""
        return [key for letter, key in self._under_way if letter.kind in RECEIVED]

    def journaled(self, count: int) -> None:
        """The first so many of those that were taken are durable, and the code hears of them."""
        del self._under_way[:count]

    def take_unread(self) -> Sequence[Letter]:
        """What has lain there since the claim, once."""
        unread, self.unread = self.unread, ()
        return unread

    def take(self, letters: Sequence[Letter]) -> list[tuple[Letter, str]]:
        """Those that are new, in order, with the key under which each is journaled."""
        new: list[tuple[Letter, str]] = []
        for letter in letters:
            if letter.number <= self.seen:
                continue
            self.seen = letter.number
            if letter.kind is EntryKind.CANCEL:
                key = cancel_key(letter.number)
                self.cancels.add(key)
            elif letter.kind is EntryKind.CHILD:
                key = letter.name
            elif letter.kind in (EntryKind.COMPLETED, EntryKind.FAILED):
                key = completion_key(letter.name, letter.number)
            elif letter.kind is EntryKind.UPDATE:
                key = update_key(letter.name, letter.number)
            else:
                key = signal_key(letter.name, letter.number)
            new.append((letter, key))
        self._under_way += new
        return new
