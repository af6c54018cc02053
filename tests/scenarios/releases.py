"""Releases of one workflow, each with some versions of it."""

from __future__ import annotations

from typing import Any

from holdfast import App, RunHandle, Signal
from tests.house import QUICK, House

go = Signal[str]("go")


def app_with(house: House, *versions: int | str | None) -> App:
    """An app with these versions of the workflow ``order``, which says who it is."""
    app = house.app()

    @app.activity
    async def note(who: str) -> str:
        return who

    for version in versions:

        async def order(number: int, me: str = f"order@{version}") -> str:
            await note("begun")
            return f"{number} {me} {await go.wait()}"

        app.workflow(name="order", version=version)(order)
    return app


async def begun(house: House, *versions: int | str | None, number: int = 1) -> RunHandle[Any]:
    """A run that was begun by a worker with these versions, which has left."""
    app = app_with(house, *versions)
    client = await house.client(app)
    async with app.worker(**QUICK):
        run = await client.start_by_name("order", {"number": number})
        await house.parked(run.id)
    return run
