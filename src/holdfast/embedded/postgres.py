"""The Postgres process itself, as its supervisor sees it: started, watched, stopped, and cleared up after."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from holdfast.core.errors import EmbeddedError
from holdfast.embedded.child import Footing, start_program
from holdfast.embedded.deathbond import Watcher
from holdfast.embedded.family import outlive_family, works_in
from holdfast.embedded.libc import can_tie_to_parent
from holdfast.embedded.plan import Plan
from holdfast.embedded.remedy import remedy

_PAUSE = 0.002

# Immediate shutdown: it waits for nobody, leaves no shared memory behind, and the next start recovers from the WAL.
_DEADLY = signal.SIGQUIT


class Postgres:
    """One server over one data directory; at most one family of its processes lives at any time (see ``family``)."""

    def __init__(self, plan: Plan, environment: dict[str, str]) -> None:
        self._plan = plan
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self._watcher = None if can_tie_to_parent() else Watcher(_DEADLY)

    def start(self, deadline: float) -> None:
        """Starts the server and returns when it is ready for connections.

        Raises:
            EmbeddedError: It did not become ready.
        """
        plan = self._plan
        log = plan.log.open("ab")
        beginning = log.tell()
        with log, outlive_family(plan.family_lock, plan.cluster, deadline) as family:
            self._clear_stale_pid_file()
            self._child = start_program(
                [str(plan.bin_dir / "postgres"), "-D", str(plan.cluster), *_arguments(plan)],
                Footing(ids=plan.server if plan.private else None, environment=self._environment),
                output=log,
                deadly=_DEADLY,
                inherited=[family.fileno()],
            )
        if self._watcher:
            self._watcher.watch(self._child.pid)
        self._await_ready(self._child, beginning, deadline)

    def has_ended(self) -> bool:
        """Whether the server is gone, though nobody stopped it."""
        return self._child is None or self._child.poll() is not None

    def stop(self) -> bool:
        """Stops the server: a clean shutdown that breaks connections, then by force. Returns when it is gone.

        The answer is whether it has cleared up after itself, which one that was killed has not.
        """
        child = self._child
        if child is None:
            return True
        for number, patience in (
            (signal.SIGINT, self._plan.stop_timeout),
            (signal.SIGQUIT, 6.0),
            (signal.SIGKILL, 6.0),
        ):
            if child.poll() is not None:
                break
            child.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                child.wait(patience)
        self._child = None
        if self._watcher:
            self._watcher.watch(None)
        return child.returncode == 0

    def close(self) -> None:
        """Stops the server if it runs, and gives up what was needed to watch over it."""
        self.stop()
        if self._watcher:
            self._watcher.close()

    def _clear_stale_pid_file(self) -> None:
        """Removes the pid file of a server that is gone.

        Postgres takes such a file for a living server if an unrelated process of the same user has that pid by now.
        We hold the lock of all servers that we start, so only one that somebody started by hand can be alive.
        """
        pid_file = self._plan.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except FileNotFoundError:
            return
        except ValueError:
            pid = 0
        if pid and works_in(pid, self._plan.cluster):
            raise EmbeddedError(
                f"another Postgres, which Holdfast has not started, serves {self._plan.cluster} as process {pid}; "
                f"stop it: {self._plan.bin_dir / 'pg_ctl'} stop -D {self._plan.cluster}"
            )
        pid_file.unlink()

    def _await_ready(self, child: subprocess.Popen[bytes], beginning: int, deadline: float) -> None:
        pid_file = self._plan.cluster / "postmaster.pid"
        while child.poll() is None:
            with suppress(FileNotFoundError):
                lines = pid_file.read_text().splitlines()
                # The file of a predecessor may still be there: it counts when it is of our child.
                if len(lines) >= 8 and lines[0] == str(child.pid) and lines[7].strip() == "ready":
                    return
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(
                    f"the embedded Postgres was not ready in time; raise start_timeout if it has much to recover"
                    f"{_tail(self._plan.log, beginning)}"
                )
            time.sleep(_PAUSE)
        tail = _tail(self._plan.log, beginning)
        self.stop()
        raise EmbeddedError(f"the embedded Postgres did not start (exit code {child.returncode}){remedy(tail)}{tail}")


def _arguments(plan: Plan) -> list[str]:
    options = {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": _quoted(plan.socket_dir),
        "unix_socket_permissions": "0700",
        "hba_file": str(plan.home / "pg_hba.conf"),
        "ident_file": str(plan.home / "pg_ident.conf"),
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        # Files in the data directory: /dev/shm is small in many containers, open to others of the same account, and
        # keeps what a killed server leaves. What is always needed is in the main segment.
        "dynamic_shared_memory_type": "mmap",
        "min_dynamic_shared_memory": "8MB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **_durability(plan),
        **plan.options,
    }
    if "shared_preload_libraries" not in plan.options and _has_statement_statistics(plan.bin_dir):
        options["shared_preload_libraries"] = "pg_stat_statements"
    return [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]


def _durability(plan: Plan) -> dict[str, str]:
    if plan.durability == "full":
        return {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    return {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def _has_statement_statistics(bin_dir: Path) -> bool:
    lib = bin_dir.resolve().parent / "lib"
    return any(
        (place / f"pg_stat_statements.{suffix}").exists()
        for place in (lib, lib / "postgresql")
        for suffix in ("so", "dylib")
    )


def _quoted(directory: Path) -> str:
    # The setting is a list of names: quotes keep commas and spaces in one of them.
    return '"' + str(directory).replace('"', '""') + '"'


def _tail(log: Path, beginning: int) -> str:
    with log.open("rb") as file:
        file.seek(beginning)
        lines = file.read().decode(errors="replace").splitlines()[-10:]
    return "".join(f"\n  {line}" for line in (f"log: {log}", *lines))
