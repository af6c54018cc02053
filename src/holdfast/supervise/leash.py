"""A leash: a process that ends in order when the one that started it is gone, however that went.

It is a pipe. The parent alone holds the end to write to, and never writes; the kernel closes it when the parent dies,
and the child reads the end of the file.
"""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "HOLDFAST_LEASH"
"""Names the descriptor to the child."""


class Leash:
    """The parent's side. A child gets ``fd`` (through ``pass_fds``) and ``environment``."""

    def __init__(self) -> None:
        # Neither end is inherited unless it is passed on: another child that held the write end would keep it open.
        self.fd, self._held = os.pipe()

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the child's environment."""
        return {VARIABLE: str(self.fd)}

    def close(self) -> None:
        """Lets go: every child that is still there ends in order."""
        for fd in (self.fd, self._held):
            os.close(fd)


def follow_leash(patience: float) -> bool:
    """The child's side: from now on this process gets SIGTERM when its parent is gone.

    If that was not enough, it ends after ``patience`` seconds. Gives whether there is a leash at all; it is not handed
    down to the children of this process.
    """
    word = os.environ.pop(VARIABLE, "")
    if not word.isdecimal():
        return False
    os.set_inheritable(int(word), False)  # noqa: FBT003 - the standard library's signature
    thread = threading.Thread(target=_follow, args=(int(word), patience), name="holdfast leash", daemon=True)
    thread.start()
    return True


def _follow(fd: int, patience: float) -> None:
    while os.read(fd, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # A loop that stands still does not see the signal.
    threading.Event().wait(patience)
    os._exit(1)
