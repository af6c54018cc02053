"""What stands around all runs of an app, and who listens to what happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast, overload

from holdfast.core.errors import DefinitionError
from holdfast.core.events import Event
from holdfast.core.listeners import Listeners
from holdfast.workflow.middleware import Middleware

E = TypeVar("E", bound=Event)


class Surrounded:
    """The part of an app that holds its middleware and its listeners."""

    def __init__(self) -> None:
        self._middleware: list[Middleware] = []
        self._listeners = Listeners()

    def use(self, middleware: Middleware) -> None:
        """Puts a middleware around the starts, activities and workflow passes of this app, inside of those before it.

        It holds for clients and workers that are opened after it.

        Raises:
            DefinitionError: it is no middleware.
        """
        given = cast("object", middleware)
        if not isinstance(given, Middleware):
            what = "the class itself: make one of it" if isinstance(given, type) else "not an instance of Middleware"
            raise DefinitionError(f"app.use({given!r}): that is {what}")
        self._middleware.append(middleware)

    @overload
    def on(self, event: type[E], listener: Callable[[E], None], /) -> Callable[[E], None]: ...
    @overload
    def on(self, event: type[E], /) -> Callable[[Callable[[E], None]], Callable[[E], None]]: ...
    def on(self, event: type[E], listener: Callable[[E], None] | None = None, /) -> Any:
        """Has a function called with each event of this kind in its clients and workers: ``@app.on(RunFinished)``.

        It is called on their event loops, in passing, so it must return soon; what it raises is logged. ``Event``
        itself stands for all kinds.

        Raises:
            DefinitionError: it is no kind of event, or the function is async.
        """

        def listen(function: Callable[[E], None]) -> Callable[[E], None]:
            self._listeners.on(event, function)
            return function

        return listen if listener is None else listen(listener)
