"""Where the time of a measurement goes: that of one process of ours, and that of the server for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.database import Database, Statement
from bench.failure import BenchFailed
from bench.meter import spent_by

_LOOKS = 100
"""Per second; each stops the process for some tens of µs."""
_MOST = 14


@dataclass(slots=True)
class Profiles:
    """Writes, for each measurement, ``NAME.stacks`` and, for people, ``NAME.txt`` into a folder.

    The stacks are those of `py-spy <https://github.com/benfred/py-spy>`_, which looks at a process from outside, where
    it executes something: one line for each stack, with how often it was seen, as tools for flame graphs read them.
    Without a folder nothing is written, and nobody looks.
    """

    folder: Path | None
    _numbers: Counter[str] = field(default_factory=Counter[str])

    @asynccontextmanager
    async def of(self, subject: str, process: int, database: Database) -> AsyncGenerator[None]:
        """Looks at this process of Python, and at what is said to this database, for as long as the block lasts.

        Raises:
            BenchFailed: py-spy is not installed, or may not look.
        """
        if self.folder is None:
            yield
            return
        self._numbers[subject] += 1
        name = f"{subject.replace(' ', '-')}-{self._numbers[subject]}"
        stacks = self.folder / f"{name}.stacks"
        before, began, spent = await database.statements(), time.monotonic(), spent_by(process)
        async with _watched(process, stacks):
            yield
        lasted, spent = time.monotonic() - began, spent_by(process) - spent
        after = await database.statements()
        head = f"{name}: {spent:.1f} s of the process's processor time in {lasted:.1f} s"
        lines = [head, "", *_of_process(stacks), "", *_of_server(before, after)]
        stacks.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@asynccontextmanager
async def _watched(process: int, file: Path) -> AsyncGenerator[None]:
    spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if spy is None:
        raise BenchFailed("a profile needs py-spy: pip install py-spy")
    watcher = await asyncio.create_subprocess_exec(
        *(spy, "record", "--pid", str(process), "--rate", str(_LOOKS), "--function"),
        *("--gil", "--full-filenames"),
        *("--format", "raw", "--output", str(file)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Ctrl-C is for us; it is told to end when it has something to write.
        start_new_session=True,
    )
    try:
        yield
    except BaseException:
        watcher.kill()
        await watcher.wait()
        raise
    if watcher.returncode is None:
        watcher.send_signal(signal.SIGINT)
    said, _ = await watcher.communicate()
    if watcher.returncode:
        raise BenchFailed(f"py-spy has seen nothing: {said.decode(errors='replace').strip()}")


def _of_process(stacks: Path) -> Iterator[str]:
    parts, functions = Counter[str](), Counter[str]()
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, seen = line.rpartition(" ")
        name, _, path = stack.rpartition(";")[2].removesuffix(")").rpartition(" (")
        part = "imports" if "<frozen importlib" in stack else _part(path)
        parts[part] += int(seen)
        functions[f"{part}: {name} ({path.rpartition('/')[2]})"] += int(seen)
    total = parts.total()
    yield f"{total / _LOOKS:.1f} s in Python, by {_LOOKS} looks per second; native code counts for its caller:"
    yield from _shares(parts, total)
    yield ""
    yield "the same by function, without what it calls:"
    yield from _shares(functions, total)


def _shares(counts: Counter[str], total: int) -> Iterator[str]:
    most = counts.most_common(_MOST)
    yield from (f"{count / total:7.1%}  {name}" for name, count in most)
    if rest := counts.total() - sum(count for _, count in most):
        yield f"{rest / total:7.1%}  others"


def _part(path: str) -> str:
    """What this file belongs to: a package of Holdfast, a library, or the standard library."""
    parts = path.partition(":")[0].split("/")
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "holdfast" in parts[:-1]:
        inside = parts[len(parts) - 1 - parts[::-1].index("holdfast") :]
        return ".".join(inside[:2]).removesuffix(".py")
    if "bench" in parts[:-1]:
        return "the benchmark"
    return "asyncio" if "asyncio" in parts else "Python's library"


def _of_server(before: Mapping[int, Statement] | None, after: Mapping[int, Statement] | None) -> Iterator[str]:
    if before is None or after is None:
        yield "the server: pg_stat_statements is not there, so nothing is known of its statements"
        return
    calls, took = Counter[str](), dict[str, float]()
    for key, one in after.items():
        earlier = before.get(key, Statement(text="", calls=0, took=0.0))
        if one.calls > earlier.calls:
            calls[one.text] += one.calls - earlier.calls
            took[one.text] = took.get(one.text, 0.0) + one.took - earlier.took
    total = sum(took.values())
    yield f"the server: {total / 1000:.1f} s in statements, without their commits; their calls, and ms for each:"
    for text in sorted(took, key=took.__getitem__, reverse=True)[:_MOST]:
        share = took[text] / total if total else 0.0
        yield f"{share:7.1%}  {calls[text]:9,}  {took[text] / calls[text]:8.3f}  {text}"
