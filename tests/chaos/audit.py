"""What the harness writes down in the database itself, and the checks that can be made with it.

A trigger notes which worker was given which hold of which run: so it can be told, afterwards, whose rows those of a
journal are, and whether they were written after their writer had been fenced. Others note each time that a message is
made, and what is done to rows that nobody may touch once they are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncpg

    from tests.chaos.findings import Findings

    Connection = asyncpg.Connection[asyncpg.Record]

_NOTES = """
create table public.chaos_entry (book int, line int);
create index on public.chaos_entry (book);
create table public.chaos_claim (
  run_id uuid, hold int, worker int, at timestamptz, due_at timestamptz, lane text, name text,
  primary key (run_id, hold)
);
create index on public.chaos_claim (at);
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
  select new.run_id, new.hold, b.worker_id, clock_timestamp(), old.due_at, old.lane, new.name
    from holdfast.bucket b
   where b.id = new.bucket_id
  on conflict do nothing;
  return null;
end $$;
create trigger chaos_claim after update of hold on holdfast.task for each row
  when (new.hold > old.hold and new.bucket_id is not null) execute function public.chaos_note_claim();

create table public.chaos_change (run_id uuid, what text);
create function public.chaos_note_change() returns trigger language plpgsql as $$
begin
  insert into public.chaos_change
  values (old.run_id, lower(tg_op) || ' of ' || tg_table_name || ' ' || row_to_json(old));
  return null;
end $$;
create trigger chaos_change after update or delete on holdfast.journal
  for each row execute function public.chaos_note_change();
create trigger chaos_change after update or delete on holdfast.result
  for each row execute function public.chaos_note_change();
"""

_LINGERS = 8.0
"""Seconds in which what is due is taken where nothing is broken."""
_NEVER = 60.0
"""Seconds in which it is taken, and what a dead worker has left is in other hands, whatever is broken."""


_SPAN = 10
"""Seconds in which it is counted what a rate has let begin."""
_STALL = 3
"""Seconds for which the machine may stand still at that."""


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
        "3. no end by a fenced worker",
        """
        select e.run_id,
               'it has succeeded ' || (e.at - w.ended_at) || ' after its last holder, ' || w.name || ', was fenced'
          from holdfast.result e
         cross join lateral (
           select c.worker from public.chaos_claim c where c.run_id = e.run_id order by c.hold desc limit 1
         ) c
          join holdfast.worker w on w.id = c.worker
         where e.status in (1, 4)
           and e.at > w.ended_at + interval '5 milliseconds'
         limit 5
        """,
    ),
    _Check(
        "2. what is recorded never changes",
        "select run_id, what from public.chaos_change limit 5",
    ),
    _Check(
        "18. what a transactional activity does is recorded with it",
        """
        select r.id, d.entries || ' entries, and ' || d.rows || ' in its journal'
          from holdfast.run r
         cross join lateral (
           select (select count(*) from public.chaos_entry e where e.book = (r.input ->> 'book')::int) as entries,
                  (select count(*) from holdfast.journal j
                    where j.run_id = r.id and j.kind = 1 and j.key like 'enter#%' and j.error is null) as rows
         ) d
         where r.name = 'books'
           and d.entries <> d.rows
         limit 5
        """,
    ),
    _Check(
        "5. a timer does not ring before its time",
        """
        select r.id, 'it slept from ' || s.at || ' to ' || t.at || ', and was to sleep longer'
          from holdfast.run r
          join holdfast.journal s on s.run_id = r.id and s.key = 'step#1'
          join holdfast.journal t on t.run_id = r.id and t.key = 'timer#1'
         where r.name = 'sequence'
           and t.at < s.at + interval '99.9 milliseconds' * ((r.input ->> 'n')::int % 9)
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
        "4. what a dead worker held is in other hands",
        f"""
        select t.run_id, 'held by worker ' || coalesce(w.name, '?') || ', whose lease ended at ' || w.lease_until
          from holdfast.task t
          left join holdfast.bucket b on b.id = t.bucket_id
          left join holdfast.worker w on w.id = b.worker_id
         where t.bucket_id is not null
           and (w.id is null or w.lease_until + interval '{_NEVER} seconds' < clock_timestamp())
         limit 5
        """,
    ),
    _Check(
        "10. what is due is taken, by and by",
        # Where there is more than can be done all wait; but nobody is taken before it who was due much later. Of the
        # same name: what has limits has lines of its own.
        f"""
        select t.run_id, 'due for ' || (clock_timestamp() - t.due_at) || ' in lane ' || t.lane || ' after '
                         || t.crashes || ' crashes, and others are taken that were due later'
          from holdfast.task t
         where t.bucket_id is null
           and t.due_at < clock_timestamp() - interval '{_NEVER} seconds'
           and exists (select from public.chaos_claim c
                        where c.at > clock_timestamp() - interval '10 seconds'
                          and c.due_at > t.due_at + interval '{_NEVER / 2} seconds'
                          -- What is taken ahead of its time is due just now.
                          and c.due_at < c.at - interval '5 seconds'
                          -- Suspects have a line of their own, and shall not stand there for longer than others.
                          and (c.lane = t.lane or t.lane like '% alone' and c.lane = split_part(t.lane, ' ', 1))
                          and c.name = t.name)
         limit 5
        """,
    ),
    _Check(
        "9. a key belongs to one open run",
        """
        select min(t.run_id::text)::uuid, count(*) || ' runs are open for seat ' || (r.input ->> 'number')
          from holdfast.task t
          join holdfast.run r on r.id = t.run_id
         where r.name = 'seat'
         group by r.input ->> 'number'
        having count(*) > 1
         limit 5
        """,
    ),
    _Check(
        "9. a rate lets no more begin",
        # Between the moment in which it lets somebody begin and that in which it is noted lie some milliseconds, or
        # seconds, where the machine stands still just then: so of a span that is long beside that.
        f"""
        select run_id, number || ' began within {_SPAN} s, and there is one per second'
          from (select run_id,
                       count(*) over (order by at
                                      range between current row and interval '{_SPAN} seconds' following) as number
                  from public.chaos_claim
                 where name = 'paced') c
         where number > {_SPAN} + {_STALL} + 1
         limit 5
        """,
    ),
    _Check(
        "9. a throttle lets no more through",
        """
        select id, number || ' of customer ' || customer || ' were let through that were started within four seconds'
          from (select r.id, r.input ->> 'customer' as customer,
                       count(*) over (partition by r.input ->> 'customer' order by r.created_at
                                      range between current row and interval '3999 milliseconds' following) as number
                  from holdfast.run r
                  join holdfast.result e on e.run_id = r.id and e.status = 1
                 where r.name = 'remind') c
         where number > 2 + 2 - 1
         limit 5
        """,
    ),
    _Check(
        "9. of starts that replace each other the last one counts",
        """
        select id, 'it was started last for document ' || document || ', and has ended with status ' || status
          from (select distinct on (r.input ->> 'document') r.id, r.input ->> 'document' as document, e.status
                  from holdfast.run r
                  left join holdfast.result e on e.run_id = r.id
                 where r.name = 'index'
                 order by r.input ->> 'document', r.created_at desc, r.id desc) c
         where status <> 1
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
        findings.looked[check.name] += 1
