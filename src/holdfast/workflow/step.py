"""One call of an activity in a run, from the moment it is asked for."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from holdfast.core.failure import Failure
    from holdfast.core.returns import Returns
    from holdfast.workflow.activity import Activity


class Step:
    """An activity that was asked for under ``key``; ``future`` gets its outcome."""

    __slots__ = ("activity", "asked_at", "digest", "future", "input", "key", "known", "run_id", "told")

    def __init__(
        self,
        *,
        key: str,
        activity: Activity[..., Any],
        input: str,
        digest: bytes,
        asked_at: datetime,
        future: asyncio.Future[Any],
    ) -> None:
        self.key = key
        self.activity = activity
        self.input = input
        self.digest = digest
        self.asked_at = asked_at
        self.future = future
        self.known = False
        """Whether its outcome is in the journal."""
        self.told = False
        """Whether the worker knows of it."""
        self.run_id: UUID | None = None
        """Of the run that executes it, where it was dispatched; set once that is in the journal."""

    @property
    def wanted(self) -> bool:
        """Whether the code still waits for it."""
        return not self.future.cancelled()

    @property
    def returns(self) -> Returns[Any]:
        """How its outcome is read."""
        return self.activity.returns

    @property
    def declared(self) -> str:
        """Who says of which type its outcome is."""
        return self.activity.what

    def take(self, value: object, error: Exception | None) -> None:
        """Gives the outcome to who waits for it."""
        if error is None:
            self.future.set_result(value)
        else:
            self.future.set_exception(error)

    def exception(self, failure: Failure) -> BaseException:
        """What to raise where it is awaited."""
        return failure.exception(self.activity.name)
