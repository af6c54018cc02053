"""Starting a child without waiting for it, and the handle on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple, cast, overload
from uuid import UUID

from holdfast.client.encoding import as_call
from holdfast.client.options import key_mistakes
from holdfast.core.errors import DefinitionError, InvalidInput
from holdfast.workflow.child import ChildStep, OnParentClose
from holdfast.workflow.child_signal import send
from holdfast.workflow.current import workflow_loop
from holdfast.workflow.foresight import is_plain, waiting_task
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from holdfast.core.definition import Call
    from holdfast.core.priority import PriorityName
    from holdfast.core.signal import SignalType
    from holdfast.workflow.loop import WorkflowLoop

R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")


class ChildHandle(Generic[R_co]):
    """A child that was started by :func:`start_child`, in the workflow code that started it."""

    __slots__ = ("_loop", "_step", "run_id")

    def __init__(self, loop: WorkflowLoop, step: ChildStep) -> None:
        self._loop = loop
        self._step = step
        self.run_id = cast("UUID", step.run_id)
        """Its id, with which anybody can find it."""

    async def result(self) -> R_co:
        """What it gives, once it has ended; as often as it is asked for. Whoever stops waiting leaves it running.

        Raises:
            What it raised, as its own class where that can be made again; else ChildFailed.
            ChildCancelled: it was cancelled.
            ChildTimedOut: its timeout has passed.
        """
        future = self._step.future
        if not future.done():
            self._step.awaited_by(waiting_task())
            await asyncio.wait([future])
        outcome: R_co = future.result()
        return outcome

    async def cancel(self) -> None:
        """Asks it to end. What becomes of that is its result: ChildCancelled, where it does not object."""
        self._loop.delivery.cancel_child(self._step)

    async def signal(self, signal: SignalType[T], value: T, *, key: str | None = None) -> None:
        """Sends it a signal, once. With a ``key`` it is stored once, whoever else sends one with that.

        Raises:
            RunEnded: it has ended, so there is nobody who could receive it.
            InvalidInput, Unstorable: the value does not fit the signal's type, or is too large.
        """
        for mistake in key_mistakes("key", key):
            raise InvalidInput(f"signal {signal.name!r} cannot be sent: {mistake}")
        await send(self.run_id, self._step.key, signal, value, key=key)

    def __repr__(self) -> str:
        return f"<child {self.run_id}, {self._step.key}>"


is_plain(vars(ChildHandle)["result"])


@overload
async def start_child(
    workflow: Call[R],
    /,
    *,
    on_parent_close: OnParentClose = "cancel",
    key: str | None = None,
    lane: str | None = None,
    priority: PriorityName | None = None,
    timeout: timedelta | None = None,
    tags: Mapping[str, str] | None = None,
) -> ChildHandle[R]: ...
@overload
async def start_child(
    workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
    /,
    *args: *Ts,
    on_parent_close: OnParentClose = "cancel",
    key: str | None = None,
    lane: str | None = None,
    priority: PriorityName | None = None,
    timeout: timedelta | None = None,
    tags: Mapping[str, str] | None = None,
) -> ChildHandle[R]: ...
async def start_child(
    workflow: object,
    /,
    *args: object,
    on_parent_close: OnParentClose = "cancel",
    key: str | None = None,
    lane: str | None = None,
    priority: PriorityName | None = None,
    timeout: timedelta | None = None,
    tags: Mapping[str, str] | None = None,
) -> ChildHandle[Any]:
    """Starts a workflow as a child of this run, and gives a handle once that is durable.

    For arguments by keyword: ``start_child(ship.call(order=17))``. The options are those of :meth:`Workflow.options`;
    ``on_parent_close`` says what becomes of the child if it is still open when this run ends, in whatever way:
    ``"cancel"`` asks it to end, ``"abandon"`` leaves it alone, and with ``"wait"`` this run ends after it.

    Raises:
        InvalidInput: the arguments or an option cannot be used; nothing is started.
        Unstorable: an argument cannot be stored, or is too large; nothing is started.
        DefinitionError: it is not a workflow.
        RuntimeError: it is not workflow code that asks.
    """
    loop = workflow_loop("start_child()", "use client.start()")
    call = as_call(workflow, args)
    definition = call.definition
    if not isinstance(definition, Workflow):
        raise DefinitionError(f"{definition.what} cannot be a child: call it, and this run waits for its outcome")
    asked: Workflow[..., Any] = definition.options(
        key=key, lane=lane, priority=priority, timeout=timeout, tags=tags, on_parent_close=on_parent_close
    )
    if loop.dropped:
        await loop.create_future()
    begun = loop.create_future()
    step = loop.delivery.ask_child(
        asked,
        asked.parameters.encode(call.args, call.kwargs),
        loop.create_future(),
        begun,
    )
    try:
        await begun
    except asyncio.CancelledError:
        step.future.cancel()
        loop.delivery.abandon(step)
        raise
    return ChildHandle(loop, step)
