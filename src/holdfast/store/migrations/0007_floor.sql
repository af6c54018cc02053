-- The floor of a line: nothing below it is due or can become due any more, so a sweep begins there.
--
-- It is what keeps a sweep short while something pins the xmin horizon (a dump, a replication slot, a forgotten session):
-- the index entries of finished runs stay until the pin is gone, and a sweep would have to walk them all.
-- oldest code: 7

create function holdfast.raise_floors(p_lanes text[], p_priorities smallint[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_bound timestamptz;
begin
  -- One worker at a time, and not more often than it is of use.
  if not pg_try_advisory_xact_lock(holdfast.fence_class(), 0) then
    return;
  end if;
  if not exists (
       select 1
         from unnest(p_lanes, p_priorities) as s (lane, priority)
         left join holdfast.lane_floor f on f.lane = s.lane and f.priority = s.priority
        where f.at is null
           or f.at < clock_timestamp() - interval '4 seconds'
     ) then
    return;
  end if;
  perform holdfast.mind_lines(p_lanes, p_priorities);
  -- A start becomes visible when it commits, which may be long after it was due: so the floor stays below the beginning
  -- of every transaction that has written something, or that waits for another's lock before it can. Ten seconds cover one
  -- that is just about to write its first row.
  v_bound := clock_timestamp() - interval '10 seconds';
  if exists (select 1 from pg_prepared_xacts p where p.database = current_database()) then
    return;
  end if;
  if exists (
       select 1
         from pg_stat_activity a
        where a.datname = current_database()
          and a.backend_type = 'client backend'
          and a.state is null
     ) then
    -- Sessions of other users, of which this one may not see since when they write (pg_read_all_stats would let it).
    return;
  end if;
  select least(v_bound, min(a.xact_start) - interval '1 second')
    into v_bound
    from pg_stat_activity a
   where a.datname = current_database()
     and (a.backend_xid is not null or a.wait_event_type = 'Lock')
     and a.pid <> pg_backend_pid();
  -- The test clock may run ahead of the real one; what is measured on the real one is then too low, which is safe.
  insert into holdfast.lane_floor as f (lane, priority, floor, at)
  select distinct on (s.lane, s.priority)
         s.lane,
         s.priority,
         least(
           v_bound,
           (select t.due_at
              from holdfast.task t
             where t.lane = s.lane
               and t.priority = s.priority
               and t.bucket_id is null
               and t.due_at >= coalesce(o.floor, '-infinity')
             order by t.due_at
             limit 1)
         ),
         clock_timestamp()
    from unnest(p_lanes, p_priorities) as s (lane, priority)
    left join holdfast.lane_floor o on o.lane = s.lane and o.priority = s.priority
  on conflict (lane, priority) do update
     set floor = greatest(f.floor, excluded.floor),
         at = excluded.at;
end $$;
