"""R4, R5: what is said while the database is away: a line when that begins, a line when it ends, no traceback."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import timedelta

import asyncpg
import pytest

from holdfast import DatabaseUnavailable
from holdfast.core.errors import DatabaseError
from holdfast.store.outage import Outage, is_unreachable
from tests.client.shop import client_of, nothing
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.house import House, eventually

REFUSED = ConnectionRefusedError("connection refused")

HOLDS_A_LONG_ONE = """
select exists (select from holdfast.task t join holdfast.run r on r.id = t.run_id
                where t.bucket_id is not null and r.input ->> 'seconds' = '1.0')
"""


@pytest.mark.parametrize("fault", ["cut", "swallow"])
async def test_an_outage_is_told_of_when_it_begins_and_when_it_ends(
    load: Load, far: House, proxy: Proxy, fault: str
) -> None:
    await load.worker(far, "--lease", "1s", "--log-level", "warning")
    await load.add(10, jobs=5)
    # Whatever else has come to rest by then: this one is held when it begins.
    await load.add(0, jobs=1, seconds=1.0)
    await load.house.until(HOLDS_A_LONG_ONE)
    if fault == "cut":
        proxy.cut(refuse=True)
    else:
        proxy.swallow()
    # All that needs it has failed by then, and many times.
    await eventually(lambda: "going on as a new worker" in far.log(), "its lease is over")
    proxy.heal()
    await load.ends_well()
    told = re.findall(r"is away|as a new worker|is back, after|recovered \d+ runs|Traceback", far.log())
    assert [re.sub(r"\d+ ", "", word) for word in told] == [
        "is away",
        "as a new worker",
        "is back, after",
        "recovered runs",
    ]
    assert len(far.log().splitlines()) == 4


async def test_an_outage_that_is_over_within_the_lease_is_two_lines(load: Load, far: House, proxy: Proxy) -> None:
    await load.worker(far, "--lease", "30s", "--log-level", "warning")
    await load.add(10, jobs=5)
    await load.goes_on()
    proxy.cut(refuse=True)
    await eventually(lambda: "is away" in far.log(), "it is noticed")
    await load.signal(10)
    proxy.heal()
    await load.ends_well()
    away, back = far.log().splitlines()
    assert "all that needs it is tried again until it is back" in away
    assert re.search(r"the database is back, after \d+\.\d s", back)


async def test_a_client_whose_database_is_away_says_so_to_its_caller_and_logs_nothing(
    load: Load, far: House, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(far.dsn, patience=timedelta(seconds=0.2)) as client:
        await client.start(nothing)
        proxy.cut(refuse=True)
        with pytest.raises(DatabaseUnavailable):
            await client.start(nothing)
        proxy.heal()
        await client.start(nothing)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# -- what counts as one


class Said:
    """An outage, with what was said of it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.outage = Outage()
        self._caplog = caplog

    def lines(self) -> list[str]:
        found = [record.message.split(" (")[0] for record in self._caplog.records if record.levelno >= logging.WARNING]
        return [line.split(",")[0] for line in found]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    return Said(caplog)


AWAY, BACK = "the database is away", "the database is back"


def test_however_many_fail_it_is_one(said: Said) -> None:
    for who in ("claims", "flushes", "claims"):
        assert said.outage.fails(who, None, REFUSED)
    assert said.lines() == [AWAY]


def test_it_ends_with_the_first_that_works_again(said: Said) -> None:
    said.outage.fails("claims", None, REFUSED)
    said.outage.fails("flushes", None, REFUSED)
    said.outage.works("claims", float("inf"))
    said.outage.works("flushes", float("inf"))
    assert said.lines() == [AWAY, BACK]


def test_a_connection_that_was_there_before_and_works_says_nothing(said: Said) -> None:
    said.outage.fails("claims", None, REFUSED)
    said.outage.works("heartbeat", 0.0)
    assert said.lines() == [AWAY]


def test_what_breaks_afterwards_and_was_opened_before_is_a_remnant(said: Said) -> None:
    said.outage.fails("claims", None, REFUSED)
    said.outage.works("claims", float("inf"))
    assert said.outage.fails("flushes", 0.0, TimeoutError())
    assert said.lines() == [AWAY, BACK]
    assert said.outage.fails("flushes", None, TimeoutError())
    assert said.lines() == [AWAY, BACK, AWAY]


def test_a_refusal_is_none(said: Said) -> None:
    assert not said.outage.fails("claims", None, asyncpg.DiskFullError("no space left"))
    assert not said.outage.fails("claims", None, ValueError("?"))
    assert said.lines() == []


@pytest.mark.parametrize(
    ("error", "unreachable"),
    [
        (REFUSED, True),
        (TimeoutError(), True),
        (asyncio.IncompleteReadError(b"", 5), True),
        (asyncpg.AdminShutdownError("terminating connection"), True),
        (asyncpg.CrashShutdownError("terminating connection"), True),
        (asyncpg.CannotConnectNowError("the database system is starting up"), True),
        (asyncpg.TooManyConnectionsError("too many clients"), True),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.LockNotAvailableError("lock timeout"), False),
        (asyncpg.QueryCanceledError("statement timeout"), False),
        (asyncpg.UndefinedTableError("no such table"), False),
        (DatabaseError("refused"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_is_unreachable(error: BaseException, *, unreachable: bool) -> None:
    assert is_unreachable(error) == unreachable
    wrapped = DatabaseUnavailable("the database cannot be reached")
    wrapped.__cause__ = error
    assert is_unreachable(wrapped) == unreachable
