"""The process that owns the server: it starts it for the first client, brings it back, and stops it after the last.

It is a process of its own, detached from every client, with one thread. What must hold:

- It holds ``server.lock`` from before it touches the data until the server is gone, so there is one at a time.
- The server dies with it, whatever it dies of (see ``deathbond``).
- It stays exactly as long as a client's connection is open; the kernel closes those of the dead.

It imports nothing but the standard library and its neighbours, since it is started without the package (see
``bootstrap``), and looks at nothing but its plan.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import stat
import sys
import time
import traceback
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.account import name_of
from holdfast.embedded.cluster import found_cluster
from holdfast.embedded.door import PROTOCOL, Answer, Door, Guest
from holdfast.embedded.lock import FileLock
from holdfast.embedded.plan import OWN_MARK, OWN_MARK_TEXT, SUPERUSER, Plan
from holdfast.embedded.postgres import Postgres
from holdfast.embedded.segment import remove_segment_of

_LARGEST_LOG = 10_000_000

# A server that dies more often than this is not brought back: something is wrong that a person has to see.
CRASHES = 5
CRASH_PERIOD = 30.0


def main() -> None:
    """The way in: the first argument is the open socket of the client that started us."""
    if os.fork():
        # The client waits for this process only, so the supervisor is nobody's child that has to be reaped.
        os._exit(0)
    starter = Guest(socket.socket(fileno=int(sys.argv[1])))
    try:
        plan = Plan.from_json(_read_plan(starter.connection))
        _settle(plan)
        _supervise(plan, starter)
    except Exception as error:
        expected = isinstance(error, EmbeddedError)
        message = str(error) if expected else f"its supervisor failed\n{traceback.format_exc()}"
        if not starter.greeted:
            starter.tell({"say": "failed", "message": message})
        _say(message)
        sys.exit(1)


def _read_plan(starter: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        part = starter.recv(65536)
        if not part:
            raise EmbeddedError("the client that started the supervisor is gone")
        text += part
    return text.decode()


def _settle(plan: Plan) -> None:
    """Becomes the owner of the data, so that root never works with its powers in the directory of another user."""
    os.chdir("/")
    os.umask(0o077)
    if os.geteuid() == 0 and plan.owner.uid != 0:
        name = name_of(plan.owner.uid)
        if name:
            os.initgroups(name, plan.owner.gid)
        else:
            os.setgroups([])
        os.setgid(plan.owner.gid)
        os.setuid(plan.owner.uid)


def _supervise(plan: Plan, starter: Guest) -> None:
    deadline = time.monotonic() + plan.start_timeout
    # A supervisor that is about to stop holds it until its server is gone.
    with ExitStack() as ending:
        lock = FileLock(plan.home / "server.lock", what="the embedded Postgres that is stopping")
        ending.enter_context(lock.acquire(deadline))
        _speak_into(plan.log)
        ending.callback(_clear_home, plan)
        _make_runtime(plan)
        ending.callback(_clear_runtime, plan)
        _write_access_rules(plan)
        environment = _environment()
        found_cluster(plan, environment, deadline)
        postgres = Postgres(plan, environment)
        ending.callback(postgres.close)
        postgres.start(deadline)
        waiting = _serve(plan, postgres, starter)
        if not postgres.stop():
            # Killed together with its clients: its successor removes the shared memory that it has left.
            postgres.start(time.monotonic() + plan.start_timeout)
    for guest in waiting:
        guest.connection.close()


def _serve(plan: Plan, postgres: Postgres, starter: Guest) -> set[Guest]:
    """Serves until nobody is left who wants the server; those who wait to hear that it has stopped."""
    ready: dict[str, Any] = {
        "say": "ready",
        "supervisor": os.getpid(),
        "version": plan.version,
        "durability": plan.durability,
    }

    def greet(message: dict[str, Any]) -> Answer:
        refusal = _refusal(plan, message)
        if refusal:
            return Answer({"say": "failed", "message": refusal}, stays=False)
        return Answer(ready, stays=True)

    with selectors.DefaultSelector() as selector, _Alarm() as alarm:
        selector.register(alarm.reader, selectors.EVENT_READ, alarm.clear)
        door = Door(plan.control, selector, greet)
        starter.greeted = True
        starter.tell(ready)
        door.welcome(starter)
        crashes: deque[float] = deque(maxlen=CRASHES)
        try:
            while door.occupied and not alarm.told_to_stop:
                # Before each wait: what ended until now has rung, if at all, for somebody else.
                if postgres.has_ended():
                    _bring_back(plan, postgres, crashes)
                for key, _ in selector.select():
                    key.data()
                door.dismiss_leaving()
        finally:
            door.shut()
        return door.guests


def _bring_back(plan: Plan, postgres: Postgres, crashes: deque[float]) -> None:
    """Starts the server again after it was killed."""
    now = time.monotonic()
    crashes.append(now)
    if len(crashes) == CRASHES and now - crashes[0] < CRASH_PERIOD:
        raise EmbeddedError(f"the embedded Postgres ended {CRASHES} times in a short while; log: {plan.log}")
    _say("the server has ended unexpectedly: starting it again")
    postgres.start(now + plan.start_timeout)


def _refusal(plan: Plan, message: dict[str, Any]) -> str | None:
    if message.get("protocol") != PROTOCOL:
        return (
            f"the embedded Postgres in {plan.home} was started by another version of Holdfast; "
            "stop the programs that use it"
        )
    wanted = message.get("durability")
    if wanted != plan.durability:
        return (
            f"the embedded Postgres in {plan.home} runs with durability={plan.durability!r}, not {wanted!r}; "
            "use the same, another data_dir, or stop the programs that use it"
        )
    return None


class _Alarm:
    """Signals as something that a selector can wait for."""

    def __init__(self) -> None:
        self.told_to_stop = False
        self.reader, self._writer = os.pipe()

    def __enter__(self) -> Self:
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Without a handler the child's end would not reach the pipe.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.reader)
        os.close(self._writer)

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.reader, 4096)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.told_to_stop = True


def _make_runtime(plan: Plan) -> None:
    """Makes the directories of the sockets, closed to all but the owner and the server."""
    if plan.runtime != plan.home:
        with suppress(FileExistsError):
            plan.runtime.mkdir(mode=0o700)
        status = plan.runtime.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != plan.owner.uid:
            raise EmbeddedError(f"{plan.runtime}, which is needed for the sockets, belongs to somebody else: remove it")
        if plan.private:
            os.chown(plan.runtime, plan.owner.uid, plan.server.gid)
        plan.runtime.chmod(0o710 if plan.private else 0o700)
    with suppress(FileNotFoundError):
        shutil.rmtree(plan.socket_dir)
    plan.socket_dir.mkdir(mode=0o700)
    if plan.private:
        os.chown(plan.socket_dir, plan.server.uid, plan.server.gid)


def _write_access_rules(plan: Plan) -> None:
    """Lets the owner in by what the kernel says of the peer, and roles that it has made by their password."""
    peers = "".join(f'owner "{peer}" "{SUPERUSER}"\n' for peer in plan.peers)
    rules = f'local all,replication "{SUPERUSER}" peer map=owner\nlocal all all scram-sha-256\n'
    for name, text in (("pg_hba.conf", rules), ("pg_ident.conf", peers)):
        path = plan.home / name
        path.write_text(text)
        if plan.private:
            os.chown(path, plan.owner.uid, plan.server.gid)
            path.chmod(0o640)


def _environment() -> dict[str, str]:
    """What the programs of Postgres need to see, and nothing of the caller's Postgres settings."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath} | {
        name: os.environ[name] for name in kept if name in os.environ
    }


