"""State: by its name it is plain JSON, by its State it has its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from holdfast import App, State, set_state

app = App()


@dataclass
class Progress:
    done: int


progress = State[Progress]("progress")


@app.workflow
async def ship(count: int) -> None:
    progress.set(Progress(count))
    set_state("phase", {"any": ["thing"]})


async def main() -> None:
    async with app.client() as client:
        run = await client.start(ship, 3)
        assert_type(await run.state(progress), Progress | None)
        assert_type(await run.state("progress"), Any)
