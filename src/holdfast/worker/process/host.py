"""One process for activities, as the worker sees it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.worker.process.wire import Message, Unpacker, packed

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 18
_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from holdfast.worker.process.inside import main; main()"
)


class Host:
    """Starts the process, and talks with it. It is the leader of a session of its own, so what it starts ends with it.

    ``said`` gets each message, ``gone`` what :attr:`subprocess.Popen.returncode` says, after the last message.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        said: Callable[[Host, Message], None],
        gone: Callable[[Host, int], None],
    ) -> None:
        self._loop = loop
        self._said = said
        self._gone = gone
        self._unpacker = Unpacker()
        self._unsent: deque[bytes] = deque()
        self._socket, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, str(fd), str(os.getpid()), json.dumps([str(one) for one in sys.path])],
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._loop.add_reader(self._socket, self._read)
        # It alone reaps the process; not a daemon's business to be waited for at the end of this one.
        threading.Thread(target=self._wait, name="holdfast process", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Says this to it, as soon as it listens."""
        if self._socket.fileno() < 0:
            return
        self._unsent.append(packed(message))
        if len(self._unsent) == 1:
            self._loop.add_writer(self._socket, self._write)
            self._write()

    def kill(self) -> None:
        """Ends it now, and what it has started."""
        if self._process.returncode is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent[0])
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            return
        except OSError:
            # It is gone, which its end will say.
            self._unsent.clear()
        self._loop.remove_writer(self._socket)

    def _read(self) -> bool:
        """Takes what it has said; False when nothing more can come."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            return False
        for message in self._unpacker.feed(data):
            self._said(self, message)
        return True

    def _wait(self) -> None:
        if hasattr(os, "waitid"):
            # While it is dead and not yet reaped, nobody else can have its number: what it has started goes with it.
            with suppress(OSError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        while self._read():
            pass
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._gone(self, self._process.returncode)
