-- Leaving and recovery
-- oldest code: 1

create function holdfast.lane_alone(p_lane text) returns text
language sql immutable parallel safe
-- Where the suspects of a lane stand in line: runs whose worker has died twice. No lane of a user has a blank in its name.
as $$ select split_part(p_lane, ' ', 1) || ' alone' $$;

create function holdfast.left_due(p_task holdfast.task) returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
-- When a run is due that its holder leaves behind. What was taken ahead of its time is due then, as it was before; unless
-- something has come for which it would have been due: then it is at once.
as $$
select case
         when p_task.due_at <= holdfast.now() or p_task.flags & 1 <> 0 then p_task.due_at
         when p_task.flags & 384 <> 0
              or (p_task.flags & 4 <> 0
                  or p_task.waits_inbox and p_task.inbox_count >= coalesce(p_task.wake_at, 0))
                 and exists (select from holdfast.inbox i where i.run_id = p_task.run_id and not i.seen)
         then '-infinity'
         else p_task.due_at
       end
$$;

create function holdfast.is_untouched(p_task holdfast.task) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
-- Whether a run was only ever taken ahead of its time, and nobody has begun it: then it is as if it never was.
as $$
select p_task.first_claim_at > holdfast.now()
       -- One that something has come for early has begun before its time, and its time began when it was to.
       and not exists (select from holdfast.journal j where j.run_id = p_task.run_id)
$$;

