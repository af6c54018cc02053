"""The process supervisor: it replaces what dies, ends all in order, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from holdfast.supervise import Death, Fleet
from tests.house import eventually

ROOT = Path(__file__).parent.parent.parent

# Says that it is there, and goes on until it is told to stop.
PATIENT = """
import os, signal, sys, threading
from holdfast.supervise import follow_leash
follow_leash({patience})
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
open(f"{{sys.argv[1]}}/{{os.getpid()}}", "w").close()
while not ended.wait(0.05): pass
sys.exit({code})
"""
# Does not listen.
DEAF = """
import os, signal, sys, time
from holdfast.supervise import follow_leash
follow_leash(0.2)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
while True: time.sleep(60)
"""
SUPERVISOR = """
import asyncio, sys
from holdfast.supervise import Fleet
async def nothing(death): pass
asyncio.run(Fleet([sys.executable, "-c", sys.argv[1], sys.argv[2]], count=2, on_death=nothing).run())
"""
# Is cancelled as soon as its process is there.
LETTING_GO = """
import asyncio, os, sys
from holdfast.supervise import Fleet
async def nothing(death): pass
async def main():
    command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
    running = asyncio.create_task(Fleet(command, count=1, on_death=nothing, lets_go=True).run())
    while not os.listdir(sys.argv[2]):
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
asyncio.run(main())
"""


class Watched:
    """A fleet under test: who is there, and who died."""

    def __init__(self, place: Path, code: str, *, count: int = 2, patience: float = 30.0) -> None:
        self.place = place
        self.deaths: list[Death] = []
        self.fleet = Fleet(
            [sys.executable, "-c", code, str(place)],
            count=count,
            on_death=self._died,
            hopeless=frozenset({2}),
            patience=patience,
        )
        self.running = asyncio.create_task(self.fleet.run())

    async def _died(self, death: Death) -> None:
        self.deaths.append(death)

    async def begun(self, count: int) -> set[int]:
        """Waits until so many processes in all have said that they are there, and gives those that still are."""
        await eventually(lambda: len(pids_in(self.place)) >= count, f"{count} processes begin")
        return {pid for pid in pids_in(self.place) if psutil.pid_exists(pid)}


def pids_in(place: Path) -> list[int]:
    """The processes that have said that they are there."""
    return [int(file.name) for file in place.iterdir()]


def patient(*, patience: float = 30.0, code: int = 0) -> str:
    return PATIENT.format(patience=patience, code=code)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "begun"
    place.mkdir()
    return place


async def test_all_end_in_order_when_told(place: Path) -> None:
    watched = Watched(place, patient())
    pids = await watched.begun(2)
    assert set(watched.fleet.pids) == pids
    watched.fleet.stop()
    assert await watched.running == 0
    assert watched.fleet.pids == ()
    assert watched.deaths == []


async def test_one_that_dies_is_reported_and_replaced(place: Path) -> None:
    watched = Watched(place, patient())
    victim = min(await watched.begun(2))
    os.kill(victim, signal.SIGKILL)
    await watched.begun(3)
    assert watched.deaths == [Death(pid=victim, code=-signal.SIGKILL)]
    assert str(watched.deaths[0]) == f"process {victim} was killed by SIGKILL"
    assert len(watched.fleet.pids) == 2
    watched.fleet.stop()
    assert await watched.running == 0


async def test_an_error_in_what_is_done_about_a_death_does_not_keep_it_from_being_replaced(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(death: Death) -> None:
        raise ConnectionError("the database is away")

    fleet = Fleet([sys.executable, "-c", patient(), str(place)], count=1, on_death=fails)
    running = asyncio.create_task(fleet.run())
    await eventually(lambda: len(pids_in(place)) == 1, "it begins")
    os.kill(fleet.pids[0], signal.SIGKILL)
    await eventually(lambda: len(pids_in(place)) == 2, "another begins")
    fleet.stop()
    assert await running == 0
    assert "the database is away" in caplog.text


async def test_one_that_ends_well_by_itself_is_not_replaced(place: Path) -> None:
    watched = Watched(place, patient())
    for pid in await watched.begun(2):
        os.kill(pid, signal.SIGTERM)
    assert await watched.running == 0
    assert len(pids_in(place)) == 2


async def test_one_for_which_there_is_no_hope_ends_all(place: Path) -> None:
    watched = Watched(place, patient(code=2))
    os.kill(min(await watched.begun(2)), signal.SIGTERM)
    assert await watched.running == 2
    assert watched.deaths[0].code == 2


async def test_what_does_not_end_in_time_is_killed(place: Path) -> None:
    watched = Watched(place, DEAF, patience=0.2)
    await watched.begun(2)
    watched.fleet.stop()
    assert await watched.running == 1
    assert {death.code for death in watched.deaths} == {-signal.SIGKILL}


async def test_a_third_call_kills(place: Path) -> None:
    watched = Watched(place, DEAF)
    await watched.begun(2)
    for _ in range(3):
        watched.fleet.stop()
    assert await watched.running == 1


async def test_cancelling_it_leaves_nothing_behind(place: Path) -> None:
    watched = Watched(place, DEAF)
    pids = await watched.begun(2)
    watched.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watched.running
    assert not any(map(psutil.pid_exists, pids))


async def test_what_it_lets_go_of_when_it_is_cancelled_ends_in_order(place: Path) -> None:
    says_so = patient().replace("sys.exit(0)", "open(f'{sys.argv[1]}/../told', 'w').close()")
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LETTING_GO, says_so, str(place), cwd=ROOT, stdin=asyncio.subprocess.DEVNULL
    )
    assert await supervisor.wait() == 0
    await eventually(lambda: not any(map(_lives, pids_in(place))), "it has ended")
    assert (place.parent / "told").exists()


@pytest.mark.parametrize("code", [patient(), DEAF], ids=["listening", "deaf"])
async def test_processes_end_when_their_supervisor_is_killed(place: Path, code: str) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, code, str(place), cwd=ROOT, stdin=asyncio.subprocess.DEVNULL
    )
    await eventually(lambda: len(pids_in(place)) == 2, "both begin")
    pids = pids_in(place)
    supervisor.kill()
    await supervisor.wait()
    await eventually(lambda: not any(map(_lives, pids)), "both are gone")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
