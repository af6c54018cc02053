"""The processes of one server: whether any of them is left, and how to be rid of the last.

A lock is inherited by everything that works on the data, the server with its backends as well as ``initdb``, so it is
free exactly when none of them is left. Whoever is about to touch the data takes it first, and hands it on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.lock import FileLock

_PATIENCE = 1.0


def outlive_family(lock_path: Path, data: Path, deadline: float) -> FileLock:
    """The lock of the family, once every process that worked in ``data`` is gone.

    A backend that computes without a pause does not notice the death of its postmaster: after a while those that are
    left are ended.

    Raises:
        EmbeddedError: Some do not end.
    """
    family = FileLock(lock_path, what="the data of the embedded Postgres")
    try:
        return family.acquire(min(deadline, time.monotonic() + _PATIENCE))
    except EmbeddedError:
        _end_processes_in(data)
        return family.acquire(deadline)


def works_in(pid: int, data: Path) -> bool:
    """Whether this process is a Postgres at work in this data directory, which is where each of them lives."""
    if sys.platform != "linux":
        shown = subprocess.run(
            ["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False
        ).stdout
        return "postgres" in shown
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data) and Path(f"/proc/{pid}/exe").readlink().name == "postgres"
    except OSError:
        return False


def _end_processes_in(data: Path) -> None:
    """Kills the Postgres processes at work in this data directory; only where the kernel says which those are."""
    if sys.platform != "linux":
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        pid = int(entry.name)
        with suppress(ProcessLookupError):
            # The handle is taken before the look, so that the signal reaches whom we looked at.
            handle = os.pidfd_open(pid)
            try:
                if works_in(pid, data):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
