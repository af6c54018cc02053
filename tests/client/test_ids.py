"""Ids sort by the time at which they were made."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.client.ids import Ids
from holdfast.core.ids import MOST_COUNT, lowest_id, made_at, uuid7

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


def test_an_id_is_a_uuid_of_version_7() -> None:
    run_id = uuid7(0x0197B2F07C3E, 0xA41, (1 << 64) - 1)
    assert run_id.version == 7
    assert run_id.variant == "specified in RFC 4122"
    assert str(run_id) == "0197b2f0-7c3e-7a41-bfff-ffffffffffff"


def test_ids_of_a_range_of_time_are_a_range() -> None:
    lowest = lowest_id(NOON)
    unix_ms = int(NOON.timestamp() * 1000)
    assert lowest <= uuid7(unix_ms, 0, 0)
    assert uuid7(unix_ms - 1, MOST_COUNT, (1 << 62) - 1) < lowest
    # Within a millisecond: what was made after it, if only by microseconds, may not be left out.
    assert lowest_id(NOON + timedelta(microseconds=1)) <= uuid7(unix_ms + 1, 0, 0)


def test_an_id_tells_when_it_was_made() -> None:
    assert made_at(uuid7(int(NOON.timestamp() * 1000), 5, 5)) == NOON


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_any_time_has_a_lowest_id(at: datetime) -> None:
    assert lowest_id(at).int >= 0


def test_ids_of_one_maker_grow() -> None:
    ids = Ids()
    made = [ids.next() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_grow_also_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    clock = iter([now, now - 3_600_000_000_000, now - 1, now + 1_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    ids = Ids()
    made = [ids.next() for _ in range(4)]
    assert made == sorted(set(made))


def test_more_than_fit_into_a_millisecond_run_ahead_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000)
    ids = Ids()
    made = [ids.next() for _ in range(2 * MOST_COUNT)]
    assert made == sorted(set(made))
    assert made_at(made[-1]) - made_at(made[0]) == timedelta(milliseconds=1)


def test_ids_of_a_process_that_was_forked_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000)
    ids = Ids()
    ids.next()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(ids.next().bytes for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 16 * 100)
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 16 * 100
    own = b"".join(ids.next().bytes for _ in range(100))
    # Made in the same millisecond with the same counters: only what was drawn at random differs.
    assert not {theirs[n : n + 16] for n in range(0, 1600, 16)} & {own[n : n + 16] for n in range(0, 1600, 16)}


def test_many_ids_of_one_millisecond_differ_in_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000)
    drawn = [made.int & ((1 << 62) - 1) for made in (ids.next() for ids in [Ids()] for _ in range(2000))]
    assert len(set(drawn)) == len(drawn)
