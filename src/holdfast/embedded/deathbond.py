"""Ties a child to the life of the process that starts it, so that no server outlives its supervisor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from holdfast.embedded.libc import signal_at_death_of_parent


def die_with_parent(deadly: signal.Signals) -> Callable[[], None]:
    """What a child has to call between fork and exec to get ``deadly`` when its parent dies, where the kernel does it.

    The kernel clears the bond when credentials change, so it has to be called after that; and it watches the thread
    that forked, which in a supervisor is the only one.
    """
    parent = os.getpid()

    def tie() -> None:
        signal_at_death_of_parent(deadly)
        if os.getppid() != parent:
            os._exit(70)

    return tie


class Watcher:
    """A process of its own that signals the server when the supervisor is gone, where the kernel offers no bond.

    It waits on a pipe whose other end only the supervisor holds: the end of file is the death.
    """

    def __init__(self, deadly: signal.Signals) -> None:
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _watch(reader, deadly)
            finally:
                os._exit(0)
        os.close(reader)

    def watch(self, pid: int | None) -> None:
        """From now on this is the process to signal; None for nobody."""
        os.write(self._writer, b"%d\n" % (pid or 0))

    def close(self) -> None:
        """Ends the watcher without a signal to anybody."""
        self.watch(None)
        os.close(self._writer)
        os.waitpid(self._pid, 0)


def _watch(reader: int, deadly: signal.Signals) -> None:
    os.setsid()
    # It inherits the locks and sockets of the supervisor, which must not outlive it here.
    os.closerange(0, reader)
    os.closerange(reader + 1, min(os.sysconf("SC_OPEN_MAX"), 65536))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pid = 0
    while data := os.read(reader, 4096):
        pid = int(data.split()[-1])
    if pid:
        os.kill(pid, deadly)
