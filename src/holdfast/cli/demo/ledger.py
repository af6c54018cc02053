"""A ledger of every call of an activity, written before the call, by whichever process makes it."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from holdfast.workflow.activity import Activity
from holdfast.workflow.attempted import activity_info

VARIABLE = "HOLDFAST_DEMO_LEDGER"
"""Names the file to the workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One call: of which step of which run, by which process, and when it began."""

    run: str
    key: str
    attempt: int
    pid: int
    at: float

    @property
    def step(self) -> tuple[UUID, str]:
        """What was called: the same for each of its calls."""
        return UUID(self.run), self.key

    @property
    def time(self) -> datetime:
        """When it began, on this machine's clock."""
        return datetime.fromtimestamp(self.at, UTC)


def keep_ledger(activity: Activity[..., Any]) -> None:
    """From now on each call of the activity by a worker of this process is written down before it begins."""
    fn: Callable[..., Any] = activity.fn
    if activity.is_async:

        @functools.wraps(fn)
        async def noted_async(*args: Any, **kwargs: Any) -> Any:
            _note()
            return await fn(*args, **kwargs)

        activity.fn = noted_async
    else:

        @functools.wraps(fn)
        def noted(*args: Any, **kwargs: Any) -> Any:
            _note()
            return fn(*args, **kwargs)

        activity.fn = noted


def read_ledger(path: Path) -> list[Line]:
    """All calls so far."""
    return [Line(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _note() -> None:
    info = activity_info()
    line = Line(run=str(info.run_id), key=info.key, attempt=info.attempt, pid=os.getpid(), at=time.time())
    # One write to the end of the file: it is whole or absent, whoever else writes, and however this process dies.
    os.write(_descriptor(), f"{json.dumps(asdict(line))}\n".encode())


@functools.cache
def _descriptor() -> int:
    return os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
