"""An app whose transactional activities write down each of their effects, in a table of its own, in whatever library.

Each effect is a row with the run and the key that caused it: so effects and journal can be compared row by row.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from datetime import timedelta
from typing import Any

from holdfast import Activity, App, Retry, Signal, activity_info, sleep
from tests.apps.tellers import LIBRARY, teller

app = App()

TABLE = """
create table effect (run_id uuid not null, key text not null, attempt int not null, pid int not null);
create table counter (number int primary key, amount int not null);
insert into counter select n, 0 from generate_series(0, 4) n;
"""

DIFFERENCES = """
with recorded as (
  select run_id, key from holdfast.journal where kind = 1 and key like 'book%'
  union all
  select r.id, r.name || '#1'
    from holdfast.run r
    join holdfast.result e on e.run_id = r.id
   where r.kind = 2 and r.name like 'book%' and e.status = 1
), made as (
  select run_id, key, count(*) as times from effect group by run_id, key
)
select coalesce(m.run_id, r.run_id) as run_id, coalesce(m.key, r.key) as key, m.times, r.run_id is not null as recorded
  from made m
  full join recorded r on r.run_id = m.run_id and r.key = m.key
 where m.times is distinct from 1
    or r.run_id is null
"""
"""Effects without a record, records without an effect, effects that were made twice: in one snapshot, at any moment."""

LOCKED = """
select count(*) = $1
  from pg_stat_activity
 where datname = current_database()
   and application_name like 'holdfast transactions%'
   and wait_event_type = 'Lock'
"""
"""Whether so many of their transactions wait for somebody's lock."""

SLOW_COMMITS = """
create function hold_up() returns trigger language plpgsql
as $$ begin perform from counter where number = 0 for update; return null; end $$;
create constraint trigger hold_up after insert on effect deferrable initially deferred
  for each row execute function hold_up();
"""
"""Commits of effects then wait for a row, after all that the activity and its worker had to say."""

WAIT = "HOLDFAST_TEST_BOOK_FOR"
"""The environment variable that says for how many milliseconds a booking holds its transaction open."""

AGAIN = Retry(max_attempts=None, initial=timedelta(milliseconds=20), maximum=timedelta(milliseconds=200))

go = Signal[int]("go")


EFFECT = "insert into effect values (cast(:run_id as uuid), :key, :attempt, :pid)"
BOOK = "update counter set amount = amount + 1 where number = :number returning amount"
"""A row that all of them want."""
SUM = "select sum(amount) from counter"

name = os.environ.get(LIBRARY, "asyncpg")
speaks = teller(name, os.environ.get("HOLDFAST_DATABASE_URL", ""))


def effect() -> dict[str, object]:
    info = activity_info()
    return {"run_id": str(info.run_id), "key": info.key, "attempt": info.attempt, "pid": os.getpid()}


def pause() -> float:
    """So long, in seconds, a booking holds its transaction open."""
    return random.uniform(0, float(os.environ.get(WAIT, "10"))) / 1000


async def book_with(connection: Any, number: int) -> int:
    assert speaks.say is not None
    await speaks.say(connection, EFFECT, **effect())
    await asyncio.sleep(pause())
    return int(await speaks.say(connection, BOOK, number=number % 5))


async def book_strictly_with(connection: Any, number: int) -> int:
    assert speaks.say is not None
    await speaks.say(connection, EFFECT, **effect())
    total = int(await speaks.say(connection, SUM))
    await speaks.say(connection, BOOK, number=number % 5)
    return total


def book_at_once_with(connection: Any, number: int) -> int:
    assert speaks.say_at_once is not None
    speaks.say_at_once(connection, EFFECT, **effect())
    time.sleep(pause())
    return int(speaks.say_at_once(connection, BOOK, number=number % 5))


def book_strictly_at_once_with(connection: Any, number: int) -> int:
    assert speaks.say_at_once is not None
    speaks.say_at_once(connection, EFFECT, **effect())
    total = int(speaks.say_at_once(connection, SUM))
    speaks.say_at_once(connection, BOOK, number=number % 5)
    return total


as_book = app.activity(name="book", transactional=speaks.library, retry=AGAIN)
as_strict = app.activity(
    name="book_strictly", transactional=speaks.library, isolation_level="serializable", retry=AGAIN
)
book: Activity[[int], int] = as_book(book_with) if speaks.say else as_book(book_at_once_with)
book_strictly: Activity[[int], int] = (
    as_strict(book_strictly_with) if speaks.say else as_strict(book_strictly_at_once_with)
)


@app.activity(retry=AGAIN)
async def look(number: int) -> int:
    await asyncio.sleep(random.uniform(0, 0.02))
    return number


@app.workflow
async def books(number: int) -> list[int]:
    """Transactional activities one after the other and beside each other, with ordinary ones among them."""
    first = await book(number)
    among = await asyncio.gather(book(number), look(1), book(number + 1), look(2), look(3))
    await sleep(0.01)
    strictly = await book_strictly(number)
    return [first, *among, strictly]


PER_RUN = 4
"""The effects of one run of it."""


@app.workflow
async def books_once(number: int) -> int:
    return await book(number)
