"""What workers say to the database: register, claim, flush, leave, recover, look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from holdfast.core.journal import Entry, EntryKind
from holdfast.core.worker_state import WorkerState
from holdfast.store.writes import Beat, columns

if TYPE_CHECKING:
    from holdfast.store.session import Session
    from holdfast.store.writes import Writes

FOREVER = datetime.max
"""What the driver sends as ``infinity``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A worker as the database knows it, and the buckets that are its own, in the order asked for."""

    worker: int
    epoch: int
    buckets: tuple[int, ...]


async def register(
    session: Session,
    *,
    name: str,
    host: str,
    pid: int,
    lane: str,
    names: Sequence[str],
    lease: timedelta,
    slots: Sequence[tuple[str, int]],
    schedules: str | None = None,
    mode: str = "full",
    version: str = "",
    command: str | None = None,
) -> Identity:
    """Makes a new worker with a lease from now on and one bucket for each (lane, priority).

    ``schedules`` is a JSON object: those that its code has, each with its digest. ``version`` is that of the package,
    ``command`` what was asked of the worker under its last name.
    """
    row = await session.row(
        "register",
        name=name,
        host=host,
        pid=pid,
        lane=lane,
        names=list(names),
        lease=lease,
        lanes=[lane for lane, _ in slots],
        priorities=[priority for _, priority in slots],
        schedules=schedules,
        mode=mode,
        version=version,
        command=command,
    )
    assert row is not None
    return Identity(worker=row["worker_id"], epoch=row["epoch"], buckets=tuple(row["bucket_ids"] or ()))


class Renewed(NamedTuple):
    """The answer to a worker's heartbeat."""

    alive: bool
    command: str | None


async def heartbeat(session: Session, identity: Identity, state: WorkerState = WorkerState.ACTIVE) -> Renewed:
    """Renews the lease if it is not over, and says how the worker stands; the answer carries a command for it."""
    row = await session.row("heartbeat", worker=identity.worker, epoch=identity.epoch, state=state.value)
    return Renewed(alive=False, command=None) if row is None else Renewed(alive=True, command=row["command"])


async def heartbeats(session: Session, workers: Sequence[tuple[Identity, WorkerState]]) -> list[Renewed]:
    """The same for all workers of a process, in their order."""
    if len(workers) == 1:
        return [await heartbeat(session, *workers[0])]
    rows = await session.fetch(
        "heartbeat_many",
        workers=[identity.worker for identity, _ in workers],
        epochs=[identity.epoch for identity, _ in workers],
        states=[state.value for _, state in workers],
    )
    alive = {row["worker"]: Renewed(alive=True, command=row["command"]) for row in rows}
    dead = Renewed(alive=False, command=None)
    return [alive.get(identity.worker, dead) for identity, _ in workers]


async def note_overflow(session: Session, buckets: Mapping[int, int]) -> None:
    """How many runs each of these buckets has given back so far because others could begin them earlier."""
    await session.fetch("note_overflow", buckets=list(buckets), overflowed=list(buckets.values()))


class Claimed(NamedTuple):
    """One run that was just claimed. ``input`` is as stored: not yet opened by the codec."""

    run_id: UUID
    bucket: int
    due_at: datetime
    hold: int
    kind: int
    name: str
    lane: str
    priority: int
    input: str | None
    inbox_count: int
    crashes: int
    flags: int
    first_claim_at: datetime
    deadline: datetime | None
    tags: str | None
    options: str | None
    parent: UUID | None
    root: UUID | None
    created_at: datetime
    task_name: str
    """The name, with the version that the run is pinned to."""


