"""What the code of an activity can know and say of the attempt that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeVar
from uuid import UUID

from pydantic_core import from_json

from holdfast.core.errors import ForbiddenInWorkflow
from holdfast.core.progress import progress_text
from holdfast.core.returns import Returns
from holdfast.core.token import Token
from holdfast.workflow.current import current_loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityInfo:
    """What the code of an activity can know about the attempt that it is."""

    run_id: UUID
    key: str
    """Under which the outcome will be recorded: ``charge#1``."""
    name: str
    attempt: int
    """From 1."""
    workflow: str | None = None
    """The name of the workflow that asked; None for a job."""
    is_cancelled: Callable[[], bool] = field(default=bool, repr=False, compare=False)
    """Asks the worker."""
    details_text: str | None = field(default=None, repr=False)
    """``details`` as JSON text."""
    origin: UUID | None = None
    """The run that this one is a retry of, however often; None where it is none."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """What travels with the run: its own headers, as the middleware of the workflow pass has left them."""
    home: UUID | None = None
    """The run that the attempt is made for, where that is not ``run_id``: of a dispatched activity."""
    give: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    """Tells the worker that the token may be given away."""

    @property
    def token(self) -> str:
        """By which this attempt is completed from outside: see :func:`complete_later`.

        Raises:
            GiveUp: the activity is transactional, so that its outcome cannot come from outside.
        """
        if self.give is not None:
            self.give()
        return Token(self.home or self.run_id, self.attempt, self.key, self.name).text

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call, in any process, retries of the run included; and for no other."""
        return f"{self.origin or self.run_id}:{self.key}"

    @property
    def cancelled(self) -> bool:
        """Whether the outcome is not wanted any more: a sync function, which cannot be interrupted, should return."""
        return self.is_cancelled()

    @property
    def details(self) -> Any:
        """What an earlier attempt of this call said last by ``heartbeat()``, as plain JSON; None if nothing."""
        return None if self.details_text is None else from_json(self.details_text)

    def details_as(self, kind: type[T]) -> T | None:
        """``details`` as a value of this type, such as the dataclass that was given to ``heartbeat()``.

        Raises:
            Unstorable: they are of another type.
        """
        return None if self.details_text is None else _shape(kind).decode(self.details_text)


class Attempted(Protocol):
    """An attempt that a worker makes."""

    def info(self) -> ActivityInfo:
        """What its code can know: made when it asks, which most code never does."""
        ...

    def beat(self, details: str | None, progress: str | None = None) -> bool:
        """It is alive, and this far, as JSON text; gives whether its outcome is still wanted."""
        ...


current_activity: ContextVar[Attempted] = ContextVar("holdfast_activity")
"""Set by the worker in the context of each attempt."""


def activity_info() -> ActivityInfo:
    """The attempt that this code is part of.

    Raises:
        RuntimeError: no worker runs this code as an activity.
    """
    attempt = current_activity.get(None)
    if attempt is None:
        raise RuntimeError("activity_info() works in the code of an activity only, while a worker runs it")
    return attempt.info()


class CompletedLater(BaseException):
    """What :func:`complete_later` raises: no error, so ``except Exception`` lets it pass."""


def complete_later() -> NoReturn:
    """Ends the code of an attempt: its outcome will come from outside. To be used as the last statement.

    Give ``activity_info().token`` to whoever will know the outcome, then call this. Who has the token completes the
    activity by ``client.complete(token, value)`` or ``client.fail(token, error)``, by ``holdfast run complete``, or in
    SQL by ``holdfast.complete(token, '...')``. Meanwhile the run is parked; ``timeout=`` goes on counting, and retries
    are as ever: each attempt has a token of its own.

    Raises:
        RuntimeError: no worker runs this code as an activity.
    """
    if current_activity.get(None) is None:
        raise RuntimeError("complete_later() works in the code of an activity only, while a worker runs it")
    raise CompletedLater


def heartbeat(details: object = None) -> bool:
    """Says that this attempt of an activity is alive, and how far it is; gives whether to go on.

    False: the outcome is not wanted any more, so that code which cannot be interrupted should return. An activity with
    a ``heartbeat_timeout`` has to say this at least so often, else its attempt has failed as one that took too long.

    The last ``details`` are given to the next attempt as ``activity_info().details``, after a failure and after a
    crash of the worker. They are stored now and then, at most three times in a ``heartbeat_timeout``; calling this
    often costs next to nothing. Without ``details`` those that were given before stay.

    Where no worker runs the code, in a test of the plain function, it does nothing and gives True.

    Raises:
        Unstorable: the details cannot be stored as JSON, or are larger than the payload limit.
        ForbiddenInWorkflow: it was called in workflow code.
    """
    attempt = current_activity.get(None)
    if attempt is None:
        if current_loop() is not None:
            raise ForbiddenInWorkflow("heartbeat() is for the code of activities: a workflow needs none")
        return True
    return attempt.beat(None if details is None else _text(details))


def report_progress(fraction: float | None, message: str | None = None) -> bool:
    """Lets people see how far this attempt of an activity is, from 0 to 1; gives whether to go on, as ``heartbeat()``.

    ``client.get(run_id).progress()`` and ``watch_progress()`` give it, and ``holdfast job show``. Call it as often as
    you like: it is stored twice a second at most, together with what else its worker writes. It is for people: the
    next attempt does not get it, and when this one has ended it is gone. It is a heartbeat, too.

    Where no worker runs the code, in a test of the plain function, it does nothing and gives True.

    Raises:
        InvalidInput: the fraction is not a number from 0 to 1, nor None, or the message no text.
        ForbiddenInWorkflow: it was called in workflow code; ``set_state`` is for that.
    """
    text = progress_text(fraction, message)
    attempt = current_activity.get(None)
    if attempt is None:
        if current_loop() is not None:
            raise ForbiddenInWorkflow("report_progress() is for the code of activities: a workflow has set_state()")
        return True
    return attempt.beat(None, text)


_PLAIN = (dict, list, tuple, str, int, float, bool)


def _text(details: object) -> str:
    kind = type(details)
    text, _ = _shape(Any if kind in _PLAIN else kind).encode(details)
    return text


def _shape(kind: Any) -> Returns[Any]:
    shape = _shapes.get(kind)
    if shape is None:
        shape = _shapes[kind] = Returns(kind, what="the details of a heartbeat")
    return shape


_shapes: dict[Any, Returns[Any]] = {}
"""What was made of the types that were met; a program has few."""
