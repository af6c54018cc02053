-- Taking what is due in a line, messages or runs that are driven by hand: who takes them has them in hands.

-- name: take_messages
select m.run_id, m.hold, m.priority, m.due_at, m.deliveries, m.dead, m.input, m.options, m.created_at, m.at, m.tags,
       m.deadline, null::text as why
  from holdfast.take_in_hand(:line, :batch, :visibility, :lower, :sweep, :ahead, :hands, false) m

-- name: take_driven
select m.run_id, m.hold, m.priority, m.due_at, m.deliveries, m.dead, m.input, m.options, m.created_at, m.at, m.tags,
       m.deadline, null::text as why
  from holdfast.take_driven(:line, :batch, :visibility, :lower, :sweep, :ahead, :hands) m

-- name: due_lines
-- Of these lines, those where something may be received now, and in how many seconds the next one is due where that is
-- soon. Only the index is looked at, and each probe is bounded from both sides.
select q.lane,
       bool_or(now.due_at is not null) as due,
       extract(epoch from min(soon.due_at) - min(m.now))::float8 as due_in
  from (select holdfast.now() as now) m
 cross join unnest(:lines::text[]) as q (lane)
 cross join generate_series(1, 5) as p (priority)
  left join lateral (
    select t.due_at
      from holdfast.task t
     where t.lane = q.lane
       and t.priority = p.priority
       and t.bucket_id is null
       and t.due_at >= coalesce((select f.floor from holdfast.lane_floor f
                                  where f.lane = q.lane and f.priority = p.priority), '-infinity')
       and t.due_at <= m.now
     order by t.due_at
     limit 1
  ) now on true
  left join lateral (
    select t.due_at
      from holdfast.task t
     where t.lane = q.lane
       and t.priority = p.priority
       and t.bucket_id is null
       and t.due_at > m.now
       and t.due_at <= m.now + :ahead::interval
     order by t.due_at
     limit 1
  ) soon on true
 where not exists (select from holdfast.queue k where k.lane = q.lane and k.paused_at is not null)
 group by q.lane
