"""What a schedule has to have come to: promises, tables, replays, and what the activities themselves have told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from holdfast.client.exporting import _export
from holdfast.core.errors import HoldfastError
from holdfast.core.states import Ending, RunKind
from holdfast.store.exports import read_exported
from holdfast.store.session import Session
from holdfast.store.work import read_journals
from holdfast.workflow.instance import RunActivity
from holdfast.workflow.replay import _recalled
from holdfast.workflow.workflow import Workflow
from tests.simulation.programs import PROGRAMS, Operated
from tests.simulation.repertoire import app
from tests.simulation.stage import Called, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.export import RunExport
    from holdfast.store.statements import Statements
    from tests.simulation.database import Database
    from tests.simulation.load import Promise
    from tests.simulation.world import World

_STATUS = {1: "succeeded", 2: "failed", 3: "cancelled", 4: "continued"}

_CALLED = """
-- Of a name there may be two workers: the answer to the first registration was lost.
select bool_or(exists (select from holdfast.journal j where j.run_id = $1 and j.key in ($2, $2 || '@' || $3::text))
               or exists (select from holdfast.result e where e.run_id = r.id)) as recorded,
       bool_or($3::int = 1
               or exists (select from holdfast.journal j
                           where j.run_id in ($1, r.id) and j.key = $2 || '@' || ($3::int - 1)::text)) as counted,
       bool_or(r.id = $1 and r.kind = 1) as is_step,
       bool_or(exists (select from holdfast.task t
                         join holdfast.bucket b on b.id = t.bucket_id
                        where t.run_id = r.id and b.worker_id = w.id)) as held
  from holdfast.worker w
 -- An activity that was dispatched goes by the name of its call, and is a run of its own.
 cross join (select coalesce((select c.id from holdfast.run c where c.parent = $1 and c.parent_key = $2), $1) as id,
                    (select k.kind from holdfast.run k where k.id = $1) as kind) r
 where w.name = $4
   and w.ended_at is null
   and w.lease_until > simulated.clock_timestamp()
having count(*) > 0
"""

_ENDS = """
with recursive next as (
  select p.id as first, p.id as id from unnest($1::uuid[]) as p (id)
  union all
  select n.first, r.id from next n join holdfast.run r on r.continued_from = n.id and r.continuation <> 4
)
select n.first, e.status, e.output #>> '{}' as output, e.error::text as error
  from next n
  join holdfast.result e on e.run_id = n.id
 -- What it has become. A fork is a run of its own.
 where not exists (select from holdfast.successor s where s.run_id = n.id)
