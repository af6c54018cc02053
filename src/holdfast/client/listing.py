"""Pages of runs, newest first."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from uuid import UUID

from pydantic_core import from_json, to_json

from holdfast.core.errors import InvalidInput
from holdfast.core.ids import lowest_id
from holdfast.core.priority import Priority, PriorityName
from holdfast.core.states import RUN_KINDS, RunKind, RunKindName, RunStatus
from holdfast.store.retention import tags_are_indexed
from holdfast.store.runs import NEWEST, Filters, Listed, Place, Walk, read_page

if TYPE_CHECKING:
    from holdfast.client.database import Database
    from holdfast.store.session import Session

T = TypeVar("T")

MOST_ON_A_PAGE = 1000

_LOWEST = UUID(int=0)

_HELD = frozenset({RunStatus.ASSIGNED, RunStatus.RUNNING})
_BLOCKED = frozenset({RunStatus.BLOCKED})
_UNHAPPY = frozenset({RunStatus.FAILED, RunStatus.CANCELLED})
_ENDED = frozenset(status for status in RunStatus if status.ended)
_OPEN = frozenset(RunStatus) - _ENDED
_OWN_WAY = frozenset({Walk.UNHAPPY, Walk.FAMILY})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run as lists show it."""

    id: UUID
    kind: RunKind
    name: str
    lane: str
    priority: PriorityName
    status: RunStatus
    tags: Mapping[str, str]
    created_at: datetime
    due_at: datetime | None
    """None where it has ended, or is due only when something arrives for it."""
    first_claim_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    """Who holds it now."""
    version: str | None = None
    """Of the workflow's code that it began with, if that has versions: only workers that carry it take the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list. ``next`` is given as ``after=`` to get the part that follows; None: this is the last."""

    items: Sequence[T]
    next: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


async def list_runs(
    database: Database,
    *,
    name: str | None,
    version: str | None,
    status: RunStatus | str | Iterable[RunStatus | str] | None,
    lane: str | None,
    tags: Mapping[str, str] | None,
    since: datetime | None,
    until: datetime | None,
    after: str | None,
    limit: int,
    parent: UUID | None = None,
    root: UUID | None = None,
    kind: RunKindName | None = None,
) -> Page[RunSummary]:
    """One page of the runs that fit all of the filters."""
    statuses = _statuses(status)
    walks = _walks(statuses) if parent is None and root is None else {Walk.FAMILY: statuses}
    mistakes: list[str] = []
    if not 1 <= limit <= MOST_ON_A_PAGE:
        mistakes.append(f"limit is {limit}: use 1 to {MOST_ON_A_PAGE}")
    if kind is not None and kind not in RUN_KINDS:
        mistakes.append(f"kind is {kind!r}: use one of {', '.join(RUN_KINDS)}")
    for what, time in (("since", since), ("until", until)):
        if time is not None and time.utcoffset() is None:
            mistakes.append(f"{what} is {time.isoformat()}, without a time zone: use an aware datetime")
    if mistakes:
        raise InvalidInput(f"runs cannot be listed: {'; '.join(mistakes)}")
    to_id = lowest_id(until) if until else NEWEST.id
    last = NEWEST if after is None else _read_cursor(after, walks)
    filters = Filters(
        from_id=lowest_id(since) if since else _LOWEST,
        to_id=to_id if Walk.UNHAPPY in walks else min(to_id, last.id),
        name=name,
        version=version,
        lane=lane,
        tags=to_json(dict(tags)).decode() if tags else None,
        root=root,
        parent=parent,
        kind=None if kind is None else RUN_KINDS[kind],
    )

    async def read(session: Session) -> list[Listed]:
        found: dict[UUID, Listed] = {}
        # Failed runs have an order of their own, and families an index of their own, which is the smaller one.
        indexed = bool(tags) and walks.keys().isdisjoint(_OWN_WAY) and await tags_are_indexed(session)
        for walk, some in ({Walk.TAGGED: statuses} if indexed else walks).items():
            # One more than asked for tells whether there is a next page.
            page = await read_page(session, walk, sorted(some), filters, count=limit + 1, last=last)
            # Who ended between two walks is met twice: what was met last is true.
            found |= {row.id: row for row in page}
        rows = list(found.values())
        return rows if len(walks) == 1 or indexed else sorted(rows, key=lambda row: row.id, reverse=True)

    rows = await database.call(read)
    items = rows[:limit]
    return Page(items=tuple(map(summary, items)), next=_cursor(items[-1], walks) if len(rows) > limit else None)


def summary(row: Listed) -> RunSummary:
    """The run as people see it."""
    return RunSummary(
        id=row.id,
        kind=row.kind,
        name=row.name,
        lane=row.lane,
        priority=Priority(row.priority).word,
        status=row.status,
        tags=cast("dict[str, str]", from_json(row.tags)) if row.tags else {},
        created_at=row.created_at,
        due_at=row.due_at,
        first_claim_at=row.first_claim_at,
        ended_at=row.ended_at,
        worker=row.worker,
        version=row.version,
    )


def _statuses(status: RunStatus | str | Iterable[RunStatus | str] | None) -> frozenset[RunStatus]:
    """The statuses asked for; none stands for all."""
    if status is None:
        return frozenset()
    words = [status] if isinstance(status, str) else list(status)
    unknown = [word for word in words if word not in set(RunStatus)]
    if unknown:
        known = ", ".join(RunStatus)
        raise InvalidInput(f"status {', '.join(map(repr, unknown))} is not one of {known}")
    return frozenset(map(RunStatus, words))


def _walks(statuses: frozenset[RunStatus]) -> dict[Walk, frozenset[RunStatus]]:
    """The rows to walk, the fewest that hold all that is asked for, and what to look for among them."""
    if not statuses:
        return {Walk.ALL: statuses}
    for those, walk in (
        (_HELD, Walk.HELD),
        (_BLOCKED, Walk.BLOCKED),
        (_OPEN, Walk.OPEN),
        (_UNHAPPY, Walk.UNHAPPY),
        (_ENDED, Walk.ENDED),
    ):
        if statuses <= those:
            return {walk: statuses}
    # Open ones first, so that a run which ends meanwhile is not missed by both.
    return {Walk.OPEN: statuses & _OPEN, Walk.ENDED: statuses & _ENDED}


def _cursor(row: Listed, walks: Container[Walk]) -> str:
    if Walk.UNHAPPY not in walks or row.ended_at is None:
        return str(row.id)
    return f"{row.ended_at.isoformat()}~{row.id}"


def _read_cursor(text: str, walks: Container[Walk]) -> Place:
    time, _, run_id = text.rpartition("~")
    try:
        if bool(time) is not (Walk.UNHAPPY in walks):
            raise ValueError
        return Place(datetime.fromisoformat(time) if time else NEWEST.ended_at, UUID(run_id))
    except ValueError:
        raise InvalidInput(f"after is {text!r}: use the `next` of a page with the same filters") from None
