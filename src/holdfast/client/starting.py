"""What stands around a start: middleware sees it before anything is sent, and may add headers or refuse it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from holdfast.core.chain import CallNext, chained
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.headers import header_mistakes

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast.core.headers import Headers
    from holdfast.core.priority import PriorityName

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """A start that is about to be made: of one run, or of many at once.

    ``headers`` may be changed: they go with each of these runs, to its activities and children.
    """

    names: tuple[str, ...]
    """Of the workflows and activities, each once."""
    count: int
    """How many runs."""
    lane: str
    priority: PriorityName
    key: str | None
    """Of a single start."""
    headers: dict[str, str]


class StartMiddleware(Protocol):
    """What of a middleware stands around starts."""

    async def start(self, starting: Starting, call_next: CallNext[Sequence[UUID]], /) -> Sequence[UUID]:
        """As :meth:`holdfast.Middleware.start`."""
        ...


async def start_within(
    middleware: Sequence[StartMiddleware],
    starting: Starting,
    start: Callable[[Headers], Awaitable[T]],
    ids: Callable[[T], Sequence[UUID]],
) -> T:
    """Starts inside of the middleware, with the headers as it leaves them; gives what ``start`` gave.

    Raises:
        What the middleware raises; and InvalidInput where it has left headers that cannot be used.
    """
    answers: list[T] = []

    async def innermost() -> Sequence[UUID]:
        mistakes = list(header_mistakes(starting.headers))
        if mistakes:
            raise InvalidInput(f"{', '.join(starting.names)} cannot be started: {'; '.join(mistakes)}")
        answers.append(await start(starting.headers))
        return ids(answers[0])

    await chained([partial(_layer, one) for one in middleware], starting, innermost)()
    if not answers:
        raise HoldfastError(
            f"{', '.join(starting.names)}: a middleware has returned without call_next(), so nothing was started; to "
            "refuse a start, raise"
        )
    return answers[0]


async def _layer(
    middleware: StartMiddleware, starting: Starting, call_next: CallNext[Sequence[UUID]]
) -> Sequence[UUID]:
    return await middleware.start(starting, call_next)
