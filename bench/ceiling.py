"""The ceiling of the write path: bare SQL with no engine around it.

It writes the narrowest rows that do the work, fenced and locked as the engine's are.

    python ceiling.py DSN [--runs 30000] [--steps 3] [--room 1000] [--pin-xmin] [--way backlog|singles|alone]

A backlog is worked off, or runs are started singly by as many tasks as there is room, or one run goes after the other.
Prints one JSON line. The engine's throughput for the same work divided by this figure, both measured in one sitting on
one machine and one database server, says how much the engine itself costs. Uses schema "ceiling", which it drops first.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

Row = TypeVar("Row", bound=tuple[object, ...])
Step = tuple[uuid.UUID, int, int, str, str]
End = tuple[uuid.UUID, int, str]

BATCH = 500

SCHEMA = """
drop schema if exists ceiling cascade;
create schema ceiling;
set search_path = ceiling;
create table run (id uuid primary key, kind smallint not null default 0, name text not null, lane text not null,
    priority smallint not null, input json, tags jsonb, parent uuid, created_at timestamptz not null default now());
create table task (run_id uuid primary key, lane text not null, priority smallint not null, due_at timestamptz not null,
    bucket_id int, attempt smallint not null default 0, inbox_count int not null default 0) with (fillfactor = 80);
create index task_due on task (lane, priority, due_at) where bucket_id is null;
create table journal (run_id uuid, seq int, kind smallint, key text, output json,
    at timestamptz default clock_timestamp(), primary key (run_id, seq));
create table result (run_id uuid primary key, status smallint, output json, at timestamptz default clock_timestamp());
create index result_unhappy on result (at) where status <> 1;
create table worker (id int primary key, epoch int, lease_until timestamptz);
insert into worker values (1, 1, now() + interval '1 hour');
create function flush(w int, e int, s_run uuid[], s_seq int[], s_kind smallint[], s_key text[], s_out json[],
    r_run uuid[], r_status smallint[], r_out json[]) returns bool language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(77, w);
    perform 1 from worker where id = w and epoch = e and lease_until > clock_timestamp();
    if not found then return false; end if;
    perform 1 from task where run_id = any (r_run) order by run_id for update;
    if cardinality(s_run) > 0 then
        insert into journal (run_id, seq, kind, key, output) select * from unnest(s_run, s_seq, s_kind, s_key, s_out);
    end if;
    if cardinality(r_run) > 0 then
        insert into result (run_id, status, output) select * from unnest(r_run, r_status, r_out);
        delete from task where run_id = any (r_run);
    end if;
    return true;
end $$;
"""
START = """
with r as (insert into run (id, name, lane, priority, input)
           select unnest($1::uuid[]), 'bench', 'default', 3, '{"x": 1}')
insert into task (run_id, lane, priority, due_at) select unnest($1::uuid[]), 'default', 3, now()
"""
CLAIM = """
with c as (select run_id from task where lane = $1 and priority = $2 and bucket_id is null
              and due_at >= $5 and due_at <= now() order by due_at limit $3 for update skip locked),
     u as (update task t set bucket_id = $4, attempt = attempt + 1 from c where t.run_id = c.run_id
           returning t.run_id, t.due_at)
