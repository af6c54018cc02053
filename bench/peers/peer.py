"""One of those that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Language = Literal["Python", "Node"]
Batch = Literal["small", "large"]
BATCHES: tuple[Batch, ...] = ("small", "large")

Options = Mapping[str, Any]


class Source(NamedTuple):
    """A page that anyone can read."""

    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A system, how it is set up, and what has to be known of it to read its figures.

    Attributes:
        name: What it is called here, and the name of its adapter and of its counts.
        title: What it calls itself.
        package: The distribution that it comes in; None for Holdfast itself.
        language: In what its workers are written.
        has_workflows: Whether it knows workflows of several steps.
        worker: Its own options for every worker.
        small: Its own options where it takes and executes ten jobs at a time.
        large: Its own options where it is quickest, as far as its documentation says and as it was found here.
        client: Its own options for whoever starts and waits.
        keeps: What is left of a job that has ended.
        fences: Whether a worker that was taken for dead can still write.
        acknowledges: How ends are written.
        waits: How a client learns of the end.
        remark: Why these settings, and what else is particular.
        source: What its own people say about quick settings.
    """

    name: str
    title: str
    package: str | None
    language: Language = "Python"
    has_workflows: bool = False
    worker: Options = field(default_factory=dict[str, Any])
    small: Options
    large: Options
    client: Options = field(default_factory=dict[str, Any])
    keeps: str
    fences: str = "no"
    acknowledges: str
    waits: str
    remark: str
    source: Source

    def settings(self, batch: Batch) -> Options:
        """The options of its worker with batches of this size."""
        return {**self.worker, **(self.small if batch == "small" else self.large)}

    @property
    def told(self) -> Mapping[str, Options]:
        """All that it is told, by whom that is for."""
        return {**{str(batch): self.settings(batch) for batch in BATCHES}, "client": self.client}


def name_all(options: Options, mark: str = "") -> str:
    """Options as people read them, each between two of these marks."""
    return ", ".join(f"{mark}{name}={value}{mark}" for name, value in options.items()) or "as it comes"
