"""What a client can do with schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from holdfast.client.handle import RunHandle
from holdfast.client.ids import Ids
from holdfast.client.listing import MOST_ON_A_PAGE, Page
from holdfast.client.schedule import schedule_of
from holdfast.client.terms import read_terms, span_mistakes
from holdfast.core.cadence import EPOCH, Cadence, Every, Span, next_ticks, read_cadence
from holdfast.core.cadence.zone import find_zone
from holdfast.core.errors import InvalidInput, InvalidSchedule, ScheduleError, ScheduleExists, ScheduleNotFound
from holdfast.core.priority import Priority
from holdfast.core.schedule import filled
from holdfast.store import schedules as store

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.schedule import Schedule
    from holdfast.core.definition import Call, Definition
    from holdfast.core.priority import PriorityName
    from holdfast.core.schedule import CatchUpName, OverlapName
    from holdfast.store.schedules import Spec, Stored
    from holdfast.store.session import Session

MOST_PREVIEWED = 1000


class Keep(Enum):
    """Stands for an option of ``update`` that stays as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


class Schedules:
    """Schedules of workflows and activities, by their names: ``client.schedules``.

    Times are cron expressions (``"0 18 * * mon-fri"``), readable text (``"every weekday at 18:00"``), both by the wall
    clock of ``tz`` or of the zone in the text (UTC without either), or an interval (``every=timedelta(hours=1)``).
    """

    def __init__(self, context: Context, *, hints: bool) -> None:
        self._context = context
        self._hints = hints
        self._ids = Ids()

    async def create(
        self,
        name: str,
        wf: Call[Any] | Definition[..., Any] | str,
        when: str | None = None,
        /,
        *,
        every: timedelta | None = None,
        tz: str | None = None,
        input: Mapping[str, object] | None = None,
        tick_parameter: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        jitter: timedelta | None = None,
        overlap: OverlapName = "skip",
        catch_up: CatchUpName = "last",
        catch_up_limit: int = 100,
        lane: str = "default",
        priority: PriorityName = "medium",
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        paused: bool = False,
    ) -> Schedule:
        """Makes a schedule; from its next tick on, workers start a run of ``wf`` at each.

        Args:
            name: Its name, which no other schedule has.
            wf: A workflow or activity, a call of one, or the name of one.
            when: Its times; or else ``every``, an interval that counts from ``start``, or from the beginning of 1970.
            every: From one second up.
            tz: The zone whose wall clock counts.
            input: The arguments of each run by name, where ``wf`` is no call.
            tick_parameter: The parameter that gets the time of the tick, a datetime in the schedule's zone.
            start: The first moment at which it may be due.
            end: The first moment at which it is not due any more.
            jitter: Each run is due up to so much after its tick.
            overlap: What becomes of a tick while the run of an earlier one goes on.
            catch_up: What becomes of ticks that passed while no worker was there.
            catch_up_limit: With ``all``: how many of them at most, the latest ones. Up to 1000.
            lane: As for a start, like ``priority``, ``tags`` and ``timeout``.
            priority: The class inside the lane.
            tags: Each run has these, and ``schedule`` with the schedule's name.
            timeout: Of each run.
            paused: Make it, and let it rest until it is resumed.

        Raises:
            InvalidSchedule: the times cannot be read, or never come; with the place in the text.
            InvalidInput: an option or the input cannot be used.
            ScheduleExists: the name is taken.
        """
        cadence = read_cadence(when, every=every, tz=tz, start=start)
        terms = read_terms(
            name,
            wf,
            cadence,
            when or str(cadence),
            definitions=self._context.definitions,
            input=input,
            tick_parameter=tick_parameter,
            start=start,
            end=end,
            jitter=jitter,
            overlap=overlap,
            catch_up=catch_up,
            catch_up_limit=catch_up_limit,
            lane=lane,
            priority=priority,
            tags=tags,
            timeout=timeout,
        )
        spec = terms.spec(self._context.seal)

        async def work(session: Session) -> bool:
            next_at = _first(spec.said, spec.cadence, spec.span, await store.read_now(session))
            made = await store.insert(session, name, spec, origin="client", digest=None, paused=paused, next_at=next_at)
            return made is not None

        if not await self._context.database.call_once(work):
            raise ScheduleExists(name)
        return await self.get(name)

    async def get(self, name: str) -> Schedule:
        """The schedule of that name.

        Raises:
            ScheduleNotFound: there is none.
        """
        return schedule_of(await self._stored(name), self._context.seal)

    async def list(self, *, after: str | None = None, limit: int = 100) -> Page[Schedule]:
        """One page of all schedules, by name; ``after`` is the ``next`` of the page before."""
        if not 1 <= limit <= MOST_ON_A_PAGE:
            raise InvalidInput(f"schedules cannot be listed: limit is {limit}: use 1 to {MOST_ON_A_PAGE}")
        rows = await self._context.database.call(
            lambda session: store.read_page(session, after=after or "", limit=limit + 1)
        )
        items = tuple(schedule_of(row, self._context.seal) for row in rows[:limit])
        return Page(items=items, next=items[-1].name if len(rows) > limit else None)

    async def update(
        self,
        name: str,
        when: str | None = None,
        /,
        *,
        every: timedelta | None = None,
        tz: str | None = None,
        input: Mapping[str, object] | Keep = KEEP,
        tick_parameter: str | Keep | None = KEEP,
        start: datetime | Keep | None = KEEP,
        end: datetime | Keep | None = KEEP,
        jitter: timedelta | Keep | None = KEEP,
        overlap: OverlapName | Keep = KEEP,
        catch_up: CatchUpName | Keep = KEEP,
        catch_up_limit: int | Keep = KEEP,
        lane: str | Keep = KEEP,
        priority: PriorityName | Keep = KEEP,
        tags: Mapping[str, str] | Keep | None = KEEP,
        timeout: timedelta | Keep | None = KEEP,
    ) -> Schedule:
        """Changes what is given, and keeps the rest. With other times it begins anew: what it has missed is forgotten.

        Raises:
            ScheduleNotFound: there is none of that name.
            ScheduleError: it is in the code, and is changed there.
            InvalidSchedule, InvalidInput: as ``create``.
        """
        given: dict[str, Any] = {
            "input": input,
            "tick_parameter": tick_parameter,
            "start": start,
            "end": end,
            "jitter": jitter,
            "overlap": overlap,
            "catch_up": catch_up,
            "catch_up_limit": catch_up_limit,
            "lane": lane,
            "priority": priority,
            "tags": tags,
            "timeout": timeout,
        }
        changes = {option: value for option, value in given.items() if value is not KEEP}
        while True:
            stored = await self._stored(name)
            if stored.origin == "code":
                raise ScheduleError(f"schedule {name!r} is in the code: change it there, and deploy that")
            if await self._write(stored, self._changed(stored, when, every, tz, changes)):
                return await self.get(name)

    def _changed(
        self, stored: Stored, when: str | None, every: timedelta | None, tz: str | None, changes: Mapping[str, Any]
    ) -> Spec:
        """What is stored, with the changes."""
        spec = stored.spec
        same_input = not changes.keys() & {"input", "tick_parameter"}
        options: dict[str, Any] = {
            "start": spec.span.start,
            "end": spec.span.end,
            "jitter": spec.jitter,
            "overlap": spec.overlap.value,
            "catch_up": spec.catch_up.value,
            "catch_up_limit": spec.catch_up_limit,
            "lane": spec.lane,
            "priority": Priority(spec.priority).word,
            "tags": None if spec.tags is None else from_json(spec.tags),
            "timeout": spec.timeout,
            # What nobody asks to change need not be readable here.
            "input": None if same_input or "input" in changes else from_json(self._context.seal.open(spec.input)),
            "tick_parameter": None if same_input else spec.tick_parameter,
        }
        said, cadence = _changed_times(stored, when, every, tz, changes)
        definitions: Mapping[str, Definition[..., Any]] = {} if same_input else self._context.definitions
        terms = read_terms(stored.name, spec.target, cadence, said, definitions=definitions, **options | dict(changes))
        changed = terms.spec(self._context.seal)
        if not same_input:
            return changed
        return dataclasses.replace(changed, kind=spec.kind, input=spec.input, tick_parameter=spec.tick_parameter)

    async def _write(self, stored: Stored, spec: Spec) -> bool:
        """Stores it, unless somebody has changed the schedule meanwhile."""
        again = (spec.cadence, spec.span) != (stored.spec.cadence, stored.spec.span)

        async def work(session: Session) -> bool:
            next_at = stored.next_at
            if again:
                next_at = _first(spec.said, spec.cadence, spec.span, await store.read_now(session))
            return await store.update(
                session, stored.id, spec, revision=stored.revision, digest=None, next_at=next_at, afresh=again
            )

        return await self._context.database.call(work)

    async def pause(self, name: str) -> Schedule:
        """Lets it rest, also over deploys, until it is resumed. Runs that go on are not touched.

        Raises:
            ScheduleNotFound: there is none of that name.
        """
        await self._context.database.call(lambda session: store.pause(session, name))
        return await self.get(name)

    async def resume(self, name: str) -> Schedule:
        """Lets it go on with its next tick; those that passed while it was paused are not made up for.

        Raises:
            ScheduleNotFound: there is none of that name.
        """
        await self._context.database.call(lambda session: store.resume(session, name))
        return await self.get(name)

    async def trigger(self, name: str) -> RunHandle[Any]:
        """Starts a run of it now, paused or not. Its ticks are not disturbed: they neither wait for it nor move.

        Raises:
            ScheduleNotFound: there is none of that name.
            Unreadable: its input has to be completed, and was written with a codec that is not configured here.
        """
        stored = await self._stored(name)
        spec = stored.spec
        run_id = self._ids.next()

        async def work(session: Session) -> bool:
            text = spec.input
            if spec.tick_parameter is not None:
                seal, now = self._context.seal, await store.read_now(session)
                text = filled(seal.open(text), spec.tick_parameter, now, spec.cadence.zone)
                text = seal.close(text, what=f"the input of {spec.target!r}")
            return await store.trigger(session, name, run_id=run_id, text=text, hint=self._hints)

        if not await self._context.database.call(work):
            raise ScheduleNotFound(name)
        return RunHandle(self._context, run_id, self._context.definitions.get(spec.target), known=True)

    async def delete(self, name: str) -> None:
        """Deletes it. Runs that it has started go on.

        Raises:
            ScheduleNotFound: there is none of that name.
            ScheduleError: live workers have it in their code, and would bring it back.
        """

        async def work(session: Session) -> bool:
            return await store.delete(session, name)

        if not await self._context.database.call(work):
            await self._stored(name)
            raise ScheduleError(
                f"schedule {name!r} is in the code of a live worker, which would bring it back: take it out there, "
                "or pause it"
            )

    async def preview(
        self,
        when: str | None = None,
        /,
        *,
        name: str | None = None,
        every: timedelta | None = None,
        tz: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        after: datetime | None = None,
        count: int = 5,
    ) -> Sequence[datetime]:
        """The next ticks, in the schedule's zone: of the schedule ``name``, or of times that are not stored anywhere.

        They are those after ``after``, or after now; fewer than ``count`` where there are no more. Up to 1000.

        Raises:
            InvalidSchedule, ScheduleNotFound: as above.
        """
        if not 1 <= count <= MOST_PREVIEWED:
            raise InvalidInput(f"count is {count}: use 1 to {MOST_PREVIEWED}")
        if after is not None and after.utcoffset() is None:
            raise InvalidInput(f"after is {after.isoformat()}, without a time zone: use an aware datetime")
        if name is not None:
            if (when, every, tz, start, end) != (None, None, None, None, None):
                raise InvalidInput("preview takes name=, or times, not both")
            spec = (await self._stored(name)).spec
            cadence, span = spec.cadence, spec.span
        else:
            for mistake in span_mistakes(start, end):
                raise InvalidInput(mistake)
            cadence, span = read_cadence(when, every=every, tz=tz, start=start), Span(start=start, end=end)
        if after is None:
            after = await self._context.database.call(store.read_now)
        zone = find_zone(cadence.zone)
        return [tick.astimezone(zone) for tick in islice(next_ticks(cadence, after, span), count)]

    async def _stored(self, name: str) -> Stored:
        stored = await self._context.database.call(lambda session: store.read(session, name))
        if stored is None:
            raise ScheduleNotFound(name)
        return stored

    def __repr__(self) -> str:
        return "<schedules of a client>"


def _changed_times(
    stored: Stored, when: str | None, every: timedelta | None, tz: str | None, changes: Mapping[str, Any]
) -> tuple[str, Cadence]:
    """The times after an update, as they are said and as they are meant."""
    spec = stored.spec
    start: datetime | None = changes.get("start", spec.span.start)
    if when is not None or every is not None:
        cadence = read_cadence(when, every=every, tz=tz, start=start)
        return when or str(cadence), cadence
    if tz is not None:
        raise InvalidSchedule(spec.said, 0, "tz= goes with new times: say them too")
    if isinstance(spec.cadence, Every) and "start" in changes:
        # An interval counts from its start.
        return spec.said, Every(spec.cadence.interval, EPOCH if start is None else start)
    return spec.said, spec.cadence


def _first(said: str, cadence: Cadence, span: Span, now: datetime) -> datetime:
    tick = span.after(cadence, now)
    if tick is None:
        raise InvalidSchedule(said, 0, "there is no tick between now and its end, so it would never be due")
    return tick
