"""One child of a run, from the moment it is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from holdfast.core.failure import Failure
    from holdfast.core.returns import Returns
    from holdfast.workflow.workflow import Workflow

OnParentClose = Literal["cancel", "abandon", "wait"]
"""What becomes of a child that is still open when its parent ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOptions:
    """How a child is to be started; what is None is as in its parent."""

    lane: str | None = None
    priority: int | None = None
    timeout: timedelta | None = None
    tags: str | None = None
    """JSON text."""
    on_parent_close: OnParentClose = "cancel"


class ChildStep:
    """A child that was asked for under ``key``; ``future`` gets its outcome."""

    __slots__ = (
        "begun",
        "digest",
        "future",
        "input",
        "key",
        "known",
        "only_tasks",
        "options",
        "run_id",
        "tasks",
        "told",
        "workflow",
    )

    def __init__(
        self,
        *,
        key: str,
        workflow: Workflow[..., Any],
        input: str,
        digest: bytes,
        options: ChildOptions,
        future: asyncio.Future[Any],
        begun: asyncio.Future[None] | None,
    ) -> None:
        self.key = key
        self.workflow = workflow
        self.input = input
        self.digest = digest
        self.options = options
        self.future = future
        self.begun = begun
        """Done once the code has seen that it was started; None where the code only waits for its outcome."""
        self.run_id: UUID | None = None
        """Set once its start is in the journal."""
        self.known = False
        """Whether its outcome is in the journal."""
        self.told = False
        """Whether the worker knows of it."""
        self.tasks: list[asyncio.Task[Any]] = []
        """Tasks that do nothing but wait for its outcome."""
        self.only_tasks = True
        """Whether nobody else waits for it."""

    def awaited_by(self, task: asyncio.Task[Any] | None) -> None:
        """Code waits for its outcome: a task that does nothing else, or any other."""
        if task is None:
            self.only_tasks = False
        else:
            self.tasks.append(task)

    @property
    def wanted(self) -> bool:
        """Whether the code still waits for it, or holds a handle on it."""
        return not self.future.cancelled()

    @property
    def returns(self) -> Returns[Any]:
        """How its outcome is read."""
        return self.workflow.returns

    @property
    def declared(self) -> str:
        """Who says of which type its outcome is."""
        return self.workflow.what

    def take(self, value: object, error: Exception | None) -> None:
        """Gives the outcome to who waits for it, now or later."""
        if error is None:
            self.future.set_result(value)
            return
        self.future.set_exception(error)
        if self.begun is not None:
            # Nobody has to look at the result of a handle; but one that was never started has no handle.
            self.future.exception()
            if not self.begun.done():
                self.begun.set_exception(error)

    def exception(self, failure: Failure) -> BaseException:
        """What to raise where it is awaited."""
        return failure.exception(self.workflow.name, child=True)
