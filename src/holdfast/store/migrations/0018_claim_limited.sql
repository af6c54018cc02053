-- Claims of runs that have limits
-- oldest code: 18

create function holdfast.claim_limited(
  p_worker int, p_epoch int,
  p_buckets bigint[], p_lanes text[], p_priorities smallint[], p_room int[], p_lower timestamptz[],
  p_sweep boolean, p_names text[], p_fresh text[], p_begun text[], p_ahead interval,
  -- The limits of these names, each with the name of a task: `most` permits, of which with an interval one comes back after
  -- each; a path in the input for the key, or none; and in which order they are asked for.
  -- Of a throttle as of a rate; of a debounce the interval is its window, and `at_most` how long it goes on.
  l_task text[], l_name text[], l_path text[], l_default text[], l_most int[], l_interval interval[], l_order int[],
  l_at_most interval[],
  l_kept boolean[],  -- whether this is a workflow, as whoever executes it has it: that keeps its permit until it ends
  p_sort int  -- beside as many as there is room for, so many more are looked at, and put in line where they have one
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
set enable_bitmapscan = off
set jit = off
-- As `claim`, of names that have limits. The rows at the end, one per bucket, say beside what comes next how the look at
-- what is newly due came out: `hold` were asked for of the bucket's line, `inbox_count` found, the last of them due at
-- `deadline`; and `crashes` = 1: there is more to be taken at once.
as $$
#variable_conflict use_column
declare
  v_now      timestamptz;
  v_known    text[] := array(select distinct u.name from unnest(l_name) as u (name));
  v_picked   uuid[];
  v_limit    record;
  -- What may be taken, in order: first who waits, then what is newly due.
  c_run      uuid[];
  c_task     text[];
  c_lane     text[];
  c_priority smallint[];
  c_since    timestamptz[];
  c_waited   boolean[];
  f_run      uuid[];
  f_task     text[];
  f_lane     text[];
  f_priority smallint[];
  f_since    timestamptz[];
  f_asked    int[];
  v_waiters  int;
  -- A row for each limit of each of them: x_i is its place among them.
  x_i        int[];
  x_name     text[];
  x_key      text[];
  x_most     int[];
  x_interval interval[];
  x_order    int[];
  x_kept     boolean[];
  x_at_most  interval[];
  k_name     text[];
  k_key      text[];
  k_taken    int[];
  k_full_at  timestamptz[];
  -- Who has found no permit, and of which key.
  w_i        int[] := '{}';
  w_name     text[] := '{}';
  w_key      text[] := '{}';
  o_i        int[];
  o_key      text[];
  -- The lines that were looked into.
  t_name     text[];
  t_key      text[];
  t_lane     text[];
  t_priority smallint[];
  t_opens_at timestamptz[];
  t_room     int[];
  t_most     int[];
  v_from     bigint[];
  -- Throttles and debounces: who has passed, who is gone, who waits until when.
  v_sifts    boolean := exists (select from unnest(l_name) as u (name) where u.name ~ '^(throttle|debounce) ');
  v_sifted   uuid[] := '{}';
  v_crowded  boolean;
  v_due      int;  -- of what is newly due, so many are the oldest
  g_i        int[] := '{}';
  w_by_at    timestamptz[] := '{}';
begin
  perform holdfast.fence(p_worker, p_epoch);
  v_now := holdfast.now();

  -- 1. The open lines, who stands open the longest first; and of each no more runs than it seems to have permits for. One
  --    that seems to be empty is looked at again when its key is locked.
  select array_agg(o.name), array_agg(o.key), array_agg(o.lane), array_agg(o.priority), array_agg(o.opens_at),
         array_agg(o.room), array_agg(greatest(least(o.room, 1 + 2 * o.room / o.lines, coalesce(q.permits, 1)), 1))
    into t_name, t_key, t_lane, t_priority, t_opens_at, t_room, t_most
    from (select u.lane, u.priority, sum(u.room)::int as room
            from unnest(p_lanes, p_priorities, p_room) as u (lane, priority, room)
           where u.room > 0
           group by u.lane, u.priority) l
   cross join lateral (
     select i.name, i.key, i.opens_at, l.lane, l.priority, l.room, count(*) over () as lines
       from (select g.name, g.key, g.opens_at
               from holdfast.permit_line g
              where g.lane = l.lane
                and g.priority = l.priority
                and g.opens_at <= v_now
                and g.name = any (v_known)
              order by g.opens_at
              limit l.room) i
   ) o
   cross join lateral (
     select max(holdfast.permits_left(k.taken, k.full_at, u.most, u.span, v_now)) as permits
       from unnest(l_name, l_most, l_interval) as u (name, most, span)
      cross join lateral (
        select h.taken, h.full_at from holdfast.limit_key h where h.name = o.name and h.key = o.key limit 1
      ) k
      where u.name = o.name
   ) q;
  if t_name is not null then
    select array_agg(s.run_id order by s.lane, s.priority, s.place), array_agg(distinct s.line)
      into v_picked, v_from
      from (
        select w.run_id, w.line, w.lane, w.priority, w.room,
               row_number() over (partition by w.lane, w.priority order by w.n, w.opens_at, w.run_id) as place
          from (
            select z.run_id, o.line, o.lane, o.priority, o.room, o.opens_at,
                   row_number() over (partition by o.line order by z.since, z.run_id) as n
              from unnest(t_name, t_key, t_lane, t_priority, t_opens_at, t_room, t_most) with ordinality
                   as o (name, key, lane, priority, opens_at, room, most, line)
             cross join lateral (
               select y.run_id, y.since
                 from holdfast.permit_wait y
                where y.name = o.name
                  and y.key = o.key
                  and y.lane = o.lane
                  and y.priority = o.priority
                  and y.task = any (p_names)
                order by y.since, y.run_id
                limit o.most
             ) z
          ) w
      ) s
     where s.place <= s.room;
    select array_agg(o.name), array_agg(o.key), array_agg(o.lane), array_agg(o.priority)
      into t_name, t_key, t_lane, t_priority
      from unnest(t_name, t_key, t_lane, t_priority) with ordinality as o (name, key, lane, priority, line)
     where o.line = any (v_from)
        or not exists (select from holdfast.permit_wait y
                        where y.name = o.name and y.key = o.key and y.lane = o.lane and y.priority = o.priority);
  end if;
  v_picked := coalesce(v_picked, '{}');
  if cardinality(v_picked) > 0 then
    select array_agg(s.run_id order by s.n), array_agg(s.name order by s.n), array_agg(s.lane order by s.n),
           array_agg(s.priority order by s.n), array_agg(s.since order by s.n), array_agg(true)
      into c_run, c_task, c_lane, c_priority, c_since, c_waited
      from (select p.n, t.run_id, t.name, t.lane, t.priority, w.since
              from unnest(v_picked) with ordinality as p (run_id, n)
             cross join lateral (
               select i.run_id, i.name, i.lane, i.priority
                 from holdfast.task i
                where i.run_id = p.run_id
                  and i.bucket_id is null
                  -- `is true`: by its id, and not among all that is due never.
                  and (i.due_at = 'infinity') is true
                  and i.flags & 2049 = 2048
                limit 1
                  for update skip locked
             ) t
              join holdfast.permit_wait w on w.run_id = p.run_id and w.lane = t.lane and w.priority = t.priority) s;
    if cardinality(c_run) is distinct from cardinality(v_picked) then
      perform holdfast.forget_moved(v_picked, coalesce(c_run, '{}'), v_now);
    end if;
  end if;
  c_run := coalesce(c_run, '{}');
  v_waiters := cardinality(c_run);

  -- 2. What is newly due, for the room that is left.
  with line as materialized (
    select s.lane, s.priority,
           (sum(s.room) - (select count(*) from unnest(c_lane, c_priority) as c (lane, priority)
                            where c.lane = s.lane and c.priority = s.priority))::int as room,
           case when p_sweep
                then coalesce((select f.floor from holdfast.lane_floor f
                                where f.lane = s.lane and f.priority = s.priority), '-infinity')
                else min(s.lower)
           end as lower
      from unnest(p_lanes, p_priorities, p_room, p_lower) as s (lane, priority, room, lower)
     where s.room > 0
     group by s.lane, s.priority
  ), due as (
    select t.run_id, t.name, l.lane, l.priority, t.due_at
      from line l
     cross join lateral (
       select t.run_id, t.name, t.due_at
         from holdfast.task t
        where t.lane = l.lane
          and t.priority = l.priority
          and t.bucket_id is null
          and t.due_at >= l.lower
          and t.due_at <= v_now
          and t.name = any (p_names)
        order by t.due_at, t.run_id
        limit l.room + p_sort
          for update skip locked
     ) t
  )
  select (select array_agg(l.room) from (select (select i.room + p_sort from line i
                                                  where i.lane = u.lane and i.priority = u.priority) as room
                                           from unnest(p_lanes, p_priorities) with ordinality as u (lane, priority, n)
                                          order by u.n) l),
         array_agg(d.run_id order by d.due_at, d.run_id), array_agg(d.name order by d.due_at, d.run_id),
         array_agg(d.lane order by d.due_at, d.run_id), array_agg(d.priority order by d.due_at, d.run_id),
         array_agg(d.due_at order by d.due_at, d.run_id)
    into f_asked, f_run, f_task, f_lane, f_priority, f_since
    from due d;
  f_run := coalesce(f_run, '{}');
  v_due := cardinality(f_run);
  if p_sort > 0 and 'fair ' = any (array(select left(u.name, 5) from unnest(l_name) as u (name))) then
    -- And the newest, so that who has come last does not wait until all before it are in line.
    select f_run || n.runs, f_task || n.tasks, f_lane || n.lanes, f_priority || n.priorities, f_since || n.since
      into f_run, f_task, f_lane, f_priority, f_since
      from holdfast.newest_due(p_lanes, p_priorities, p_room, p_names, v_now, p_sort / 2, f_run) n;
  end if;

  if cardinality(c_run) + cardinality(f_run) > 0 or t_name is not null then
    c_run := c_run || f_run;
    c_task := c_task || f_task;
    c_lane := c_lane || f_lane;
    c_priority := c_priority || f_priority;
    c_since := c_since || f_since;
    c_waited := c_waited || array_fill(false, array[cardinality(f_run)]);

    -- 3. Of which keys each needs a permit. A workflow that has begun goes on: it has its permit, or is from before there
    --    was a limit. One that was retried, rewound or forked has begun in another one's name, and has none at first. What
    --    was given back without a word may have some still, as what goes on for another run. And who waits for its debounce
    --    has passed its throttle. Where there is room for all of them nobody has to stand in line for its turn.
    v_crowded := p_sort = 0 or t_name is not null
                 or holdfast.is_crowded(c_lane, c_priority, p_lanes, p_priorities, p_room);
    select array_agg(n.i), array_agg(n.name), array_agg(n.key), array_agg(n.most), array_agg(n.span), array_agg(n.rank),
           array_agg(n.kept), array_agg(n.at_most)
      into x_i, x_name, x_key, x_most, x_interval, x_order, x_kept, x_at_most
      from (
        select c.i, l.name, l.most, l.span, l.rank, l.kept, l.at_most,
               case when l.path is null then ''
                    else holdfast.limit_key_of(r.input, r.options, l.path, l.default_key)
               end as key
          from unnest(c_run, c_task) with ordinality as c (run_id, task, i)
         cross join lateral (select t.flags, t.hold, t.first_claim_at from holdfast.task t where t.run_id = c.run_id limit 1) t
         cross join lateral (select u.input, u.options, u.continuation from holdfast.run u where u.id = c.run_id limit 1) r
          join unnest(l_task, l_name, l_path, l_default, l_most, l_interval, l_order, l_at_most, l_kept)
               as l (task, name, path, default_key, most, span, rank, at_most, kept) on l.task = c.task
         where case
                 -- Once, before it begins; and nothing that a workflow waits for.
                 when l.rank < 0
                 then t.first_claim_at is null
                      and t.flags & 4112 = 0
                      and (t.flags & 2048 = 0 or not exists (select from holdfast.permit p where p.run_id = c.run_id))
                      and (c.i > v_waiters or l.name not like 'throttle %'
                           or not exists (select from holdfast.permit_wait w
                                           where w.run_id = c.run_id and w.name like 'debounce %'))
                 else (not l.kept or t.first_claim_at is null
                       or r.continuation in (2, 3, 4) and (t.hold = 1 or l.span is null and l.name not like 'fair %'))
                      and (t.flags & 2048 = 0
                           or not exists (select from holdfast.permit p where p.run_id = c.run_id and p.name = l.name))
               end
           and (v_crowded or l.name not like 'fair %')
      ) n;
    x_i := coalesce(x_i, '{}');

    -- 4. The keys, locked in order; what is read of them is what was true when the lock was granted. With them those of the
    --    lines that were looked into.
    with held as (
      insert into holdfast.limit_key as k (name, key, most, at)
      select distinct on (n.name, n.key) n.name, n.key, n.most, v_now
        from (select x.name, x.key, x.most from unnest(x_name, x_key, x_most) as x (name, key, most)
               union all
              select o.name, o.key, (select max(l.most) from unnest(l_name, l_most) as l (name, most) where l.name = o.name)
                from unnest(t_name, t_key) as o (name, key)) n
       order by n.name, n.key
      on conflict (name, key) do update
         set most = excluded.most,
             at = excluded.at
      returning k.name, k.key, k.taken, k.full_at
    )
    select array_agg(h.name), array_agg(h.key), array_agg(h.taken), array_agg(h.full_at)
      into k_name, k_key, k_taken, k_full_at
      from held h;

    if v_sifts then
      select s.gone, s.waits, s.names, s.keys, s.by_at, array(select c_run[u.i] from unnest(s.passed) as u (i))
        into g_i, w_i, w_name, w_key, w_by_at, v_sifted
        from holdfast.sift(x_i, x_name, x_key, x_most, x_interval, x_at_most, c_run, c_since, v_waiters,
                           holdfast.seen_until(f_asked, f_lane[:v_due], f_priority[:v_due], f_since[:v_due],
                                               p_lanes, p_priorities, v_now)) s;
    end if;

    -- 5. One limit after the other: who finds a permit goes on to the next.
    for v_limit in
      select x.name, min(x.rank) as rank
        from unnest(x_name, x_order) as x (name, rank)
       where x.name !~ '^(throttle|debounce|fair) '
       group by x.name
       order by 2, 1
    loop
      select array_agg(s.i), array_agg(s.key)
        into o_i, o_key
        from (
          select x.i, x.key, x.most, x.span, k.taken, k.full_at,
                 row_number() over (partition by x.key order by x.i) as n
            from unnest(x_i, x_name, x_key, x_most, x_interval) as x (i, name, key, most, span)
            join unnest(k_name, k_key, k_taken, k_full_at) as k (name, key, taken, full_at)
                 on k.name = x.name and k.key = x.key
           where x.name = v_limit.name
             and (x.i = any (w_i || g_i)) is not true
        ) s
       where s.n > holdfast.permits_left(s.taken, s.full_at, s.most, s.span, v_now)
          -- What is newly due stands behind who waits already.
          or s.i > v_waiters
             and exists (select from holdfast.permit_wait z
                          where z.name = v_limit.name
                            and z.key = s.key
                            and z.lane = c_lane[s.i]
                            and z.priority = c_priority[s.i]
                            and z.run_id <> all (c_run));
      if o_i is not null then
        w_i := w_i || o_i;
        w_name := w_name || array_fill(v_limit.name, array[cardinality(o_i)]);
        w_key := w_key || o_key;
      end if;
    end loop;

    if p_sort > 0 then
      -- As far as there is room, and each key in turn where that is asked for.
      select w_i || s.i, w_name || s.names, w_key || s.keys, g_i || s.beyond
        into w_i, w_name, w_key, g_i
        from holdfast.fit(x_i, x_name, x_key, w_i || g_i, v_waiters, v_sifted, c_run, c_lane, c_priority, p_lanes,
                          p_priorities, p_room, v_now) s;
    end if;
    if v_sifts or p_sort > 0 then
      select coalesce(array_agg(x.i), '{}'), array_agg(x.name), array_agg(x.key), array_agg(x.span), array_agg(x.kept)
        into x_i, x_name, x_key, x_interval, x_kept
        from unnest(x_i, x_name, x_key, x_interval, x_kept) as x (i, name, key, span, kept)
       where x.name !~ '^(throttle|debounce|fair) '
         and x.i <> all (g_i);
    end if;

    -- 6. Lines: who has found no permit stands in that of the key that had none, since when it has waited.
    select array_agg(u.name), array_agg(u.key), array_agg(u.lane), array_agg(u.priority)
      into t_name, t_key, t_lane, t_priority
      from (select o.name, o.key, o.lane, o.priority
              from unnest(t_name, t_key, t_lane, t_priority) as o (name, key, lane, priority)
             union
            select w.name, w.key, c_lane[w.i], c_priority[w.i]
              from unnest(w_i, w_name, w_key) as w (i, name, key)
             where w.name not like 'fair %') u;
    if cardinality(w_i) > 0 then
      insert into holdfast.permit_wait as z (run_id, name, key, lane, priority, task, since, by_at)
      select c_run[w.i], w.name, w.key, c_lane[w.i], c_priority[w.i], c_task[w.i], c_since[w.i], w.by_at
        from unnest(w_i, w_name, w_key, w_by_at) as w (i, name, key, by_at)
       order by 1
      on conflict (run_id) do update
         set name = excluded.name,
             key = excluded.key,
             lane = excluded.lane,
             priority = excluded.priority,
             by_at = excluded.by_at
       where (z.name, z.key, z.lane, z.priority) <> (excluded.name, excluded.key, excluded.lane, excluded.priority);
      update holdfast.task t
         set due_at = 'infinity',
             flags = t.flags | 2048 | case when t.run_id = any (v_sifted) then 4096 else 0 end,
             waits_inbox = false,
             wake_at = null
       where t.run_id = any (array(select c_run[w.i] from unnest(w_i) as w (i)))
         and (t.due_at <> 'infinity' or t.run_id = any (v_sifted));
      perform holdfast.want_blocks(w_name);
    end if;
    if v_waiters > 0 then
      delete from holdfast.permit_wait z
       where z.run_id = any (array(select c_run[c.i] from generate_series(1, v_waiters) as c (i)
                                    where (c.i = any (w_i)) is not true));
    end if;

    -- 7. The permits of those that are taken.
    with won as (
      select x.i, x.name, x.key, x.span, x.kept
        from unnest(x_i, x_name, x_key, x_interval, x_kept) as x (i, name, key, span, kept)
       where (x.i = any (w_i)) is not true
    ), given as (
      insert into holdfast.permit (run_id, name, key, kept)
      select c_run[o.i], o.name, o.key, o.kept from won o where o.span is null
    )
    update holdfast.limit_key k
       set taken = k.taken + s.permits,
           full_at = case when s.span is null then k.full_at
                          else greatest(k.full_at, v_now) + s.count * s.span
                     end
      from (select o.name, o.key, max(o.span) as span, count(*)::int as count,
                   count(*) filter (where o.span is null)::int as permits
              from won o
             group by o.name, o.key) s
     where k.name = s.name
       and k.key = s.key;

    -- 8. When each of these lines is to be looked into again.
    if t_name is not null then
      perform holdfast.set_lines(t_name, t_key, t_lane, t_priority, l_name, l_most, l_interval, v_now);
    end if;

    -- 9. Who has all its permits is taken.
    return query
    with slot as (
      select s.bucket_id, s.lane, s.priority, s.room,
             sum(s.room) over (partition by s.lane, s.priority order by s.n) as last
        from unnest(p_buckets, p_lanes, p_priorities, p_room) with ordinality as s (bucket_id, lane, priority, room, n)
       where s.room > 0
    ), won as materialized (
      select c.run_id, c.lane, c.priority, c.waited, c.i,
             row_number() over (partition by c.lane, c.priority order by c.i) as n
        from unnest(c_run, c_lane, c_priority, c_waited) with ordinality as c (run_id, lane, priority, waited, i)
       where (c.i = any (w_i || g_i)) is not true
    ), placed as (
      select d.run_id, s.bucket_id, d.waited,
             coalesce(d.i = any (array(select x.i from unnest(x_i, x_interval) as x (i, span) where x.span is null)),
                      false) as permitted
        from won d
        join slot s on s.lane = d.lane
                   and s.priority = d.priority
                   and d.n > s.last - s.room
                   and d.n <= s.last
    ), taken as (
      update holdfast.task t
         set bucket_id = d.bucket_id,
             due_at = case when t.due_at = 'infinity' then v_now else t.due_at end,
             hold = t.hold + 1,
             waits_inbox = false,
             name = case when p_fresh = '{}' then t.name
                         else coalesce((case when t.first_claim_at is null then p_fresh else p_begun end)
                                         [array_position(p_names, t.name)],
                                       t.name)
                    end,
             wake_at = null,
             flags = case when d.permitted then t.flags | 2048
                          -- It may hold permits of other limits than the one it has waited for.
                          when d.waited and not exists (select from holdfast.permit p where p.run_id = t.run_id)
                          then t.flags & ~2048
                          else t.flags
                     end
                     | case when t.run_id = any (v_sifted) then 4096 else 0 end,
             first_claim_at = coalesce(t.first_claim_at, v_now)
        from placed d
       where t.run_id = d.run_id
      returning t.run_id, t.bucket_id, t.due_at, t.hold, t.priority, t.inbox_count, t.crashes, t.flags,
                t.first_claim_at, t.deadline, t.name
    )
    select u.run_id, u.bucket_id, u.due_at, u.hold, r.kind, r.name, r.lane, u.priority,
           r.input, u.inbox_count, u.crashes, u.flags, u.first_claim_at, u.deadline,
           r.tags, r.options, r.parent, r.root, r.created_at, u.name, v_now
      from taken u
     cross join lateral (select i.* from holdfast.run i where i.id = u.run_id limit 1) r
     order by u.due_at, u.run_id;
  end if;

  return query
  select null::uuid, s.bucket_id,
         least((select t.due_at
                  from holdfast.task t
                 where t.lane = s.lane
                   and t.priority = s.priority
                   and t.bucket_id is null
                   and t.due_at > v_now
                   and t.due_at <= v_now + p_ahead
                   and t.name = any (p_names)
                 order by t.due_at
                 limit 1),
               (select g.opens_at
                  from holdfast.permit_line g
                 where g.lane = s.lane
                   and g.priority = s.priority
                   and g.opens_at > v_now
                   and g.opens_at <= v_now + p_ahead
                   and g.name = any (v_known)
                 order by g.opens_at
                 limit 1)),
         coalesce(f_asked[s.n], 0), 0::smallint, null, null, null::smallint, null::json,
         (select count(*)::int from unnest(f_lane[:v_due], f_priority[:v_due]) as f (lane, priority)
           where f.lane = s.lane and f.priority = s.priority),
         case when exists (select from holdfast.permit_line g
                            where g.lane = s.lane
                              and g.priority = s.priority
                              and g.opens_at <= v_now
                              and g.name = any (v_known))
              then 1 else 0 end::smallint,
         0::smallint, null::timestamptz,
         (select max(f.since) from unnest(f_lane[:v_due], f_priority[:v_due], f_since[:v_due]) as f (lane, priority, since)
           where f.lane = s.lane and f.priority = s.priority),
         null::jsonb, null::json, null::uuid, null::uuid, null::timestamptz, null::text,
         v_now
    from unnest(p_buckets, p_lanes, p_priorities) with ordinality as s (bucket_id, lane, priority, n);
end $$;
