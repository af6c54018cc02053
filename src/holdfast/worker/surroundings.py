"""What stands around a worker's runs: the middleware of its app, and who listens to what happens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.core.chain import CallNext, chained
from holdfast.core.listeners import Listeners
from holdfast.worker.herald import Herald
from holdfast.worker.slow import watched
from holdfast.workflow.middleware import Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from holdfast.worker.attempt import Attempt
    from holdfast.workflow.attempted import ActivityInfo
    from holdfast.workflow.middleware import PassOutcome, WorkflowPass


class Surroundings:
    """Middleware, of which only what is overridden is called; and the herald who tells those who listen."""

    __slots__ = ("activities", "herald", "listeners", "passes")

    def __init__(self, middleware: Sequence[Middleware] = (), listeners: Listeners | None = None) -> None:
        self.listeners = Listeners() if listeners is None else listeners
        self.activities: tuple[Middleware, ...] = tuple(
            one for one in middleware if type(one).activity is not Middleware.activity
        )
        """Those around activities."""
        self.passes: tuple[Middleware, ...] = tuple(
            one for one in middleware if type(one).workflow_pass is not Middleware.workflow_pass
        )
        """Those around workflow passes."""

        self.herald = Herald(self.listeners)

    def call(
        self,
        attempt: Attempt,
        code: Callable[..., Coroutine[Any, Any, Any]],
        args: Sequence[object],
        kwargs: Mapping[str, object],
    ) -> Awaitable[Any]:
        """Calls the code of an attempt, inside of its middleware; warns of what holds the loop."""
        if not self.activities or attempt.activity.internal:
            return watched(code(*args, **kwargs), attempt.activity.name)
        innermost = partial(code, *args, **kwargs)
        call = chained([partial(_activity, one) for one in self.activities], attempt.info(), innermost)
        return watched(_awaited(call), attempt.activity.name)

    def around_pass(self, passing: WorkflowPass, enter: CallNext[PassOutcome]) -> CallNext[PassOutcome]:
        """A pass, inside of its middleware."""
        return chained([partial(_pass, one) for one in self.passes], passing, enter)


async def _awaited(call: CallNext[Any]) -> Any:
    return await call()


async def _activity(middleware: Middleware, info: ActivityInfo, call_next: CallNext[Any]) -> Any:
    return await middleware.activity(info, call_next)


async def _pass(middleware: Middleware, passing: WorkflowPass, call_next: CallNext[PassOutcome]) -> PassOutcome:
    return await middleware.workflow_pass(passing, call_next)
