-- The fence
-- oldest code: 1

create function holdfast.hint(p_payload text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  v_when text := current_setting('holdfast.hints', true);
begin
  if v_when = 'later' then
    -- The caller sends them itself, after its commit: of all transactions that notify, only one at a time can commit, and
    -- each would wait for the disk in its turn.
    perform set_config('holdfast.hinted',
                       concat_ws(chr(10), nullif(current_setting('holdfast.hinted', true), ''), p_payload), true);
    return;
  end if;
  if v_when = 'off' then
    -- What it would have told of is found by looking, within a second.
    return;
  end if;
  perform pg_notify('{channel}', p_payload);
end $$;

create function holdfast.fence_class() returns int
language sql stable
-- From the worker table's oid, so that two schemas in one database never share a lock.
as $$ select ('holdfast.worker'::regclass::oid::bigint - 2147483648)::int $$;

create function holdfast.fence(p_worker int, p_epoch int) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Under a higher level the check below would read the snapshot of the transaction's beginning.
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'a worker must write under READ COMMITTED, not %', current_setting('transaction_isolation')
      using errcode = 'HF002';
  end if;
  -- First the lock, which recovery takes exclusively; then, as a statement of its own and so with a snapshot of its own,
  -- the check: in a single statement the check would read what was true before the lock was granted.
  perform pg_advisory_xact_lock_shared(holdfast.fence_class(), p_worker);
  perform 1
     from holdfast.worker w
    where w.id = p_worker
      and w.epoch = p_epoch
      and w.lease_until > clock_timestamp();
  if not found then
    raise exception 'worker % has lost its lease (epoch %)', p_worker, p_epoch using errcode = 'HF001';
  end if;
end $$;

create function holdfast.register(
  p_name text, p_host text, p_pid int, p_lane text, p_names text[], p_lease interval,
  p_lanes text[], p_priorities smallint[], p_schedules jsonb default null,
  p_mode text default 'full', p_version text default '', p_command text default null
) returns table (worker_id int, epoch int, bucket_ids bigint[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_worker int;
begin
  insert into holdfast.worker
         (name, host, pid, lane, mode, version, names, schedules, lease, lease_until, started_at, command, state)
  values (p_name, p_host, p_pid, p_lane, p_mode, p_version, p_names, p_schedules, p_lease, clock_timestamp() + p_lease,
          clock_timestamp(), p_command, case p_command when 'pause' then 'paused' else 'active' end)
  returning id into v_worker;
  insert into holdfast.fence (worker_id, epoch) values (v_worker, 1);
  -- A new worker may bring the code that a blocked run waits for. A fleet registers all at once: nobody waits for a row
  -- that another is at.
  with blocked as (
    select t.run_id
      from holdfast.task t
     where t.flags & 2 <> 0
       and t.bucket_id is null
       and t.flags & 1 = 0
       and t.name = any (p_names)
     order by t.run_id
       for update skip locked
  )
  update holdfast.task t
     set due_at = least(t.due_at, holdfast.now())
    from blocked b
   where t.run_id = b.run_id;
  return query
  with b as (
    insert into holdfast.bucket (worker_id, lane, priority, created_at)
    select v_worker, s.lane, s.priority, clock_timestamp()
      from unnest(p_lanes, p_priorities) with ordinality as s (lane, priority, n)
     order by s.n
    returning id
  )
  select v_worker, 1, (select array_agg(b.id order by b.id) from b);
end $$;

create function holdfast.heartbeat(p_worker int, p_epoch int, p_state text default 'active')
returns table (alive boolean, command text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  -- Guarded: a lease that is over is never renewed; its worker registers as a new one.
  return query
  update holdfast.worker w
     set lease_until = clock_timestamp() + w.lease,
         state = p_state
   where w.id = p_worker
     and w.epoch = p_epoch
     and w.lease_until > clock_timestamp()
     and w.state not in ('left', 'lost')
  returning true, w.command;
  if found and p_state in ('draining', 'stopping') then
    update holdfast.bucket b set state = 'completing' where b.worker_id = p_worker and b.state = 'active';
  end if;
end $$;
