-- Consumers: how they register, say that they are there, and leave.

-- name: register_consumer
select worker_id, epoch
  from holdfast.register_consumer(:name, :host, :pid, :lane, :lease)

-- name: beat_consumer
select command
  from holdfast.beat_consumer(:worker, :epoch, :state, :in_hands, :handled, :rate)

-- name: leave_consumer
select holdfast.leave_consumer(:worker, :epoch, :handled)

-- name: list_consumers
-- Those that have a lease; and those whose lease has ended without a word, for as long as nobody has cleared them away.
select w.name, w.host, w.pid,
       case when w.state = 'left' then 'stopped'
            when w.state = 'lost' or w.lease_until <= clock_timestamp() then 'lost'
            else c.state
       end as state,
       c.in_hands, c.handled, c.rate, w.started_at, c.at as seen_at
  from holdfast.consumer c
  join holdfast.worker w on w.id = c.worker_id
 where (:lane::text is null or c.lane = :lane)
   and (:all::boolean or w.state not in ('left', 'lost') and w.lease_until > clock_timestamp())
 order by c.lane, w.id
