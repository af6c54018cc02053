"""Holdfast is measured as its peers are, by adapters that speak a protocol; nothing of the peers is needed for that."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.catalogue import SCENARIOS as OWN_SCENARIOS
from bench.environment import Environment
from bench.failure import BenchFailed
from bench.figure import Figure
from bench.machine import Machine, look_at_machine
from bench.peers.bout import Bout, drained
from bench.peers.catalogue import PEERS
from bench.peers.comparison import Round, disagree
from bench.peers.document import Sat
from bench.peers.installation import ROOT, Installation
from bench.peers.page import write_page
from bench.peers.peer import BATCHES, Batch
from bench.peers.process import Adapter, run_adapter
from bench.peers.record import PeerRecord, Records
from bench.peers.scenario import CREW, DECLINE, LEFT_OUT, PACE, SCENARIOS, Figures, Scenario, crew
from bench.peers.table import print_table, rows
from bench.peers.tally import PARTS, Tally
from bench.peers.verdict import judge
from bench.plan import Plan
from bench.server import Server
from bench.sitting import Sitting
from holdfast.core.priority import Priority
from holdfast.core.settings import WorkerSettings
from holdfast.embedded import EmbeddedPostgres

ADAPTERS = ROOT / "bench" / "peers" / "adapters"

PYTHON_SYSTEM = """
import asyncio

from bench.peers.adapter import Client, Worker
from bench.peers.protocol import serve

class Mine(Client):
    async def open(self, task): print("a library that prints"); self.started = 0
    async def install(self): pass
    async def start(self, number): self.started += 1; await asyncio.sleep(0.001); return number
    async def start_many(self, count, sent=None):
        if count == 13: raise ValueError("thirteen")
        self.started += count; await asyncio.sleep(0.001)
    async def wait(self, handle): await asyncio.sleep(0.001)

class Executing(Worker):
    async def run(self, task, tally):
        for number in range(task.settings["jobs"]):
            tally.tick(sent=0.0 if number else None)
        await asyncio.Event().wait()

serve(Mine, Executing)
"""

NODE_SYSTEM = """
import { serve } from "./errand.mjs";

