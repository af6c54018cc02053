-- name: start_clock
-- One that stands already goes on from where it stands.
insert into holdfast.standing_clock as c (at)
values (coalesce(:at::timestamptz, clock_timestamp()))
on conflict (only_row) do update
   set at = greatest(c.at, :at)
returning at

-- name: set_clock
-- It never goes back.
update holdfast.standing_clock
   set at = greatest(at, :at::timestamptz)
returning at

-- name: restlessness
-- What is to be done now, and when something will be. A run counts where a living worker serves its lane and knows its
-- name; one that is paused or blocked waits for people.
with open as (
  select t.run_id, t.bucket_id, t.due_at, t.flags,
         exists (
           select 1
             from holdfast.worker w
            where w.state = 'active'
              and w.lease_until > clock_timestamp()
              and t.lane in (w.lane, holdfast.lane_alone(w.lane))
              and t.name = any (w.names)
         ) as served
    from holdfast.task t
)
select array(select o.run_id from open o where o.bucket_id is not null) as held,
       exists (select 1 from open o where o.bucket_id is null and o.served and o.due_at <= holdfast.now())
       or :schedules::boolean and exists (
         select 1
           from holdfast.schedule s
          where s.active
            and not s.paused
            and (s.next_at <= holdfast.now() or cardinality(s.queued) > 0 and holdfast.open_of(s.running) = '{}')
       ) as due,
       exists (
         select 1
           from open o
           join holdfast.inbox i on i.run_id = o.run_id
          where o.bucket_id is not null
            and not i.seen
       ) as letters,
       (
         select min(o.due_at)
           from open o
          where o.bucket_id is null
            and o.served
            and o.due_at > holdfast.now()
            and isfinite(o.due_at)
            and o.flags & 3 = 0
       ) as next_due,
       (
         select min(t.deadline)
           from holdfast.task t
          where t.first_claim_at is null
            and t.deadline > holdfast.now()
       ) as next_deadline,
       (
         select min(s.next_at)
           from holdfast.schedule s
          where :schedules
            and s.active
            and not s.paused
            and s.next_at > holdfast.now()
       ) as next_tick

-- name: end_runs_out_of_time
-- What a worker does every few seconds, of real time.
select holdfast.end_overdue(1000)

-- name: end_lease
-- As if the worker had not renewed it.
update holdfast.worker
   set lease_until = clock_timestamp()
 where id = :worker::int
