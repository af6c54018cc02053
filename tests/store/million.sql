-- A database that has been at work for a while: 1,000,000 parked runs, 1,000,000 results, and what belongs to them.
-- Ids are made as the client makes them, from the time, so that they are in the order of their age.

create function pg_temp.id_of(n bigint) returns uuid
language sql immutable
as $$ select ('0' || to_hex(1700000000000 + n) || '70008000' || '0' || to_hex(1700000000000 + n))::uuid $$;

insert into holdfast.run (id, kind, name, lane, priority, input, created_at)
select pg_temp.id_of(n), 1, 'flow', 'default', 3, '{}', timestamptz '2024-01-01' + n * interval '1 second'
  from generate_series(1, 2000000) n;

-- The older half has ended; every hundredth of them not well.
insert into holdfast.result (run_id, at, first_claim_at, status, output)
select pg_temp.id_of(n), timestamptz '2024-02-01' + n * interval '1 second', timestamptz '2024-01-01',
       case when n % 100 = 0 then 2 else 1 end, '1'
  from generate_series(1, 1000000) n;

-- The younger half is parked: one half of it for a signal, the other for a time.
insert into holdfast.task (run_id, name, lane, priority, due_at, hold, waits_inbox, first_claim_at, inbox_count)
select pg_temp.id_of(n), 'flow', 'default', 3,
       case when n % 2 = 0 then 'infinity' else timestamptz '2100-01-01' + n * interval '1 second' end,
       1, n % 2 = 0, timestamptz '2024-01-01', case when n % 10 = 0 then 1 else 0 end
  from generate_series(1000001, 2000000) n;

insert into holdfast.journal (run_id, at, seq, hold, kind, attempts, key, output)
select pg_temp.id_of(n), timestamptz '2024-01-01', s, 1, 1, 1, 'charge#' || s, '1'
  from generate_series(1000001, 2000000, 10) n, generate_series(1, 3) s;

insert into holdfast.inbox (run_id, number, kind, name, key, payload, at)
select pg_temp.id_of(n), 1, 4, 'upgrade', 'key', '1', timestamptz '2024-01-01'
  from generate_series(1000010, 2000000, 10) n;

insert into holdfast.start_key (name, key, run_id, at)
select 'flow', 'key ' || n, pg_temp.id_of(n), timestamptz '2024-01-01'
  from generate_series(1000001, 2000000, 10) n;

-- A few are blocked, a few are due, a few are held: by a worker that is dead, and by one that lives.
update holdfast.task
   set flags = 2
 where run_id in (select pg_temp.id_of(n) from generate_series(1000001, 2000000, 5000) n);

update holdfast.task
   set due_at = timestamptz '2024-03-01'
 where run_id in (select pg_temp.id_of(n) from generate_series(1000003, 2000000, 5000) n);

insert into holdfast.worker (name, host, pid, lane, names, lease, lease_until, started_at)
values ('dead', 'host', 1, 'default', '{flow}', '30 s', '2024-03-01', '2024-01-01'),
       ('alive', 'host', 2, 'default', '{flow}', '30 s', '2100-01-01', '2024-01-01');
insert into holdfast.fence (worker_id, epoch)
values (1, 1), (2, 1);
insert into holdfast.bucket (worker_id, lane, priority, created_at)
values (1, 'default', 3, '2024-01-01'), (2, 'default', 3, '2024-01-01');
update holdfast.task
   set bucket_id = 1, due_at = timestamptz '2024-03-01', hold = 2
 where run_id in (select pg_temp.id_of(n) from generate_series(1000005, 2000000, 5000) n);
update holdfast.task
   set bucket_id = 2, due_at = timestamptz '2024-03-01', hold = 2
 where run_id in (select pg_temp.id_of(n) from generate_series(1000007, 2000000, 5000) n);
