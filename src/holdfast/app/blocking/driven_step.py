"""The verbs of a step, blocking. Written by `./dev write` from holdfast.client.driven.step: change it there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from holdfast.integrations.catalogue import of_this_thread

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.driven.step import Step
    from holdfast.core.errors import ActivityFailed
    from holdfast.integrations.catalogue import BlockingConnection


class BlockingStep:
    """One step of a run that is driven by hand, for code that is not async.

    Every verb of :class:`Step`, with the same parameters, which waits and gives the result.
    """

    __slots__ = ("_bridge", "_step", "attempt", "idempotency_key", "key", "name", "run_id", "status")

    def __init__(self, bridge: Bridge[Client], step: Step) -> None:
        self._bridge = bridge
        self._step = step
        self.name = step.name
        self.key = step.key
        self.status = step.status
        self.attempt = step.attempt
        self.run_id = step.run_id
        self.idempotency_key = step.idempotency_key

    @property
    def value(self) -> Any:
        """The recorded result, plain JSON; None as long as there is none."""
        return self._step.value

    @property
    def error(self) -> ActivityFailed | None:
        """The recorded failure, if it is one."""
        return self._step.error

    def success(self, value: object = None, *, connection: BlockingConnection | None = None) -> None:
        """Records the result."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda _: self._step.success(value, connection=connection))

    def fail(self, error: BaseException | str, *, connection: BlockingConnection | None = None) -> None:
        """Records that it has failed for good."""
        connection = of_this_thread(connection)
        self._bridge.call(lambda _: self._step.fail(error, connection=connection))

    def retry(self, *, after: timedelta = timedelta(0), error: BaseException | str | None = None) -> None:
        """Records a failed attempt, and gives the run back until the next one is due, in one commit."""
        self._bridge.call(lambda _: self._step.retry(after=after, error=error))
