-- Looking at workers and telling them what to do. A worker reads what it is told in the answers to its heartbeats, and says
-- there how it stands; so telling is one small update, and nothing that hot paths touch.

-- name: workers
-- Those that have not ended, and those that are gone but whose buckets are not yet empty; those that are named in full, or
-- by their ids, whatever has become of them. However many there have been, only these are looked at.
with candidate as (
  select w.id from holdfast.worker w where w.ended_at is null
  union
  select b.worker_id from holdfast.bucket b
  union
  select w.id from holdfast.worker w where :name::text is not null and w.name = :name
  union
  select unnest(:workers::int[])
)
select w.id,
       w.name,
       w.host,
       w.pid,
       w.lane,
       w.mode,
       w.version,
       w.state,
       w.command,
       w.lease,
       w.lease_until <= clock_timestamp() as expired,
       w.lease_until - clock_timestamp() as left_of_lease,
       -- Of the last heartbeat: it has set the end of the lease.
       clock_timestamp() - (w.lease_until - w.lease) as heartbeat_age,
       w.started_at,
       w.ended_at
  from candidate c
  join holdfast.worker w on w.id = c.id
 where (:name::text is null or w.name = :name or regexp_replace(w.name, '-[0-9a-f]{7}$', '') = :name)
   and (:lane::text is null or w.lane = :lane)
 order by w.lane, w.name, w.id

-- name: worker_buckets
-- What each bucket of these workers is, and how many runs it holds. That is no more than what fits into a worker's memory.
select b.worker_id,
       b.lane,
       b.priority,
       b.state,
       b.overflowed,
       (select count(*) from holdfast.task t where t.bucket_id = b.id)::int as held
  from holdfast.bucket b
 where b.worker_id = any (:workers::int[])
 order by b.worker_id, b.lane, b.priority desc, b.id

-- name: tell_workers
-- Those that were told; the others stand otherwise than the caller has seen, or are gone.
with told as (
  select w.id
    from holdfast.worker w
   where w.id = any (:workers::int[])
     and w.ended_at is null
     and w.lease_until > clock_timestamp()
     and coalesce(w.command, 'resume') = any (:commands::text[])
     and w.state = any (:states::text[])
   order by w.id
     for update
)
update holdfast.worker w
   set command = :command
  from told t
 where w.id = t.id
returning w.id
