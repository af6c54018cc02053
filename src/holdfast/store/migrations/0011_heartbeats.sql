-- The last heartbeat of each attempt that is under way, so that its details outlive the worker. What is said of an attempt
-- that has ended stands in its row of the journal.
-- oldest code: 1

create table holdfast.heartbeat (
  run_id  uuid not null,
  key     text not null,           -- of the outcome: charge#1
  attempt smallint not null,
  hold    int not null,
  details json,
  progress json,                   -- how far it is, as people see it
  at      timestamptz not null,
  primary key (run_id, key)
) with (
  -- It is updated again and again, in place: no index has a column that changes.
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_cost_delay = 1
);