"""

_TABLES = {"run": "id", "task": "run_id", "journal": "run_id", "inbox": "run_id", "result": "run_id"}


class Verdict:
    """Looks at the database from outside, and blames."""

    def __init__(self, world: World, database: Database, statements: Statements) -> None:
        self._world = world
        self._database = database
        self._statements = statements
        self.suspect: UUID | None = None
        """A run at fault."""
        self._attempts: dict[tuple[UUID, str], int] = {}
        """The highest that was begun of each call."""

    def check_call(self, call: Called, worker: str | None) -> None:
        """An activity is called by who has a lease and holds its run, and not once its outcome is recorded.

        Who has lost its lease and does not know it yet may still begin what was begun elsewhere: nothing of it counts.
        """
        what = f"{call.key} (attempt {call.attempt}) of run {call.run_id}"
        for recorded, counted, is_step, held in self._database.backends.look(
            _CALLED, call.run_id, call.key, str(call.attempt), worker or ""
        ):
            if recorded:
                self._blame(call.run_id, f"{what} is called, and is recorded")
            elif not held:
                self._blame(call.run_id, f"{what} is called by {worker}, which does not hold its run")
            elif not counted:
                self._blame(call.run_id, f"{what} is called, and the attempt before is not recorded")
            elif is_step and not self._is_led_to(call):
                self._blame(call.run_id, f"{what} is called, and what is recorded does not lead there")
            elif call.attempt < self._attempts.get((call.run_id, call.key), 0):
                self._blame(call.run_id, f"{what} is called, and a later attempt was before")
        attempts = self._attempts
        attempts[call.run_id, call.key] = max(call.attempt, attempts.get((call.run_id, call.key), 0))

    def _is_led_to(self, call: Called) -> bool:
        """Whether the code, on what is recorded of the run, asks for this: or a crash could take back why it does.

        Since then more may have been recorded than its worker knows.
        """
        for run in self._exports([call.run_id]):
            for rows in range(len(run.journal), -1, -1):
                if call.key in _asked_for(replace(run, journal=run.journal[:rows], result=None)):
                    return True
        return False

    def _blame(self, run_id: UUID, sentence: str) -> None:
        self.suspect = run_id
        self._world.blame(sentence)

    def check_tables(self, *, but: tuple[str, ...] = ()) -> None:
        """The invariants that hold at every moment."""
        for sentence in self._database.broken(but=but):
            self._world.blame(f"an invariant is broken: {sentence}")

    def check_ends(self, promises: Sequence[Promise]) -> None:
        """Every promised run has come to what it has to come to."""
        found = {row["first"]: row for row in self._database.backends.look(_ENDS, [one.run_id for one in promises])}
        for promise in promises:
            program = PROGRAMS[promise.plan.kind]
            row = found.get(promise.run_id)
            what = f"{promise.plan.kind}({promise.plan.number}), run {promise.run_id},"
            if row is None:
                self._blame(promise.run_id, f"{what} has not ended: {self._status(promise.run_id)}")
                continue
            status, value = _STATUS[row["status"]], row["output"]
            good = status in (program.status, program.or_else) and (
                status != "succeeded" or json.loads(value) == program.wanted(promise.plan.number)
            )
            if not good:
                self._blame(promise.run_id, f"{what} ended as {status} with {value or row['error']}")

    def check_entries(self, promises: Sequence[Promise]) -> None:
        """What a transactional activity does is done once."""
        written: dict[UUID, list[int]] = defaultdict(list)
        for row in self._database.backends.look("select book, line from simulated.entry order by book, line"):
            written[row["book"]].append(row["line"])
        for promise in promises:
            lines = written.pop(promise.run_id, [])
            if promise.plan.kind == "books" and lines != list(range(1 + promise.plan.number % 3)):
                self._blame(promise.run_id, f"the book of run {promise.run_id} has the lines {lines}")

    def check_replays(self) -> None:
        """Replaying any journal against the same code asks for the same outcomes in the same order."""
        exports = [run for run in self._exports() if run.kind is RunKind.WORKFLOW]
        for broken in app.check(exports).breaks:
            self._blame(broken.run_id, f"run {broken.run_id} of {broken.name!r} cannot be replayed: {broken.reason}")
        for run in exports:
            if run.result is None or run.result.ending not in (Ending.SUCCEEDED, Ending.FAILED):
                continue
            if run.first_claim_at is None:
                # Its timeout has passed before anybody began it.
                continue
            workflow = app.definitions[run.name]
            assert isinstance(workflow, Workflow)
            instance = _recalled(workflow, run)
            try:
                end = instance.activate().end
            finally:
                instance.close()
            if end is None or end.ending is not run.result.ending:
                self._blame(run.run_id, f"run {run.run_id} of {run.name!r} has ended, and its journal does not say why")

    def check_calls(self, promises: Sequence[Promise]) -> None:
        """Where nothing has gone wrong, each attempt is made once; but for what a pause has ended at once."""
        paused = {one.run_id for one in promises if PROGRAMS[one.plan.kind].operated is Operated.PAUSED}
        for call, times in Counter(stage.ledger).items():
            if times > 1 and call.run_id not in paused:
                what = f"{call.key} (attempt {call.attempt}) of run {call.run_id}"
                self._blame(call.run_id, f"{what} was called {times} times")

    def describe(self, run_id: UUID) -> str:
        """All that the tables say of a run."""
        parts: list[str] = []
        for table, column in _TABLES.items():
            order = "order by seq" if table == "journal" else ""
            query = f"select * from holdfast.{table} where {column} = $1 {order}"
            parts.extend(f"  {table}: {dict(row)}" for row in self._database.backends.look(query, run_id))
        return "\n".join(parts)

    def _status(self, run_id: UUID) -> str:
        rows = self._database.backends.look("select status from holdfast.runs where id = $1", run_id)
        return str(rows[0]["status"]) if rows else "it is lost"

    def _exports(self, runs: Sequence[UUID] | None = None) -> list[RunExport]:
        """These, or all."""

        async def read(connection: asyncpg.Connection[asyncpg.Record]) -> list[RunExport]:
            session = Session(connection, self._statements)
            ids = runs
            if ids is None:
                ids = [row["id"] for row in await connection.fetch("select id from holdfast.run order by id")]
            rows, journals = await read_exported(session, ids), await read_journals(session, ids)
            return [_export(row, journals.get(row.id, ()), app.seal()) for row in rows]

        try:
            return self._database.backends.wait(read(self._database.backends.admin))
        except HoldfastError as error:
            self._world.blame(f"the runs cannot be read: {error}")
            return []


def _asked_for(run: RunExport) -> set[str]:
    """The activities that its code waits for when it is replayed."""
    workflow = app.definitions[run.name]
    assert isinstance(workflow, Workflow)
    instance = _recalled(workflow, run)
    try:
        instance.activate()
        return {command.key for command in instance.open_commands() if isinstance(command, RunActivity)}
    finally:
        instance.close()
