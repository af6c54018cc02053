"""J8, from the command line: schedules are made, shown, paused, triggered, deleted and previewed."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Holdfast
from tests.house import House

ORDER = 'order={"number": 7}'


async def test_a_schedule_is_made_shown_and_listed(holdfast: Holdfast) -> None:
    made = await holdfast(
        *("schedule", "create", "closing", "ship-order", "0 18 * * mon-fri", ORDER, "--tz", "America/New_York"),
        *("--overlap", "queue", "--catch-up", "all", "--catch-up-limit", "7", "--lane", "parcels", "--tag", "a=b"),
        *("--jitter", "5m", "--timeout", "1h", "--priority", "high"),
    )
    assert made.code == 0, made.err
    assert "closing  active  made in a client" in made.out
    assert "0 18 * * mon-fri in America/New_York" in made.out
    assert "overlap queue, catch-up all, 7 at most" in made.out
    assert "18:00:00 -0" in made.out
    shown = (await holdfast("schedule", "show", "closing", "--json")).json
    assert (shown["target"], shown["kind"], shown["input"]) == ("ship-order", "workflow", {"order": {"number": 7}})
    assert (shown["jitter"], shown["timeout"], shown["tags"]) == (300, 3600, {"a": "b"})
    listed = await holdfast("schedule", "list", "--json")
    assert listed.json == {"schedules": [shown], "next": None}
    words = await holdfast("schedule", "list")
    assert [line.split()[:3] for line in words.out.splitlines()[1:]] == [["closing", "active", "ship-order"]]


async def test_readable_text_and_intervals_are_understood(holdfast: Holdfast) -> None:
    text = "every 30 minutes between 09:00 and 18:00 on weekdays in Europe/Paris"
    made = (await holdfast("schedule", "create", "pulse", "ship-order", text, ORDER, "--json")).json
    assert made["cadence"] == "0,30 9-17 * * mon-fri; 0 18 * * mon-fri in Europe/Paris"
    every = (await holdfast("schedule", "create", "often", "ship-order", ORDER, "--every", "15m", "--json")).json
    assert (every["every"], every["input"]) == (900, {"order": {"number": 7}})


async def test_it_is_paused_resumed_and_deleted(holdfast: Holdfast) -> None:
    await holdfast("schedule", "create", "nightly", "ship-order", "@daily", ORDER)
    assert (await holdfast("schedule", "pause", "nightly", "--json")).json["status"] == "paused"
    assert "nightly  paused" in (await holdfast("schedule", "show", "nightly")).out
    assert (await holdfast("schedule", "resume", "nightly", "--json")).json["status"] == "active"
    assert (await holdfast("schedule", "delete", "nightly")).out == "schedule 'nightly' is deleted\n"
    assert (await holdfast("schedule", "list")).out == "no schedules\n"


async def test_a_trigger_gives_the_id_of_a_run(holdfast: Holdfast, house: House) -> None:
    await holdfast("schedule", "create", "nightly", "ship-order", "@daily", ORDER, "--paused")
    run = (await holdfast("schedule", "trigger", "nightly")).out.strip()
    assert run == str(await house.value("select id from holdfast.run"))
    assert await house.value("select tags ->> 'schedule' from holdfast.run") == "nightly"


async def test_a_preview_needs_no_database(holdfast: Holdfast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    said = await holdfast(
        *(
            "schedule",
            "preview",
            "30 2 * * *",
            "--tz",
            "Europe/Berlin",
            "--from",
            "2024-03-29T12:00+01:00",
            "--count",
            "3",
        )
    )
    assert said.out.splitlines() == [
        "Sat 2024-03-30 02:30:00 +0100",
        "Sun 2024-03-31 03:00:00 +0200",
        "Mon 2024-04-01 02:30:00 +0200",
    ]
    over = await holdfast("schedule", "preview", "--every", "1h", "--end", "2020-01-01T00:00+00:00")
    assert over.out == "never again\n"


async def test_a_preview_of_one_that_is_there(holdfast: Holdfast) -> None:
    await holdfast("schedule", "create", "nightly", "ship-order", "@daily", ORDER, "--tz", "Asia/Tokyo")
    said = (await holdfast("schedule", "preview", "--name", "nightly", "--count", "2", "--json")).json
    assert [tick[10:] for tick in said["ticks"]] == ["T00:00:00+09:00"] * 2


async def test_what_cannot_be_is_a_line_and_an_exit_code(holdfast: Holdfast) -> None:
    bad = await holdfast("schedule", "preview", "every 30 minuts")
    assert bad.code == 2
    assert "at character 10: 'minuts' is neither a unit" in bad.err
    missing = await holdfast("schedule", "show", "nightly")
    assert missing.code == 4
    assert "there is no schedule 'nightly'" in missing.err
    await holdfast("schedule", "create", "nightly", "ship-order", "@daily")
    taken = await holdfast("schedule", "create", "nightly", "ship-order", "@daily")
    assert taken.code == 1
    assert "there is a schedule 'nightly' already" in taken.err
    unknown = await holdfast("schedule", "create", "other", "nobody", "@daily", "--app", "cli_shop:app")
    assert unknown.code == 2
    assert "no workflow or activity is registered under the name 'nobody'" in unknown.err
    unfit = await holdfast("schedule", "create", "other", "ship-order", "@daily", "order=7", "--app", "cli_shop:app")
    assert unfit.code == 2
    assert (await holdfast("schedule", "create", "other", "ship-order")).code == 2
    both = await holdfast("schedule", "preview", "@daily", "--name", "nightly")
    assert both.code == 2