@dataclass(slots=True)
class Claim:
    """What a claim brought: the runs, the database's time, and per bucket when something more is due soon."""

    runs: list[Claimed]
    at: datetime
    next_due: dict[int, datetime | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker asks for of one bucket: at most ``room`` runs, due at ``lower`` or later, and ``early`` others."""

    bucket: int
    lane: str
    priority: int
    room: int
    lower: datetime
    early: int = 0


def asked_by(identity: Identity, wanted: Sequence[Wanted]) -> dict[str, object]:
    """What every kind of claim says: who claims, and how much for which buckets."""
    return {
        "worker": identity.worker,
        "epoch": identity.epoch,
        "buckets": [w.bucket for w in wanted],
        "lanes": [w.lane for w in wanted],
        "priorities": [w.priority for w in wanted],
        "room": [w.room for w in wanted],
        "lower": [w.lower for w in wanted],
    }


async def claim(
    session: Session,
    identity: Identity,
    wanted: Sequence[Wanted],
    *,
    names: Sequence[str],
    fresh: Sequence[str | None] = (),
    begun: Sequence[str | None] = (),
    sweep: bool,
    ahead: timedelta,
    lead: timedelta | None = None,
) -> Claim:
    """Takes due runs into the worker's buckets; a sweep looks below the watermarks as well.

    With ``lead`` also those that will be due within it, as many as each bucket wants ``early``; they come last.
    ``fresh`` and ``begun`` have a place for each name: what a task of that name is called from now on, where nobody has
    claimed the run before, and where somebody has. Nothing: as it is.
    """
    rows = await session.fetch(
        "claim",
        **asked_by(identity, wanted),
        sweep=sweep,
        names=list(names),
        fresh=list(fresh),
        begun=list(begun),
        ahead=ahead,
        early=None if lead is None else [w.early for w in wanted],
        lead=lead,
    )
    slots = len(wanted)
    last = rows[-1]
    return Claim(
        runs=[Claimed(*row[:-1]) for row in rows[:-slots]],
        at=last[-1],
        next_due={row[1]: row[2] for row in rows[-slots:]},
    )


async def call_jobs(session: Session, identity: Identity, runs: Sequence[UUID]) -> None:
    """These are runs of an activity, whatever was said when they were started."""
    await session.fetch("call_jobs", worker=identity.worker, epoch=identity.epoch, runs=list(runs))


@dataclass(frozen=True, slots=True)
class Flushed:
    """The answer to a flush: its time, and whose writes were left out: the row was busy, or is not ours any more.

    Then what others should hear of: buckets in which something came for a held run, lanes in which something became
    due, and whether there are requests to cancel that somebody is to see to.
    """

    at: datetime
    busy: frozenset[UUID]
    lost: frozenset[UUID]
    inbox: Sequence[int] = ()
    due: Sequence[str] = ()
    asks: bool = False
    overtaken: frozenset[tuple[UUID, str]] = frozenset()
    """Attempts, by run and name, whose ends were left out: they have been completed from outside before."""

    @property
    def tells(self) -> bool:
        """Whether there is anything that others should hear of."""
        return bool(self.asks or self.due or self.inbox)


_NOBODY: frozenset[UUID] = frozenset()
_NONE: frozenset[tuple[UUID, str]] = frozenset()


async def flush(session: Session, identity: Identity, writes: Iterable[Writes], *, wait: bool, again: bool) -> Flushed:
    """Writes everything in one fenced transaction; ``again``: the same call may have been committed before."""
    absent, values = columns(writes)
    (row,) = await session.call("flush", [identity.worker, identity.epoch, wait, again, *values], without=absent)
    busy, lost = row["busy"], row["lost"]
    return Flushed(
        row["at"],
        frozenset(busy) if busy else _NOBODY,
        frozenset(lost) if lost else _NOBODY,
        row["inbox"] or (),
        row["due"] or (),
        row["asks"],
        frozenset(map(_attempt, row["overtaken"])) if row["overtaken"] else _NONE,
    )


def _attempt(text: str) -> tuple[UUID, str]:
    run_id, _, name = text.partition(" ")
    return UUID(run_id), name


async def leave(session: Session, identity: Identity) -> int:
    """Gives back all that the worker still holds and ends its lease; says how many runs that were."""
    return int(await session.value("leave", worker=identity.worker, epoch=identity.epoch))


class Recovered(NamedTuple):
    """What one step of recovery did: for which worker, how many runs, and whether none is left."""

    worker: int
    name: str
    runs: int
    finished: bool


async def recover(session: Session, *, limit: int = 1000, only: int | None = None) -> Recovered | None:
    """Takes at most ``limit`` runs of one worker whose lease is over, or of none at all (then it is number 0).

    None when there is no such worker, and no such run.
    """
    row = await session.row("recover", limit=limit, only=only)
    return None if row is None else Recovered(*row)


async def next_lease_end(session: Session, identity: Identity) -> float | None:
    """Seconds until the first lease of another worker ends if it is not renewed; None when there is no other."""
    seconds = await session.value("next_lease_end", worker=identity.worker)
    return None if seconds is None else float(seconds)


async def raise_floors(session: Session, lines: Sequence[tuple[str, int]]) -> None:
    """Raises the floors of these lines, (lane, priority) each, as far as nothing below can become due any more."""
    lanes, priorities = [lane for lane, _ in lines], [priority for _, priority in lines]
    await session.fetch("raise_floors", lanes=lanes, priorities=priorities)


async def end_overdue(session: Session, *, limit: int = 1000) -> int:
    """Ends runs whose timeout has passed before anybody has begun them; says how many, at most ``limit``."""
    return int(await session.value("end_overdue", limit=limit))


async def suspects_due(session: Session, *, lane: str, names: Sequence[str]) -> bool:
    """Whether a run of this lane that is to be executed alone is due."""
    return bool(await session.value("suspects_due", lane=lane, names=list(names)))


async def lanes_due(session: Session, lanes: Sequence[str], *, within: timedelta) -> list[str]:
    """Those of these lanes in which something is due within so long."""
    return [row["lane"] for row in await session.fetch("lanes_due", lanes=list(lanes), within=within)]


async def expire(session: Session, *, host: str, pid: int) -> list[int]:
    """Ends the leases of a process that is known to be dead, and gives its workers."""
    return [row["id"] for row in await session.fetch("expire", host=host, pid=pid)]


async def read_journals(session: Session, runs: Sequence[UUID]) -> dict[UUID, list[Entry]]:
    """The journals of these runs, each in order; payloads as stored."""
    found: dict[UUID, list[Entry]] = {}
    for row in await session.fetch("journals", runs=runs):
        run_id, seq, kind, key, at, digest, output, error, attempts, not_before = row
        entry = Entry(seq, EntryKind(kind), key, at, digest, output, error, attempts, not_before)
        found.setdefault(run_id, []).append(entry)
    return found


async def read_heartbeats(session: Session, runs: Sequence[UUID]) -> dict[UUID, list[Beat]]:
    """What attempts at activities of these runs had said before their worker was gone; details as stored."""
    found: dict[UUID, list[Beat]] = {}
    for run_id, key, attempt, details in await session.fetch("heartbeats", runs=runs):
        found.setdefault(run_id, []).append(Beat(key, attempt, details))
    return found


class Letter(NamedTuple):
    """One row of an inbox that the run has not seen."""

    number: int
    kind: EntryKind
    name: str
    payload: str | None
    digest: bytes | None = None
    """Of the key of an update: by it the answer is found again."""

    @property
    def failure(self) -> str | None:
        """Its payload, if that is a failure."""
        return self.payload if self.kind is EntryKind.FAILED else None

    @property
    def value(self) -> str | None:
        """Its payload, if that is none."""
        return None if self.kind is EntryKind.FAILED else self.payload


async def read_inboxes(session: Session, runs: Sequence[UUID]) -> dict[UUID, list[Letter]]:
    """What lies unseen in the inboxes of these runs, each in order; payloads as stored."""
    found: dict[UUID, list[Letter]] = {}
    for run_id, number, kind, name, payload, digest in await session.fetch("inboxes", runs=runs):
        found.setdefault(run_id, []).append(Letter(number, EntryKind(kind), name, payload, digest))
    return found


class Seen(NamedTuple):
    """The task of a held run, as it stands now."""

    run_id: UUID
    hold: int
    inbox_count: int
    flags: int
    due_at: datetime
    lane: str
    priority: int
    woken: bool
    """Whether what has come for it would make it due, if nobody held it."""


async def look(session: Session, runs: Sequence[UUID]) -> list[Seen]:
    """What came for these held runs; one that is missing has ended."""
    return [Seen(*row) for row in await session.fetch("look", runs=runs)]


async def held(session: Session, buckets: Sequence[int]) -> list[tuple[UUID, int, int]]:
    """Run, hold and bucket of every task that these buckets hold."""
    return [tuple(row) for row in await session.fetch("held", buckets=list(buckets))]


async def send_hints(session: Session, payloads: Sequence[str]) -> None:
    """Notifies whoever listens, in a small commit of its own."""
    await session.fetch("hint", channel=session.statements.schema, payloads=payloads)


async def free_connections(session: Session) -> tuple[int, int]:
    """How many more connections the server would take, and its max_connections."""
    row = await session.row("free_connections")
    assert row is not None
    return row["free"], row["most"]
