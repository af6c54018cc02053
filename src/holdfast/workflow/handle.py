"""What waits to be called by the loop: as soon as possible, or at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import datetime
from typing import Any, Protocol


class Handle(asyncio.Handle):
    """A callback in line."""

    __slots__ = ()
    _callback: Callable[..., object]
    _args: Sequence[Any]
    _context: Context
    _cancelled: bool

    def __init__(self, callback: Callable[..., object], args: Sequence[Any], context: Context) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False

    def __call__(self) -> None:
        """Call it, unless it was cancelled."""
        try:
            if not self._cancelled:
                self._context.run(self._callback, *self._args)
        finally:
            # An error in there remembers this frame; the callback may be a step of the task that keeps the error.
            del self

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = _nothing
        self._args = ()

    def get_context(self) -> Context:
        return self._context

    def __repr__(self) -> str:
        return f"<Handle{' cancelled' if self._cancelled else ''} {self._callback!r}>"


class Timer(asyncio.TimerHandle):
    """A callback at a time: a durable timer, known in the journal by ``key``.

    One whose time had come when it was made has no key: it is just a callback in line.
    """

    __slots__ = ("_owner", "_put_in_line", "deadline", "key", "known", "told")
    _callback: Callable[..., object]
    _args: Sequence[Any]
    _context: Context
    _cancelled: bool
    _when: float

    key: str | None
    deadline: datetime
    known: bool
    """Whether its firing is in the journal."""
    told: bool
    """Whether the worker knows of it."""

    def __init__(
        self,
        *,
        deadline: datetime,
        when: float,
        callback: Callable[..., object],
        args: Sequence[Any],
        context: Context,
        put_in_line: Callable[[Timer], None],
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self._owner: Withdrawing | None = None
        self._put_in_line = put_in_line
        self.deadline = deadline
        self.key = None
        self.known = False
        self.told = False

    def belong(self, owner: Withdrawing, key: str) -> None:
        """From now on it is durable: ``owner`` is told when it is cancelled."""
        self._owner = owner
        self.key = key

    @property
    def wanted(self) -> bool:
        """Whether the code still waits for it."""
        return not self._cancelled

    def fire(self) -> None:
        """Its time has come: the loop calls it when its turn comes."""
        self._owner = None
        if not self._cancelled:
            self._put_in_line(self)

    def __call__(self) -> None:
        """Call it, unless it was cancelled."""
        try:
            if not self._cancelled:
                self._context.run(self._callback, *self._args)
        finally:
            del self  # as above

    def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        self._callback = _nothing
        self._args = ()
        if self._owner is not None:
            self._owner.withdraw_timer(self)
            self._owner = None

    def get_context(self) -> Context:
        return self._context

    def __repr__(self) -> str:
        return f"<Timer {self.key}{' cancelled' if self._cancelled else ''} at {self.deadline.isoformat()}>"


class Withdrawing(Protocol):
    """Who is told that a durable timer was cancelled."""

    def withdraw_timer(self, timer: Timer) -> None: ...


def _nothing(*args: object) -> None:
    del args
