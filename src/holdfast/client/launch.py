"""Launching: starts on their way, inside of the middleware of their app, until they are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.client.bulk import refuse_conflicts, start_all
from holdfast.client.starter import Starter
from holdfast.client.starting import Starting, StartMiddleware, start_within
from holdfast.core.events import RunStarted
from holdfast.core.key import Key
from holdfast.core.priority import Priority

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.client.database import Database
    from holdfast.client.options import StartOptions
    from holdfast.core.headers import Headers
    from holdfast.core.listeners import Listeners
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.starts import Start, Started


class Launch:
    """Sends the starts of one client, and tells those who listen of what was started."""

    def __init__(
        self, database: Database, *, hints: bool, middleware: Sequence[StartMiddleware], listeners: Listeners
    ) -> None:
        self._database = database
        self._hints = hints
        self._middleware = middleware
        self._started = listeners.of(RunStarted)
        self._starter = Starter(database, hints=hints)

    async def close(self) -> None:
        """Waits until what was asked for has been answered, and takes nothing more."""
        await self._starter.close()

    async def one(
        self,
        name: str,
        make: Callable[[StartOptions], Start],
        options: StartOptions,
        *,
        key: str | Key | None,
        connection: CallersConnection | None,
    ) -> Started:
        """Starts the run that ``make`` gives for the options, as the middleware leaves them."""
        if not self._middleware:
            return await self._one(make(options), connection)

        async def start(headers: Headers) -> Started:
            return await self._one(make(replace(options, headers=headers)), connection)

        starting = _starting((name,), 1, options, None if key is None else Key.of(key).text)
        return await start_within(self._middleware, starting, start, lambda answer: [answer.id])

    async def around(
        self,
        name: str,
        start: Callable[[StartOptions], Awaitable[Started]],
        options: StartOptions,
        *,
        key: str | Key | None,
        own: bool,
    ) -> Started:
        """Starts one run in a way of the caller's: ``own`` says that it is there once ``start`` returns."""

        async def within(headers: Headers) -> Started:
            return await start(replace(options, headers=headers))

        if self._middleware:
            starting = _starting((name,), 1, options, None if key is None else Key.of(key).text)
            answer = await start_within(self._middleware, starting, within, lambda answer: [answer.id])
        else:
            answer = await start(options)
        if self._started and own:
            self._tell(name, options.lane, options.priority, answer)
        return answer

    async def many(
        self,
        names: Sequence[str],
        make: Callable[[StartOptions], Iterable[Start]],
        options: StartOptions,
        *,
        keyed: bool,
        connection: CallersConnection | None,
    ) -> list[Started]:
        """Starts these runs, all of them or none; ``names`` has the name of each."""
        if not self._middleware:
            return await self._many(names, make(options), options, keyed=keyed, connection=connection)

        def start(headers: Headers) -> Awaitable[list[Started]]:
            changed = replace(options, headers=headers)
            return self._many(names, make(changed), changed, keyed=keyed, connection=connection)

        starting = _starting(tuple(dict.fromkeys(names)), len(names), options, None)
        return await start_within(self._middleware, starting, start, _ids)

    async def _one(self, start: Start, connection: CallersConnection | None) -> Started:
        if connection is not None:
            (answer,) = await start_all(
                self._database, [start], count=1, keyed=start.key is not None, hint=self._hints, connection=connection
            )
            return answer
        answer = await self._starter.start(start)
        refuse_conflicts([start], [answer])
        if self._started:
            self._tell(start.manner.name, start.manner.lane, start.manner.priority, answer)
        return answer

    async def _many(
        self,
        names: Sequence[str],
        starts: Iterable[Start],
        options: StartOptions,
        *,
        keyed: bool,
        connection: CallersConnection | None,
    ) -> list[Started]:
        answers = await start_all(
            self._database, starts, count=len(names), keyed=keyed, hint=self._hints, connection=connection
        )
        if self._started and connection is None:
            for name, answer in zip(names, answers, strict=True):
                self._tell(name, options.lane, options.priority, answer)
        return answers

    def _tell(self, name: str, lane: str, priority: int, answer: Started) -> None:
        self._started.tell(
            RunStarted(
                run_id=answer.id, name=name, lane=lane, priority=Priority(priority).word, existing=answer.existing
            )
        )


def _starting(names: tuple[str, ...], count: int, options: StartOptions, key: str | None) -> Starting:
    return Starting(
        names=names,
        count=count,
        lane=options.lane,
        priority=Priority(options.priority).word,
        key=key,
        headers=dict(options.headers),
    )


def _ids(answers: Sequence[Started]) -> list[UUID]:
    return [answer.id for answer in answers]
