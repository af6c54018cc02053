"""Signals: typed values that are sent to a run from outside and waited for in its code."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Generic, TypeVar, final, get_args

from holdfast.core.errors import DefinitionError, InvalidInput
from holdfast.core.journal import Entry
from holdfast.core.returns import Returns
from holdfast.workflow.current import workflow_loop
from holdfast.workflow.loop import WorkflowLoop

T = TypeVar("T")


@final
class Signal(Generic[T]):
    """A signal by name, with the type of what it carries: ``upgrade = Signal[UpgradeDecision]("upgrade")``.

    Without a type it carries plain JSON.
    """

    __orig_class__: Any

    def __init__(self, name: str) -> None:
        if not name or name != name.strip() or not name.isprintable() or "#" in name:
            raise DefinitionError(
                f"the name {name!r} for a signal is empty, begins or ends with a space, or contains '#' or a character "
                "that cannot be printed"
            )
        self.name = name
        self.line = f"signal:{name}"
        """Where it stands in line, in a run."""
        self._returns: Returns[T] | None = None

    @property
    def returns(self) -> Returns[T]:
        """How its values are written and read."""
        # Made when it is first asked for: the type is known only after `__init__`. Not a cached_property, because type
        # checkers do not take one for a property of a protocol.
        if self._returns is None:
            self._returns = self._made_returns()
        return self._returns

    def _made_returns(self) -> Returns[T]:
        carried = get_args(getattr(self, "__orig_class__", None))
        annotation: object = carried[0] if carried else Any
        return Returns(annotation, what=f"signal {self.name!r}", misfit=InvalidInput)

    async def wait(self, timeout: timedelta | None = None) -> T:
        """The next signal of this name: those sent before the wait count, each is given once, first in, first out.

        A wait that is cancelled or times out takes nothing.

        Raises:
            TimeoutError: none came within ``timeout``. With a timeout of zero: none has come so far.
            TypeError: ``timeout`` is not a timedelta.
            InvalidInput: what was sent does not fit the type; it is taken.
        """
        loop = workflow_loop(f"signal {self.name!r}.wait()", "send it with run.signal()")
        check_timeout(f"signal {self.name!r}.wait()", timeout)
        returns = self.returns  # before anything is taken: the type may be of no use
        entry = await next_of_line(loop, self.line, timeout)
        return returns.decode(entry.output)

    def __repr__(self) -> str:
        return f"<signal {self.name!r}>"


def check_timeout(what: str, timeout: object) -> None:
    """Refuses what is not a timedelta.

    Raises:
        TypeError: as it says.
    """
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"{what} takes a timedelta as its timeout, not {timeout!r}")


async def next_of_line(loop: WorkflowLoop, line: str, timeout: timedelta | None) -> Entry:
    """The next signal or update that stands in this line.

    Raises:
        TimeoutError: none came within ``timeout``.
    """
    waiter: asyncio.Future[Entry] = loop.create_future()
    delivery = loop.delivery
    if loop.dropped:
        return await waiter
    timer = None
    delivery.open_wait(line, waiter)
    if timeout is not None:
        timer = loop.set_timer(loop.in_time(timeout), _expire, loop, line, waiter, timeout)
    try:
        return await waiter
    except asyncio.CancelledError:
        delivery.close_wait(line, waiter)
        raise
    finally:
        if timer is not None:
            timer.cancel()
        # The TimeoutError that is raised here refers to this frame, and the waiter to the error.
        del waiter, timer


def _expire(loop: WorkflowLoop, line: str, waiter: asyncio.Future[Entry], timeout: timedelta) -> None:
    if not waiter.done():
        loop.delivery.close_wait(line, waiter)
        kind, _, name = line.partition(":")
        waiter.set_exception(TimeoutError(f"no {kind} {name!r} came within {timeout}"))