const rest = () => new Promise((resolve) => setTimeout(resolve, 1));
const client = {
  async open() { console.log("a library that prints"); },
  async install() {},
  async start(number) { await rest(); return number; },
  async startMany(count) { if (count === 13) throw new Error("thirteen"); await rest(); },
  async wait() { await rest(); },
};
async function worker({ settings }, tick) {
  for (let number = 0; number < settings.jobs; number++) tick(number ? 0 : null);
}
await serve(client, worker);
"""


@pytest.fixture(params=["python", "node"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """What starts an adapter of a system that is made up."""
    if request.param == "python":
        return [sys.executable, "-c", PYTHON_SYSTEM]
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here")
    shutil.copy(ADAPTERS / "errand.mjs", tmp_path)
    (tmp_path / "system.mjs").write_text(NODE_SYSTEM, encoding="utf-8")
    return [node, str(tmp_path / "system.mjs")]


@asynccontextmanager
async def adapter(command: list[str], role: Any, **task: Any) -> AsyncGenerator[Adapter]:
    async with run_adapter(command, role, url="postgresql://nowhere", task=task, cwd=ROOT) as process:
        yield process


async def test_a_client_does_what_it_is_asked_for_and_goes_on_after_a_failure(command: list[str]) -> None:
    async with adapter(command, "client") as client:
        assert await client.ask("install") == {}
        assert await client.ask("fill", count=25, chunk=10) == {"started": 25}
        with pytest.raises(BenchFailed, match="thirteen"):
            await client.ask("fill", count=13, chunk=13)
        said = await client.ask("singles", crowd=5, warm_up=0.01, seconds=0.05)
        assert said["started"] >= 5
        assert said["per_second"] > 0
        said = await client.ask("bulk", size=100, warm_up=0.01, seconds=0.05)
        assert said["started"] % 100 == 0
        assert said["per_second"] > said["started"] / 10
        assert len((await client.ask("latency", samples=3, seconds=10))["ms"]) == 3
        assert len((await client.ask("latency", samples=10**6, seconds=0.1))["ms"]) < 100
        assert 10 <= (await client.ask("stream", rate=200, seconds=0.1))["started"] <= 20


async def test_a_worker_says_when_all_that_is_expected_has_been_executed(command: list[str]) -> None:
    async with adapter(command, "worker", expected=100, settings={"jobs": 100}) as worker:
        said = await worker.hear()
        assert said["executed"] == 100
        assert [count for count, _ in said["marks"]] == [1, *range(5, 101, 5)]
        assert len((await worker.ask("report"))["delays"]) == 99


async def test_a_worker_that_is_not_done_can_be_asked_how_far_it_is(command: list[str]) -> None:
    async with adapter(command, "worker", expected=100, settings={"jobs": 40}) as worker:
        with pytest.raises(TimeoutError):
            await worker.hear(patience=0.05)
        while (said := await worker.ask("report"))["executed"] < 40:
            pass
        assert said["marks"][-1][0] == 40


async def test_an_adapter_that_ends_says_why() -> None:
    async with adapter([sys.executable, "-c", "raise SystemExit('no such system')"], "client") as client:
        with pytest.raises(BenchFailed, match="no such system"):
            await client.ask("install")


def test_marks_stand_at_each_twentieth_of_what_is_expected() -> None:
    tally = Tally(7)
    for _ in range(8):
        tally.tick()
    assert [count for count, _ in tally.marks] == [1, 2, 3, 4, 5, 6, 7]
    assert tally.is_complete.is_set()
    assert len(Tally(10_000).marks) <= PARTS


def test_holdfast_is_measured_as_its_peers_are(server: EmbeddedPostgres, tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    scenarios = [one for one in SCENARIOS if not one.only_named]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "bench", "--peers", "--system", "holdfast", "--seconds", "0.1", "--repeat", "1"),
            *("--database-url", server.dsn, "--json", str(figures), "--page", str(page)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    document = json.loads(figures.read_text(encoding="utf-8"))
    records = {(record["scenario"], record["batch"], record["system"]): record for record in document["records"]}
    for scenario in scenarios:
        for batch in scenario.batches:
            found = records[scenario.name, batch, "holdfast"]
            assert found["failure"] is None
            assert all(figure["median"] > 0 for name, figure in found["figures"].items() if "÷" not in name)
            assert ((scenario.name, batch, "ceiling") in records) == (scenario.yardstick is not None)
    assert "- **pinned**" in page.read_text(encoding="utf-8")


def refused(*arguments: str) -> str:
    """What is said of these arguments, which are a mistake."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "--peers", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    return ended.stderr


def test_a_scenario_that_does_not_exist_is_an_error() -> None:
    assert "workflows-3" in refused("no-such-thing")


def test_a_profile_of_a_comparison_is_refused(tmp_path: Path) -> None:
    assert "--profile is for Holdfast alone" in refused("--profile", str(tmp_path / "profiles"))
    assert not list(tmp_path.iterdir())


def test_each_scenario_of_the_benchmarks_is_compared_or_it_is_said_why_not() -> None:
    compared = {scenario.name for scenario in SCENARIOS if not scenario.only_named}
    assert {scenario.name for scenario in OWN_SCENARIOS} - compared == set(LEFT_OUT)
    assert all(reason and "\n" not in reason for reason in LEFT_OUT.values())


def test_small_batches_are_small_for_holdfast_too() -> None:
    ours = next(peer for peer in PEERS if peer.name == "holdfast")
    small, large = ({**ours.settings(batch)} for batch in BATCHES)
    assert (small.pop("consumers"), large.pop("consumers")) == ({"count": 1, "batch": 10}, {"count": 4, "batch": 50})
    settings = WorkerSettings(**small)
    assert settings.capacity(Priority.MEDIUM) + settings.bucket_buffer_size == 10
    assert settings.max_activities == 10
    assert WorkerSettings(**large).capacity(Priority.MEDIUM) == 500


def test_all_that_a_system_is_told_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sat = sitting(record("jobs", "large", "holdfast", 30_000.0))
    print_table(sat)
    printed = capsys.readouterr().out
    write_page(tmp_path / "page.md", sat, None)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    for peer in PEERS:
        for options in peer.told.values():
            for name, value in options.items():
                assert f"{name}={value}" in printed
                assert f"`{name}={value}`" in page
        assert peer.source.url in page
    for words in ("a processor of the usual kind", "abc1234+changes", "15.6 GiB", "ext4", "load 0.25"):
        assert words in printed
        assert words in page


def test_a_machine_is_described_without_being_named(tmp_path: Path) -> None:
    words = str(look_at_machine(tmp_path))
    assert "cores of" in words
    assert str(tmp_path) not in words
    assert socket.gethostname() not in words
    assert "unknown kind" in str(look_at_machine(None))


