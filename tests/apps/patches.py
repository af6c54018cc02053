"""For a worker process: a workflow with a patch, whose activity leaves a line in the ledger each time it is called."""

from __future__ import annotations

from holdfast import App, patched
from tests.apps.ledger import note

app = App()


@app.activity
def ship(how: str) -> str:
    note(how)
    return how


@app.workflow
async def order() -> str:
    return await ship("by air" if patched("air") else "by rail")
