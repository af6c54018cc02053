"""Workflows: deterministic functions that call activities, sleep and wait."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

from holdfast.client.options import start_options
from holdfast.core.definition import Definition
from holdfast.core.errors import DefinitionError, ForbiddenInWorkflow, InvalidInput
from holdfast.core.states import RunKind
from holdfast.workflow.activity import base_of, refuse_reserved
from holdfast.workflow.child import ChildOptions, OnParentClose
from holdfast.workflow.continue_as_new import continue_as_new
from holdfast.workflow.cpython import rename
from holdfast.workflow.current import current_loop
from holdfast.workflow.foresight import is_plain, waiting_task

if TYPE_CHECKING:
    from holdfast.core.priority import PriorityName

P = ParamSpec("P")
R = TypeVar("R")


class Workflow(Definition[P, R]):
    """A function that is executed durably, from its journal: it may be replayed any number of times.

    Called in workflow code it runs as a child: ``receipt = await ship(order)`` starts a run of its own, which any
    worker can take, and gives its result; meanwhile the parent is a row. If the task that awaits it is cancelled, so is
    the child. What the child raises comes out of the ``await`` as its own class where that can be made again, else as
    ``ChildFailed``; ``ChildCancelled`` and ``ChildTimedOut`` tell these two. See also :func:`start_child`.

    It runs on a loop of its own, with asyncio as it is. Tasks that are still open when the function returns or raises
    are dropped, silently: await what must be done. A function that is not async runs there too, and says ``wait(...)``
    where an async one awaits; it needs the extra ``sync``.

    Args:
        fn: the function itself; also ``.fn``.
        name: under which it is known to clients and workers; that of the function if left out.
        version: a number or a text. Several versions of one name may be registered together: new runs begin with the
            highest, and a run stays with the version that it has begun with.

    Raises:
        DefinitionError: the name, the version or the function cannot be used.
    """

    @overload
    def __init__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], *, name: str | None = None, version: int | str | None = None
    ) -> None: ...
    @overload
    def __init__(self, fn: Callable[P, R], *, name: str | None = None, version: int | str | None = None) -> None: ...
    def __init__(self, fn: Callable[P, Any], *, name: str | None = None, version: int | str | None = None) -> None:
        given = getattr(fn, "__name__", "") if name is None else name
        super().__init__(fn, name=given, kind=RunKind.WORKFLOW, version=version)
        refuse_reserved(self.what, self.name)
        self.base = self.name
        """What the keys of its calls begin with."""
        self.child_options = ChildOptions()
        """How it is started where it is called."""
        self.execute: Callable[P, Coroutine[Any, Any, R]] = self.fn if self.is_async else self._in_strands()
        """What makes the coroutine of a run."""

    def _in_strands(self) -> Callable[P, Coroutine[Any, Any, R]]:
        try:
            from holdfast.workflow.strand import execute
        except ImportError as error:
            raise DefinitionError(
                f"{self.what} is not async, which needs greenlet: write it as `async def`, or install the extra: "
                f"pip install 'holdfast[sync]' ({error})"
            ) from error
        fn = self.fn

        def in_strand(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            return execute(fn, args, kwargs)

        return in_strand

    # Not Coroutine[Any, Any, R]: mypy takes `gather` of several of those, of different results, for Any.
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, object, R]:
        if current_loop() is None:
            raise DefinitionError(
                f"{self.what} was called like a function: start it with `await client.start(...)`, so that a worker "
                "runs it durably; .fn() is the function itself, for tests"
            )
        coroutine = self._outcome(args, kwargs)
        rename(coroutine, self.name)
        return coroutine

    def options(
        self,
        *,
        key: str | None = None,
        lane: str | None = None,
        priority: PriorityName | None = None,
        timeout: timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        on_parent_close: OnParentClose = "cancel",
    ) -> Workflow[P, R]:
        """The same workflow with other options, for where it is called: ``await ship.options(lane="depot")(order)``.

        ``lane`` and ``priority`` are those of its parent if nothing is said; after ``timeout`` from its start it ends
        as timed out; ``tags`` are its own. With ``key`` the call is known in the journal by ``name:key#n``, as that of
        an activity. ``on_parent_close`` is what :func:`start_child` says.

        Raises:
            InvalidInput, DefinitionError: an option cannot be used.
        """
        other = copy.copy(self)
        if key is not None:
            other.base = base_of(self, key)
        if on_parent_close not in ("cancel", "abandon", "wait"):
            raise InvalidInput(f"on_parent_close is {on_parent_close!r}: use cancel, abandon or wait")
        checked = start_options(
            self.what,
            lane="default" if lane is None else lane,
            priority="medium" if priority is None else priority,
            at=None,
            after=None,
            tags=tags,
            timeout=timeout,
        )
        other.child_options = replace(
            self.child_options,
            lane=lane,
            priority=None if priority is None else checked.priority,
            timeout=timeout,
            tags=checked.tags,
            on_parent_close=on_parent_close,
        )
        return other

    def continue_as_new(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """As :func:`continue_as_new`, with types: in the code of this workflow.

        Raises:
            ForbiddenInWorkflow: it is not this workflow that runs.
        """
        loop = current_loop()
        if loop is not None and loop.info.name != self.name:
            raise ForbiddenInWorkflow(f"a run of workflow {loop.info.name!r} cannot go on as one of {self.name!r}")
        continue_as_new(*args, **kwargs)

    async def _outcome(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        loop = current_loop()
        if loop is None:
            raise DefinitionError(f"{self.what} was called in one run and awaited outside of it")
        if loop.dropped:
            await loop.create_future()
        delivery = loop.delivery
        step = delivery.ask_child(self, self.parameters.encode(args, kwargs), loop.create_future(), None)
        step.awaited_by(waiting_task())
        try:
            outcome: R = await step.future
            return outcome
        except asyncio.CancelledError:
            delivery.abandon(step)
            raise
        finally:
            # An error that is raised here refers to this frame, and the step to the error.
            del step


is_plain(vars(Workflow)["_outcome"])
