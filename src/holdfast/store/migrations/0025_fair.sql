-- Fairness: runs of many keys in one lane, each key in its turn
-- oldest code: 25
--
-- Where there is room for all that is due, nobody pays for it. Else runs are taken out of the line of what is due, several
-- hundred with each claim, oldest and newest, and stand in lines of their keys (`permit_wait`); each claim takes one of each
-- line, beginning with the line that was looked into the longest ago. So what one key has in line does not delay another.
-- The lines are those of limits, and so is all that is written about them; nobody holds a permit of it.

create function holdfast.newest_due(
  p_lanes text[], p_priorities smallint[], p_room int[], p_names text[], p_now timestamptz, p_count int, p_not uuid[],
  out runs uuid[], out tasks text[], out lanes text[], out priorities smallint[], out since timestamptz[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
-- Part of `claim_limited`: what was due last, in its order, beside what was found already.
as $$
begin
  with line as materialized (
    select distinct s.lane, s.priority
      from unnest(p_lanes, p_priorities, p_room) as s (lane, priority, room)
     where s.room > 0
  ), due as (
    select t.run_id, t.name, l.lane, l.priority, t.due_at
      from line l
     cross join lateral (
       select t.run_id, t.name, t.due_at
         from holdfast.task t
        where t.lane = l.lane
          and t.priority = l.priority
          and t.bucket_id is null
          and t.due_at <= p_now
          and t.name = any (p_names)
        order by t.due_at desc, t.run_id desc
        limit p_count
          for update skip locked
     ) t
     where t.run_id <> all (p_not)
  )
  select array_agg(d.run_id order by d.due_at, d.run_id), array_agg(d.name order by d.due_at, d.run_id),
         array_agg(d.lane order by d.due_at, d.run_id), array_agg(d.priority order by d.due_at, d.run_id),
         array_agg(d.due_at order by d.due_at, d.run_id)
    into runs, tasks, lanes, priorities, since
    from due d;
end $$;

create function holdfast.is_crowded(c_lane text[], c_priority smallint[], p_lanes text[], p_priorities smallint[], p_room int[])
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
-- Whether more was found for one of these lines than there is room for.
as $$
select exists (
  select
    from (select c.lane, c.priority, count(*) as found
            from unnest(c_lane, c_priority) as c (lane, priority)
           group by c.lane, c.priority) f
   where f.found > (select sum(s.room)
                      from unnest(p_lanes, p_priorities, p_room) as s (lane, priority, room)
                     where s.lane = f.lane and s.priority = f.priority)
)
$$;

create function holdfast.seen_until(
  p_asked int[], f_lane text[], f_priority smallint[], f_since timestamptz[], p_lanes text[], p_priorities smallint[],
  p_now timestamptz
) returns timestamptz
language sql immutable
set search_path = pg_catalog, pg_temp
-- Part of `claim_limited`: what was due by then was found, in each of these lines; not more of it than was asked for.
as $$
select coalesce(min(o.last) filter (where o.found >= o.asked), p_now)
  from (select a.asked, count(f.since) as found, coalesce(max(f.since), '-infinity') as last
          from (select distinct u.* from unnest(p_asked, p_lanes, p_priorities) as u (asked, lane, priority)) a
          left join unnest(f_lane, f_priority, f_since) as f (lane, priority, since)
                 on f.lane = a.lane and f.priority = a.priority
         group by a.asked, a.lane, a.priority) o
$$;

create function holdfast.fit(
  x_i int[], x_name text[], x_key text[], p_out int[], p_waiters int, p_sifted uuid[], c_run uuid[], c_lane text[],
  c_priority smallint[], p_lanes text[], p_priorities smallint[], p_room int[], p_now timestamptz,
  out i int[], out names text[], out keys text[],  -- who waits for its turn
  out beyond int[]                                 -- who has no turns, and is left where it is
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Part of `claim_limited`: for whom there is no room, or whose key has others in line.
as $$
begin
  with placed as materialized (
    select c.i, c.lane, c.priority, row_number() over (partition by c.lane, c.priority order by c.i) as place
      from unnest(c_lane, c_priority) with ordinality as c (lane, priority, i)
     where c.i <> all (p_out)
       and c.i <> all (array(select x.i from unnest(x_i, x_name) as x (i, name) where x.name like 'fair %'))
  )
  select coalesce(array_agg(p.i), '{}')
    into beyond
    from placed p
   where p.place > (select sum(s.room)
                      from unnest(p_lanes, p_priorities, p_room) as s (lane, priority, room)
                     where s.lane = p.lane and s.priority = p.priority);
  update holdfast.task t
     set flags = t.flags | 4096
   where t.run_id = any (array(select c_run[b.i] from unnest(beyond) as b (i)))
     and t.run_id = any (p_sifted);
  with asked as materialized (
    select x.i, x.name, x.key, c_lane[x.i] as lane, c_priority[x.i] as priority,
           row_number() over (partition by x.name, x.key, c_lane[x.i], c_priority[x.i] order by x.i) as n
      from unnest(x_i, x_name, x_key) as x (i, name, key)
     where x.name like 'fair %'
       and x.i <> all (p_out)
  ), stood as materialized (
    select a.*,
           a.i > p_waiters
           and exists (select from holdfast.permit_wait z
                        where z.name = a.name
                          and z.key = a.key
                          and z.lane = a.lane
                          and z.priority = a.priority
                          and z.run_id <> all (c_run)) as behind
      from asked a
  ), placed as materialized (
    select t.*, row_number() over (partition by t.lane, t.priority order by t.behind, t.n, t.i) as place
      from stood t
  ), others as materialized (
    select c.lane, c.priority, count(*) as count
      from unnest(c_lane, c_priority) with ordinality as c (lane, priority, i)
     where c.i <> all (p_out || beyond || array(select a.i from asked a))
     group by c.lane, c.priority
  ), room as materialized (
    select s.lane, s.priority,
           sum(s.room) - coalesce((select o.count from others o where o.lane = s.lane and o.priority = s.priority), 0) as room
      from unnest(p_lanes, p_priorities, p_room) as s (lane, priority, room)
     group by s.lane, s.priority
  )
  select coalesce(array_agg(p.i order by p.i), '{}'), coalesce(array_agg(p.name order by p.i), '{}'),
         coalesce(array_agg(p.key order by p.i), '{}')
    into i, names, keys
    from placed p
    join room r on r.lane = p.lane and r.priority = p.priority
   where p.behind
      or p.place > r.room;
  -- In a new line, or behind those who stand there: what stands open keeps its turn.
  insert into holdfast.permit_line (name, key, lane, priority, opens_at)
  select distinct w.name, w.key, c_lane[w.i], c_priority[w.i], p_now
    from unnest(i, names, keys) as w (i, name, key)
   order by 1, 2, 3, 4
  on conflict do nothing;
  -- Of keys in whose lines nobody stands nothing has to be known.
  delete from holdfast.limit_key k
   using unnest(x_name, x_key) as x (name, key)
   where x.name like 'fair %'
     and k.name = x.name
     and k.key = x.key
     and not exists (select from holdfast.permit_line l where l.name = k.name and l.key = k.key);
end $$;