create function holdfast.leave(p_worker int, p_epoch int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '4s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
  v_given   int;
  v_limited uuid[];
begin
  -- Exclusively: a flush of this worker that is still under way must not write to a run that another has taken meanwhile.
  perform pg_advisory_xact_lock(holdfast.fence_class(), p_worker);
  perform holdfast.fence(p_worker, p_epoch);
  -- The worker before its buckets: so do heartbeats and recovery.
  perform 1 from holdfast.worker w where w.id = p_worker for update;
  update holdfast.bucket b set state = 'completing' where b.worker_id = p_worker and b.state = 'active';
  with held as (
    select t.run_id
      from holdfast.bucket b
      join holdfast.task t on t.bucket_id = b.id
     where b.worker_id = p_worker
     order by t.run_id
       for update of t skip locked
  ), given as (
    update holdfast.task t
       set bucket_id = null,
           due_at = greatest(holdfast.left_due(t), holdfast.now()),
           -- What was held but not entered has been given back one by one before.
           flags = (t.flags & ~8) | 64,
           name = case when holdfast.is_untouched(t) then split_part(t.name, '@', 1) else t.name end,
           first_claim_at = case when holdfast.is_untouched(t) then null else t.first_claim_at end
      from held h
     where t.run_id = h.run_id
    returning t.run_id, t.flags
  )
  select count(*)::int, array_agg(g.run_id) filter (where g.flags & 2048 <> 0) into v_given, v_limited from given g;
  perform holdfast.move_given_back();
  -- A row that somebody else's transaction holds on to is not waited for: it is left to recovery, with its bucket.
  delete from holdfast.bucket b
   where b.worker_id = p_worker
     and not exists (select 1 from holdfast.task t where t.bucket_id = b.id);
  update holdfast.bucket b set state = 'lost' where b.worker_id = p_worker;
  update holdfast.worker w
     set state = case when exists (select 1 from holdfast.bucket b where b.worker_id = p_worker) then 'lost' else 'left' end,
         epoch = w.epoch + 1, lease_until = clock_timestamp(), ended_at = clock_timestamp()
   where w.id = p_worker;
  delete from holdfast.fence f where f.worker_id = p_worker;
  if v_limited is not null then
    perform holdfast.release_told(v_limited, false);
  end if;
  perform holdfast.shrink_blocks_told(p_worker);
  return v_given;
end $$;

create function holdfast.recover(p_limit int, p_only int default null)
returns table (worker_id int, worker_name text, recovered int, finished boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_worker record;
  v_stuck  record;
  v_pid    int;
  v_count  int;
  v_now    timestamptz;
  v_lives  boolean;
  v_strays uuid[];
  v_limited uuid[];
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'recovery must run under READ COMMITTED' using errcode = 'HF002';
  end if;
  -- The first of which something can be taken: one that somebody holds on to does not stand before the others.
  for v_worker in
    select w.id, w.name, w.epoch, w.state, w.lease, w.lease_until
      from holdfast.worker w
     where (w.ended_at is null and w.lease_until <= clock_timestamp()
            or w.state = 'lost' and exists (select 1 from holdfast.bucket b where b.worker_id = w.id))
       and (p_only is null or w.id = p_only)
     order by w.lease_until, w.id
  loop
    -- Recovery never blocks: a flush of the dead worker that is still under way holds the lock shared.
    if not pg_try_advisory_xact_lock(holdfast.fence_class(), v_worker.id) then
      if v_worker.lease_until + v_worker.lease <= clock_timestamp() then
        -- For a whole lease somebody has held on to it: that backend's client is gone or stuck. Who holds the lock
        -- exclusively is recovering, as we are, and who only waits for it is no hindrance.
        for v_pid in
          select l.pid
            from pg_locks l
           where l.locktype = 'advisory'
             and l.database = (select d.oid from pg_database d where d.datname = current_database())
             and l.classid::bigint = (holdfast.fence_class()::bigint & 4294967295)
             and l.objid::bigint = v_worker.id
             and l.objsubid = 2
             and l.mode = 'ShareLock'
             and l.granted
        loop
          begin
            perform pg_terminate_backend(v_pid);
          exception when insufficient_privilege then
            -- Another user's: it is tried again as long as that one holds on to it; the other workers come first.
            null;
          end;
        end loop;
      end if;
      v_stuck := v_worker;
      continue;
    end if;
    -- Statements of their own: what was true before the lock was granted does not count. And rows that others are at,
    -- a heartbeat or the commit of a transactional activity, are not waited for.
    select w.survived into v_lives from holdfast.worker w where w.id = v_worker.id for update skip locked;
    if not found then
      v_stuck := v_worker;
      continue;
    end if;
    if v_worker.state <> 'lost' then
      perform 1 from holdfast.fence f where f.worker_id = v_worker.id for update skip locked;
      if not found and exists (select 1 from holdfast.fence f where f.worker_id = v_worker.id) then
        v_stuck := v_worker;
        continue;
      end if;
      update holdfast.worker w
         set epoch = w.epoch + 1, state = 'lost', ended_at = clock_timestamp()
       where w.id = v_worker.id
         and w.epoch = v_worker.epoch
         and w.ended_at is null
         and w.lease_until <= clock_timestamp();
      if not found then
        continue;
      end if;
      update holdfast.fence f set epoch = v_worker.epoch + 1 where f.worker_id = v_worker.id;
      -- None of its open transactions can commit any more: what they have locked is free for those who do the work now.
      perform holdfast.end_transactions(v_worker.id);
    end if;
    update holdfast.bucket b set state = 'lost' where b.worker_id = v_worker.id and b.state in ('active', 'completing');
    update holdfast.bucket b set state = 'draining' where b.worker_id = v_worker.id and b.state = 'lost';
    v_now := holdfast.now();
    with held as (
      -- Whether the code was entered is known only of runs that were marked (8), which is done for those that have been
      -- in a crash before; so the first crash counts for all that were due, each further one for the marked.
      -- What was committed under this hold is progress, and starts the count anew. Where the process of the worker lives
      -- on there was no crash.
      select t.run_id,
             case
               when v_lives then t.crashes
               when exists (select 1 from holdfast.journal j where j.run_id = t.run_id and j.hold = t.hold) then 1
               when t.due_at > v_now then t.crashes
               when t.crashes = 0 or t.flags & 8 <> 0 then t.crashes + 1
               else t.crashes
             end as crashes,
             -- What may have been executed beyond its journal: a look-ahead is entered only by what arrives for it.
             (t.crashes = 0 or t.flags & 8 <> 0)
             and (t.due_at <= v_now
                  or t.flags & 1 <> 0  -- paused while it was held: then it is due never
                  or exists (select 1 from holdfast.journal j where j.run_id = t.run_id and j.hold = t.hold)) as entered
        from holdfast.bucket b
        join holdfast.task t on t.bucket_id = b.id
       where b.worker_id = v_worker.id
       order by t.run_id
       limit p_limit
         for update of t skip locked
    ), given as (
      update holdfast.task t
         set bucket_id = null,
             due_at = greatest(holdfast.left_due(t), v_now),
             flags = (t.flags & ~8) | case when h.entered then 64 else 0 end,
             name = case when holdfast.is_untouched(t) then split_part(t.name, '@', 1) else t.name end,
             first_claim_at = case when holdfast.is_untouched(t) then null else t.first_claim_at end,
             crashes = h.crashes,
             lane = case when h.crashes >= 2 then holdfast.lane_alone(t.lane) else t.lane end
        from held h
       where t.run_id = h.run_id
      returning t.run_id, t.flags
    )
    select count(*)::int, array_agg(g.run_id) filter (where g.flags & 2048 <> 0) into v_count, v_limited from given g;
    perform holdfast.move_given_back();
    update holdfast.bucket b
       set state = 'ready to delete'
     where b.worker_id = v_worker.id
       and b.state = 'draining'
       and not exists (select 1 from holdfast.task t where t.bucket_id = b.id);
    -- All together, when nothing of the worker is left: until then people see how far it is.
    if not exists (select 1 from holdfast.bucket b where b.worker_id = v_worker.id and b.state <> 'ready to delete') then
      delete from holdfast.bucket b where b.worker_id = v_worker.id;
    end if;
    if v_limited is not null then
      -- A job takes a permit anew with its next claim; a workflow keeps it.
      perform holdfast.release_told(v_limited, false);
    end if;
    perform holdfast.shrink_blocks_told(v_worker.id);
    if v_count = 0 and exists (select 1 from holdfast.bucket b where b.worker_id = v_worker.id) then
      -- What is left of it is locked by others.
      v_stuck := v_worker;
      continue;
    end if;
    return query
    select v_worker.id, v_worker.name, v_count,
           not exists (select 1 from holdfast.bucket b where b.worker_id = v_worker.id);
    return;
  end loop;
  if p_only is null then
    -- What stands in a bucket that is nobody's, after a restore for example, has no lease that could end. Only the gaps
    -- between the buckets that have an owner are looked into: so this costs next to nothing where there is nothing.
    v_strays := array(
      select t.run_id
        from (select o.id as low, lead(o.id) over (order by o.id) as high
                from (select 0::bigint as id
                       union all
                      select b.id from holdfast.bucket b join holdfast.worker w on w.id = b.worker_id) o) gap
       cross join lateral (
         select t.run_id
           from holdfast.task t
          where t.bucket_id > gap.low
            and t.bucket_id < coalesce(gap.high, 9223372036854775807)
          limit p_limit
            for update skip locked
       ) t
       where gap.high is null
          or gap.high > gap.low + 1
       limit p_limit
    );
    if cardinality(v_strays) > 0 then
      v_now := holdfast.now();
      -- Looked at once more in a statement of its own: a row that was locked may have been claimed in between.
      with given as (
        update holdfast.task t
           set bucket_id = null,
               due_at = greatest(t.due_at, v_now),
               flags = (t.flags & ~8) | 64
         where t.run_id = any (v_strays)
           and t.bucket_id is not null
           and not exists (select 1
                             from holdfast.bucket b
                             join holdfast.worker w on w.id = b.worker_id
                            where b.id = t.bucket_id)
        returning t.run_id, t.flags
      )
      select count(*)::int, array_agg(g.run_id) filter (where g.flags & 2048 <> 0) into v_count, v_limited from given g;
      perform holdfast.move_given_back();
      if v_limited is not null then
        perform holdfast.release_told(v_limited, false);
      end if;
      if v_count > 0 then
        return query select 0, 'nobody', v_count, v_count < p_limit;
        return;
      end if;
    end if;
  end if;
  if v_stuck is not null then
    return query select v_stuck.id, v_stuck.name, 0, false;
  end if;
end $$;
