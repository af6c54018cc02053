-- Claim
-- oldest code: 1

create function holdfast.claim(
  p_worker int, p_epoch int,
  p_buckets bigint[], p_lanes text[], p_priorities smallint[], p_room int[], p_lower timestamptz[],
  p_sweep boolean, p_names text[],
  p_fresh text[], p_begun text[],  -- by the places of p_names: what a task is called from now on; empty: nothing is pinned
  p_ahead interval,
  p_early int[], p_lead interval  -- of each bucket so many more, which are not due yet but within the lead; null: none
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
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_now   timestamptz;
  v_early boolean;
  v_upper timestamptz;
begin
  perform holdfast.fence(p_worker, p_epoch);
  v_now := holdfast.now();
  -- Each probe is bounded from both sides: from below by the caller's watermark, so that it does not walk the dead index
  -- entries of finished work; from above by now, so that it does not walk the parked. What is not due yet is looked for
  -- by a probe of its own, from now to the lead: so no watermark is ever worked out over it.
  foreach v_early in array case when p_lead is null then array[false] else array[false, true] end loop
  v_upper := case when v_early then v_now + p_lead else v_now end;
  return query
  with slot as (
    select s.bucket_id, s.lane, s.priority, s.room, s.lower,
           sum(s.room) over (partition by s.lane, s.priority order by s.n) as last
      from unnest(p_buckets, p_lanes, p_priorities, case when v_early then p_early else p_room end, p_lower) with ordinality
           as s (bucket_id, lane, priority, room, lower, n)
     where s.room > 0
  ), line as (
    -- One probe for all buckets of a line: `skip locked` does not skip what this very statement has locked, so a second
    -- probe would find the same runs again.
    select s.lane, s.priority, sum(s.room) as room,
           case when v_early
                then v_now + interval '1 microsecond'
                when p_sweep
                then coalesce((select f.floor from holdfast.lane_floor f
                                where f.lane = s.lane and f.priority = s.priority), '-infinity')
                else min(s.lower)
           end as lower
      from slot s
     group by s.lane, s.priority
  ), due as materialized (
    select l.lane, l.priority, t.run_id,
           row_number() over (partition by l.lane, l.priority order by t.due_at, t.run_id) as n
      from line l
     cross join lateral (
       select t.run_id, t.due_at
         from holdfast.task t
        where t.lane = l.lane
          and t.priority = l.priority
          and t.bucket_id is null
          and t.due_at >= l.lower
          and t.due_at <= v_upper
          and t.name = any (p_names)
          -- What its timeout ends before it is due is left where that is seen to.
          and (v_early and t.deadline <= t.due_at) is not true
        order by t.due_at, t.run_id
        limit l.room
          for update skip locked
     ) t
  ), placed as (
    select d.run_id, s.bucket_id
      from due d
      join slot s on s.lane = d.lane
                 and s.priority = d.priority
                 and d.n > s.last - s.room
                 and d.n <= s.last
  ), taken as (
    update holdfast.task t
       set bucket_id = d.bucket_id,
           hold = t.hold + 1,
           -- What is not due yet goes on to wait for what it waits for: it may be given back, or its worker may die.
           waits_inbox = v_early and t.waits_inbox,
           -- The version that a run begins with is the claimer's, and stays: durable with the claim itself.
           name = case when p_fresh = '{}' then t.name
                       else coalesce((case when t.first_claim_at is null then p_fresh else p_begun end)
                                       [array_position(p_names, t.name)],
                                     t.name)
                  end,
           wake_at = case when v_early then t.wake_at end,
           -- Its time begins when it does. In the future it says, too, that nobody has begun it.
           first_claim_at = coalesce(t.first_claim_at, greatest(t.due_at, v_now))
      from placed d
     where t.run_id = d.run_id
    returning t.run_id, t.bucket_id, t.due_at, t.hold, t.inbox_count, t.crashes, t.flags,
              t.first_claim_at, t.deadline, t.name
  )
  -- Lane and priority are those of the start, as its code sees them at every replay; where it stands says its bucket.
  select u.run_id, u.bucket_id, u.due_at, u.hold, r.kind, r.name, r.lane, r.priority,
         r.input, u.inbox_count, u.crashes, u.flags, u.first_claim_at, u.deadline,
         r.tags, r.options, r.parent, r.root, r.created_at, u.name, v_now
    from taken u
    join holdfast.run r on r.id = u.run_id
   order by u.due_at, u.run_id;
  end loop;
  -- One row per bucket that says what comes next, a statement of its own so that it sees what was just taken. It looks
  -- only a short way ahead: the poll will look further.
  return query
  select null::uuid, s.bucket_id,
         (select t.due_at
            from holdfast.task t
           where t.lane = s.lane
             and t.priority = s.priority
             and t.bucket_id is null
             and t.due_at > v_now
             and t.due_at <= v_now + p_ahead
             and t.name = any (p_names)
           order by t.due_at
           limit 1),
         0, 0::smallint, null, null, null::smallint, null::json, 0, 0::smallint, 0::smallint, null::timestamptz,
         null::timestamptz, null::jsonb, null::json, null::uuid, null::uuid, null::timestamptz, null::text,
         v_now
    from unnest(p_buckets, p_lanes, p_priorities) as s (bucket_id, lane, priority);
end $$;