def test_a_pace_that_cannot_be_told_is_no_figure() -> None:
    marks = [(number * 50, number / 10) for number in range(1, 21)]
    told = drained(marks, 1000, 1000, 2.1)
    assert told.per_second == pytest.approx(900 / 1.9)
    assert told.decline == pytest.approx(1.0)
    assert drained([(1, 0.0), (50, 0.1)], 1000, 50, 30.0).per_second is None
    nothing = drained([], 1000, 0, 30.0)
    assert (nothing.per_second, nothing.decline) == (None, None)
    # All at once: a pace until the end, and no fifths.
    burst = drained([(100, 1.0), (1000, 1.0)], 1000, 1000, 2.0)
    assert (burst.per_second, burst.decline) == (900.0, None)
    # So many were done when patience ended: the fifths are those of what was done.
    assert drained(marks[:8], 1000, 400, 40.0).decline == pytest.approx(1.0)


async def test_what_cannot_be_told_is_in_no_median() -> None:
    paces = iter([(1000.0, None), (1200.0, 0.5)])

    async def measure(_bout: Bout) -> Figures:
        pace, decline = next(paces)
        return {PACE: pace, DECLINE: decline}

    (found,) = await a_round(measure)
    assert [(figure.name, figure.values) for figure in found.figures] == [(PACE, (1000.0, 1200.0)), (DECLINE, (0.5,))]


async def test_what_can_never_be_told_is_a_dash() -> None:
    async def measure(_bout: Bout) -> Figures:
        return {PACE: 1000.0, DECLINE: None}

    (found,) = await a_round(measure)
    assert [figure.name for figure in found.figures] == [PACE]
    others = PeerRecord(
        scenario="pinned",
        batch="large",
        system="dbos",
        figures=(Figure(name=PACE, values=(5.0,)), Figure(name=DECLINE, values=(0.5,))),
    )
    sat = sitting(replace(found, scenario="pinned"), others)
    cells = {row.figure: row.cells[1:3] for row in rows(sat, separator=" ") if row.batch == "large"}
    assert list(cells[DECLINE]) == ["–", "0.5 (1×)"]


@pytest.mark.parametrize(
    ("paces", "counted"),
    [
        ([1000.0, 1400.0], 2),
        ([1000.0, 2000.0, 1900.0], 3),
        ([1000.0, 2000.0, 4000.0, 8000.0], 4),
    ],
)
async def test_repetitions_that_are_not_alike_are_repeated(paces: list[float], counted: int) -> None:
    left = iter(paces)

    async def measure(_bout: Bout) -> Figures:
        return {PACE: next(left)}

    (found,) = await a_round(measure)
    assert found.figures[0].values == tuple(paces[:counted])


def test_alike_is_within_one_and_a_half() -> None:
    assert not disagree([100.0])
    assert not disagree([100.0, 150.0])
    assert disagree([100.0, 151.0])
    assert disagree([0.0, 1.0])
    assert not disagree([100.0, 300.0, 310.0])


async def test_one_that_fails_is_a_failure_and_one_that_is_absent_is_none() -> None:
    async def measure(_bout: Bout) -> Figures:
        raise BenchFailed("runs were lost")

    failed = await a_round(measure)
    assert [one.failure for one in Records(records=tuple(failed)).failures] == ["BenchFailed: runs were lost"]
    absent = await a_round(measure, systems=("dbos",))
    assert not Records(records=tuple(absent)).failures


def test_each_system_has_an_adapter_and_counts() -> None:
    for peer in PEERS:
        assert (ADAPTERS / f"{peer.name}{'.mjs' if peer.language == 'Node' else '.py'}").is_file()
        assert (ADAPTERS.parent / "counts" / f"{peer.name}.sql").is_file()


