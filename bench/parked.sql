-- $1 runs that have been begun and wait for a signal: rows, and nothing else.
with parked as materialized (
  select holdfast.uuid7() as id
    from generate_series(1, $1::int)
), asked as (
  insert into holdfast.run (id, kind, name, lane, priority, input, created_at)
  select id, 1, 'waits', 'default', 3, '{"n": 3}', holdfast.now()
    from parked
)
insert into holdfast.task (run_id, name, lane, priority, due_at, hold, waits_inbox, first_claim_at)
select id, 'waits', 'default', 3, 'infinity', 1, true, holdfast.now()
  from parked
