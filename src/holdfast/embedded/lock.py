"""A lock on a file that the kernel gives back when the last process that holds it dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.core.errors import EmbeddedError

_PAUSE = 0.004


class FileLock:
    """An exclusive lock, held by an open file and so by every process that inherits it.

    The file may be removed with its directory while others wait for it: who gets the lock of a file that is no longer
    at its path takes the new one instead, so two holders never hold two files of one name.
    """

    def __init__(self, path: Path, *, what: str) -> None:
        self.path = path
        self._what = what
        self._fd: int | None = None

    def acquire(self, deadline: float) -> Self:
        """Waits for the lock until ``deadline`` of the monotonic clock.

        Raises:
            EmbeddedError: Somebody still holds it.
            FileNotFoundError: Its directory is gone.
        """
        while not self.try_acquire():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self._what} is still held by another process ({self.path})")
            time.sleep(_PAUSE)
        return self

    def try_acquire(self) -> bool:
        """Takes the lock if it is free now."""
        fd = _open(self.path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = self.path.stat()
        except (BlockingIOError, FileNotFoundError):
            os.close(fd)
            return False
        held = os.fstat(fd)
        if (held.st_dev, held.st_ino) != (current.st_dev, current.st_ino):
            os.close(fd)
            return False
        self._fd = fd
        return True

    def fileno(self) -> int:
        """The open file that holds the lock, for a child that shall hold it too."""
        if self._fd is None:
            raise ValueError("the lock is not held")
        return self._fd

    def release(self) -> None:
        """Gives up this process's hold; children that inherited it keep theirs."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _open(path: Path) -> int:
    # Never through a link: root may come to the directory of another user.
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileNotFoundError):
        return os.open(path, flags)
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    owner = path.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd
