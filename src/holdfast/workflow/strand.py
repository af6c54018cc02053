"""A strand: a function that is not async, executed in a greenlet as a coroutine of a workflow's loop.

It leaves its place on the stack where it waits, and comes back to it when that is there; in between it costs what a
coroutine costs, and no thread. To the loop it is a coroutine like any other, so replay, cancelling, parking and
eviction are what they are for those. In particular it is left behind as they are: what ends a coroutine is raised where
the function waits, and nothing that runs on the way out can write or wait (see :mod:`holdfast.workflow.drop`).

The one module that needs greenlet, which is an extra.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

T = TypeVar("T")


class Strand(greenlet):
    """Where such a function runs."""

    hub: greenlet
    """Where the coroutine runs that drives it."""

    def wait(self, awaitable: Awaitable[T]) -> T:
        """Leaves, until the coroutine has awaited this. Called inside of it."""
        return cast("T", self.hub.switch(awaitable))


def current() -> Strand | None:
    """The strand whose code asks."""
    here = getcurrent()
    return here if isinstance(here, Strand) else None


async def execute(fn: Callable[..., T], args: Sequence[object], kwargs: Mapping[str, object]) -> T:
    """Calls the function in a strand of its own, and awaits for it what it waits for."""
    strand = Strand(fn)
    # One context for both: what the function sets in it, its activities see.
    strand.gr_context = getcurrent().gr_context
    asked = _enter(strand, strand.switch, *args, **kwargs)
    while not strand.dead:
        failed: BaseException | None = None
        given: Any = None
        try:
            given = await asked
        except BaseException as error:
            failed = error
        del asked
        if failed is None:
            asked = _enter(strand, strand.switch, given)
        else:
            # Raised outside of the handler, so that what the function raises instead is not tied to it by us.
            thrown, failed = failed, None
            try:
                asked = _enter(strand, strand.throw, thrown)
            finally:
                del thrown
    return cast("T", asked)


def _enter(strand: Strand, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Goes on in the strand; comes back with what it waits for next, or with what it returned."""
    # It comes back to where it was entered from, by waiting (hub) as by ending (parent).
    strand.hub = strand.parent = getcurrent()
    try:
        return step(*args, **kwargs)
    finally:
        # An error that comes out of there refers to this frame, and what was thrown in may be that error.
        del args, kwargs, step, strand
