"""Operating runs from the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast.app import load_app
from holdfast.app.hosted import HostedWorker
from tests.cli.conftest import Holdfast
from tests.house import QUICK, House


@pytest.fixture
async def worker(holdfast: Holdfast) -> AsyncIterator[HostedWorker]:
    """A worker of the shop."""
    async with load_app("cli_shop:app").worker(**QUICK) as worker:
        yield worker


async def started(holdfast: Holdfast, number: int = 7, *options: str) -> str:
    said = await holdfast("run", "start", "ship-order", f'order={{"number": {number}}}', "--json", *options)
    return str(said.json["id"])


async def test_a_run_is_paused_resumed_woken_and_terminated(
    holdfast: Holdfast, house: House, worker: HostedWorker
) -> None:
    run = await started(holdfast)
    await house.until("select waits_for is not null from holdfast.task")
    why = await holdfast("run", "why", run)
    assert "waits for signal 'parcel' since 0 s; send it" in why.out
    assert "sleeps until" in why.out
    assert (await holdfast("run", "pause", run)).out == "paused\n"
    assert (await holdfast("run", "pause", run)).out == "it was paused before\n"
    assert (await holdfast("run", "why", run)).out.splitlines()[1] == "  paused since 0 s; resume it"
    assert (await holdfast("run", "resume", run, "--json")).json == {"id": run, "effect": "done"}
    assert (await holdfast("run", "wake", run)).out == "woken\n"
    await house.ended(await house.value("select id from holdfast.run"))
    again = await holdfast("run", "rewind", run, "--to", "timer#1", "--json")
    assert (again.code, again.json["continued_from"]) == (0, run)
    new = again.json["id"]
    await house.until("select waits_for is not null from holdfast.task")
    shown = await holdfast("run", "show", run)
    assert new in shown.out
    assert f"rewind of {run}" in shown.out
    assert new not in (await holdfast("run", "show", run, "--exact")).out
    assert (await holdfast("run", "terminate", run)).out == "ended\n"
    ended = await holdfast("run", "terminate", run)
    assert (ended.code, ended.out) == (1, "it had ended before\n")
    fork = await holdfast("run", "fork", run, "--from", "pack#1")
    assert fork.code == 0
    assert fork.out.strip() not in {run, new}
    missing = await holdfast("run", "rewind", run, "--to", "pack#9")
    assert missing.code == 2
    assert "there is: pack#1" in missing.err


async def test_all_that_failed_are_retried(holdfast: Holdfast, house: House, worker: HostedWorker) -> None:
    runs = [await started(holdfast, 13, "--tag", "customer=acme") for _ in range(3)]
    await house.until("select count(*) = 3 from holdfast.result")
    filters = ("--all", "--workflow", "ship-order", "--status", "failed", "--tag", "customer=acme")
    dry = await holdfast("run", "retry", *filters, "--dry-run", "--json")
    assert sorted(dry.json["runs"]) == sorted(runs)
    assert (dry.json["made"], dry.json["dry_run"], dry.json["more"]) == ([], True, False)
    done = await holdfast("run", "retry", *filters, "--limit", "2")
    assert (done.code, done.out) == (0, "2 runs found, 2 done\n")
    assert "more than --limit" in done.err
    await house.until("select count(*) = 5 from holdfast.result")
    refused = await holdfast("run", "retry", (await holdfast("run", "start", "idle", "--json")).json["id"])
    assert refused.code == 1
    assert "has not ended: only a failed or cancelled run is retried" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pause",), "say which run by its id, or --all with filters"),
        (("pause", "--all"), "--all needs a filter"),
        (
            ("terminate", "0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90", "--status", "failed"),
            "filters and --dry-run go with --all",
        ),
        (("rewind", "--all", "--status", "failed"), "Missing option '--to'"),
        (("resume", "--all", "--status", "odd"), "is not one of"),
    ],
)
async def test_what_does_not_fit_together_is_refused(holdfast: Holdfast, words: tuple[str, ...], message: str) -> None:
    said = await holdfast("run", *words)
    assert said.code == 2
    assert message in said.err


async def test_nobody_knows_it(holdfast: Holdfast) -> None:
    for command in ("pause", "why", "retry"):
        assert (await holdfast("run", command, "0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90")).code == 4


async def test_tags_are_changed_and_indexed_and_old_runs_removed(
    holdfast: Holdfast, house: House, worker: HostedWorker
) -> None:
    run = await started(holdfast, 13, "--tag", "customer=acme")
    said = await holdfast("run", "tag", run, "--set", "plan=pro", "--remove", "customer")
    assert said.out == "plan=pro\n"
    assert (await holdfast("run", "tag", run, "--json")).json == {"id": run, "tags": {"plan": "pro"}}
    assert (await holdfast("run", "tag", run, "--set", "odd")).code == 2
    assert (await holdfast("run", "tag", run, "--set", "a=b", "--remove", "a")).code == 2
    assert (await holdfast("run", "tag", "--all", "--tag", "plan=pro")).code == 2
    many = ("run", "tag", "--all", "--tag", "plan=pro", "--set", "seen=yes", "--json")
    assert (await holdfast(*many, "--dry-run")).json["effects"] == {}
    assert (await holdfast(*many)).json["effects"] == {"done": 1}
    assert (await holdfast(*many)).json["effects"] == {"nothing": 1}
    assert (await holdfast("run", "tag", run, "--remove", "plan", "--remove", "seen")).out == "no tags\n"
    assert (await holdfast("db", "index-tags")).out == "tags have an index\n"
    assert (await holdfast("db", "index-tags", "--json")).json == {"indexed": True}
    assert (await holdfast("db", "index-tags", "--drop")).out == "tags have no index\n"
    await house.until("select count(*) = 1 from holdfast.result")
    assert (await holdfast("db", "prune", "--older-than", "1d")).out == "0 runs removed\n"
    dry = await holdfast("db", "prune", "--older-than", "0", "--dry-run", "--json")
    assert dry.json == {"runs": 1, "dry_run": True}
    assert (await holdfast("db", "prune", "--older-than", "0", "--status", "failed")).out == "1 run removed\n"
    assert (await holdfast("db", "prune", "--older-than", "0", "--status", "running")).code == 2
