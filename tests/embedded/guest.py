"""Processes of their own that share an embedded Postgres, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from holdfast.core import errors

SOURCE = Path(errors.__file__).parents[1]
PROGRAM = Path(__file__).with_name("guest_program.py")


class Refused(Exception):
    """What the guest was told: the name of the error, and its message."""


class Guest:
    """A process that uses an embedded Postgres as it is told to."""

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        user: str | None = None,
        uid: int | None = None,
        python: str = sys.executable,
        source: Path = SOURCE,
        program: Path = PROGRAM,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        if user:
            entry = pwd.getpwnam(user)
            ids: dict[str, Any] = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        elif uid:
            ids = {"user": uid, "group": uid, "extra_groups": []}
        else:
            ids = {}
        self.process = subprocess.Popen(
            [python, program, source, json.dumps(settings, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            cwd=cwd or "/",
            **ids,
        )

    def send(self, do: str, **words: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise ConnectionError(f"the guest ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(f"{answer['error']}: {answer['message']}")
        return answer["value"]

    def __call__(self, do: str, **words: Any) -> Any:
        self.send(do, **words)
        return self.answer()

    def query(self, sql: str) -> list[str | None]:
        rows: list[str | None] = self("query", sql=sql)
        return rows

    @property
    def supervisor(self) -> int:
        number: int = self("describe")["supervisor"]
        return number

    @property
    def postmaster(self) -> int:
        """The server by its own file; 0 while there is none."""
        try:
            return int((Path(self("describe")["cluster"]) / "postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


def wait_until(condition: Callable[[], object], what: str, patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(*pids: int) -> None:
    """Kills all of them at once, and returns when they are dead."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids), "the killed are dead")


def processes_of(place: Path) -> Iterator[psutil.Process]:
    """Every process that has to do with this place, by its arguments, its directory or its open files."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and _has_to_do_with(process, f"{place}/"):
                yield process


def _has_to_do_with(process: psutil.Process, prefix: str) -> bool:
    words = process.cmdline()
    return (
        any(prefix in word for word in words)
        or process.cwd().startswith(prefix)
        # A supervisor shows by its files only whose it is.
        or (is_supervisor(process) and any(file.path.startswith(prefix) for file in process.open_files()))
    )


def is_supervisor(process: psutil.Process) -> bool:
    return any(word.endswith("embedded/bootstrap.py") for word in process.cmdline())


def nobody_left(place: Path) -> bool:
    return not list(processes_of(place))


def shared_memory_segments() -> set[int]:
    """The ids of all System V segments of this machine."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {int(line.split()[1]) for line in lines}


def segment_of(cluster: Path) -> int:
    """The segment that this server made, which only it or its successor removes."""
    return int((cluster / "postmaster.pid").read_text().splitlines()[6].split()[1])
