"""Exporting runs and checking code against them, from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import RunExport
from holdfast.app import load_app
from holdfast.cli.main import answer
from tests.cli.conftest import SHOP, Holdfast
from tests.house import QUICK, House


@pytest.fixture(autouse=True)
def other_modules() -> Iterator[None]:
    """Each test writes its own."""
    yield
    for name in ("cli_shop_next", "cli_shop_coded"):
        sys.modules.pop(name, None)


@pytest.fixture
async def waiting(holdfast: Holdfast, house: House) -> list[str]:
    """Two runs of the shop that wait for a parcel, and one that has ended."""
    app = load_app("cli_shop:app")
    client = await house.client(app)
    async with app.worker(**QUICK):
        runs = [await client.start_by_name("ship-order", {"order": {"number": n}}) for n in (1, 2)]
        await house.parked(*[run.id for run in runs])
        ended = await client.start_by_name("ship-order", {"order": {"number": 3, "express": True}})
        await house.ended(ended.id)
    return [str(run.id) for run in (*runs, ended)]


def changed(shop: Path) -> str:
    """The shop under other code, as a module of its own."""
    (shop / "cli_shop_next.py").write_text(SHOP.replace("await pack(order)", "await pack(Order(order.number + 1))"))
    return "cli_shop_next:app"


async def test_code_that_fits_passes(holdfast: Holdfast, waiting: list[str]) -> None:
    said = await holdfast("check", "cli_shop:app", "--sample", "10", "--ended", "--json")
    assert said.code == 0
    assert said.json == {
        "ok": True,
        "replayed": 3,
        "breaks": 0,
        "workflows": [{"name": "ship-order", "version": None, "replayed": 3, "breaks": [], "runs": 3}],
        "unknown": {},
    }
    words = await holdfast("check", "cli_shop:app")
    assert words.code == 0
    assert "ship-order" in words.out


async def test_code_that_would_break_runs_is_told_which_and_why(
    holdfast: Holdfast, waiting: list[str], shop: Path
) -> None:
    said = await holdfast("check", changed(shop), "--json")
    assert (said.code, said.json["ok"], said.json["replayed"]) == (1, False, 2)
    (checked,) = said.json["workflows"]
    assert {one["run_id"] for one in checked["breaks"]} == set(waiting[:2])
    assert {one["fault"] for one in checked["breaks"]} == {"blocks"}
    assert checked["breaks"][0]["reason"].startswith("NonDeterminismError: the code asks for activity pack#1")
    words = await holdfast("check", changed(shop), "--name", "ship-order")
    assert words.code == 1
    assert f"ship-order {waiting[0]} blocks" in words.out
    assert (await holdfast("check", changed(shop), "--name", "other")).code == 0


async def test_exported_runs_are_checked_without_a_database(
    holdfast: Holdfast, waiting: list[str], shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = await holdfast("run", "export", *waiting, "--to", "runs", "--json")
    assert exported.code == 0
    assert {one["id"] for one in exported.json["exported"]} == set(waiting)
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://localhost:1/nowhere")
    fits = await holdfast("check", "cli_shop:app", "--from", "runs", "--json")
    assert (fits.code, fits.json["replayed"]) == (0, 3)
    breaks = await holdfast("check", changed(shop), "--from", f"runs/{waiting[0]}.json", "--json")
    assert (breaks.code, breaks.json["breaks"]) == (1, 1)


async def test_one_run_goes_to_stdout(holdfast: Holdfast, waiting: list[str]) -> None:
    said = await holdfast("run", "export", waiting[2])
    run = RunExport.from_json(said.out)
    assert (str(run.run_id), [entry.key for entry in run.journal]) == (waiting[2], ["pack#1"])
    assert run.result is not None
    assert run.result.output == '"box 3 by air"'


async def test_a_sample_is_exported(holdfast: Holdfast, waiting: list[str], shop: Path) -> None:
    said = await holdfast("run", "export", "--sample", "10", "--ended", "--to", "runs")
    assert said.out == "3 runs exported to runs\n"
    assert sorted(file.stem for file in (shop / "runs").iterdir()) == sorted(waiting)


async def test_all_that_fit_filters_are_exported(holdfast: Holdfast, waiting: list[str], shop: Path) -> None:
    some = ("run", "export", "--all", "--workflow", "ship-order", "--to", "runs", "--json")
    said = await holdfast(*some, "--status", "waiting")
    assert [one["id"] for one in said.json["exported"]] == sorted(waiting[:2], reverse=True)
    assert len((await holdfast(*some, "--limit", "1")).json["exported"]) == 1
    assert (await holdfast(*some, "--tag", "a=b")).json == {"exported": []}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "export"), "which runs? Give their ids, or --all with filters, or --sample N"),
        (("run", "export", "--sample", "2"), "several runs go into files: say where with --to DIR"),
        (("run", "export", "0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90", "--ended"), "--ended with --sample"),
        (("run", "export", "--all", "--to", "runs"), "--all needs a filter"),
        (("run", "export", "--sample", "2", "--status", "failed", "--to", "runs"), "filters go with --all"),
        (("run", "export", "--all", "--name", "a", "--name", "b", "--to", "runs"), "takes one --workflow"),
        (("check", "cli_shop:app", "--from", "empty"), "there are no exported runs (*.json) in empty"),
        (("check", "cli_shop:app", "--from", "bad.json"), "bad.json: this is not an exported run"),
        (("check", "cli_shop_missing:app"), "there is no module 'cli_shop_missing'"),
    ],
)
async def test_what_cannot_work_is_said(holdfast: Holdfast, shop: Path, arguments: tuple[str, ...], words: str) -> None:
    (shop / "empty").mkdir()
    (shop / "bad.json").write_text("{}")
    said = await holdfast(*arguments)
    assert said.code == 2
    assert words in said.err


async def test_a_run_that_is_not_there_gives_exit_code_4(holdfast: Holdfast) -> None:
    assert (await holdfast("run", "export", "0197b2f0-7c3e-7a41-9d5c-2f6b8e1d4a90")).code == 4


async def test_where_there_is_nothing_to_check_that_is_said(holdfast: Holdfast) -> None:
    said = await holdfast("check", "cli_shop:app")
    assert (said.code, said.out) == (0, "there are no runs of workflows to replay\n")


async def test_a_schema_is_not_made_by_looking(holdfast: Holdfast, house: House) -> None:
    said = await holdfast("check", "cli_shop:app", "--schema", "nowhere")
    assert said.code == 3
    assert not await house.value("select count(*) from pg_namespace where nspname = 'nowhere'")


async def test_payloads_are_opened_with_the_codec_of_the_app(holdfast: Holdfast, house: House, shop: Path) -> None:
    coded = SHOP.replace("app = App()", "from tests.client.shop import Cipher\n\napp = App(codec=Cipher())")
    (shop / "cli_shop_coded.py").write_text(coded)
    app = load_app("cli_shop_coded:app")
    client = await house.client(app)
    async with app.worker(**QUICK):
        run = await client.start_by_name("ship-order", {"order": {"number": 3, "express": True}})
        await house.ended(run.id)
    assert (await holdfast("run", "export", run.id)).code == 1
    said = await holdfast("run", "export", run.id, "--app", "cli_shop_coded:app")
    assert json.loads(said.out)["result"]["output"] == "box 3 by air"
    assert (await holdfast("check", "cli_shop_coded:app", "--ended")).code == 0


def test_help_shows_how() -> None:
    assert answer(["check", "--help"]) == 0
