"""Operating all the runs that fit some filters: in batches, up to a limit, with a count of what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.client import continuing
from holdfast.client.exporting import export_runs
from holdfast.client.listing import MOST_ON_A_PAGE, list_runs
from holdfast.client.operations import Effect, operate
from holdfast.client.rescheduling import Wish, reschedule
from holdfast.client.tags import change_of, change_tags_of_many
from holdfast.core.errors import InvalidInput, OperationRefused, RunNotFound
from holdfast.core.states import RunKindName, RunStatus
from holdfast.store.continuing import read_replaced
from holdfast.store.operations import Verb

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.core.export import RunExport
    from holdfast.core.priority import PriorityName

LIMIT = 10_000
_BATCH = 100
"""Runs in one transaction."""

_OPEN = frozenset(status for status in RunStatus if not status.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One run that it could not be done to, and why."""

    run_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of an operation on many runs."""

    runs: Sequence[UUID]
    """Those that were found, newest first."""
    effects: Mapping[Effect, int]
    """How many runs each effect was had on; empty where it was only tried out."""
    refused: Sequence[Refusal]
    made: Sequence[UUID]
    """The new runs of a retry, rewind or fork."""
    more: bool
    """Whether there are more than the limit allowed: do it again for those."""
    dry_run: bool


class Runs:
    """The runs that fit all filters at the moment of the operation; those of ``client.list``.

    Every operation takes ``limit``, how many runs at most, and ``dry_run``, which finds them and does nothing. Without
    a ``status`` it is done to those runs that it can be done to: retry to failed and cancelled ones, resume to paused
    ones, rewind, fork and tag to any, all others to those that have not ended.
    """

    __slots__ = ("_context", "_page", "_status")

    def __init__(
        self,
        context: Context,
        *,
        name: str | None,
        status: RunStatus | str | Iterable[RunStatus | str] | None,
        lane: str | None,
        tags: Mapping[str, str] | None,
        since: datetime | None,
        until: datetime | None,
        version: str | None,
        parent: UUID | None,
        root: UUID | None,
        kind: RunKindName | None = None,
    ) -> None:
        self._context = context
        self._status = status
        self._page = partial(
            list_runs,
            context.database,
            name=name,
            version=version,
            lane=lane,
            tags=tags,
            since=since,
            until=until,
            parent=parent,
            root=root,
            kind=kind,
        )

    async def pause(self, *, at_once: bool = False, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.pause``."""
        return await self._operate(Verb.PAUSE_AT_ONCE if at_once else Verb.PAUSE, _OPEN, limit, dry_run=dry_run)

    async def resume(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.resume``."""
        return await self._operate(Verb.RESUME, {RunStatus.PAUSED}, limit, dry_run=dry_run)

    async def wake(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.wake``."""
        return await self._operate(Verb.WAKE, _OPEN, limit, dry_run=dry_run)

    async def terminate(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.terminate``."""
        return await self._operate(Verb.TERMINATE, _OPEN, limit, dry_run=dry_run)

    async def cancel(self, *, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.cancel``."""
        return await self._operate(Verb.CANCEL, _OPEN, limit, dry_run=dry_run)

    async def reschedule(
        self,
        *,
        at: datetime | None = None,
        after: timedelta | None = None,
        priority: PriorityName | None = None,
        lane: str | None = None,
        limit: int = LIMIT,
        dry_run: bool = False,
    ) -> Tally:
        """As ``RunHandle.reschedule``."""
        wish = Wish(at=at, after=after, priority=priority, lane=lane)
        runs, more = await self._find(_OPEN, limit)
        effects: Counter[Effect] = Counter()
        refused: list[Refusal] = []
        for start in range(0, 0 if dry_run else len(runs), _BATCH):
            done, not_done = await reschedule(self._context, runs[start : start + _BATCH], wish)
            effects.update(done.values())
            refused += [Refusal(run_id=run_id, reason=reason) for run_id, reason in not_done.items()]
        return Tally(runs=runs, effects=effects, refused=refused, made=(), more=more, dry_run=dry_run)

    async def tag(
        self,
        tags: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        limit: int = LIMIT,
        dry_run: bool = False,
    ) -> Tally:
        """As ``RunHandle.tag``; runs that were retried or rewound before are left out."""
        change = change_of("these runs", tags, remove)
        runs, more = await self._find(frozenset(), limit, originals=False)
        effects: Counter[Effect] = Counter()
        for start in range(0, 0 if dry_run else len(runs), _BATCH):
            some = await change_tags_of_many(self._context, runs[start : start + _BATCH], change)
            effects.update(some.values())
        return Tally(runs=runs, effects=effects, refused=(), made=(), more=more, dry_run=dry_run)

    async def export(self, *, limit: int = LIMIT) -> list[RunExport]:
        """As ``RunHandle.export``, newest first; of each as it is in one moment.

        Raises:
            Unreadable: a payload was written with a codec that is not configured here.
        """
        runs, _ = await self._find(frozenset(), limit)
        places = {run_id: place for place, run_id in enumerate(runs)}
        return sorted(await export_runs(self._context, runs), key=lambda run: places[run.run_id])

    async def retry(self, *, timeout: timedelta | None = None, limit: int = LIMIT, dry_run: bool = False) -> Tally:
        """As ``RunHandle.retry``; runs that were retried or rewound before are left out."""

        async def again(run_id: UUID) -> UUID:
            return await continuing.retry(self._context, run_id, timeout=timeout)

        return await self._continue(again, {RunStatus.FAILED, RunStatus.CANCELLED}, limit, dry_run=dry_run)

    async def rewind(
        self, to: str, *, timeout: timedelta | None = None, limit: int = LIMIT, dry_run: bool = False
    ) -> Tally:
        """As ``RunHandle.rewind``; runs that were retried or rewound before are left out."""

        async def back(run_id: UUID) -> UUID:
            return await continuing.rewind(self._context, run_id, to=to, timeout=timeout)

        return await self._continue(back, frozenset(), limit, dry_run=dry_run)

    async def fork(
        self,
        from_: str | None = None,
        *,
        input: Mapping[str, object] | None = None,
        timeout: timedelta | None = None,
        limit: int = LIMIT,
        dry_run: bool = False,
    ) -> Tally:
        """As ``RunHandle.fork``; runs that were retried or rewound before are left out."""

        async def beside(run_id: UUID) -> UUID:
            return await continuing.fork(self._context, run_id, from_=from_, input=input, timeout=timeout)

        return await self._continue(beside, frozenset(), limit, dry_run=dry_run)

    # ---- inside

    async def _operate(self, verb: Verb, statuses: Iterable[RunStatus], limit: int, *, dry_run: bool) -> Tally:
        runs, more = await self._find(statuses, limit)
        effects: Counter[Effect] = Counter()
        for start in range(0, 0 if dry_run else len(runs), _BATCH):
            effects.update((await operate(self._context, verb, runs[start : start + _BATCH])).values())
        return Tally(runs=runs, effects=effects, refused=(), made=(), more=more, dry_run=dry_run)

    async def _continue(
        self,
        make: Callable[[UUID], Awaitable[UUID]],
        statuses: Iterable[RunStatus],
        limit: int,
        *,
        dry_run: bool,
    ) -> Tally:
        runs, more = await self._find(statuses, limit, originals=False)
        made: list[UUID] = []
        refused: list[Refusal] = []
        for run_id in () if dry_run else runs:
            try:
                made.append(await make(run_id))
            except OperationRefused as error:
                refused.append(Refusal(run_id=run_id, reason=error.reason))
            except RunNotFound as error:
                refused.append(Refusal(run_id=run_id, reason=str(error)))
            except InvalidInput as error:
                # Such as an outcome that this run has not reached.
                refused.append(Refusal(run_id=run_id, reason=str(error)))
        effects = {Effect.DONE: len(made)} if made else {}
        return Tally(runs=runs, effects=effects, refused=refused, made=made, more=more, dry_run=dry_run)

    async def _find(
        self, statuses: Iterable[RunStatus], limit: int, *, originals: bool = True
    ) -> tuple[list[UUID], bool]:
        if limit < 1:
            raise InvalidInput(f"limit is {limit}: use 1 or more")
        found: list[UUID] = []
        after: str | None = None
        while True:
            page = await self._page(
                status=self._status if self._status is not None else list(statuses) or None,
                after=after,
                limit=min(limit - len(found), MOST_ON_A_PAGE),
            )
            found += [run.id for run in page]
            after = page.next
            if after is None or len(found) >= limit:
                break
        if not originals:
            replaced = await self._context.database.call(lambda session: read_replaced(session, found))
            found = [run_id for run_id in found if run_id not in replaced]
        return found, after is not None
