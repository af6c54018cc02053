"""What runs that a worker holds want written, and the columns in which a flush sends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.states import Flag

if TYPE_CHECKING:
    from holdfast.core.journal import EntryKind
    from holdfast.core.states import Ending
    from holdfast.store.children import Child, Next


class JournalWrite(NamedTuple):
    """A journal row to be. ``at`` is the earliest time it may carry, ``after`` the back-off of an attempt."""

    seq: int
    kind: EntryKind
    key: str
    digest: bytes | None = None
    output: str | None = None
    error: str | None = None
    attempts: int = 0
    elapsed: timedelta | None = None
    at: datetime | None = None
    after: timedelta | None = None


NEVER_BEGUN = -1
"""What a run has seen that nobody has begun."""


class Move(NamedTuple):
    """Gives a held run back: parked until ``due`` (or ``after`` from now; neither: at once).

    ``seen`` is the inbox count that the run has journaled; with ``waits`` a higher one makes it due at once, or only
    one of ``wake`` or more where that is given. ``what`` says what it waits for, one a line; it counts with
    ``progress`` only. ``waits`` is None where its code was not entered: it goes on to wait as it did.
    """

    due: datetime | None
    after: timedelta | None
    seen: int
    waits: bool | None
    set: int
    clear: int
    progress: bool
    what: str | None = None
    wake: int | None = None


class Beat(NamedTuple):
    """The last heartbeat of an attempt that is under way; with ``attempt`` 0 it is forgotten."""

    key: str
    attempt: int
    details: str | None
    """For the next attempt."""
    progress: str | None = None
    """For people."""


class End(NamedTuple):
    """Ends a held run."""

    status: Ending
    output: str | None
    error: str | None
    parent: UUID | None = None
    """Who is told of it."""


class Writes:
    """What one run wants written, in one transaction or not at all. At most one of ``move`` and ``end`` is given.

    ``begun``, ``woken`` and ``beaten`` set or clear flags of its task; with the first ``beats`` goes ``beaten``.
    """

    __slots__ = (
        "beaten",
        "beats",
        "begun",
        "blocked",
        "cancels",
        "children",
        "end",
        "hold",
        "journal",
        "move",
        "next",
        "quiet",
        "run_id",
        "seen",
        "woken",
    )

    def __init__(
        self,
        run_id: UUID,
        hold: int,
        *,
        journal: Sequence[JournalWrite] = (),
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
        self.run_id = run_id
        self.hold = hold
        self.journal = journal
        self.seen = seen
        self.move = move
        self.end = end
        self.begun = begun
        self.woken = woken
        self.blocked = blocked
        self.beats = beats
        self.beaten = beaten
        self.children = children
        self.cancels = cancels
        """Children that are to be cancelled."""
        self.quiet = quiet
        """The attempt, ``ask#1@1``, whose end this is: written only if nothing has come for it from outside."""
        self.next = next
        """With an ``end`` as continued: what goes on for it."""

    @property
    def is_beat(self) -> bool:
        """Whether nothing but heartbeats is to be written: losing them costs nothing."""
        return bool(self.beats) and not (self.journal or self.seen or self.move or self.end)

    @property
    def size(self) -> int:
        """About how many bytes of payload these writes carry."""
        size = sum(len(row.output or "") + len(row.error or "") for row in self.journal)
        if self.end is not None:
            size += len(self.end.output or "") + len(self.end.error or "") + len(self.next.input if self.next else "")
        if self.children:
            size += sum(len(child.input) for child in self.children)
        return size


class Columns(NamedTuple):
    """The arguments of ``holdfast.flush`` that say what is to be written: a column each, with a row for each thing."""

    absent: str
    """The groups of columns that are left out, by their letters."""
    values: list[Sequence[object]]


_RARE = "bkhxcqn"
"""The groups of columns that most flushes have nothing for."""


def columns(writes: Iterable[Writes]) -> Columns:
    """What these runs want written."""
    journal: list[tuple[object, ...]] = []
    moves: list[tuple[object, ...]] = []
    ends: list[tuple[object, ...]] = []
    seen: list[tuple[object, ...]] = []
    marks: list[tuple[object, ...]] = []
    blocked: list[tuple[object, ...]] = []
    beats: list[tuple[object, ...]] = []
    children: list[tuple[object, ...]] = []
    cancels: list[tuple[object, ...]] = []
    quiet: list[tuple[object, ...]] = []
    nexts: list[tuple[object, ...]] = []
    for one in writes:
        run_id, hold = one.run_id, one.hold
        journal.extend([(run_id, hold, *row) for row in one.journal])
        seen.extend([(run_id, number) for number in one.seen])
        if one.end is not None:
            ends.append((run_id, hold, *one.end))
            if one.next is not None:
                nexts.append((run_id, hold, *one.next))
        elif one.move is not None:
            moves.append((run_id, hold, *one.move))
        if one.begun or one.woken or one.beaten:
            marks.append((run_id, hold, *_flags(one)))
        if one.blocked is not None:
            blocked.append((run_id, one.blocked))
        if one.beats:
            beats.extend([(run_id, hold, *beat) for beat in one.beats])
        if one.children:
            children.extend([(run_id, hold, *child) for child in one.children])
        if one.cancels:
            cancels.extend([(run_id, child) for child in one.cancels])
        if one.quiet is not None:
            quiet.append((run_id, hold, one.quiet))
    absent = "".join(group for group, rows in (("j", journal), ("m", moves), ("e", ends), ("s", seen)) if not rows)
    values = [*_transposed(journal), *_transposed(moves), *_transposed(ends), *_transposed(seen)]
    if not (marks or blocked or beats or cancels or children or quiet or nexts):
        # These are rare, and left out together, so that there are not too many statements to prepare.
        return Columns(absent + _RARE, values)
    # An empty column among others has to be there.
    values = [
        *values,
        *_given(marks, 4),
        *_given(blocked, 2),
        *_given(beats, 6),
        *_given(cancels, 2),
        *_given(children, 13),
        *_given(quiet, 3),
        *_given(nexts, 5),
    ]
    return Columns(absent, values)


def _flags(one: Writes) -> tuple[int, int]:
    """What is set in the flags of its task, and what is cleared."""
    return (Flag.BEGUN if one.begun else 0) | (Flag.BEATEN if one.beaten else 0), Flag.WAKE if one.woken else 0


def _given(rows: list[tuple[object, ...]], width: int) -> list[Sequence[object]]:
    return _transposed(rows) if rows else [()] * width


def _transposed(rows: list[tuple[object, ...]]) -> list[Sequence[object]]:
    # A column of nulls alone is sent as an empty array: ``unnest`` fills the shorter ones up with nulls.
    return [() if column.count(None) == len(column) else column for column in zip(*rows, strict=True)]
