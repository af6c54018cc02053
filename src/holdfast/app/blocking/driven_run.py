"""The verbs of a driven run, blocking. Written by `./dev write` from holdfast.client.driven.run: change it there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from holdfast.app.blocking.driven_step import BlockingStep
from holdfast.integrations.catalogue import of_this_thread

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.driven.run import DrivenRun
    from holdfast.integrations.catalogue import BlockingConnection


class BlockingDrivenRun:
    """A run that a consumer has in hand, for code that is not async.

    Every verb of :class:`DrivenRun`, with the same parameters, which waits and gives the result.
    """

    __slots__ = (
        "_bridge",
        "_run",
        "created_at",
        "deadline",
        "headers",
        "id",
        "lane",
        "priority",
        "receipt",
        "tags",
        "workflow",
    )

    def __init__(self, bridge: Bridge[Client], run: DrivenRun) -> None:
        self._bridge = bridge
        self._run = run
        self.id = run.id
        self.receipt = run.receipt
        self.workflow = run.workflow
        self.lane = run.lane
        self.priority = run.priority
        self.tags = run.tags
        self.headers = run.headers
        self.created_at = run.created_at
        self.deadline = run.deadline

    @property
    def input(self) -> dict[str, Any]:
        """What it was triggered with."""
        return self._run.input

    @property
    def lost(self) -> bool:
        """Whether it is known that it is not in these hands any more: it was ended, or others have taken it."""
        return self._run.lost

    @property
    def over(self) -> bool:
        """Whether it was ended or given back from here."""
        return self._run.over

    def acquire_step(
        self, name: str, /, *, key: str | None = None, current_time: datetime | None = None
    ) -> BlockingStep:
        """Asks for a step: to be executed, or, where its outcome is recorded, to be skipped with that."""
        return BlockingStep(
            self._bridge, self._bridge.call(lambda _: self._run.acquire_step(name, key=key, current_time=current_time))
        )

    def pause(self, reason: str | None = None, /, *, resume_after: timedelta | None = None) -> None:
        """Gives it back until somebody resumes it, or until ``resume_after`` has passed; ``reason`` is for people."""
        self._bridge.call(lambda _: self._run.pause(reason, resume_after=resume_after))

    def release(self, *, after: timedelta = timedelta(0)) -> None:
        """Gives it back: others may take it, after a while if one is given."""
        self._bridge.call(lambda _: self._run.release(after=after))

    def complete(self, value: object = None, /, *, connection: BlockingConnection | None = None) -> None:
        """Ends it as succeeded, with this result."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda _: self._run.complete(value, connection=connection))

    def fail(self, error: BaseException | str, /, *, connection: BlockingConnection | None = None) -> None:
        """Ends it as failed with this error."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda _: self._run.fail(error, connection=connection))

    def archive(self) -> bool:
        """Ends it as succeeded without a result, unless it has been ended from here; says whether it did."""
        return self._bridge.call(lambda _: self._run.archive())
