-- Operating runs: each by its id, or many at once. In the order of their ids, so that two who do it to the same runs queue
-- up instead of meeting in a deadlock. An end writes more than its run: there all is locked before the first is touched.

-- name: pause_runs
select o.id, holdfast.pause(o.id, :at_once::boolean) as effect
  from (select id from unnest(:runs::uuid[]) as u (id) order by id offset 0) o

-- name: resume_runs
select o.id, holdfast.resume(o.id) as effect
  from (select id from unnest(:runs::uuid[]) as u (id) order by id offset 0) o

-- name: wake_runs
select o.id, holdfast.wake(o.id) as effect
  from (select id from unnest(:runs::uuid[]) as u (id) order by id offset 0) o

-- name: terminate_runs
select o.id, holdfast.terminate(o.id) as effect
  from (select id from unnest(holdfast.lock_many(:runs)) as u (id) order by id offset 0) o

-- name: cancel_runs
select o.id,
       case holdfast.cancel(o.id) when 'cancelled' then 'done' when 'requested' then 'requested' else 'ended' end as effect
  from (select id from unnest(holdfast.lock_many(:runs)) as u (id) order by id offset 0) o

-- name: reschedule_runs
select o.id,
       holdfast.reschedule(o.id, :at::timestamptz, :after::interval, :priority::text, :lane::text) as effect
  from (select id from unnest(:runs::uuid[]) as u (id) order by id offset 0) o

-- name: why_run
-- Where a run stands, and what stands in its way: from its task, which says what it waited for when it was parked, and from
-- the workers of its lane.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, holdfast.now() as now, v.created_at, v.due_at, v.first_claim_at,
       v.ended_at, v.version, v.worker,
       w.lease_until - clock_timestamp() as lease_left,
       coalesce(t.flags, 0) as flags, coalesce(t.crashes, 0) as crashes, coalesce(t.waits_inbox, false) as waits_inbox,
       t.bucket_id is not null as held, t.waits_for, t.deadline,
       p.at as paused_at, k.reason as blocked_reason, k.at as blocked_at,
       (select max(j.at) from holdfast.journal j where j.run_id = v.id) as last_at,
       coalesce(c.workers, 0) as workers, coalesce(c.able, 0) as able, coalesce(c.serving, 0) as serving,
       (select count(*)
          from holdfast.worker z
         where z.state = 'paused'
           and z.lane = split_part(v.lane, ' ', 1)
           and coalesce(t.name, v.name) = any (z.names)
           and z.lease_until > clock_timestamp()) as paused,
       coalesce((select count(*)
                   from (select 1
                           from holdfast.task o
                          where t.bucket_id is null
                            and t.due_at <= holdfast.now()
                            and o.lane = t.lane
                            and o.priority = t.priority
                            and o.bucket_id is null
                            and o.due_at <= t.due_at
                            and (o.due_at, o.run_id) < (t.due_at, t.run_id)
                          order by o.due_at desc
                          limit 1000) o), 0) as ahead,
       e.error,
       array(select distinct i.name
               from holdfast.inbox i
              where i.run_id = v.id
                and i.kind in (4, 9)
                and not i.seen) as letters,
       d.reason as dead_reason, d.at as dead_at
  from holdfast.runs v
  left join holdfast.task t on t.run_id = v.id
  left join holdfast.result e on e.run_id = v.id
  left join holdfast.pause p on p.run_id = v.id
  left join holdfast.blockage k on k.run_id = v.id
  left join holdfast.dead_letter d on d.run_id = v.id
  left join holdfast.bucket b on b.id = t.bucket_id
  left join holdfast.worker w on w.id = b.worker_id
  left join lateral (
    select count(*) as workers,
           count(*) filter (where coalesce(t.name, v.name) = any (n.names)) as able,
           count(*) filter (
             where coalesce(t.name, v.name) = any (n.names)
               and exists (select from holdfast.bucket u
                            where u.worker_id = n.id and u.lane = v.lane and u.priority = v.priority)
           ) as serving
      from holdfast.worker n
     where n.state = 'active'
       -- A coordinator, for example, executes nothing.
       and n.names <> '{}'
       -- Behind a blank stands which line of the lane it is.
       and n.lane = split_part(v.lane, ' ', 1)
       and n.lease_until > clock_timestamp()
  ) c on true
 where v.id = holdfast.newest(:run::uuid)

-- name: awaited_children
-- The runs of those children that a run waits for, and whether they are dispatched activities. With what is lacking where
-- one stands in line and nobody can take it: a worker of its lane, or one that has its code.
select left(j.key, -1) as key, r.id as child, r.kind = 2 as dispatched, split_part(r.lane, ' ', 1) as lane, t.name,
       case when t.run_id is null or t.bucket_id is not null then null
            when coalesce(w.workers, 0) = 0 then 'lane'
            when w.able = 0 then 'code'
       end as lacks
  from holdfast.journal j
  join holdfast.run r on r.id = (j.output #>> '{}')::uuid
  left join holdfast.task t on t.run_id = r.id
  left join lateral (
    select count(*) as workers, count(*) filter (where t.name = any (n.names)) as able
      from holdfast.worker n
     where n.state = 'active'
       and n.names <> '{}'
       and n.lane = split_part(r.lane, ' ', 1)
       and n.lease_until > clock_timestamp()
  ) w on true
 where j.run_id = :run::uuid
   and j.kind = 7
   and j.key = any (:keys::text[])

-- name: last_attempts
-- The latest failed attempts of a run.
select j.key, j.attempts, j.at, j.not_before, j.error
  from holdfast.journal j
 where j.run_id = :run::uuid
   and j.kind = 2
 order by j.seq desc
 limit 20

-- name: retag_runs
select o.id,
       case when holdfast.retag(o.id, :set::text::jsonb, :remove::text[]) = o.before then 'nothing' else 'done' end as effect
  from (select r.id, coalesce(r.tags, '{}') as before
          from holdfast.run r
         where r.id = any (:runs::uuid[])
         order by r.id
        offset 0) o

-- name: retag_run
select holdfast.retag(:run::uuid, :set::text::jsonb, :remove::text[])::text
