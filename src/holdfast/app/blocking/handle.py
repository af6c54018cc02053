"""The verbs of a run, blocking. Written by `./dev write` from holdfast.client.handle: change it there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload
from uuid import UUID

from holdfast.integrations.catalogue import of_this_thread

if TYPE_CHECKING:
    from holdfast.app.blocking.bridge import Bridge
    from holdfast.client.client import Client
    from holdfast.client.description import AttemptView, RunDescription
    from holdfast.client.handle import RunHandle
    from holdfast.client.operations import Effect
    from holdfast.client.sending import Cancellation
    from holdfast.client.why import Why
    from holdfast.core.definition import Definition
    from holdfast.core.export import RunExport
    from holdfast.core.priority import PriorityName
    from holdfast.core.progress import Progress
    from holdfast.core.signal import SignalType, StateType, UpdateType
    from holdfast.core.states import RunStatus
    from holdfast.integrations.catalogue import BlockingConnection

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
U = TypeVar("U")


def as_blocking(bridge: Bridge[Client], handle: RunHandle[T]) -> BlockingRunHandle[T]:
    """The same run, blocking."""
    return BlockingRunHandle(bridge, handle.id, handle.definition, existing=handle.existing)


class BlockingRunHandle(Generic[R_co]):
    """One run of a workflow or activity that gives ``R``, by its id, for code that is not async.

    Every verb of :class:`RunHandle`, with the same parameters, which waits and gives the result.
    """

    __slots__ = ("_bridge", "definition", "existing", "id")

    def __init__(
        self,
        bridge: Bridge[Client],
        run_id: UUID,
        definition: Definition[..., R_co] | None,
        *,
        existing: bool = False,
    ) -> None:
        self._bridge = bridge
        self.id = run_id
        self.definition = definition
        """What it is a run of, where that is known here."""
        self.existing = existing
        """Whether the start that gave this handle found a run with its key, rather than make one."""

    def _on(self, client: Client) -> RunHandle[R_co]:
        return cast("RunHandle[R_co]", client.get(self.id, self.definition))

    def __repr__(self) -> str:
        return f"<run {self.id}>" if self.definition is None else f"<run {self.id} of {self.definition.name!r}>"

    def result(self, timeout: timedelta | None = None) -> R_co:
        """The result of the run, once it has ended."""
        return self._bridge.call(lambda client: self._on(client).result(timeout))

    def status(self) -> RunStatus:
        """Where the run is now."""
        return self._bridge.call(lambda client: self._on(client).status())

    def describe(self, *, exact: bool = False) -> RunDescription:
        """All that is known of the run: its journal, its attempts, what it waits for and since when."""
        return self._bridge.call(lambda client: self._on(client).describe(exact=exact))

    def attempts(self) -> Sequence[AttemptView]:
        """Every failed attempt with its error, oldest first; of a job also the one that it has failed with."""
        return self._bridge.call(lambda client: self._on(client).attempts())

    def why(self) -> Why:
        """Why the run stands where it stands: what it waits for, and what would move it."""
        return self._bridge.call(lambda client: self._on(client).why())

    def export(self) -> RunExport:
        """The run with its journal and its result, payloads opened: what a file of it holds, enough to replay it."""
        return self._bridge.call(lambda client: self._on(client).export())

    @overload
    def state(self, key: str) -> Any: ...
    @overload
    def state(self, key: StateType[T]) -> T | None: ...
    def state(self, key: str | StateType[Any]) -> Any:
        """What the run lets everybody know under this key, at the moment or at its end."""
        outcome: Any = self._bridge.call(lambda client: cast("Any", self._on(client)).state(key))
        return outcome

    def progress(self) -> Progress | None:
        """How far the attempt under way is, as its code has said last by ``report_progress``; None where it is not."""
        return self._bridge.call(lambda client: self._on(client).progress())

    def next_progress(self, seen: Progress | None = None) -> Progress | None:
        """Waits for a report that is another one than ``seen``, and gives it; None once the run has ended."""
        return self._bridge.call(lambda client: self._on(client).next_progress(seen))

    def watch_progress(self) -> Iterator[Progress]:
        """Each report that ``next_progress`` gives, until the run has ended: ``async for``."""
        seen: Progress | None = None
        while (seen := self.next_progress(seen)) is not None:
            yield seen

    def signal(
        self, signal: SignalType[T], value: T, *, key: str | None = None, connection: BlockingConnection | None = None
    ) -> bool:
        """Sends a signal, which stays in the run's inbox until it is waited for."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: self._on(client).signal(signal, value, key=key, connection=connection))

    def signal_by_name(
        self, name: str, value: object = None, *, key: str | None = None, connection: BlockingConnection | None = None
    ) -> bool:
        """As ``signal``, for a payload of plain JSON and without the signal's type at hand."""
        connection = of_this_thread(connection)
        return self._bridge.call(
            lambda client: self._on(client).signal_by_name(name, value, key=key, connection=connection)
        )

    def update(
        self, update: UpdateType[T, U], value: T, *, key: str | None = None, timeout: timedelta | None = None
    ) -> U:
        """Sends an update, and gives the answer of the run once that is recorded."""
        return self._bridge.call(lambda client: self._on(client).update(update, value, key=key, timeout=timeout))

    def update_by_name(
        self, name: str, value: object = None, *, key: str | None = None, timeout: timedelta | None = None
    ) -> Any:
        """As ``update``, in plain JSON and without the types at hand."""
        return self._bridge.call(lambda client: self._on(client).update_by_name(name, value, key=key, timeout=timeout))

    def cancel(self, *, connection: BlockingConnection | None = None) -> Cancellation:
        """Cancels the run: at once where nothing of it has begun, else by asking it to."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: self._on(client).cancel(connection=connection))

    def pause(self, *, at_once: bool = False, connection: BlockingConnection | None = None) -> Effect:
        """Stops the run until it is resumed; what is sent to it meanwhile is kept."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: self._on(client).pause(at_once=at_once, connection=connection))

    def resume(self, *, connection: BlockingConnection | None = None) -> Effect:
        """Lets a paused run go on where it was."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: self._on(client).resume(connection=connection))

    def wake(self, *, connection: BlockingConnection | None = None) -> Effect:
        """Ends a sleep early: the earliest timer that is open rings now, or the next attempt of a back-off begins."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: self._on(client).wake(connection=connection))

    def reschedule(
        self,
        *,
        at: datetime | None = None,
        after: timedelta | None = None,
        priority: PriorityName | None = None,
        lane: str | None = None,
        connection: BlockingConnection | None = None,
    ) -> Effect:
        """Moves the run to another time, priority or lane; what is not said stays as it is."""
        connection = of_this_thread(connection)
        return self._bridge.call(
            lambda client: self._on(client).reschedule(
                at=at, after=after, priority=priority, lane=lane, connection=connection
            )
        )

    def retry(self, *, timeout: timedelta | None = None) -> BlockingRunHandle[R_co]:
        """Tries a failed or cancelled run again from its last good step, as a new run that takes its place."""
        return as_blocking(self._bridge, self._bridge.call(lambda client: self._on(client).retry(timeout=timeout)))

    def rewind(self, to: str, *, timeout: timedelta | None = None) -> BlockingRunHandle[R_co]:
        """Goes back to before the outcome ``to``, a key such as ``charge#1``."""
        return as_blocking(self._bridge, self._bridge.call(lambda client: self._on(client).rewind(to, timeout=timeout)))

    def fork(
        self, from_: str | None = None, *, input: Mapping[str, object] | None = None, timeout: timedelta | None = None
    ) -> BlockingRunHandle[R_co]:
        """A new run beside this one, which stays as it is: it has seen everything before the outcome ``from_``."""
        return as_blocking(
            self._bridge, self._bridge.call(lambda client: self._on(client).fork(from_, input=input, timeout=timeout))
        )

    def tag(
        self,
        tags: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        connection: BlockingConnection | None = None,
    ) -> dict[str, str]:
        """Sets tags of the run and removes others; gives all that it has then."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: self._on(client).tag(tags, remove=remove, connection=connection))

    def newest(self) -> BlockingRunHandle[R_co]:
        """The run that this one has become by retries, rewinds and continue-as-new; itself, if by none."""
        return as_blocking(self._bridge, self._bridge.call(lambda client: self._on(client).newest()))

    def terminate(self, *, connection: BlockingConnection | None = None) -> Effect:
        """Ends the run as cancelled, at once and without its clean-up code; ``cancel`` is the gentle way."""
        connection = of_this_thread(connection)
        return self._bridge.call(lambda client: self._on(client).terminate(connection=connection))
