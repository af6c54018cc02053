"""One of those that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Language = Literal["Python", "Node"]
Batch = Literal["small", "large"]
BATCHES: tuple[Batch, ...] = ("small", "large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A system, how it is set up, and what has to be known of it to read its figures.

    Attributes:
        name: What it is called here, and the name of its adapter and of its counts.
        title: What it calls itself.
        package: The distribution that it comes in; None for Holdfast itself.
        language: In what its workers are written.
        has_workflows: Whether it knows workflows of several steps.
        small: Its own options where it takes and executes ten jobs at a time.
        large: Its own options where it is quickest, as far as its documentation says.
        client: Its own options for whoever starts and waits.
        keeps: What is left of a job that has ended.
        fences: Whether a worker that was taken for dead can still write.
        acknowledges: How ends are written.
        waits: How a client learns of the end.
        remark: Where the settings are from, and what else is particular.
    """

    name: str
    title: str
    package: str | None
    language: Language
    has_workflows: bool
    small: Mapping[str, Any]
    large: Mapping[str, Any]
    client: Mapping[str, Any]
    keeps: str
    fences: str
    acknowledges: str
    waits: str
    remark: str

    def settings(self, batch: Batch) -> Mapping[str, Any]:
        """Its options with batches of this size."""
        return self.small if batch == "small" else self.large
