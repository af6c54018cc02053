"""What a caller was promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID


@dataclass(slots=True)
class Promise:
    """A start that was acknowledged."""

    kind: str
    number: int
    run_id: UUID
    unsure: set[int] = field(default_factory=set[int])
    """Signals that were sent to it, and not acknowledged."""
    is_cancelled: bool = False
    """Whether a request to cancel it was answered so: nothing of it had begun."""
