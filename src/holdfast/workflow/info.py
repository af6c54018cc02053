"""What workflow code can know about its own run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The run as it was started; the same on every replay."""

    run_id: UUID
    name: str
    """Of its workflow."""
    lane: str
    priority: str
    created_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    parent: UUID | None = None
    """The run that started this one as its child."""
    root: UUID
    """The run at the top of its tree: itself, where it is nobody's child."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """What was given to its start, by its caller or by middleware, and travels with it."""
