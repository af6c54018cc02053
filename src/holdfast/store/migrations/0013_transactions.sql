-- Transactional activities: the effects of one, its outcome, and the proof that its worker may still write are one commit
-- oldest code: 13
--
-- They run in transactions of the user's own, at whatever isolation level, over whatever library. So the functions here
-- are the one part of the engine that does not ask for READ COMMITTED.
--
-- SQLSTATEs of our own, beside those of 0001: HF012 the activity has ended its transaction by itself, HF011 this is
-- another database than the worker's.

create function holdfast.transaction_class() returns int
language sql stable
-- Of the advisory lock that marks the open transactions of a worker, so that they can be ended with its lease.
as $$ select ('holdfast.fence'::regclass::oid::bigint - 2147483648)::int $$;

create function holdfast.begin_activity(p_worker int, p_name text, p_epoch int, p_mark text, p_limit int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- The first statement of the transaction. Gives the backend's pid.
as $$
declare
  v_epoch int;
begin
  perform pg_advisory_xact_lock_shared(holdfast.transaction_class(), p_worker);
  select w.epoch into v_epoch from holdfast.worker w where w.id = p_worker and w.name = p_name;
  if not found then
    raise exception 'worker % is not known here: this connection is to another database than the worker''s', p_name
      using errcode = 'HF011';
  end if;
  if v_epoch <> p_epoch then
    raise exception 'worker % has lost its lease (epoch %)', p_worker, p_epoch using errcode = 'HF001';
  end if;
  -- Gone with the transaction, however that ends: so `record` can tell whether it is the same one still.
  perform set_config('holdfast.mark', p_mark, true);
  -- A client that is gone must not keep its locks: whether it is between two statements, or in one.
  perform set_config('idle_in_transaction_session_timeout', p_limit::text, true);
  if current_setting('server_version_num')::int >= 170000 then
    perform set_config('transaction_timeout', p_limit::text, true);
  end if;
  return pg_backend_pid();
end $$;

create function holdfast.record(
  p_worker int, p_epoch int, p_mark text,
  p_run uuid, p_hold int,
  p_seq int,           -- null: this is a job, and its run ends with this outcome
  p_key text, p_digest bytea, p_output json, p_attempts int, p_elapsed interval
) returns table (at timestamptz, xid text, inbox bigint[], due text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '5s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_now    timestamptz := holdfast.now();
  v_ended  boolean;
  v_parent uuid;
  v_inbox  bigint[];
  v_due    text[];
  v_limited uuid[];
begin
  if current_setting('holdfast.mark', true) is distinct from p_mark then
    raise exception 'the transaction that was begun for this activity is over: its own code has ended it'
      using errcode = 'HF012';
  end if;
  if p_seq is not null then
    perform 1
       from holdfast.task t
      where t.run_id = p_run
        and t.hold = p_hold
        and t.bucket_id is not null;
    if not found then
      raise exception 'the run is not held any more' using errcode = 'HF006', detail = p_run::text;
    end if;
    insert into holdfast.journal (run_id, hold, seq, kind, key, digest, output, attempts, started_at, at)
    values (p_run, p_hold, p_seq, 1, p_key, p_digest, p_output, p_attempts, v_now - p_elapsed, v_now);
  else
    select r.parent into v_parent
      from holdfast.task t
      join holdfast.run r on r.id = t.run_id
     where t.run_id = p_run
       and t.flags & 16 <> 0;
    if found then
      -- Who is told of the end, in order with the run's own row, as everybody locks them.
      perform 1
         from (select t.run_id from holdfast.task t where t.run_id in (p_run, v_parent) order by t.run_id for update) l;
    end if;
    -- Of one that was given back meanwhile the hold is the same still.
    perform 1
       from holdfast.task t
      where t.run_id = p_run
        and t.hold = p_hold
        and t.bucket_id is not null
        for update;
    if found then
      select n.ended = 1, n.inbox, n.due, n.limited
        into v_ended, v_inbox, v_due, v_limited
        from holdfast.end_held(
               array[p_run], array[p_hold], array[1::smallint], array[p_output], array[null::json], '{}', v_now) n;
    end if;
    if v_ended is not true then
      raise exception 'the run is not held any more' using errcode = 'HF006', detail = p_run::text;
    end if;
    if v_limited is not null then
      v_due := v_due || holdfast.release(v_limited, true);
    end if;
  end if;
  -- The fence, last, so that nobody is kept from it for longer than the commit takes. Recovery takes both locks
  -- exclusively: so this commit is either before the take-over, or refused. The advisory lock tells recovery who stands
  -- in its way. The row is what holds at any isolation level: where it has changed since the snapshot was taken, a lock
  -- on it fails with 40001.
  perform pg_advisory_xact_lock_shared(holdfast.fence_class(), p_worker);
  perform 1
     from holdfast.fence f
    where f.worker_id = p_worker
      and f.epoch = p_epoch
      for share;
  if not found then
    raise exception 'worker % has lost its lease (epoch %)', p_worker, p_epoch using errcode = 'HF001';
  end if;
  return query select v_now, pg_current_xact_id()::text, v_inbox, v_due;
end $$;

create function holdfast.settle(p_run uuid, p_hold int, p_seq int, p_key text, p_xid text, p_end boolean)
returns table (verdict text, at timestamptz)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- What became of a commit whose answer was lost: committed, never, or open: not decided yet. With p_end an open one is
-- ended first.
as $$
declare
  v_status text;
  v_at     timestamptz;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'a commit must be settled under READ COMMITTED' using errcode = 'HF002';
  end if;
  begin
    v_status := pg_xact_status(p_xid::xid8);
  exception when others then
    -- The server knows no such transaction, or not any more: what it has of it is what there is.
    v_status := null;
  end;
  if v_status = 'in progress' then
    if p_end then
      begin
        perform pg_terminate_backend(l.pid)
           from pg_locks l
          where l.locktype = 'transactionid'
            and l.transactionid = p_xid::xid8::xid
            and l.mode = 'ExclusiveLock'
            and l.granted;
      exception when insufficient_privilege then
        -- Another user's: the server ends it when its time is over.
        null;
      end;
    end if;
    return query select 'open'::text, null::timestamptz;
    return;
  end if;
  -- A statement of its own, and so with a later snapshot: the row is there now, or never will be.
  if p_seq is null then
    select e.at into v_at
      from holdfast.result e
     where e.run_id = p_run
       and not exists (select 1 from holdfast.task t where t.run_id = p_run);
  else
    select j.at into v_at
      from holdfast.journal j
     where j.run_id = p_run
       and j.key = p_key
       and j.hold = p_hold
       and j.seq = p_seq;
  end if;
  return query select case when v_at is null then 'never' else 'committed' end, v_at;
end $$;

create function holdfast.end_transactions(p_worker int, p_pid int default null) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Ends the open transactions of a worker, or one of them: what they have locked is free at once.
as $$
declare
  v_pid   int;
  v_ended int := 0;
begin
  for v_pid in
    select l.pid
      from pg_locks l
     where l.locktype = 'advisory'
       and l.database = (select d.oid from pg_database d where d.datname = current_database())
       and l.classid::bigint = (holdfast.transaction_class()::bigint & 4294967295)
       and l.objid::bigint = p_worker
       and l.objsubid = 2
       and l.granted
       and (p_pid is null or l.pid = p_pid)
  loop
    begin
      perform pg_terminate_backend(v_pid);
      v_ended := v_ended + 1;
    exception when insufficient_privilege then
      -- Another user's: it is refused when it wants to commit, and ended when its time is over.
      null;
    end;
  end loop;
  return v_ended;
end $$;
