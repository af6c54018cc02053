"""Activities: ordinary functions with side effects, whose outcomes are recorded."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast, get_args, overload

from holdfast.client.options import lane_mistakes
from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError
from holdfast.core.retry import Retry
from holdfast.core.states import RunKind
from holdfast.workflow.cpython import rename, running_loop
from holdfast.workflow.foresight import is_plain
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.reference import Reference
from holdfast.workflow.saga import Compensation
from holdfast.workflow.step import Step
from holdfast.workflow.transactional import Transactional, connection_parameter

if TYPE_CHECKING:
    from holdfast.core.limit import Ticket

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U")

Isolation = Literal["process"]
"""Where the code of an activity runs, if not in the worker's own process."""

_RESERVED = {"timer", "signal", "cancel", "patch", "state", "update", "reply"}
_LONGEST_KEY = 200


class Activity(Definition[P, R]):
    """A function whose outcome is recorded when a workflow calls it.

    Calling it gives a coroutine, whether the function is async or not. Awaited in workflow code it is the recorded
    outcome; the worker runs the function, again after a failure as ``retry`` says, and records what came of it once.
    Awaited anywhere else it runs the function once, a sync one in a thread, and records nothing.

    In the journal it is known by ``name#n``, the n-th call of that name that the run awaited; see :meth:`options`.

    Args:
        fn: the function itself; also ``.fn``.
        name: under which it is known to workers; that of the function if left out.
        retry: which failures are tried again, and when.
        timeout: of one attempt.
        total_timeout: of all attempts together, from the moment it is asked for.
        max_concurrency: how many calls of it run at once in one worker. Without, as many as the worker has room for:
            ``max_threads`` of a function that is not async, four for each processor if nothing else is said.
        isolation: ``"process"`` runs a function that is not async in a process of its own, which is killed when its
            time is over or its outcome not wanted any more.
        heartbeat_timeout: how long an attempt may be silent; see :func:`heartbeat`.
        lane: where it runs, if not in the lane of the workflow that calls it: dispatched, as a run of its own.
        transactional: it runs in a transaction, whose connection is its first argument and not passed by the caller.

    Raises:
        DefinitionError: the name, the function or an option cannot be used.
    """

    fn: Callable[..., Any]
    retry: Retry
    timeout: timedelta | None
    total_timeout: timedelta | None
    max_concurrency: int | None
    isolation: Isolation | None
    heartbeat_timeout: timedelta | None
    lane: str | None
    """Where it runs, if not where its workflow does."""
    is_batch: bool
    """Whether its calls are executed many at a time."""
    varied: bool
    """Whether this is a copy with other options, which whoever executes it elsewhere has to be told."""
    transactional: Transactional | None
    """Set if its effects and its outcome are one commit."""
    base: str
    """What the keys of its calls begin with."""
    compensation: Compensation | None
    """What undoes a call of it in a saga."""
    internal: bool = False
    """Whether it is of ours, and no user has written it: no middleware stands around it."""

    @overload
    def __init__(
        self,
        fn: Callable[P, Coroutine[Any, Any, R]],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        max_concurrency: int | None = None,
        isolation: Isolation | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        max_concurrency: int | None = None,
        isolation: Isolation | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
        transactional: Transactional,
    ) -> None: ...
    @overload
    def __init__(
        self,
        fn: Callable[Concatenate[Any, P], R],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
        transactional: Transactional,
    ) -> None: ...
    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        max_concurrency: int | None = None,
        isolation: Isolation | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
        transactional: Transactional | None = None,
    ) -> None:
        named: str = getattr(fn, "__name__", "") if name is None else name
        without = None if transactional is None else connection_parameter(fn, what=f"activity {named!r}")
        super().__init__(fn, name=named, kind=RunKind.ACTIVITY, without=without)
        refuse_reserved(self.what, self.name)
        self.retry = Retry() if retry is None else _policy(self.what, retry)
        self.timeout = _positive(self.what, "timeout", timeout)
        self.total_timeout = _positive(self.what, "total_timeout", total_timeout)
        self.max_concurrency = self._checked_limit(max_concurrency)
        self.heartbeat_timeout = _positive(self.what, "heartbeat_timeout", heartbeat_timeout)
        self.isolation = isolation
        if isolation is not None:
            self._check_isolation()
        self.transactional = transactional
        if transactional is not None:
            transactional.check(self.what, is_async=self.is_async, max_concurrency=max_concurrency)
        self.lane = self._checked_lane(lane)
        self.is_batch = False
        self.varied = False
        self.base = self.name
        self.compensation = None
        self._async = self.is_async

    @overload
    def compensate(self, undo: Activity[Concatenate[R, P], U], /) -> Activity[Concatenate[R, P], U]: ...
    @overload
    def compensate(self, /, *, even_if_unknown: Literal[False] = False) -> CompensateDecorator[R, P]: ...
    @overload
    def compensate(self, /, *, even_if_unknown: Literal[True]) -> CompensateDecorator[R | None, P]: ...
    def compensate(self, undo: Any = None, /, *, even_if_unknown: bool = False) -> Any:
        """Declares the activity that undoes this one: in a ``saga()`` each call that has succeeded is undone by it.

        It is called with the result first, and then with the arguments of the call:
        ``@charge.compensate`` above ``@app.activity`` above ``async def refund(payment: Payment, order: Order)``.

        With ``even_if_unknown`` it is called as well for a call that was cancelled under way, of which nobody knows
        whether it has happened; the result is None then.

        Raises:
            DefinitionError: it is not an activity, or there is one already.
        """
        declare = CompensateDecorator[Any, Any](self, even_if_unknown=even_if_unknown)
        return declare if undo is None else declare(undo)

    # Not Coroutine[Any, Any, R]: mypy takes `gather` of several of those, of different results, for Any.
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, object, R]:
        coroutine = self._outcome(args, kwargs)
        rename(coroutine, self.name)
        return coroutine

    @property
    def signature(self) -> inspect.Signature:
        """As its callers see it: without the connection of a transactional one."""
        signature = inspect.signature(self.fn)
        if self.transactional is None:
            return signature
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def options(
        self,
        *,
        key: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        lane: str | None = None,
    ) -> Activity[P, R]:
        """The same activity with other options, for one call: ``await charge.options(key=order.id)(order)``.

        With ``key`` the call is known in the journal by ``name:key#n``, the n-th call of that name with that key,
        whatever other calls there are: so calls may change their order in a later version of the code. With ``lane`` it
        runs in that lane, as a run of its own, if that is not the lane of the workflow.

        Raises:
            DefinitionError: an option cannot be used.
        """
        other = copy.copy(self)
        if key is not None:
            other.base = self.base_of(key)
        if retry is not None:
            other.retry = _policy(self.what, retry)
        if timeout is not None:
            other.timeout = _positive(self.what, "timeout", timeout)
        if total_timeout is not None:
            other.total_timeout = _positive(self.what, "total_timeout", total_timeout)
        if heartbeat_timeout is not None:
            other.heartbeat_timeout = _positive(self.what, "heartbeat_timeout", heartbeat_timeout)
        if lane is not None:
            other.lane = self._checked_lane(lane)
        other.varied = self.varied or (retry or timeout or heartbeat_timeout) is not None
        return other

    def base_of(self, key: object) -> str:
        """What the keys of calls with this ``key`` begin with.

        Raises:
            DefinitionError: it cannot be a key.
        """
        return base_of(self, key)

    def ask(self, loop: WorkflowLoop, base: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Step:
        """The next call under the name ``base`` in the run of this loop; its future gets the outcome.

        Raises:
            InvalidInput, Unstorable: the arguments do not fit; nothing is asked for.
        """
        step = loop.delivery.ask(self, base, self.parameters.encode(args, kwargs), loop.create_future())
        if self.compensation is not None:
            self.compensation.mind(loop, step, args, kwargs)
        return step

    async def _outcome(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        loop = running_loop()
        if type(loop) is not WorkflowLoop:
            return await self._once(args, kwargs)
        if loop.dropped:
            await loop.create_future()
        step = self.ask(loop, self.base, args, kwargs)
        try:
            outcome: R = await step.future
            return outcome
        except asyncio.CancelledError:
            loop.delivery.abandon(step)
            raise
        finally:
            # An error that is raised here refers to this frame, and the step to the error.
            del step

    def limit(self, tickets: tuple[Ticket, ...]) -> None:
        """Gives it these limits.

        Raises:
            DefinitionError: it cannot have any.
        """
        if tickets:
            self._check_commits("concurrency= or rate=", "gives its permits back")
        self.tickets = tickets

    def _checked_lane(self, lane: object) -> str | None:
        if lane is None:
            return None
        for mistake in lane_mistakes(lane):
            raise DefinitionError(f"{self.what}: {mistake}")
        self._check_commits("lane=", "tells its workflow of its end")
        return cast("str", lane)

    def _check_commits(self, option: str, does: str) -> None:
        if self.transactional is not None and self.transactional.isolation_level not in (None, "read committed"):
            raise DefinitionError(
                f"{self.what}: with {option} its transaction {does}, as others do meanwhile; under "
                f"{self.transactional.isolation_level} they fail each other: leave {option} or isolation_level= out"
            )

    def _checked_limit(self, most: object) -> int | None:
        if most is None:
            return None
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise DefinitionError(f"{self.what}: max_concurrency= is a whole number from 1 up, not {most!r}")
        return most

    def _check_isolation(self) -> None:
        if self.isolation not in get_args(Isolation):
            raise DefinitionError(f'{self.what}: isolation= is "process", or left out, not {self.isolation!r}')
        if self.is_async:
            raise DefinitionError(
                f"{self.what}: isolation= is for functions that are not async; write it as `def`, or leave it out"
            )
        if self.max_concurrency is not None:
            raise DefinitionError(
                f"{self.what}: with isolation= the worker's max_processes limits it, max_concurrency= does not"
            )
        Reference.of(self.fn, what=self.what)

    async def _once(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        if self.transactional is not None:
            raise DefinitionError(
                f"{self.what} is transactional: only a worker can commit its effects together with its outcome; call "
                "it in a workflow or start it as a job, or call .fn with a connection of yours, which records nothing"
            )
        outcome: R = await (self.fn(*args, **kwargs) if self._async else asyncio.to_thread(self.fn, *args, **kwargs))
        return outcome


def base_of(definition: Definition[..., Any], key: object) -> str:
    """What the journal keys of calls with this ``key`` begin with.

    Raises:
        DefinitionError: it cannot be a key.
    """
    if not isinstance(key, str) or not key or len(key) > _LONGEST_KEY or not key.isprintable():
        raise DefinitionError(f"{definition.what}: a key has 1 to {_LONGEST_KEY} printable characters, not {key!r}")
    return f"{definition.name}:{key}"


def refuse_reserved(what: str, name: str) -> None:
    """Refuses the names that the journal uses itself.

    Raises:
        DefinitionError: it is one of them.
    """
    if name.partition(":")[0] in _RESERVED:
        raise DefinitionError(f"{what}: the journal uses this name itself; choose another one with name=")


is_plain(vars(Activity)["_outcome"])


class CompensateDecorator(Generic[R, P]):
    """What ``charge.compensate(...)`` with options gives."""

    def __init__(self, activity: Activity[..., Any], *, even_if_unknown: bool) -> None:
        self._activity = activity
        self._even_if_unknown = even_if_unknown

    def __call__(self, undo: Activity[Concatenate[R, P], U], /) -> Activity[Concatenate[R, P], U]:
        activity, given = self._activity, cast("object", undo)
        if not isinstance(given, Activity):
            raise DefinitionError(
                f"{activity.what}: what undoes it is an activity; put @app.activity below .compensate, at {given!r}"
            )
        if activity.compensation is not None:
            raise DefinitionError(f"{activity.what}: {activity.compensation.undo.what} undoes it already")
        activity.compensation = Compensation(undo, self._even_if_unknown)
        return undo


def _policy(what: str, value: object) -> Retry:
    if not isinstance(value, Retry):
        raise DefinitionError(f"{what}: retry= is a Retry, such as Retry(max_attempts=3), not {value!r}")
    return value


def _positive(what: str, option: str, value: object) -> timedelta | None:
    if value is None:
        return None
    if not isinstance(value, timedelta):
        raise DefinitionError(f"{what}: {option}= is a timedelta, such as timedelta(seconds=30), not {value!r}")
    if value <= timedelta(0):
        raise DefinitionError(f"{what}: {option}= is a duration of more than zero, not {value}")
    return value
