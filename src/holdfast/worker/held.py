"""A run in the memory of this worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdfast.store.children import Child, Next
from holdfast.store.writes import Beat, End, JournalWrite, Move, Writes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from holdfast.core.journal import Entry
    from holdfast.store.work import Letter, Seen
    from holdfast.worker.bucket import Bucket


class HeldRun(Protocol):
    """What the claimer, the group commit and the watch ask of a run that this worker holds."""

    run_id: UUID
    name: str
    """Of its workflow or activity; empty where it is not known."""
    hold: int
    bucket: Bucket
    crashed: int
    """How many workers had died with it in a row when it was claimed."""
    looked_at: float
    """``time.monotonic()`` before the database was last asked how its task stands."""

    def begin(self) -> None:
        """A slot is free: enter the code."""
        ...

    def letters(self, letters: Sequence[Letter]) -> None:
        """These came to its inbox, and are to be acted on."""
        ...

    def receive(self, letters: Sequence[Letter]) -> None:
        """These lie in its inbox, to be seen when it begins."""
        ...

    def looked(self, seen: Seen | None) -> bool:
        """How its task stands now; True when its inbox is to be read."""
        ...

    def committed(self, unit: Unit, at: datetime) -> None:
        """What it wanted written is durable."""
        ...

    def overtaken(self, unit: Unit) -> Unit | None:
        """The attempt whose end this is was completed from outside before: gives what is to be written all the same."""
        ...

    def lost(self) -> None:
        """It is not this worker's any more: drop it without a trace."""
        ...

    def rejected(self, unit: Unit, error: BaseException) -> None:
        """The database refuses what it wanted written, for good."""
        ...

    def give_back(self, *, after: timedelta | None = None, untouched: bool = False) -> bool:
        """Gives it back if its code was not entered, for its time or for ``after`` from now; says whether it does.

        ``untouched``: nobody has ever begun it, so it is as if it had never been claimed.
        """
        ...

    def drain(self) -> None:
        """The worker stops: give it back as soon as no code of it runs."""
        ...

    def close(self) -> None:
        """The worker is fenced or gone: stop what runs, write nothing."""
        ...


class Unit(Writes):
    """Writes, together with the run that wants them and the journal entries that it will see once they are durable."""

    __slots__ = ("busy", "entries", "owner", "replied")

    def __init__(
        self,
        owner: HeldRun,
        *,
        journal: Sequence[JournalWrite] = (),
        entries: Sequence[Entry] = (),
        seen: Sequence[int] = (),
        move: Move | None = None,
        end: End | None = None,
        begun: bool = False,
        woken: bool = False,
        blocked: str | None = None,
        beats: Sequence[Beat] = (),
        beaten: bool = False,
        children: Sequence[Child] = (),
        cancels: Sequence[UUID] = (),
        quiet: str | None = None,
        next: Next | None = None,
    ) -> None:
        super().__init__(
            owner.run_id,
            owner.hold,
            journal=journal,
            seen=seen,
            move=move,
            end=end,
            begun=begun,
            woken=woken,
            blocked=blocked,
            beats=beats,
            beaten=beaten,
            children=children,
            cancels=cancels,
            quiet=quiet,
            next=next,
        )
        self.replied = False
        """Whether it carries answers that somebody waits for."""
        self.owner = owner
        self.entries = entries
        self.busy = 0
