-- Permits that workers lease in advance
-- oldest code: 23
--
-- A limit in all is one row for all workers. A claim that locks it, and writes a permit for each run, costs more than the
-- run itself. So where there are plenty a worker leases permits in a block, and then takes runs like any others, never more
-- than the block has left: what it holds without permits of their own is at most the block, and the block counts in
-- `limit_key.taken` as a whole. So the limit holds at every commit, and neither claim nor flush writes anything for it.
--
-- Half of a limit is never leased in advance, and none of it while somebody waits. Who finds no permit says that blocks are
-- wanted: then their workers give back what is free of them, and the rest as their runs end. The block of a dead worker
-- goes as its runs are recovered.
--
-- Order of locks: tasks first, then rows of `limit_key`, then blocks and lines.

create table holdfast.permit_block (
  worker_id  int not null,
  task       text not null,     -- of these runs, while this worker holds them
  name       text not null,     -- the limit
  size       int not null,
  generation int not null,      -- a claim that says another one is late: it takes nothing
  wanted     boolean not null,  -- others wait for a permit of this limit
  primary key (worker_id, task, name)
);
create index permit_block_name on holdfast.permit_block (name);

create function holdfast.claim_leased(
  p_worker int, p_epoch int,
  p_buckets bigint[], p_lanes text[], p_priorities smallint[], p_room int[], p_lower timestamptz[],
  p_sweep boolean, p_names text[], p_ahead interval,
  p_generations int[]  -- of the blocks, by the places of p_names
) returns table (
  run_id uuid, bucket_id bigint, due_at timestamptz, hold int, kind smallint, name text, lane text, priority smallint,
  input json, inbox_count int, crashes smallint, flags smallint, first_claim_at timestamptz, deadline timestamptz,
  tags jsonb, options json, parent uuid, root uuid, created_at timestamptz, task_name text,
  claimed_at timestamptz
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  perform holdfast.fence(p_worker, p_epoch);
  -- Until the commit: who takes a block back waits for this claim, and any that comes later finds that it is late.
  perform 1
     from holdfast.permit_block b
    where b.worker_id = p_worker
      and b.task = any (p_names)
    order by b.task, b.name
      for share;
  if exists (select from unnest(p_names, p_generations) as n (task, generation)
              where (select bool_and(not b.wanted and b.generation = n.generation)
                       from holdfast.permit_block b
                      where b.worker_id = p_worker
                        and b.task = n.task) is not true)
  then
    raise exception 'the permits of these runs are wanted by others' using errcode = 'HF025';
  end if;
  return query
  select *
    from holdfast.claim(p_worker, p_epoch, p_buckets, p_lanes, p_priorities, p_room, p_lower, p_sweep, p_names, '{}', '{}',
                        p_ahead, null, null);
end $$;

create function holdfast.lease_permits(
  p_worker int, p_epoch int,
  p_tasks text[], p_least int[], p_best int[], p_generations int[],  -- runs of this name: so many at least, and at best
  l_task text[], l_name text[], l_most int[]                         -- the limits of each
) returns table (task text, size int)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set enable_seqscan = off
-- Makes the blocks of this worker larger. Gives the size that each has now; null where it cannot have as many.
as $$
#variable_conflict use_column
declare
  v_block record;
  v_size  int;
  v_more  int;
begin
  perform holdfast.fence(p_worker, p_epoch);
  insert into holdfast.limit_key as k (name, key, most, at)
  select l.name, '', max(l.most), holdfast.now()
    from unnest(l_name, l_most) as l (name, most)
   group by l.name
   order by l.name
  on conflict (name, key) do update
     set most = excluded.most,
         at = excluded.at;
  for v_block in
    select b.task, b.least, b.best, b.generation,
           array(select l.name from unnest(l_task, l_name) as l (task, name) where l.task = b.task) as names
      from unnest(p_tasks, p_least, p_best, p_generations) as b (task, least, best, generation)
     order by b.task
  loop
    -- A statement of its own, after the lock.
    select coalesce(min(b.size), 0)
      into v_size
      from holdfast.permit_block b
     where b.worker_id = p_worker
       and b.task = v_block.task;
    select least(v_block.best - v_size, min(k.most / 2 - k.taken))
      into v_more
      from holdfast.limit_key k
     where k.name = any (v_block.names)
       and k.key = '';
    if v_size + greatest(v_more, 0) < v_block.least
       or exists (select from holdfast.permit_line g where g.name = any (v_block.names) and g.key = '')
    then
      return query select v_block.task, null::int;
      continue;
    end if;
    v_more := greatest(v_more, 0);
    update holdfast.limit_key k
       set taken = k.taken + v_more
     where k.name = any (v_block.names)
       and k.key = ''
       and v_more > 0;
    insert into holdfast.permit_block as b (worker_id, task, name, size, generation, wanted)
    select p_worker, v_block.task, n.name, v_size + v_more, v_block.generation, false
      from unnest(v_block.names) as n (name)
    on conflict (worker_id, task, name) do update
       set size = excluded.size,
           generation = excluded.generation,
           wanted = false;
    return query select v_block.task, v_size + v_more;
  end loop;
end $$;

create function holdfast.shrink_blocks(p_worker int, p_tasks text[], p_generations int[]) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Takes back what the worker does not use of its blocks (null: of all): of each it keeps as many as it holds runs. Gives the
-- lanes in which others may be taken now.
as $$
declare
  v_now   timestamptz := holdfast.now();
  v_names text[];
  v_tasks text[];
  v_keep  int[];
  v_lanes text[];
begin
  v_names := array(select distinct b.name
                     from holdfast.permit_block b
                    where b.worker_id = p_worker
                      and (p_tasks is null or b.task = any (p_tasks)));
  if cardinality(v_names) = 0 then
    return '{}';
  end if;
  perform 1 from holdfast.limit_key k where k.name = any (v_names) and k.key = '' order by k.name for update;
  -- A claim that is under way is waited for; and what it took is counted below, in a statement of its own.
  perform 1
     from holdfast.permit_block b
    where b.worker_id = p_worker
      and (p_tasks is null or b.task = any (p_tasks))
    order by b.task, b.name
      for update;
  select array_agg(h.task), array_agg(h.count)
    into v_tasks, v_keep
    from (select o.task, count(t.run_id)::int as count
            from (select distinct b.task
                    from holdfast.permit_block b
                   where b.worker_id = p_worker
                     and (p_tasks is null or b.task = any (p_tasks))) o
            left join (holdfast.bucket u join holdfast.task t on t.bucket_id = u.id)
                   on u.worker_id = p_worker
                  and t.name = o.task
                  and not exists (select from holdfast.permit p where p.run_id = t.run_id)
           group by o.task) h;
  update holdfast.limit_key k
     set taken = k.taken - g.count,
         at = v_now
    from (select b.name, sum(greatest(b.size - h.keep, 0))::int as count
            from holdfast.permit_block b
            join unnest(v_tasks, v_keep) as h (task, keep) on h.task = b.task
           where b.worker_id = p_worker
           group by b.name) g
   where k.name = g.name
     and k.key = ''
     and g.count > 0;
  update holdfast.permit_block b
     set size = least(b.size, h.keep),
         generation = coalesce(p_generations[array_position(p_tasks, b.task)], b.generation)
    from unnest(v_tasks, v_keep) as h (task, keep)
   where b.worker_id = p_worker
     and b.task = h.task;
  delete from holdfast.permit_block b where b.worker_id = p_worker and b.task = any (v_tasks) and b.size = 0;
  with opened as (
    update holdfast.permit_line l
       set opens_at = v_now
     where l.name = any (v_names)
       and l.key = ''
       and l.opens_at > v_now
    returning l.lane
  )
  select array_agg(distinct o.lane) into v_lanes from opened o;
  return coalesce(v_lanes, '{}');
end $$;

create function holdfast.shrink_blocks_told(p_worker int) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- As shrink_blocks, of a worker that has left, or whose lease is over; and tells the lanes.
as $$
declare
  v_lane text;
begin
  foreach v_lane in array holdfast.shrink_blocks(p_worker, null, null) loop
    perform holdfast.hint('due ' || v_lane);
  end loop;
end $$;

create function holdfast.return_permits(p_worker int, p_epoch int, p_tasks text[], p_generations int[])
returns table (task text, size int, wanted boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set enable_seqscan = off
-- Gives back what this worker does not use of these blocks; from now on they have these generations. Gives what is left.
as $$
#variable_conflict use_column
declare
  v_lane text;
begin
  perform holdfast.fence(p_worker, p_epoch);
  foreach v_lane in array holdfast.shrink_blocks(p_worker, p_tasks, p_generations) loop
    perform holdfast.hint('due ' || v_lane);
  end loop;
  return query
  select b.task, min(b.size), bool_or(b.wanted)
    from holdfast.permit_block b
   where b.worker_id = p_worker
     and b.task = any (p_tasks)
   group by b.task;
end $$;

create function holdfast.want_blocks(p_names text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Somebody waits for a permit of these limits, whose rows the caller has locked: those who have leased some are told.
as $$
declare
  v_lane text;
begin
  for v_lane in
    with told as (
      update holdfast.permit_block b
         set wanted = true
       where b.name = any (p_names)
         and not b.wanted
      returning b.worker_id
    )
    select distinct w.lane from told t join holdfast.worker w on w.id = t.worker_id
  loop
    perform holdfast.hint('due ' || v_lane);
  end loop;
end $$;
