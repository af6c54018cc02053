"""The command line, called as a user calls it, on a database of the test's own."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.main import answer
from tests.cli.yard import APP, Yard
from tests.house import House

SHOP = """
import asyncio
from dataclasses import dataclass
from datetime import timedelta

from pathlib import Path

from holdfast import (
    App, GiveUp, Retry, Signal, Update, activity_info, complete_later, report_progress, set_state, sleep,
)

app = App()


@dataclass
class Order:
    number: int
    express: bool = False


parcel = Signal[str]("parcel")
weigh = Update[int, str]("weigh")


@app.activity(retry=Retry(max_attempts=2, initial=timedelta(milliseconds=1)))
def pack(order: Order) -> str:
    if order.number == 13:
        raise ValueError("nobody packs number 13")
    return f"box {order.number}"


@app.activity(retry=Retry(max_attempts=2, initial=timedelta(0)))
async def approve(number: int) -> bool:
    Path(f"unfinished-{activity_info().attempt}").write_text(activity_info().token)
    Path(f"unfinished-{activity_info().attempt}").rename(f"token-{activity_info().attempt}")
    complete_later()


@app.activity
async def label(parcels: int) -> int:
    report_progress(1 / parcels, f"parcel 1 of {parcels}")
    await asyncio.sleep(1.2)
    report_progress(1.0, f"parcel {parcels} of {parcels}")
    while not Path("labelled").exists():
        await asyncio.sleep(0.02)
    return parcels


@app.workflow(name="ship-order")
async def ship_order(order: Order) -> str:
    box = await pack(order)
    if order.express:
        return f"{box} by air"
    return f"{box} by {await parcel.wait(timeout=timedelta(days=1))}"


@app.workflow(name="scales")
async def scales() -> int:
    total = 0
    async for call in weigh.calls():
        if call.input < 0:
            call.reject("nothing weighs less than nothing")
            continue
        total += call.input
        set_state("total", {"grams": total})
        call.reply(f"{total} g")
        if total > 100:
            return total
    raise AssertionError("they come for ever")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a call of the command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """stdout as one JSON document per line."""
        return [json.loads(line) for line in self.out.splitlines()]


Holdfast = Callable[..., Awaitable[Said]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project in the current directory: ``cli_shop:app``."""
    (tmp_path / "holdfast.toml").touch()
    (tmp_path / "cli_shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("cli_shop", None)


@pytest.fixture
def holdfast(shop: Path, dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Holdfast:
    """Calls the command in the shop's directory, on the test's database."""
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", dsn)
    monkeypatch.delenv("HOLDFAST_APP", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    async def call(*arguments: object, stdin: str = "") -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        # In a thread, because the command has an event loop of its own.
        code = await asyncio.to_thread(answer, [str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(code=int(code), out=said.out, err=said.err)

    return call


@pytest.fixture
async def yard(tmp_path: Path, house: House) -> AsyncIterator[Yard]:
    (tmp_path / "holdfast.toml").touch()
    (tmp_path / "yard.py").write_text(APP)
    yard = Yard(tmp_path, house, await house.client(house.app()))
    try:
        yield yard
    finally:
        await yard.close()
