"""Workflows that are driven by hand: created by their names, triggered, and taken by consumers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from holdfast.client.bulk import refuse_conflicts
from holdfast.client.driven.consumer import DrivenConsumer
from holdfast.client.driven.mistakes import consumer_mistakes, refuse
from holdfast.client.handle import RunHandle, run_id_of
from holdfast.client.options import StartOptions, name_mistakes, start_options
from holdfast.core.driven import line_of
from holdfast.core.errors import InvalidInput
from holdfast.store import driven as store

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.launch import Launch
    from holdfast.client.lines import Lines
    from holdfast.core.key import Key
    from holdfast.core.priority import PriorityName
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.session import Session
    from holdfast.store.starts import Started


class Driven:
    """Workflows whose runs are driven by hand, by their names: ``client.driven``.

    Their code is not in the app but in whatever drives them: another framework, a notebook, an agent. ``trigger`` makes
    a run and executes nothing; a ``consumer`` takes runs, asks for their steps, and ends them.
    """

    def __init__(self, context: Context, launch: Launch, lines: Lines, *, hints: bool) -> None:
        self._context = context
        self._launch = launch
        self._lines = lines
        self._hints = hints

    async def create_workflow(self, name: str, /) -> bool:
        """Makes a workflow of this name, once for all: False says that it was there already, and is just as good.

        Raises:
            InvalidInput: the name cannot be used, or is that of a workflow or activity of this app.
        """
        self._check_name(name)
        return await self._context.database.call(lambda session: store.create_workflow(session, name))

    async def workflows(self) -> Sequence[str]:
        """The names of all of them."""
        return await self._context.database.call(store.read_workflows)

    async def trigger(
        self,
        name: str,
        input: Mapping[str, object] | None = None,
        /,
        *,
        key: str | Key | None = None,
        lane: str = "default",
        priority: PriorityName = "medium",
        at: datetime | None = None,
        after: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        connection: CallersConnection | None = None,
    ) -> RunHandle[Any]:
        """Makes a run of the workflow, which stands in line until a consumer takes it; with the options of a start.

        Raises:
            UnknownWorkflow: there is no workflow of this name that is driven by hand.
            InvalidInput, Unstorable: an option or the input cannot be used; nothing is written.
            KeyConflict, KeyTaken: the key belongs to a run, with another input, or to be refused then.
        """
        self._check_name(name)
        options = start_options(
            f"{name!r}",
            lane=lane,
            priority=priority,
            at=at,
            after=after,
            tags=tags,
            timeout=timeout,
            key=key,
            headers=headers,
        )

        async def start(options: StartOptions) -> Started:
            asked = self._context.encoder.named(name, input or {}, options, key)

            async def make(session: Session) -> Started:
                # Sent again, with the same id, it makes no second run.
                return await store.trigger_run(session, asked, hint=self._hints)

            answer = await self._context.database.call(make, connection)
            refuse_conflicts([asked], [answer])
            return answer

        answer = await self._launch.around(name, start, options, key=key, own=connection is None)
        return RunHandle(self._context, answer.id, None, existing=answer.existing, known=connection is None)

    def get(self, run_id: UUID | str, /) -> RunHandle[Any]:
        """A run by its id, from any process: its status, its result, and what can be done to it."""
        return RunHandle(self._context, run_id_of(run_id), None)

    def consumer(
        self,
        workflow: str,
        /,
        *,
        name: str | None = None,
        lane: str = "default",
        visibility: timedelta = timedelta(seconds=30),
    ) -> DrivenConsumer:
        """A consumer of the workflow's runs in this lane, to be opened as a context.

        Args:
            workflow: The name that was created.
            name: Its own, that of the host by default; always suffixed.
            lane: Where it takes runs from.
            visibility: For how long a run stays in its hands after its last heartbeat, which it sends three times as
                often; then others may take the run. One second to one day.

        Raises:
            InvalidInput: an option cannot be used.
        """
        self._check_name(workflow)
        refuse(f"a consumer of {workflow!r} cannot be made", consumer_mistakes(name, lane, visibility))
        exchange = self._lines.exchange(line_of(lane, workflow), driven=True)
        return DrivenConsumer(self._context, exchange, workflow=workflow, name=name, lane=lane, visibility=visibility)

    def _check_name(self, name: str) -> None:
        for mistake in name_mistakes("name", name):
            raise InvalidInput(mistake)
        known = self._context.definitions.get(name)
        if known is not None:
            raise InvalidInput(
                f"{name!r} is {known.what} of this app, whose workers execute it: one that is driven by hand needs a "
                "name of its own"
            )

    def __repr__(self) -> str:
        return "<workflows driven by hand, of a client>"
