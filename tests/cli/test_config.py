"""`holdfast config`: every setting, and where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.app.sources import VARIABLES
from holdfast.core.settings import SETTINGS
from tests.cli.conftest import Holdfast


async def test_every_setting_with_its_place(holdfast: Holdfast, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "holdfast.toml").write_text(
        '[holdfast]\nschema = "orders"\n[holdfast.worker]\nlease = "45s"\nbuckets = { low = 0 }\n'
    )
    monkeypatch.setenv("HOLDFAST_WORKER_MAX_THREADS", "8")
    said = await holdfast("config", "--app", "cli_shop:app", "--json")
    assert said.code == 0
    assert list(said.json["app"]) == list(VARIABLES)
    (worker,) = said.json["workers"]
    assert list(worker) == list(SETTINGS)
    toml = shop / "holdfast.toml"
    assert said.json["app"]["schema"] == {"value": "orders", "origin": str(toml)}
    assert worker["lease"] == {"value": 45.0, "origin": f"[holdfast.worker] in {toml}"}
    assert worker["buckets"] == {"value": {"low": 0}, "origin": f"[holdfast.worker] in {toml}"}
    assert worker["max_threads"] == {"value": 8, "origin": "HOLDFAST_WORKER_MAX_THREADS"}
    assert worker["poll"] == {"value": 1.0, "origin": "default"}


async def test_for_people_it_is_a_table_for_the_app_and_one_for_each_worker(holdfast: Holdfast) -> None:
    said = await holdfast("config", "--lane", "a", "--lane", "b")
    assert said.code == 0
    for words in ("worker of lane a", "worker of lane b", "HOLDFAST_DATABASE_URL", "--lane", "1 each", "30s", "30d"):
        assert words in said.out


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@h/db", "postgresql://h/db?user=me&password=secret", "postgresql://me:se:cret@h/db"]
)
@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_no_password_is_shown(
    holdfast: Holdfast, monkeypatch: pytest.MonkeyPatch, url: str, form: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", url)
    said = await holdfast("config", *form)
    assert said.code == 0
    assert "***" in said.out
    assert "cret" not in said.out + said.err


async def test_it_connects_to_nothing(holdfast: Holdfast) -> None:
    said = await holdfast("config", "--database-url", "postgresql://localhost:1/nowhere", "--json")
    assert said.code == 0
    assert said.json["app"]["database_url"]["origin"] == "--database-url"


async def test_mistakes_are_told_all_at_once_with_exit_code_2(
    holdfast: Holdfast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_WORKER_LEASE", "1ms")
    monkeypatch.setenv("HOLDFAST_WORKER_LEEASE", "1s")
    said = await holdfast("config", "--schema", "Not-Plain")
    assert (said.code, said.out) == (2, "")
    for words in (
        "- schema (--schema)",
        "- lease (HOLDFAST_WORKER_LEASE): 1 s to 3600 s, not 0.001 s",
        "- HOLDFAST_WORKER_LEEASE is not a setting of a worker; did you mean 'HOLDFAST_WORKER_LEASE'?",
    ):
        assert words in said.err
