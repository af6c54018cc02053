-- Looking at one lane as a whole: for who watches it. Nothing here writes.

-- name: lane_counts
-- Of the runs that were started, without the activities among them that were dispatched.
select v.name, v.status, count(*)::int as runs
  from holdfast.runs v
 where v.lane = :lane
   and v.parent is null
 group by v.name, v.status

-- name: lane_workers
-- What each worker of the lane holds, those whose lease is over but whose runs nobody has recovered yet among them.
select w.id,
       w.name,
       w.pid,
       w.lease_until > clock_timestamp() and w.ended_at is null as alive,
       coalesce(array_agg(t.run_id) filter (where t.run_id is not null), '{}') as held
  from holdfast.worker w
  join holdfast.bucket b on b.worker_id = w.id
  left join holdfast.task t on t.bucket_id = b.id
 where w.lane = :lane
 group by w.id
 order by w.id

-- name: lane_recorded
-- Every outcome of an activity that was recorded for runs of the lane.
select j.run_id, j.key, j.attempts, j.at
  from holdfast.run r
  join holdfast.journal j on j.run_id = r.id
 where r.lane = :lane
   and j.kind = 1

-- name: clock
select clock_timestamp()
