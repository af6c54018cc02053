"""Versions of workflows from the command line: who began with which, and whom nobody carries any more."""

from __future__ import annotations

from tests.cli.conftest import Holdfast
from tests.house import House
from tests.scenarios.releases import app_with, begun


async def test_a_version_that_nobody_carries_is_found_while_its_runs_wait(house: House, holdfast: Holdfast) -> None:
    run = await begun(house, "2026-03-01")
    await house.worker(app_with(house, "2026-04-01"))
    shown = await holdfast("run", "show", run.id)
    assert "version 2026-03-01" in shown.out
    assert "that carries version 2026-03-01 of 'order': none is there" in shown.out
    checked = await holdfast("db", "check", "--json")
    (finding,) = [one for one in checked.json["findings"] if one["topic"] == "version"]
    assert finding["level"] == "warning"
    assert finding["data"] == {"lane": "default", "name": "order", "version": "2026-03-01", "runs": 1}
    client = await house.client(house.app())
    fresh = await client.start_by_name("order", {"number": 2})
    await house.parked(fresh.id)
    assert [one.id for one in await client.list(name="order")] == [fresh.id, run.id]
    assert [one.id for one in await client.list(name="order", status="waiting")] == [fresh.id, run.id]
    assert [one.id for one in await client.list(name="order", version="2026-03-01")] == [run.id]
    assert [one.id for one in await client.list(version="2026-04-01", status="waiting")] == [fresh.id]
    assert len(await client.list(version=7)) == 0
    listed = await holdfast("run", "list", "--version", "2026-03-01", "--json")
    assert [(one["id"], one["version"]) for one in listed.json["runs"]] == [(str(run.id), "2026-03-01")]
    await house.worker(app_with(house, "2026-03-01"))
    await house.until("select count(*) = 2 from holdfast.worker where state = 'active'")
    assert [
        one for one in (await holdfast("db", "check", "--json")).json["findings"] if one["topic"] == "version"
    ] == []
