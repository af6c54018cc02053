-- Queues: what consumers and those who look after them say to the database. Payloads come as text and are cast here, as for
-- starts. What changes a message that somebody has in hands carries its receipt, (run_id, hold).

-- name: take_messages
select run_id, hold, priority, due_at, deliveries, dead, input, options, created_at, at
  from holdfast.take_messages(:lane, :batch, :visibility, :lower, :sweep, :ahead)

-- name: settle_messages
select run_id, why
  from holdfast.settle_messages(
         :lane, :a_run::uuid[], :a_hold::int[], :k_run::uuid[], :k_hold::int[], :k_output::text[]::json[],
         :r_run::uuid[], :r_hold::int[], :r_after::interval[], :r_counts::boolean[],
         :x_run::uuid[], :x_hold::int[], :x_for::interval[], :d_run::uuid[], :d_hold::int[], :d_reason::text[])

-- name: exchange_messages
-- Both in one round trip and one commit: what was received last is settled, and more is received.
select s.why, s.run_id, 0 as hold, 0::smallint as priority, null::timestamptz as due_at, 0 as deliveries, false as dead,
       null::json as input, null::json as options, null::timestamptz as created_at, null::timestamptz as at
  from holdfast.settle_messages(
         :lane, :a_run::uuid[], :a_hold::int[], :k_run::uuid[], :k_hold::int[], :k_output::text[]::json[],
         :r_run::uuid[], :r_hold::int[], :r_after::interval[], :r_counts::boolean[],
         :x_run::uuid[], :x_hold::int[], :x_for::interval[], :d_run::uuid[], :d_hold::int[], :d_reason::text[]) s
union all
select null, m.run_id, m.hold, m.priority, m.due_at, m.deliveries, m.dead, m.input, m.options, m.created_at, m.at
  from holdfast.take_messages(:lane, :batch, :visibility, :lower, :sweep, :ahead) m

-- name: due_queues
-- Of these queues, those where something may be received now, and in how many seconds the next message is due where that is
-- soon. Only the index is looked at, and each probe is bounded from both sides.
select q.lane,
       bool_or(now.due_at is not null) as due,
       extract(epoch from min(soon.due_at) - min(m.now))::float8 as due_in
  from (select holdfast.now() as now) m
 cross join unnest(:lanes::text[]) as q (lane)
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
