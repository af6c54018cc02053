"""The benchmarks run end to end, and their figures are there; what they amount to is not for a test to say."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.catalogue import SCENARIOS
from bench.failure import BenchFailed
from bench.figure import Figure, Target
from bench.server import url_of
from bench.tuning import DEFAULT
from bench.worker import run_worker
from holdfast.embedded import EmbeddedPostgres

ROOT = Path(__file__).parent.parent.parent


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


def tiny(server: EmbeddedPostgres, file: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    """Scenarios at the smallest size that gives figures, by their names."""
    ended = bench(
        *("--seconds", "0.1", "--repeat", "1", "--factor", "default", "--parked", "3000", "--minutes", "0.05"),
        *("--database-url", server.dsn, "--json", str(file)),
        *arguments,
    )
    records: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    assert ended.returncode == any(record["failure"] for record in records), ended.stdout + ended.stderr
    assert all(record["scenario"] in ended.stdout for record in records)
    return {record["scenario"]: record for record in records}


NAMES = [scenario.name for scenario in SCENARIOS]
SITTINGS = {name: tuple(NAMES[place % 5 :: 5]) for place, name in enumerate(NAMES)}
"""With which others a scenario is measured in one process: each begins with as much as it takes to measure it."""


@pytest.fixture(scope="module")
def sitting(
    server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[tuple[str, ...]], dict[str, Any]]:
    @cache
    def measured(names: tuple[str, ...]) -> dict[str, Any]:
        return tiny(server, tmp_path_factory.mktemp("bench") / "figures.json", *names)

    return measured


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(f"bench {SITTINGS[name][0]}")) for name in NAMES]
)
def test_a_scenario_runs_from_end_to_end(sitting: Callable[[tuple[str, ...]], dict[str, Any]], name: str) -> None:
    (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == name)
    record = sitting(SITTINGS[name])[name]
    figures = record["figures"]
    assert record["scenario"] == name
    assert record["failure"] is None
    assert {target.figure for target in scenario.targets} <= set(figures)
    for figure in figures.values():
        assert 0 <= figure["min"] <= figure["median"] <= figure["max"]
        assert (figure["reached"] is None) == (figure["target"] is None)
    assert next(iter(figures.values()))["median"] > 0
    assert ("ratio to the ceiling" in figures) == (scenario.yardstick is not None)
    assert (record["tuning"] is not None) == scenario.has_worker
    assert record["settings"]["repeat"] == 1
    assert record["environment"]["machine"]["cores"] >= 1
    assert record["environment"]["postgres"]["fsync"] == "off"


def test_a_profile_says_where_the_time_of_worker_client_and_server_goes(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    tiny(server, tmp_path / "figures.json", "latency", "--profile", str(tmp_path / "profiles"))
    assert {file.name for file in (tmp_path / "profiles").iterdir()} == {
        f"latency-default-{who}-1.{kind}" for who in ("worker", "client") for kind in ("stacks", "txt")
    }
    for who in ("worker", "client"):
        said = (tmp_path / "profiles" / f"latency-default-{who}-1.txt").read_text(encoding="utf-8")
        of_process, of_server = said.split("the server: ")
        # So short that it may have been seen at few things: but at some, most of all at importing itself.
        assert re.search(r"^ +[0-9.]+%  [a-zP]", of_process, re.MULTILINE), said
        assert re.search(r"^ +[0-9.]+% .*insert into holdfast\.run", of_server, re.MULTILINE), said


def test_a_scenario_that_cannot_be_run_ends_with_an_error(server: EmbeddedPostgres) -> None:
    ended = bench("no-such-thing", "--database-url", server.dsn)
    assert ended.returncode == 2
    assert "workflows-3" in ended.stderr


async def test_a_worker_that_ends_fails_whoever_waits_for_its_results() -> None:
    with pytest.raises(BenchFailed, match="has ended with exit code"):
        async with run_worker("postgresql://nobody@127.0.0.1:1/nothing", DEFAULT):
            await asyncio.Event().wait()


def test_the_list_names_every_scenario() -> None:
    ended = bench("--list")
    assert [line.split()[0] for line in ended.stdout.splitlines()] == [scenario.name for scenario in SCENARIOS]


def test_targets_know_both_directions() -> None:
    assert Target(figure="ratio", least=0.4).is_reached(0.4)
    assert not Target(figure="ratio", least=0.4).is_reached(0.39)
    assert Target(figure="p50", most=3.0).is_reached(3.0)
    assert not Target(figure="p50", most=3.0).is_reached(3.1)
    assert str(Target(figure="ratio", least=0.4, remark="about 6,500/s")) == "≥ 0.4 (about 6,500/s)"


def test_figures_are_compared_repetition_by_repetition() -> None:
    share = Figure(name="pinned", values=(9.0, 20.0)).over("share", Figure(name="without", values=(10.0, 10.0)))
    assert share.values == (0.9, 2.0)
    assert share.median == 1.45


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("postgresql:///postgres?host=/run/x&port=5432", "postgresql:///scratch?host=/run/x&port=5432"),
        ("postgres://ann:secret@db:6432/shop", "postgres://ann:secret@db:6432/scratch"),
        ("postgresql://db", "postgresql://db/scratch"),
    ],
)
def test_scratch_databases_are_on_the_same_server(url: str, other: str) -> None:
    assert url_of(url, "scratch") == other
