-- $1 runs that have ended.
with finished as materialized (
  select holdfast.uuid7() as id
    from generate_series(1, $1::int)
), asked as (
  insert into holdfast.run (id, kind, name, lane, priority, input, created_at)
  select id, 2, 'noop', 'default', 3, '{"order": {"number": 1}}', holdfast.now()
    from finished
)
insert into holdfast.result (run_id, status, output, first_claim_at, at)
select id, 1, '{"number": 1, "accepted": true}', holdfast.now(), holdfast.now()
  from finished
