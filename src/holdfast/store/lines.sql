-- Looking after queues: what stands there, and what is done to all of it.

-- name: peek_messages
-- In the order in which they would be received; only looked at. Dead letters are elsewhere.
select t.run_id, t.priority, t.due_at, t.hold - coalesce(t.wake_at, 0) as deliveries, r.input, r.options, r.created_at,
       case when t.flags & 1 <> 0 then 'paused'
            when t.due_at <= m.now then 'ready'
            when t.flags & 8 <> 0 then 'in flight'
            else 'delayed'
       end as state
  from (select holdfast.now() as now) m
 cross join generate_series(5, 1, -1) as p (priority)
 cross join lateral (
   select *
     from holdfast.task t
    where t.lane = :lane
      and t.priority = p.priority
      and t.bucket_id is null
      and not exists (select from holdfast.dead_letter l where l.run_id = t.run_id)
    order by t.due_at, t.run_id
    limit :count::int
 ) t
  join holdfast.run r on r.id = t.run_id
 order by t.priority desc, t.due_at, t.run_id
 limit :count

-- name: list_dead_letters
select l.run_id, l.reason, l.deliveries, l.at, t.priority, r.input, r.options, r.created_at
  from holdfast.dead_letter l
  join holdfast.task t on t.run_id = l.run_id
  join holdfast.run r on r.id = l.run_id
 where l.lane = :lane
   and (:run::uuid is null or l.run_id = :run)
   and (:last_at::timestamptz is null or (l.at, l.run_id) > (:last_at, :last_run::uuid))
 order by l.at, l.run_id
 limit :count::int

-- name: redrive_messages
select met, redriven as done
  from holdfast.redrive_messages(:lane, :runs::uuid[], :before::timestamptz, :limit::int)

-- name: purge_dead
select met, purged as done
  from holdfast.purge_dead(:lane, :runs::uuid[], :before::timestamptz, :limit::int)

-- name: purge_messages
select holdfast.purge_messages(:lane, :before::timestamptz, :limit::int)

-- name: queue_clock
select holdfast.now()

-- name: pause_queue
insert into holdfast.queue as q (lane, paused_at)
values (:lane, case when :paused::boolean then holdfast.now() end)
on conflict (lane) do update
   set paused_at = case when :paused then coalesce(q.paused_at, excluded.paused_at) end

-- name: configure_queue
insert into holdfast.queue as q (lane, max_deliveries)
values (:lane, :max_deliveries::int)
on conflict (lane) do update
   set max_deliveries = excluded.max_deliveries

-- name: queue_metrics
-- One row for each of these queues, or for each that there is. Lanes are found by jumping from one to the next.
with recursive lane as (
  select min(t.lane) as lane from holdfast.task t where t.bucket_id is null and :lanes::text[] is null
  union all
  select (select min(t.lane) from holdfast.task t where t.bucket_id is null and t.lane > l.lane)
    from lane l
   where l.lane is not null
), known as (
  select l.lane from lane l
  union
  select c.lane from holdfast.consumer c join holdfast.worker w on w.id = c.worker_id
   where :lanes is null and w.state not in ('left', 'lost') and w.lease_until > clock_timestamp()
), asked as (
  select u.lane from unnest(:lanes) as u (lane)
  union
  -- Not the lines of runs that are driven by hand: their names have two blanks at least.
  select k.lane from known k where k.lane like '% queue' and k.lane not like '% % queue'
  union
  select q.lane from holdfast.queue q where :lanes is null
)
select a.lane, coalesce(s.ready, 0)::int as ready, coalesce(s.delayed, 0)::int as delayed,
       coalesce(s.in_flight, 0)::int as in_flight,
       (select count(*) from holdfast.dead_letter l where l.lane = a.lane)::int as dead,
       m.now - s.oldest as oldest,
       q.paused_at, q.max_deliveries,
       coalesce(c.consumers, 0)::int as consumers, coalesce(c.rate, 0)::float8 as rate
  from asked a
 cross join (select holdfast.now() as now) m
  left join holdfast.queue q on q.lane = a.lane
 cross join lateral (
   select count(*) filter (where t.due_at <= m.now) as ready,
          count(*) filter (where t.due_at > m.now and t.flags & 9 = 0 and t.due_at < 'infinity') as delayed,
          count(*) filter (where t.due_at > m.now and t.flags & 8 <> 0) as in_flight,
          min(t.due_at) filter (where t.due_at <= m.now) as oldest
     from holdfast.task t
    where t.lane = a.lane
      and t.bucket_id is null
 ) s
 cross join lateral (
   select count(*) as consumers, sum(n.rate) as rate
     from holdfast.consumer n
     join holdfast.worker w on w.id = n.worker_id
    where n.lane = a.lane
      and w.state not in ('left', 'lost')
      and w.lease_until > clock_timestamp()
 ) c
 order by a.lane
