"""What is shown while the demo runs: a picture that changes on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from holdfast.cli.output import Output
from holdfast.store.lane import LaneWorker

_LINE_EVERY = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """How far everything is at one moment."""

    done: int
    total: int
    onboarding: str
    workers: Sequence[LaneWorker]


class Stage:
    """Shows scenes, and says what happens in between."""

    def __init__(self, out: Output) -> None:
        self._console = out.people
        self._live = Live(console=out.people, refresh_per_second=10) if out.people.is_terminal else None
        self._began = time.monotonic()
        self._told = 0.0
        self._scene: Scene | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def say(self, words: str, *, style: str = "") -> None:
        """Something has happened."""
        self._console.print(Text.assemble((f"{self.seconds:5.1f} s  ", "dim"), (words, style)))

    def show(self, scene: Scene) -> None:
        """This is how far everything is."""
        if self._live is not None:
            self._live.update(_picture(scene))
        elif scene != self._scene and (self.seconds - self._told > _LINE_EVERY or scene.done == scene.total):
            self._told = self.seconds
            held = ", ".join(f"{worker.name} holds {len(worker.held)}" for worker in scene.workers)
            self.say(f"{scene.done}/{scene.total} packages · onboarding {scene.onboarding} · {held}", style="dim")
        self._scene = scene


def _picture(scene: Scene) -> Group:
    progress = Table.grid(padding=(0, 1))
    progress.add_row(
        "census", ProgressBar(total=scene.total, completed=scene.done, width=40), f"{scene.done}/{scene.total} packages"
    )
    progress.add_row("onboarding", Text(scene.onboarding, style="magenta"))
    workers = Table.grid(padding=(0, 1))
    for worker in scene.workers:
        state = Text("alive", style="green") if worker.alive else Text("lease over", style="red")
        workers.add_row(Text(worker.name, style="bold"), f"pid {worker.pid}", state, _blocks(len(worker.held)))
    return Group(progress, workers)


def _blocks(held: int) -> Text:
    # Beside name, pid and state, so many fit on a line of 80 columns.
    return Text.assemble(("▪" * min(held, 28), "blue"), f" holds {held}", no_wrap=True)
