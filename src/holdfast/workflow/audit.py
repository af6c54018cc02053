"""The guard against what reaches out of a workflow without going through the loop: files, sockets, processes, threads.

An audit hook, installed once in a process and never removed. It acts only while a workflow's loop is the running one in
its thread.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from holdfast.core.errors import ForbiddenInWorkflow
from holdfast.workflow.cpython import (
    TELLS_OF_SLEEP,
    TELLS_OF_THREADS,
    before_sleep,
    before_threads_start,
    frame_at,
    running_loop,
)

_FILES = "read and write files in an activity"
_NETWORK = "use the network in an activity"
_PROCESS = "start processes in an activity"
_THREAD = "call an activity; one that is not async runs in a thread of the worker"

_INSTEAD = {
    "open": _FILES,
    "os.listdir": _FILES,
    "os.scandir": _FILES,
    "os.mkdir": _FILES,
    "os.remove": _FILES,
    "os.rename": _FILES,
    "os.rmdir": _FILES,
    "os.truncate": _FILES,
    "sqlite3.connect": "use databases in an activity",
    "socket.__new__": _NETWORK,
    "socket.bind": _NETWORK,
    "socket.connect": _NETWORK,
    "socket.getaddrinfo": _NETWORK,
    "socket.gethostbyaddr": _NETWORK,
    "socket.gethostbyname": _NETWORK,
    "socket.gethostname": _NETWORK,
    "socket.getnameinfo": _NETWORK,
    "socket.sendmsg": _NETWORK,
    "socket.sendto": _NETWORK,
    "subprocess.Popen": _PROCESS,
    "os.kill": _PROCESS,
    "os.exec": _PROCESS,
    "os.fork": _PROCESS,
    "os.forkpty": _PROCESS,
    "os.posix_spawn": _PROCESS,
    "os.spawn": _PROCESS,
    "os.system": _PROCESS,
    "pty.spawn": _PROCESS,
    "_thread.start_new_thread": _THREAD,
    "_thread.start_joinable_thread": _THREAD,
    "builtins.input": "wait for a Signal",
    "time.sleep": "await holdfast.sleep(), which costs a row and blocks nobody",
}

_TOLERATED = frozenset(
    {
        # Imports read files, and the imported module may do what it likes.
        "importlib._bootstrap",
        "importlib._bootstrap_external",
        "_frozen_importlib",
        "_frozen_importlib_external",
        "pkgutil",
        # Tracebacks quote source files.
        "linecache",
        "tokenize",
        # Handlers of a log open what they write to.
        "logging",
        "logging.handlers",
        "loguru",
        # Time zones are files.
        "zoneinfo",
        "zoneinfo._common",
        "zoneinfo._tzpath",
    }
)

_watching = False


def watch() -> None:
    """Installs the guard, if it is not there yet."""
    global _watching  # noqa: PLW0603 - an audit hook belongs to the process and cannot be removed
    if not _watching:
        _watching = True
        sys.addaudithook(_look)
        if not TELLS_OF_THREADS:
            before_threads_start(lambda: _look("_thread.start_new_thread", ()))
        if not TELLS_OF_SLEEP:
            before_sleep(lambda: _look("time.sleep", ()))


def _look(event: str, args: tuple[Any, ...]) -> None:
    if event in _INSTEAD and getattr(running_loop(), "guards", False):
        _refuse(event, args)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _is_time_zone(args[0]):
        return
    frame: FrameType | None = frame_at(2)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module in _TOLERATED:
            return
        if module == "holdfast.workflow.loop":
            break  # what lies beyond is the worker
        frame = frame.f_back
    detail = f" ({args[0]!r})" if args and isinstance(args[0], str) else ""
    raise ForbiddenInWorkflow(f"{event}{detail} cannot be replayed, so workflow code cannot use it: {_INSTEAD[event]}")


def _is_time_zone(path: object) -> bool:
    zoneinfo = sys.modules.get("zoneinfo")
    return zoneinfo is not None and isinstance(path, str) and path.startswith(tuple(zoneinfo.TZPATH))
