"""A run that kills its worker each time is given up after five crashes, and takes no neighbour along (R8)."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from holdfast import RunFailed
from tests.apps import poison
from tests.house import House

SOON = timedelta(seconds=60)


@pytest.mark.parametrize("kind", ["workflow", "job"])
async def test_a_poisonous_run_is_given_up_after_five_crashes_and_its_neighbours_succeed(
    house: House, kind: str
) -> None:
    app = house.app()
    for name, definition in poison.app.definitions.items():
        del name
        app._registry.add(definition)
    client = await house.client(app)
    bad = await (client.start(poison.poisoned, "x") if kind == "workflow" else client.start(poison.die, "x"))
    neighbours = await client.start_many([poison.neighbour.call(n) for n in range(50)])

    workers = [await house.process("tests.apps.poison", "--lease", "2s", "--grace", "5s")]
    while True:
        # Whoever dies is replaced, as an operator would; from the second crash on, nobody of these may die any more.
        ended = await house.value("select count(*) from holdfast.result where run_id = $1", bad.id)
        if ended:
            break
        with suppress(TimeoutError):
            await workers[-1].exit(patience=0.3)
            workers.append(await house.process("tests.apps.poison", "--lease", "2s", "--grace", "5s"))
    assert len(workers) == 3, "two crashes of ordinary workers, the other three in processes of their own"

    with pytest.raises(RunFailed, match="given up after 5 crashes"):
        await bad.result(timeout=SOON)
    assert [await run.result(timeout=SOON) for run in neighbours] == [5 * n for n in range(50)]
    await house.check_invariants()