def _speak_into(log: Path) -> None:
    """Sends what the supervisor and its children say into the log, which is turned over when it is large."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LARGEST_LOG:
            log.rename(log.with_suffix(".log.1"))
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC [{os.getpid()}] SUPERVISOR:  {text}\n")
    sys.stderr.flush()


def _clear_runtime(plan: Plan) -> None:
    """Removes the sockets, and their directory if it is not the home."""
    shutil.rmtree(plan.socket_dir, ignore_errors=True)
    if plan.runtime != plan.home:
        with suppress(OSError):
            plan.runtime.rmdir()


def _clear_home(plan: Plan) -> None:
    """Removes data that is temporary, and the directory with the locks if nobody is about to start a server in it.

    Who waits for the start lock sees that its file is gone and begins again with a new directory.
    """
    if not (plan.temporary and plan.temporary_mark.exists()):
        return
    remove_segment_of(plan.cluster)
    with FileLock(plan.home / "start.lock", what="the start of the embedded Postgres") as lock:
        if lock.try_acquire():
            # In one step, so that nobody finds half of a directory and begins to work in it.
            gone = plan.home.with_name(f"{plan.home.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            with suppress(OSError):
                plan.home.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
            _remove_own(plan.home.parent)
        else:
            shutil.rmtree(plan.cluster, ignore_errors=True)


def _remove_own(directory: Path) -> None:
    """Removes a directory that we have made, if there is nothing in it."""
    mark = directory / OWN_MARK
    with suppress(OSError):
        if list(directory.iterdir()) == [mark] and mark.read_text() == OWN_MARK_TEXT:
            mark.unlink()
            directory.rmdir()