select u.run_id, u.due_at, r.name, r.input from u join run r on r.id = u.run_id
"""
FLUSH = "select flush(1, 1, $1, $2, $3, $4, $5, $6, $7, $8)"
EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class GroupStart:
    """Idle: insert at once. An insert in flight: collect, then insert again."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.waiting: list[tuple[uuid.UUID, asyncio.Future[None]]] = []
        self.wake = asyncio.Event()

    async def start(self) -> None:
        """Starts one run; it is there when this returns."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((uuid.uuid4(), waiter))
        self.wake.set()
        await waiter

    async def run(self) -> None:
        """Inserts until it is cancelled."""
        statement = await self.connection.prepare(START)
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
                await statement.fetch([run for run, _ in batch])
                for _, waiter in batch:
                    waiter.set_result(None)


class GroupCommit:
    """Idle: flush at once. A flush in flight: collect, then flush again."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.steps: list[Step] = []
        self.ends: list[End] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.wake = asyncio.Event()
        self.flushes = 0

    def add(self, batch: list[Row], row: Row) -> asyncio.Future[None]:
        """Writes this row with the next flush; what it gives is done after the commit."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch.append(row)
        self.waiters.append(waiter)
        self.wake.set()
        return waiter

    async def run(self) -> None:
        """Flushes until it is cancelled."""
        statement = await self.connection.prepare(FLUSH)
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiters:
                steps, ends, waiters = self.steps[:], self.ends[:], self.waiters
                self.steps.clear()
                self.ends.clear()
                self.waiters = []
                columns: list[list[Any]] = (
                    [list(c) for c in zip(*steps, strict=True)] if steps else [[] for _ in range(5)]
                )
                columns += [list(c) for c in zip(*ends, strict=True)] if ends else [[] for _ in range(3)]
                if not await statement.fetchval(*columns):
                    raise RuntimeError("fenced")
                self.flushes += 1
                for waiter in waiters:
                    waiter.set_result(None)


async def connect(args: argparse.Namespace) -> Connection:
    """A connection that finds the tables."""
    return await asyncpg.connect(args.dsn, server_settings={"search_path": "ceiling"})


async def singles(args: argparse.Namespace) -> dict[str, Any]:
    """As many tasks as there is room start one run after the other; nobody executes."""
    connection = await connect(args)
    await connection.execute(SCHEMA)
    starts = GroupStart(connection)
    starter = asyncio.create_task(starts.run())
    numbers = iter(range(args.runs))

    async def go_on() -> None:
        for _ in numbers:
            await starts.start()

    began = time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(args.room)))
    seconds = time.perf_counter() - began
    starter.cancel()
    pace = round(args.runs / seconds)
    return {"runs_per_second": pace, "starts_per_second": pace, "seconds": round(seconds, 2)}


async def alone(args: argparse.Namespace) -> dict[str, Any]:
    """One run after the other, each with the commits of its start, its claim and its end; nobody has to be woken."""
    connection = await connect(args)
    await connection.execute(SCHEMA)
    start, claim, flush = [await connection.prepare(statement) for statement in (START, CLAIM, FLUSH)]
    nothing: list[Any] = []
    times: list[float] = []
    began = time.perf_counter()
    for _ in range(args.runs):
        at, run = time.perf_counter(), uuid.uuid4()
        await start.fetch([run])
        if [row["run_id"] for row in await claim.fetch("default", 3, 1, 1, EPOCH)] != [run]:
            raise RuntimeError("another run is there")
        if not await flush.fetchval(*[nothing] * 5, [run], [1], ['"ok"']):
            raise RuntimeError("fenced")
        times.append((time.perf_counter() - at) * 1000)
    seconds = time.perf_counter() - began
    times.sort()
    return {
        "runs_per_second": round(args.runs / seconds),
        "p50_ms": round(times[len(times) // 2], 3),
        "p99_ms": round(times[min(len(times) - 1, int(0.99 * len(times)))], 3),
        "seconds": round(seconds, 2),
    }


async def backlog(args: argparse.Namespace) -> dict[str, Any]:
    """Starts the runs, then executes them."""
    claims, flushes, pin = await connect(args), await connect(args), await connect(args)
    await claims.execute(SCHEMA)
    if args.pin_xmin:
        await pin.execute("begin isolation level repeatable read; select 1; create temp table x (i int)")
    began = time.perf_counter()
    for first in range(0, args.runs, BATCH):
        await claims.execute(START, [uuid.uuid4() for _ in range(min(BATCH, args.runs - first))])
    started = args.runs / (time.perf_counter() - began)

    commit = GroupCommit(flushes)
    committer = asyncio.create_task(commit.run())

    async def work(run: uuid.UUID) -> None:
        for seq in range(args.steps):
            await commit.add(commit.steps, (run, seq, 0, f"act#{seq}", '{"k": 1}'))
        await commit.add(commit.ends, (run, 1, '"ok"'))

    claim = await claims.prepare(CLAIM)
    began, cpu = time.perf_counter(), time.process_time()
    running: set[asyncio.Task[None]] = set()
    room_left = asyncio.Event()

    def finished(task: asyncio.Task[None]) -> None:
        running.discard(task)
        if len(running) <= args.room // 2:
            room_left.set()

    claimed, watermark, total = 0, EPOCH, args.runs
    while claimed < total:
        while len(running) > args.room // 2:  # refill in halves, never above the room
            room_left.clear()
            await room_left.wait()
        rows = await claim.fetch("default", 3, args.room - len(running), 1, watermark)
        watermark = min((r["due_at"] for r in rows), default=EPOCH)
        claimed += len(rows)
        for row in rows:
            task = asyncio.create_task(work(row["run_id"]))
            running.add(task)
            task.add_done_callback(finished)
    while running:
        await asyncio.wait(running)
    seconds = time.perf_counter() - began
    committer.cancel()
    return {
        "scenario": f"ceiling, {args.steps} steps" + (", pinned xmin" if args.pin_xmin else ""),
        "runs": total,
        "starts_per_second": round(started),
        "runs_per_second": round(total / seconds),
        "steps_per_second": round(total * args.steps / seconds),
        "flushes": commit.flushes,
        "client_cpu_share": round((time.process_time() - cpu) / seconds, 2),
        "seconds": round(seconds, 2),
    }


async def main(args: argparse.Namespace) -> None:
    """Measures one of them."""
    print(json.dumps(await WAYS[args.way](args)))


WAYS = {"backlog": backlog, "singles": singles, "alone": alone}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dsn", nargs="?", default=os.environ.get("HOLDFAST_DATABASE_URL"))
    parser.add_argument("--runs", type=int, default=30000)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--room", type=int, default=1000)
    parser.add_argument("--pin-xmin", action="store_true")
    parser.add_argument("--way", choices=sorted(WAYS), default="backlog")
    arguments = parser.parse_args()
    try:
        import uvloop

        uvloop.run(main(arguments))
    except ImportError:
        asyncio.run(main(arguments))
