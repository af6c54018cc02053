"""What the harness writes down in the database itself, and the checks that can be made with it.

A trigger notes which worker was given which hold of which run: so it can be told, afterwards, whose rows those of a
journal are, and whether they were written after their writer had been fenced. Another one notes each time that a
message is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncpg

    from tests.chaos.findings import Findings

    Connection = asyncpg.Connection[asyncpg.Record]

_NOTES = """
create table public.chaos_entry (book int, line int);
create table public.chaos_claim (run_id uuid, hold int, worker int, primary key (run_id, hold));
create table public.chaos_made (run_id uuid not null);
create function public.chaos_note_made() returns trigger language plpgsql as $$
begin
  insert into public.chaos_made values (new.id);
  return null;
end $$;
create trigger chaos_made after insert on holdfast.run for each row
  when (new.kind = 3) execute function public.chaos_note_made();
create function public.chaos_note_claim() returns trigger language plpgsql as $$
begin
  insert into public.chaos_claim
  select new.run_id, new.hold, b.worker_id from holdfast.bucket b where b.id = new.bucket_id
  on conflict do nothing;
  return null;
end $$;
create trigger chaos_claim after update of hold on holdfast.task for each row
  when (new.hold > old.hold and new.bucket_id is not null) execute function public.chaos_note_claim();
"""

_LINGERS = 8.0


class _Check(NamedTuple):
    name: str
    query: str
    calm: bool = False
    """Whether it holds only where nothing is broken."""


_CHECKS = (
    _Check(
        "3. no write of a fenced worker",
        """
        select j.run_id,
               j.key || ' was journaled ' || (j.at - w.ended_at) || ' after worker ' || w.name || ' was fenced'
          from holdfast.journal j
          join public.chaos_claim c on c.run_id = j.run_id and c.hold = j.hold
          join holdfast.worker w on w.id = c.worker
         -- A timer's row may bear its deadline, which is a little later than the time of its writing.
         where j.kind <> 3
           and j.at > w.ended_at + interval '5 milliseconds'
         limit 5
        """,
    ),
    _Check(
        "2. a journal is whole when there is a result",
        """
        select r.id, 'it has succeeded, and the state that it set last is missing'
          from holdfast.run r
          join holdfast.result e on e.run_id = r.id and e.status = 1
         where r.name = 'sequence'
           and not exists (select from holdfast.journal j where j.run_id = r.id and j.key like 'state:total#%')
         limit 5
        """,
    ),
    _Check(
        "3. in a journal one holder follows on the other",
        """
        select run_id, key || ' was written under hold ' || hold || ', after a row of hold ' || before
          from (select j.run_id, j.key, j.hold, max(j.hold) over (partition by j.run_id order by j.seq) as before
                  from holdfast.journal j
                  join holdfast.run r on r.id = j.run_id and r.continued_from is null) j
         where hold < before
         limit 5
        """,
    ),
    _Check(
        "6. who is taken from has lost its lease",
        """
        select null::uuid, 'worker ' || w.name || ' was taken from ' || (w.lease_until - w.ended_at)
                           || ' before the end of its lease'
          from holdfast.worker w
         where w.state = 'lost' and w.lease_until > w.ended_at
         limit 5
        """,
    ),
    _Check(
        "R3. who works keeps its lease",
        """
        select null::uuid, 'worker ' || w.name || ' has lost its lease, and nobody has touched it'
          from holdfast.worker w
         where w.state = 'lost'
         limit 5
        """,
        calm=True,
    ),
    _Check(
        "10. what is due is taken",
        f"""
        select t.run_id, 'due for ' || (clock_timestamp() - t.due_at) || ', and nobody takes it'
          from holdfast.task t
         where t.bucket_id is null
           and t.lane in ('default', 'elsewhere')
           and t.due_at < clock_timestamp() - interval '{_LINGERS} seconds'
         limit 5
        """,
        calm=True,
    ),
)


async def install(db: Connection) -> None:
    """From now on it is noted who holds what."""
    await db.execute(_NOTES)


async def inspect(db: Connection, findings: Findings, *, calm: bool) -> None:
    """Looks at what was noted; ``calm``: nothing is broken just now, and nobody is kept from working."""
    for check in _CHECKS:
        if check.calm and not calm:
            continue
        for run_id, sentence in await db.fetch(check.query):
            findings.blame(check.name, sentence, run_id)
