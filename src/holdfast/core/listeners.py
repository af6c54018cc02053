"""Who wants to know of which events. Nobody, mostly: then an event costs a look at an empty list."""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, cast

from holdfast.core.errors import DefinitionError
from holdfast.core.events import EVENTS, Event

E = TypeVar("E", bound=Event)

log = logging.getLogger("holdfast.events")


class Heard(list[Callable[[E], None]]):
    """The listeners to one kind of event, live: false while there are none, which is all that the engine looks at."""

    def tell(self, event: E) -> None:
        """Calls each of them; what one raises is logged, and reaches nobody."""
        for listener in self:
            try:
                listener(event)
            except Exception:
                log.exception("%r has failed on %s", listener, type(event).__name__)


class Listeners:
    """The listeners of an app, or of one worker of it, which hears for those of its app too."""

    def __init__(self) -> None:
        self._heard: dict[type[Event], Heard[Any]] = {kind: Heard() for kind in EVENTS}
        self._workers: weakref.WeakSet[Listeners] = weakref.WeakSet()

    def for_worker(self) -> Listeners:
        """Those of a worker: these, also those that come later, and its own."""
        made = Listeners()
        for kind, heard in self._heard.items():
            made.of(kind).extend(heard)
        self._workers.add(made)
        return made

    def of(self, kind: type[E]) -> Heard[E]:
        """Those to this kind of event, as they are at any time."""
        return self._heard[kind]

    def on(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """Has the listener called with each event of this kind; with ``Event`` itself, of every kind.

        Raises:
            DefinitionError: it is no kind of event, or the listener cannot be called in passing.
        """
        given = cast("object", kind)
        if not isinstance(given, type) or not issubclass(given, Event):
            raise DefinitionError(f"{given!r} is no kind of event; import one from holdfast, such as RunFinished")
        if not callable(cast("object", listener)) or inspect.iscoroutinefunction(listener):
            raise DefinitionError(
                f"{listener!r} cannot listen to {kind.__name__}: use a function that is not async; what takes time is "
                "for a task that it makes"
            )
        for one in EVENTS:
            if issubclass(one, kind):
                self._heard[one].append(listener)
        for worker in self._workers:
            worker.on(kind, listener)

    def off(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """Has it called no more."""
        for one in EVENTS:
            if issubclass(one, kind) and listener in self._heard[one]:
                self._heard[one].remove(listener)
        for worker in self._workers:
            worker.off(kind, listener)