def test_what_is_missing_or_failed_stands_in_the_table(tmp_path: Path) -> None:
    sat = sitting(
        record("jobs", "large", "holdfast", 30_000.0, 20_000.0),
        record("jobs", "large", "dbos", 500.0),
        PeerRecord(scenario="jobs", batch="large", system="absurd", failure="BenchFailed: runs were lost"),
        PeerRecord(scenario="jobs", batch="large", system="pgqrs", absent="not installed: no wheel"),
        missing={"pgqrs": "no wheel"},
    )
    (row,) = (row for row in rows(sat, separator=" ") if row.scenario == "jobs" and row.batch == "large")
    cells = dict(zip(["ceiling", *(peer.name for peer in sat.peers)], row.cells, strict=True))
    assert cells["holdfast"] == "25,000 20,000 – 30,000"
    assert cells["dbos"] == "500 (1×)"
    assert cells["absurd"] == "failed"
    assert cells["pgqrs"] == "not installed"
    write_page(tmp_path / "page.md", sat, None)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "- pgqrs: not installed: no wheel" in page
    assert "- absurd, jobs, large: BenchFailed: runs were lost" in page


def test_the_best_python_peer_is_what_counts() -> None:
    sat = sitting(
        record("jobs", "small", "holdfast", 9_000.0),
        record("jobs", "large", "holdfast", 28_000.0),
        record("jobs", "small", "pgqueuer", 14_000.0),
        record("jobs", "large", "pgqueuer", 10_000.0),
        record("jobs", "large", "dbos", 500.0),
        record("jobs", "large", "graphile_worker", 56_000.0),
        record("pinned", "large", "holdfast", 14_000.0),
    )
    verdicts = {verdict.what: verdict for verdict in judge(sat.records, sat.peers)}
    jobs = verdicts["jobs ÷ best Python peer"]
    assert (jobs.ratio, jobs.reached, jobs.theirs) == (2.0, "yes", "14,000 (pgqueuer)")
    node = verdicts["jobs ÷ graphile-worker"]
    assert (node.ratio, node.reached) == (0.5, "–")
    assert verdicts["workflows-3 ÷ best Python peer"].reached == "not measured"
    assert verdicts["pinned ÷ jobs, large batches"].ratio == 0.5
    assert verdicts["pinned ÷ jobs, large batches"].reached == "no"


def test_with_as_many_processes_as_help_is_reported() -> None:
    ours = PeerRecord(
        scenario=CREW.name,
        batch="large",
        system="holdfast",
        figures=(Figure(name=crew(1), values=(20_000.0,)), Figure(name=crew(2), values=(30_000.0,))),
    )
    theirs = PeerRecord(
        scenario=CREW.name,
        batch="large",
        system="graphile_worker",
        figures=(Figure(name=crew(1), values=(40_000.0,)), Figure(name=crew(3), values=(35_000.0,))),
    )
    sat = sitting(ours, theirs)
    (verdict,) = [one for one in judge(sat.records, sat.peers) if one.what.startswith(CREW.name)]
    assert (verdict.ratio, verdict.reached) == (0.75, "–")
    assert verdict.ours == "30,000 (2 processes)"
    assert verdict.theirs == "40,000 (graphile-worker, 1 process)"


async def a_round(
    measure: Callable[[Bout], Awaitable[Figures]], *, systems: Sequence[str] | None = None
) -> Sequence[PeerRecord]:
    """What is found of Holdfast in a scenario that is made up."""
    server = Server("postgresql://nowhere", {}, "none", data=None)
    scene = Sitting(server=server, plan=Plan(seconds=1.0, repeat=2), notes=Console(quiet=True))
    installation = Installation(versions={}, missing={}, node=None)
    scenario = Scenario(name="made-up", title="made up", measure=measure, systems=systems)
    ours = [peer for peer in PEERS if peer.name == "holdfast"]
    return await Round(
        sitting=scene, installation=installation, scenario=scenario, batch="large", peers=ours, paces={}
    ).run()


def record(scenario: str, batch: Batch, system: str, *paces: float) -> PeerRecord:
    return PeerRecord(scenario=scenario, batch=batch, system=system, figures=(Figure(name="per second", values=paces),))


def sitting(*records: PeerRecord, missing: Mapping[str, str] | None = None) -> Sat:
    return Sat(
        records=Records(records=records),
        peers=PEERS,
        installation=Installation(versions={}, missing=missing or {}, node="v20"),
        environment=Environment(
            date="2026-11-21T12:00:00+00:00",
            holdfast="0.1.0",
            python="3.11",
            asyncpg="0.32",
            uvloop=None,
            commit="abc1234+changes",
            machine=Machine(
                processor="a processor of the usual kind",
                cores=2,
                architecture="x86_64",
                memory=15.6,
                storage="ext4 on a solid-state or virtual disk",
                load=0.25,
            ),
            postgres={"server_version": "18", "fsync": "on"},
        ),
        plan=Plan(seconds=1.0),
    )
