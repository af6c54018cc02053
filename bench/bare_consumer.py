"""The ceiling of draining a queue: bare SQL with no engine around it, called as ``bench.consumer`` is.

The same two rows for each message, and what cannot be left out: messages are skipped that others are taking, a receipt
is checked when they are acknowledged, and what was acknowledged is gone. ``together`` is one statement and one commit
for both.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SCHEMA = """
create schema ceiling;
create table ceiling.run (id uuid primary key, kind smallint not null default 3, name text not null, lane text not null,
    priority smallint not null, input json, created_at timestamptz not null default now());
create table ceiling.task (run_id uuid primary key, lane text not null, priority smallint not null,
    due_at timestamptz not null, bucket_id int, hold int not null default 0) with (fillfactor = 80);
create index task_due on ceiling.task (lane, priority, due_at) where bucket_id is null;
"""
FILL = """
with r as (insert into ceiling.run (id, name, lane, priority, input)
           select u.id, $1, $1, 3, '{"number": 1, "customer": "Acme"}' from unnest($2::uuid[]) as u (id))
insert into ceiling.task (run_id, lane, priority, due_at)
select u.id, $1, 3, clock_timestamp() from unnest($2) as u (id)
"""
_ACK = """
gone as (
    delete from ceiling.task t using unnest($1::uuid[], $2::int[]) a (run_id, hold)
     where t.run_id = a.run_id and t.hold = a.hold returning t.run_id
), dropped as (
    delete from ceiling.run r using gone g where r.id = g.run_id returning r.id
)
"""
_TAKE = """
due as (
    select run_id, due_at from ceiling.task where lane = $3 and priority = 3 and bucket_id is null
       and due_at >= $4 and due_at <= clock_timestamp() order by due_at limit $5 for update skip locked
), taken as (
    update ceiling.task t set hold = t.hold + 1, due_at = clock_timestamp() + interval '30 s' from due d
     where t.run_id = d.run_id returning t.run_id, t.hold, d.due_at
)
"""
_GIVE = "select k.run_id, k.hold, k.due_at, r.input from taken k join ceiling.run r on r.id = k.run_id"
ACK = f"with {_ACK} select count(*) from dropped"  # noqa: S608 - of constants
TAKE = f"with {_TAKE} {_GIVE}".replace("$3", "$1").replace("$4", "$2").replace("$5", "$3")
BOTH = f"with {_ACK}, {_TAKE} {_GIVE}"
"""The statements. As the engine's, probes begin where the last one began to find something."""


async def _drain(connection: Connection, lane: str, batch: int, *, together: bool) -> tuple[int, float]:
    ack, take, both = [await connection.prepare(text) for text in (ACK, TAKE, BOTH)]
    lower = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    handled, ended = 0, 0.0
    rows: Sequence[asyncpg.Record] = await take.fetch(lane, lower, batch)
    while rows:
        lower = min(row["due_at"] for row in rows)
        runs: list[uuid.UUID] = [row["run_id"] for row in rows]
        holds: list[int] = [row["hold"] for row in rows]
        if together:
            rows = await both.fetch(runs, holds, lane, lower, batch)
        elif await ack.fetchval(runs, holds) != len(runs):
            raise RuntimeError("some receipts were not good")
        handled, ended = handled + len(runs), time.perf_counter()
        if not together:
            rows = await take.fetch(lane, lower, batch)
    return handled, ended


async def _main(url: str) -> None:
    connection = await asyncpg.connect(url)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        lane, batch, way = line.split()
        handled, ended = await _drain(connection, lane, int(batch), together=way == "together")
        print(json.dumps({"handled": handled, "ended": ended}), flush=True)
    await connection.close()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(_main(sys.argv[1]))
    except ImportError:
        asyncio.run(_main(sys.argv[1]))
