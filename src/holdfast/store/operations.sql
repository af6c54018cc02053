-- Operating runs: each by its id, or many at once. In the order of their ids, so that two who do it to the same runs queue
-- up instead of meeting in a deadlock.

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
  from (select id from unnest(:runs::uuid[]) as u (id) order by id offset 0) o

-- name: cancel_runs
select o.id,
       case holdfast.cancel(o.id) when 'cancelled' then 'done' when 'requested' then 'requested' else 'ended' end as effect
  from (select id from unnest(:runs::uuid[]) as u (id) order by id offset 0) o
