"""Holdfast is measured as its peers are, by adapters that speak a protocol; nothing of the peers is needed for that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.environment import Environment
from bench.failure import BenchFailed
from bench.figure import Figure
from bench.peers.catalogue import PEERS
from bench.peers.document import Sat
from bench.peers.installation import ROOT, Installation
from bench.peers.page import write_page
from bench.peers.peer import Batch
from bench.peers.process import Adapter, run_adapter
from bench.peers.record import PeerRecord, Records
from bench.peers.scenario import SCENARIOS
from bench.peers.table import rows
from bench.peers.tally import PARTS, Tally
from bench.peers.verdict import judge
from bench.plan import Plan
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
    for scenario in SCENARIOS:
        for batch in scenario.batches:
            found = records[scenario.name, batch, "holdfast"]
            assert found["failure"] is None
            assert all(figure["median"] > 0 for name, figure in found["figures"].items() if "÷" not in name)
            assert ((scenario.name, batch, "ceiling") in records) == (scenario.yardstick is not None)
    assert "- **pinned**" in page.read_text(encoding="utf-8")


def test_a_scenario_that_does_not_exist_is_an_error() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "--peers", "no-such-thing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "workflows-3" in ended.stderr


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
    assert cells["dbos"] == "500"
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
            cores=2,
            architecture="x86_64",
            postgres={"server_version": "18", "fsync": "on"},
        ),
        plan=Plan(seconds=1.0),
    )
