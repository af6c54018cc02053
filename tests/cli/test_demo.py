"""The demo: it holds what it promises, and its verdict would notice if it did not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from holdfast.cli.demo.code_census import Figures, measure, packages, sources, total
from holdfast.cli.demo.ledger import Line
from holdfast.cli.demo.verdict import (
    Killed,
    check_calls,
    check_departure,
    check_endings,
    check_figures,
    check_held,
)
from holdfast.core.states import RunStatus
from holdfast.store.lane import Count, Recorded

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NONE = timedelta(0)


@pytest.mark.timeout(150)
async def test_the_demo_kills_a_worker_that_holds_runs_and_loses_nothing(empty_dsn: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "demo", "--json"),
        cwd=tmp_path,
        env={**os.environ, "HOLDFAST_DATABASE_URL": empty_dsn},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    said = err.decode()
    assert process.returncode == 0, said
    verdict = json.loads(out)
    assert verdict["ok"]
    assert verdict["killed"]["held"] > 0
    assert all(check["ok"] for check in verdict["checks"])
    assert len(verdict["checks"]) == 6
    for words in (
        "kill -9",
        "signal 'upgrade' sent",
        "trial-onboarding",
        "timer#1",
        "most imported:",
        "every check holds",
    ):
        assert words in said
    assert "Traceback" not in said


async def test_a_demo_that_is_interrupted_leaves_nothing_behind(empty_dsn: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "demo", "--json"),
        cwd=tmp_path,
        env={**os.environ, "HOLDFAST_DATABASE_URL": empty_dsn, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"started trial-onboarding" not in (line := await process.stderr.readline()):
        assert line, "it went on"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err.decode().splitlines()[-1]) == (130, "interrupted")
    assert list(tmp_path.iterdir()) == []


def call(step: tuple[UUID, str], at: datetime, pid: int = 1) -> Line:
    return Line(run=str(step[0]), key=step[1], attempt=1, pid=pid, at=at.timestamp())


def outcome(step: tuple[UUID, str], at: datetime) -> Recorded:
    return Recorded(step[0], step[1], 1, at)


def test_a_call_after_its_outcome_was_recorded_is_noticed() -> None:
    step = uuid4(), "measure#1"
    second = timedelta(seconds=1)
    honest = [call(step, NOW - second), call(step, NOW - second / 2, pid=2)]
    assert all(check.ok for check in check_calls(honest, [outcome(step, NOW)], NONE, NONE))
    late = [*honest, call(step, NOW + second, pid=3)]
    again, called = check_calls(late, [outcome(step, NOW)], NONE, NONE)
    assert (again.ok, called.ok) == (False, True)
    assert "1 calls after that" in again.detail


def test_the_clocks_of_database_and_workers_may_differ() -> None:
    step = uuid4(), "measure#1"
    hour, second = timedelta(hours=1), timedelta(seconds=1)
    there = outcome(step, NOW + hour)
    assert check_calls([call(step, NOW - second)], [there], hour, second)[0].ok
    assert not check_calls([call(step, NOW + 2 * second)], [there], hour, second)[0].ok


def test_an_outcome_without_a_call_is_noticed() -> None:
    step, other = (uuid4(), "measure#1"), (uuid4(), "measure#1")
    _, called = check_calls([call(step, NOW)], [outcome(step, NOW), outcome(other, NOW)], NONE, NONE)
    assert not called.ok


def test_nothing_recorded_is_no_success() -> None:
    assert not any(check.ok for check in check_calls([], [], NONE, NONE))


def test_runs_that_did_not_succeed_are_noticed() -> None:
    good = Count("code-census", RunStatus.SUCCEEDED, 5)
    assert check_endings([good], 5).ok
    assert not check_endings([good], 6).ok
    assert not check_endings([good, Count("code-census", RunStatus.FAILED, 1)], 5).ok


def test_a_worker_that_held_nothing_proves_nothing() -> None:
    run = uuid4()

    def killed(*held: UUID) -> Killed:
        return Killed(name="w", pid=1, held=held, recovered_after=3.0)

    assert check_held(killed(run), {run: RunStatus.SUCCEEDED}).ok
    assert not check_held(killed(run), {run: RunStatus.RUNNING}).ok
    assert not check_held(killed(), {}).ok


def test_wrong_figures_are_noticed() -> None:
    right = total([measure.fn(str(path)) for path in sources("json")])
    assert check_figures({"json": right}, right).ok
    assert not check_figures({"json": right}, Figures(modules=right.modules, lines=right.lines - 1)).ok


def test_a_worker_that_left_with_an_error_is_noticed() -> None:
    assert check_departure({1: 0, 2: 0}).ok
    assert not check_departure({1: 0, 2: 1}).ok


def test_the_census_counts_what_is_there(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import os.path, sys\nfrom os import path\nfrom . import x\nclass A:\n    async def f(self): ...\n"
    )
    figures = measure.fn(str(module))
    assert figures == Figures(modules=1, lines=5, functions=1, classes=1, imports={"os": 2, "sys": 1})
    module.write_text("print 'this is Python 2'\n")
    assert measure.fn(str(module)) == Figures(modules=1, lines=1)


def test_the_census_covers_the_standard_library() -> None:
    names = packages()
    assert {"asyncio", "json", "argparse"} <= set(names)
    assert len(names) > 100


@pytest.mark.parametrize("name", ["onboarding.py", "code_census.py"])
def test_the_demo_runs_the_very_files_of_the_examples(name: str) -> None:
    root = Path(__file__).parent.parent.parent
    assert (root / "src/holdfast/cli/demo" / name).samefile(root / "examples" / name)
