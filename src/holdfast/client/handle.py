"""A run, from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload
from uuid import UUID

from holdfast.client import continuing, sending, updating, watching
from holdfast.client.context import plain_json
from holdfast.client.description import describe
from holdfast.client.exporting import export_runs
from holdfast.client.operations import Effect, operate
from holdfast.client.outcome import open_outcome
from holdfast.client.rescheduling import Wish, reschedule_one
from holdfast.client.state import plain_state, state
from holdfast.client.tags import change_of, change_tags
from holdfast.client.why import Why, why
from holdfast.core.errors import InvalidInput, ResultTimeout, RunNotFound
from holdfast.store.continuing import read_newest
from holdfast.store.operations import Verb
from holdfast.store.runs import read_status

if TYPE_CHECKING:
    from holdfast.client.context import Context
    from holdfast.client.description import AttemptView, RunDescription
    from holdfast.client.sending import Cancellation
    from holdfast.core.definition import Definition
    from holdfast.core.export import RunExport
    from holdfast.core.priority import PriorityName
    from holdfast.core.progress import Progress
    from holdfast.core.signal import SignalType, StateType, UpdateType
    from holdfast.core.states import RunStatus
    from holdfast.integrations.catalogue import CallersConnection
    from holdfast.store.runs import Ended

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
U = TypeVar("U")

_PLAIN = plain_json("the result of a run")


class RunHandle(Generic[R_co]):
    """One run of a workflow or activity that gives ``R``, by its id. It holds no connection, and costs nothing."""

    __slots__ = ("_context", "_definition", "_known", "existing", "id")

    def __init__(
        self,
        context: Context,
        run_id: UUID,
        definition: Definition[..., R_co] | None,
        *,
        existing: bool = False,
        known: bool = False,
    ) -> None:
        self._context = context
        self._definition = definition
        self._known = known
        self.id = run_id
        self.existing = existing
        """Whether the start that gave this handle found a run with its key, rather than make one."""

    @property
    def definition(self) -> Definition[..., R_co] | None:
        """What it is a run of, where that is known here."""
        return self._definition

    async def result(self, timeout: timedelta | None = None) -> R_co:
        """The result of the run, once it has ended.

        Raises:
            RunFailed: the run ended with an error; RunTimedOut, if that was its timeout.
            RunCancelled: the run was cancelled.
            ResultTimeout: it has not ended after ``timeout``; it goes on.
            RunNotFound: there is no such run.
        """
        if timeout is not None and not _is_duration(timeout):
            raise InvalidInput(f"timeout is {timeout!r}: use a timedelta of zero or more")
        ended = await self._ended(timeout)
        if self._definition is None:
            return cast("R_co", open_outcome(self.id, ended, _PLAIN, self._context.seal))
        return open_outcome(self.id, ended, self._definition.returns, self._context.seal)

    async def _ended(self, timeout: timedelta | None) -> Ended:
        name = self._definition.name if self._definition else None
        if timeout is not None and not timeout:
            ended = await self._context.waiter.look(self.id, name=name)
            if ended is None:
                raise ResultTimeout(self.id, timeout)
            return ended
        wait = self._context.waiter.wait(self.id, name=name, known=self._known)
        if timeout is None:
            return await wait
        clock = asyncio.timeout(timeout.total_seconds())
        try:
            async with clock:
                return await wait
        except TimeoutError:
            if not clock.expired():
                raise
            raise ResultTimeout(self.id, timeout) from None

    async def status(self) -> RunStatus:
        """Where the run is now."""
        status = await self._context.database.call(lambda session: read_status(session, self.id))
        if status is None:
            raise RunNotFound(self.id)
        return status

    async def describe(self, *, exact: bool = False) -> RunDescription:
        """All that is known of the run: its journal, its attempts, what it waits for and since when.

        Where it was retried or rewound, that is of the run that it is now; with ``exact``, of the one with this id.
        """
        return await describe(self._context, self.id, exact=exact)

    async def attempts(self) -> Sequence[AttemptView]:
        """Every failed attempt with its error, oldest first; of a job also the one that it has failed with.

        Raises:
            RunNotFound: there is no such run.
        """
        return (await self.describe()).attempts

    async def why(self) -> Why:
        """Why the run stands where it stands: what it waits for, and what would move it.

        Raises:
            RunNotFound: there is no such run.
        """
        return await why(self._context, self.id)

    async def export(self) -> RunExport:
        """The run with its journal and its result, payloads opened: what a file of it holds, enough to replay it.

        Raises:
            RunNotFound: there is no such run.
            Unreadable: a payload was written with a codec that is not configured here.
        """
        for run in await export_runs(self._context, [self.id]):
            return run
        raise RunNotFound(self.id)

    @overload
    async def state(self, key: str) -> Any: ...
    @overload
    async def state(self, key: StateType[T]) -> T | None: ...
    async def state(self, key: str | StateType[Any]) -> Any:
        """What the run lets everybody know under this key, at the moment or at its end; None where it was never set.

        By its name it is plain JSON, by its ``State`` it has its type.

        Raises:
            RunNotFound: there is no such run.
            InvalidInput: what was set does not fit the type of the ``State``.
            Unstorable: what was set last could not be stored.
        """
        if isinstance(key, str):
            return await plain_state(self._context, self.id, key)
        return await state(self._context, self.id, key.name, key.returns)

    async def progress(self) -> Progress | None:
        """How far the attempt under way is, as its code has said last by ``report_progress``; None where it is not.

        Of a workflow with several at work, the one that has reported last. ``describe`` has them all, by their keys.

        Raises:
            RunNotFound: there is no such run.
        """
        return await watching.progress(self._context, self.id)

    async def next_progress(self, seen: Progress | None = None) -> Progress | None:
        """Waits for a report that is another one than ``seen``, and gives it; None once the run has ended.

        All that wait in one client are served by one statement twice a second; what is reported in between is not seen.

        Raises:
            RunNotFound: there is no such run.
        """
        return await self._context.watchers.next(self.id, seen)

    def watch_progress(self) -> AsyncIterator[Progress]:
        """Each report that ``next_progress`` gives, until the run has ended: ``async for``."""
        return watching.watch(self._context, self.id)

    async def signal(
        self, signal: SignalType[T], value: T, *, key: str | None = None, connection: CallersConnection | None = None
    ) -> bool:
        """Sends a signal, which stays in the run's inbox until it is waited for.

        With a ``key`` it is stored once, however often it is sent: False says that it had been stored before. With a
        ``connection`` it becomes part of the caller's transaction there.

        Raises:
            RunEnded, RunNotFound: there is nobody who could receive it.
            InvalidInput, Unstorable: the value does not fit the signal's type, or is too large.
        """
        return await sending.signal(self._context, self.id, signal, value, key=key, connection=connection)

    async def signal_by_name(
        self, name: str, value: object = None, *, key: str | None = None, connection: CallersConnection | None = None
    ) -> bool:
        """As ``signal``, for a payload of plain JSON and without the signal's type at hand."""
        return await sending.signal_by_name(self._context, self.id, name, value, key=key, connection=connection)

    async def update(
        self, update: UpdateType[T, U], value: T, *, key: str | None = None, timeout: timedelta | None = None
    ) -> U:
        """Sends an update, and gives the answer of the run once that is recorded.

        With a ``key`` it is sent once, however often this is called: each call gives the same answer, also after the
        run has ended. Without, a send of which nobody knows if it was stored is not repeated.

        Raises:
            UpdateRejected: the workflow has refused it, or its validator, there or here.
            ReplyTimeout: there is no answer after ``timeout``; the run has it, and may still answer.
            RunEnded: the run has ended, before it could be sent or without an answer; the message says how.
            RunNotFound: there is no such run.
            InvalidInput, Unstorable: the value does not fit the update's type, or is too large; nothing is sent. Or the
                answer does not fit its type.
        """
        return await updating.update(self._context, self.id, update, value, key=key, timeout=timeout)

    async def update_by_name(
        self, name: str, value: object = None, *, key: str | None = None, timeout: timedelta | None = None
    ) -> Any:
        """As ``update``, in plain JSON and without the types at hand."""
        return await updating.update_by_name(self._context, self.id, name, value, key=key, timeout=timeout)

    async def cancel(self, *, connection: CallersConnection | None = None) -> Cancellation:
        """Cancels the run: at once where nothing of it has begun, else by asking it to.

        Raises:
            RunNotFound: there is no such run.
        """
        return await sending.cancel(self._context, self.id, connection=connection)

    # ---- operating it

    async def pause(self, *, at_once: bool = False, connection: CallersConnection | None = None) -> Effect:
        """Stops the run until it is resumed; what is sent to it meanwhile is kept.

        Where a worker holds it, activities that run are finished and recorded, and nothing new begins; with ``at_once``
        they are abandoned, and begin again when it is resumed. Its timers and its timeout do not stand still: what
        passed meanwhile takes effect when it is resumed. One that nobody has begun ends when its timeout passes.

        Raises:
            RunNotFound: there is no such run.
        """
        return await self._operate(Verb.PAUSE_AT_ONCE if at_once else Verb.PAUSE, connection)

    async def resume(self, *, connection: CallersConnection | None = None) -> Effect:
        """Lets a paused run go on where it was."""
        return await self._operate(Verb.RESUME, connection)

    async def wake(self, *, connection: CallersConnection | None = None) -> Effect:
        """Ends a sleep early: the earliest timer that is open rings now, or the next attempt of a back-off begins.

        That may be the timer of a timeout, which then is over. A run that has not begun begins, a blocked one is tried
        again. ``NOTHING`` says that it does not sleep: it is due, or waits for a signal only, or is paused.
        """
        return await self._operate(Verb.WAKE, connection)

    async def reschedule(
        self,
        *,
        at: datetime | None = None,
        after: timedelta | None = None,
        priority: PriorityName | None = None,
        lane: str | None = None,
        connection: CallersConnection | None = None,
    ) -> Effect:
        """Moves the run to another time, priority or lane; what is not said stays as it is.

        ``DONE``: nobody held it, and it stands there now; one that waits for its next attempt makes that then.
        ``REQUESTED``: a worker holds it. What it has not begun it gives back within a second, and so it is there; what
        runs is let run, and where another attempt follows, or the workflow parks, it is there then, also where its
        worker dies. A time that has passed means now.

        A workflow that has begun has its own times: only its priority and lane can be changed. To its code both stay
        what they were at the start.

        Raises:
            OperationRefused: a time was given, and it is a workflow that has begun, or is to be completed from outside.
            RunNotFound: there is no such run.
            InvalidInput: what was asked for cannot be, or is nothing.
        """
        wish = Wish(at=at, after=after, priority=priority, lane=lane)
        return await reschedule_one(self._context, self.id, wish, connection=connection)

    async def retry(self, *, timeout: timedelta | None = None) -> RunHandle[R_co]:
        """Tries a failed or cancelled run again from its last good step, as a new run that takes its place.

        Its journal begins with a copy of what was recorded, without what led to the end: the outcome whose error ended
        the run, or the request to cancel, and what came after it. Failures that the code has handled are kept, and so
        is what other activities gave that had begun before. Where the code itself failed, everything is kept, for code
        that was mended meanwhile. A job begins anew.

        This handle then means the new run, in every process, and so does a start with the run's key. To its code and to
        the outside it is the same run: ``run_info().run_id`` and the idempotency keys of its activities stay what they
        were. Without a ``timeout`` it has none.

        Raises:
            OperationRefused: the run has not ended, or has succeeded; or somebody else does this at the same moment.
            RunNotFound: there is no such run.
        """
        return self._of(await continuing.retry(self._context, self.id, timeout=timeout))

    async def rewind(self, to: str, *, timeout: timedelta | None = None) -> RunHandle[R_co]:
        """Goes back to before the outcome ``to``, a key such as ``charge#1``, as a new run that takes this one's place.

        Its journal begins with a copy of everything before that outcome; what follows is done once more. Signals that
        the run was sent since are sent to the new one, except ``to`` itself. An open run is ended as cancelled, without
        its clean-up code, in the same transaction; what a worker runs of it is abandoned before.

        This handle then means the new run, in every process. What follows has new idempotency keys. A timeout that the
        run has is kept, unless another one is given.

        Raises:
            InvalidInput: there is no such outcome; the message names those that there are.
            OperationRefused: the run is a job or a child, or somebody else does this at the same moment.
            RunNotFound: there is no such run.
        """
        return self._of(await continuing.rewind(self._context, self.id, to=to, timeout=timeout))

    async def fork(
        self,
        from_: str | None = None,
        *,
        input: Mapping[str, object] | None = None,
        timeout: timedelta | None = None,
    ) -> RunHandle[R_co]:
        """A new run beside this one, which stays as it is: it has seen everything before the outcome ``from_``.

        Without ``from_`` it begins at the beginning. With an ``input``, plain JSON by the names of the parameters, it
        has another one; what is kept must then fit what the code asks for with it. What the run was sent since is sent
        to the new one too. The new run has an id of its own, and to its code is itself from there on.

        Raises:
            As ``rewind``; InvalidInput, Unstorable: the input does not fit, or cannot be stored.
        """
        return self._of(await continuing.fork(self._context, self.id, from_=from_, input=input, timeout=timeout))

    async def tag(
        self,
        tags: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        connection: CallersConnection | None = None,
    ) -> dict[str, str]:
        """Sets tags of the run and removes others; gives all that it has then.

        They are what people and ``list`` find it by, also after its end; where it was retried or rewound, that of the
        run that it is now. Its code goes on seeing the tags that it was started with.

        Raises:
            RunNotFound: there is no such run.
            InvalidInput: a tag is not a text that can be stored, or is both set and removed.
        """
        change = change_of(f"run {self.id}", tags, remove)
        return await change_tags(self._context, self.id, change, connection=connection)

    async def newest(self) -> RunHandle[R_co]:
        """The run that this one has become by retries, rewinds and continue-as-new; itself, if by none."""
        return self._of(await self._context.database.call(lambda session: read_newest(session, self.id)))

    def _of(self, run_id: UUID) -> RunHandle[R_co]:
        return RunHandle(self._context, run_id, self._definition, known=True)

    async def terminate(self, *, connection: CallersConnection | None = None) -> Effect:
        """Ends the run as cancelled, at once and without its clean-up code; ``cancel`` is the gentle way."""
        return await self._operate(Verb.TERMINATE, connection)

    async def _operate(self, verb: Verb, connection: CallersConnection | None) -> Effect:
        return (await operate(self._context, verb, [self.id], connection=connection))[self.id]

    def __repr__(self) -> str:
        return f"<run {self.id}>" if self._definition is None else f"<run {self.id} of {self._definition.name!r}>"


def _is_duration(value: object) -> bool:
    return isinstance(value, timedelta) and value >= timedelta(0)


def run_id_of(value: UUID | str) -> UUID:
    """A run's id, from what people write."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise InvalidInput(f"{value!r} is not the id of a run: that is a UUID, such as {_EXAMPLE}") from None


_EXAMPLE = UUID("0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90")
