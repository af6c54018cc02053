from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedded.guest import Guest, nobody_left, processes_of, wait_until
from tests.embedded.stranger import Stranger, find_stranger


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that any account can pass through. Nothing may run in it when the test is over."""
    # In memory where that is possible: each test lays out a server of its own.
    memory = Path("/dev/shm")  # noqa: S108 - made by mkdtemp
    place = Path(tempfile.mkdtemp(prefix="holdfast-", dir=memory if memory.is_dir() else None)).resolve()
    place.chmod(0o711)
    yield place
    try:
        wait_until(lambda: nobody_left(place), f"nothing runs in {place} any more")
    finally:
        for process in processes_of(place):
            process.kill()
        shutil.rmtree(place)


@pytest.fixture
def guest(place: Path) -> Iterator[Callable[..., Guest]]:
    """Makes a process that shares a server in ``place``, synced by nobody, and ends it after the test."""
    guests: list[Guest] = []

    def make(*, started: bool = True, settings: dict[str, Any] | None = None, **how: Any) -> Guest:
        words = {"data_dir": place / "data", "durability": "test", "shared_buffers": "16MB"} | (settings or {})
        guest = Guest(words, **how)
        guests.append(guest)
        if started:
            guest("start")
        return guest

    yield make
    for one in guests:
        one.close()


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")


@pytest.fixture
def stranger(place: Path, as_root: None) -> Stranger:
    return find_stranger(place)
