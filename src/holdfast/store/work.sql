-- What workers say to the database. All but `look`, `journals` and `inboxes` go through a function that checks the fence
-- first; those three only read.

-- name: register
select worker_id, epoch, bucket_ids
  from holdfast.register(
         :name, :host, :pid, :lane, :names, :lease, :lanes, :priorities, :schedules::text::jsonb, :mode, :version, :command)

-- name: heartbeat
select alive, command
  from holdfast.heartbeat(:worker, :epoch, :state)

-- name: heartbeat_many
-- Of several workers of one process at once.
select h.worker, b.command
  from unnest(:workers::int[], :epochs::int[], :states::text[]) as h (worker, epoch, state)
 cross join lateral holdfast.heartbeat(h.worker, h.epoch, h.state) b

-- name: note_overflow
-- For people to see. Guarded as the lease is: it says nothing of buckets that others see to now.
update holdfast.bucket b
   set overflowed = n.overflowed
  from unnest(:buckets::bigint[], :overflowed::int[]) as n (bucket, overflowed),
       holdfast.worker w
 where b.id = n.bucket
   and w.id = b.worker_id
   and w.lease_until > clock_timestamp()
   and w.state not in ('left', 'lost')

-- name: claim
select *
  from holdfast.claim(
         :worker, :epoch, :buckets, :lanes, :priorities, :room, :lower, :sweep, :names, :fresh, :begun, :ahead,
         :early, :lead)

-- name: call_jobs
select holdfast.call_jobs(:worker, :epoch, :runs)

-- name: flush
select at, busy, lost, inbox, due, asks, overtaken
  from holdfast.flush(
         :worker, :epoch, :wait, :again,
         :j_run, :j_hold, :j_seq, :j_kind, :j_key, :j_digest, :j_output, :j_error, :j_attempts, :j_elapsed, :j_at, :j_after,
         :m_run, :m_hold, :m_due, :m_after, :m_seen, :m_waits, :m_set, :m_clear, :m_progress, :m_what, :m_wake,
         :e_run, :e_hold, :e_status, :e_output, :e_error, :e_parent,
         :s_run, :s_number,
         :b_run, :b_hold, :b_set, :b_clear,
         :k_run, :k_reason,
         :h_run, :h_hold, :h_key, :h_attempt, :h_details, :h_progress,
         :x_run, :x_child,
         :c_run, :c_hold, :c_id, :c_kind, :c_name, :c_lane, :c_priority, :c_input, :c_timeout, :c_tags, :c_options, :c_key,
         :c_root,
         :q_run, :q_hold, :q_name,
         :n_run, :n_hold, :n_id, :n_input, :n_unread)

-- name: survive
select holdfast.survive(:worker, :runs, :holds, :crashes)

-- name: leave
select holdfast.leave(:worker, :epoch)

-- name: recover
select worker_id, worker_name, recovered, finished
  from holdfast.recover(:limit, :only)

-- name: next_lease_end
-- How long until the first lease of another worker ends, if it is not renewed.
select extract(epoch from min(lease_until) - clock_timestamp())::float8
  from holdfast.worker
 where ended_at is null
   and id <> :worker

-- name: raise_floors
select holdfast.raise_floors(:lanes, :priorities)

-- name: end_overdue
select holdfast.end_overdue(:limit)

-- name: cancel_asked
select handled, busy
  from holdfast.cancel_asked(:limit)

-- name: suspects_due
select exists (
  select 1
    from holdfast.task t
   where t.lane = holdfast.lane_alone(:lane)
     and t.bucket_id is null
     and t.due_at <= holdfast.now()
     and t.name = any (:names::text[])
) or exists (
  -- Or waits for a permit, and there is one.
  select 1
    from holdfast.permit_line g
   where g.lane = holdfast.lane_alone(:lane)
     and g.opens_at <= holdfast.now()
)

-- name: lanes_due
-- Those of these lanes in which something is due, or will be before long, or waits for a permit that there is. What its own
-- worker would find by a sweep is found here too: each look begins where a sweep does.
select l.lane
  from unnest(:lanes::text[]) as l (lane)
 where exists (
   select 1
     from unnest(array[1, 2, 3, 4, 5]::smallint[]) as p (priority)
     left join holdfast.lane_floor f on f.lane = l.lane and f.priority = p.priority
    cross join lateral (
      select 1
        from holdfast.task t
       where t.lane = l.lane
         and t.priority = p.priority
         and t.bucket_id is null
         and t.due_at >= coalesce(f.floor, '-infinity')
         and t.due_at <= holdfast.now() + :within::interval
       order by t.due_at
       limit 1
    ) d
 ) or exists (
   select 1
     from holdfast.permit_line g
    where g.lane = l.lane
      and g.opens_at <= holdfast.now() + interval '2 seconds'
 )

-- name: expire
-- Ends the lease of a process that is known to be dead, because whoever calls this has waited for its exit.
update holdfast.worker
   set lease_until = clock_timestamp()
 where host = :host
   and pid = :pid
   and ended_at is null
   and lease_until > clock_timestamp()
returning id

-- name: journals
-- In a later statement than the claim, so that it sees all that was written before.
select run_id, seq, kind, key, at, digest, output, error, attempts, not_before
  from holdfast.journal
 where run_id = any (:runs::uuid[])
 order by run_id, seq

-- name: inboxes
select run_id, number, kind, name, payload, case when kind = 9 then holdfast.key_digest(key) end as digest
  from holdfast.inbox
 where run_id = any (:runs::uuid[])
   and not seen
 order by run_id, number

-- name: heartbeats
select run_id, key, attempt, details
  from holdfast.heartbeat
 where run_id = any (:runs::uuid[])

-- name: held
-- What the database says that these buckets hold.
select run_id, hold, bucket_id
  from holdfast.task
 where bucket_id = any (:buckets::bigint[])

-- name: look
-- What came for the runs that a worker holds in memory.
select t.run_id, t.hold, t.inbox_count, t.flags, t.due_at, t.lane, t.priority,
       t.waits_inbox and t.inbox_count >= coalesce(t.wake_at, 0) as woken
  from holdfast.task t
 where t.run_id = any (:runs::uuid[])

-- name: hint
-- Nobody needs a hint after a crash of the server, so its commit does not wait for the disk.
select pg_notify(:channel, payload),
       set_config('synchronous_commit', 'off', true)
  from unnest(:payloads::text[]) as h (payload)

-- name: free_connections
select current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         -- Not from pg_stat_activity, which hides the sessions of other users from those without pg_read_all_stats.
         - (select sum(numbackends) from pg_stat_database)::int as free,
       current_setting('max_connections')::int as most
