"""The few calls of the C library that Python lacks, on the system that has them."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_IPC_RMID = 0

_LIBC: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def can_tie_to_parent() -> bool:
    """Whether the kernel can signal a process when its parent dies."""
    return _LIBC is not None


def signal_at_death_of_parent(number: int) -> None:
    """Has this process signalled when the thread that made it ends; safe between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def sync_file_system(fd: int) -> None:
    """Brings everything in the file system of this open file to disk.

    Raises:
        OSError: The disk did not take it.
    """
    if _LIBC is None:
        os.sync()
    elif _LIBC.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def remove_shared_memory(segment: int) -> None:
    """Removes a System V segment, as soon as nobody uses it."""
    if _LIBC is not None:
        _LIBC.shmctl(segment, _IPC_RMID, None)
