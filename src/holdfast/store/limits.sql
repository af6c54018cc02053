-- Limits: claims of runs that have some, and what people see of them.

-- name: claim_limited
select *
  from holdfast.claim_limited(
         :worker, :epoch, :buckets, :lanes, :priorities, :room, :lower, :sweep, :names, :fresh, :begun, :ahead,
         :l_task, :l_name, :l_path, :l_default, :l_most, :l_interval, :l_order)

-- name: tidy_limits
select holdfast.tidy_limits(:limit)

-- name: waiting_for
-- The line in which a run waits for a permit, and its place there.
select w.name, w.key, w.since, k.taken, k.most, k.full_at, g.opens_at,
       (select count(*)
          from (select 1
                  from holdfast.permit_wait o
                 where o.name = w.name
                   and o.key = w.key
                   and o.lane = w.lane
                   and o.priority = w.priority
                   and (o.since, o.run_id) < (w.since, w.run_id)
                 limit 1000) b) as ahead,
       array(select p.run_id
               from holdfast.permit p
              where p.name = w.name
                and p.key = w.key
              order by p.run_id
              limit 3) as holders
  from holdfast.permit_wait w
  left join holdfast.limit_key k on k.name = w.name and k.key = w.key
  left join holdfast.permit_line g on g.name = w.name and g.key = w.key and g.lane = w.lane and g.priority = w.priority
 where w.run_id = :run::uuid
