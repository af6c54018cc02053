"""The verbs of schedules, blocking. Written by `./dev write` from holdfast.client.schedules: change it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from holdfast.app.blocking.handle import BlockingRunHandle, as_blocking
from holdfast.client.schedules import KEEP

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.listing import Page
    from holdfast.client.schedule import Schedule
    from holdfast.client.schedules import Keep
    from holdfast.core.definition import Call, Definition
    from holdfast.core.priority import PriorityName
    from holdfast.core.schedule import CatchUpName, OverlapName


class BlockingSchedules:
    """Schedules of workflows and activities, by their names: ``client.schedules``, for code that is not async.

    Every verb of :class:`Schedules`, with the same parameters, which waits and gives the result.
    """

    def __init__(self, bridge: Bridge[Client]) -> None:
        self._bridge = bridge

    def create(
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
        """Makes a schedule; from its next tick on, workers start a run of ``wf`` at each."""
        return self._bridge.call(
            lambda client: client.schedules.create(
                name,
                wf,
                when,
                every=every,
                tz=tz,
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
                paused=paused,
            )
        )

    def get(self, name: str) -> Schedule:
        """The schedule of that name."""
        return self._bridge.call(lambda client: client.schedules.get(name))

    def list(self, *, after: str | None = None, limit: int = 100) -> Page[Schedule]:
        """One page of all schedules, by name; ``after`` is the ``next`` of the page before."""
        return self._bridge.call(lambda client: client.schedules.list(after=after, limit=limit))

    def update(
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
        """Changes what is given, and keeps the rest."""
        return self._bridge.call(
            lambda client: client.schedules.update(
                name,
                when,
                every=every,
                tz=tz,
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
        )

    def pause(self, name: str) -> Schedule:
        """Lets it rest, also over deploys, until it is resumed."""
        return self._bridge.call(lambda client: client.schedules.pause(name))

    def resume(self, name: str) -> Schedule:
        """Lets it go on with its next tick; those that passed while it was paused are not made up for."""
        return self._bridge.call(lambda client: client.schedules.resume(name))

    def trigger(self, name: str) -> BlockingRunHandle[Any]:
        """Starts a run of it now, paused or not."""
        return as_blocking(self._bridge, self._bridge.call(lambda client: client.schedules.trigger(name)))

    def delete(self, name: str) -> None:
        """Deletes it."""
        self._bridge.call(lambda client: client.schedules.delete(name))

    def preview(
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
        """The next ticks, in the schedule's zone: of the schedule ``name``."""
        return self._bridge.call(
            lambda client: client.schedules.preview(
                when, name=name, every=every, tz=tz, start=start, end=end, after=after, count=count
            )
        )
