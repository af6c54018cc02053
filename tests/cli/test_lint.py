"""Reading workflow code from the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import SHOP, Holdfast


@pytest.fixture
def sloppy(shop: Path) -> Iterator[str]:
    """The shop, with a clock in its workflow."""
    text = SHOP.replace(
        "    box = await pack(order)\n", "    import time\n\n    print(time.time())\n    box = await pack(order)\n"
    )
    (shop / "cli_shop_sloppy.py").write_text(text)
    yield "cli_shop_sloppy:app"
    sys.modules.pop("cli_shop_sloppy", None)


async def test_code_without_a_finding_passes(holdfast: Holdfast) -> None:
    said = await holdfast("lint", "cli_shop:app")
    assert (said.code, said.out) == (0, "2 workflows read, 0 findings\n")


async def test_a_finding_is_one_line_that_editors_can_follow(holdfast: Holdfast, sloppy: str, shop: Path) -> None:
    said = await holdfast("lint", sloppy)
    assert said.code == 1
    lines = (shop / "cli_shop_sloppy.py").read_text().splitlines()
    number = lines.index("    print(time.time())") + 1
    assert said.out.startswith(
        f"cli_shop_sloppy.py:{number}:11  clock  time.time() reads the clock; use holdfast.now(), which is the same"
    )
    assert said.out.endswith("(workflow ship-order)\n2 workflows read, 1 finding\n")


async def test_programs_get_all_of_it(holdfast: Holdfast, sloppy: str) -> None:
    said = await holdfast("lint", sloppy, "--json")
    assert said.code == 1
    assert (said.json["ok"], said.json["workflows"], said.json["allowed"], said.json["unread"]) == (False, 2, [], [])
    (found,) = said.json["findings"]
    assert set(found) == {"file", "line", "column", "rule", "what", "instead", "workflow", "through"}
    assert (found["rule"], found["workflow"], found["through"]) == ("clock", "ship-order", ["ship_order"])


async def test_a_comment_with_a_reason_lets_it_pass(holdfast: Holdfast, sloppy: str, shop: Path) -> None:
    file = shop / "cli_shop_sloppy.py"
    file.write_text(file.read_text().replace("print(time.time())", "print(time.time())  # holdfast: allow, for people"))
    said = await holdfast("lint", sloppy)
    assert (said.code, said.out) == (0, "2 workflows read, 0 findings, 1 allowed\n")


async def test_an_app_that_is_not_there_gives_exit_code_2(holdfast: Holdfast) -> None:
    assert (await holdfast("lint", "cli_shop_missing:app")).code == 2


async def test_it_needs_no_database(holdfast: Holdfast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://localhost:1/nowhere")
    assert (await holdfast("lint", "cli_shop:app")).code == 0
