-- Limits: claims of runs that have some, and what people see of them.

-- name: claim_limited
select *
  from holdfast.claim_limited(
         :worker, :epoch, :buckets, :lanes, :priorities, :room, :lower, :sweep, :names, :fresh, :begun, :ahead,
         :l_task, :l_name, :l_path, :l_default, :l_most, :l_interval, :l_order, :l_at_most, :l_kept, :sort)

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

-- name: limit_keys
-- Each key of which something is known, and who stands in its lines.
select k.name, k.key, k.most, k.taken,
       case when k.key = '' then (select coalesce(sum(b.size), 0)::int from holdfast.permit_block b where b.name = k.name)
            else 0
       end as leased,
       (select count(*)::int
          from (select 1 from holdfast.permit_wait w where w.name = k.name and w.key = k.key limit 1000) c) as waiting,
       g.since, g.opens_at, coalesce(h.runs, '{}') as holders
  from holdfast.limit_key k
  left join (
    select p.name, p.key, (array_agg(p.run_id order by p.run_id))[1:3] as runs from holdfast.permit p group by p.name, p.key
  ) h on h.name = k.name and h.key = k.key
 cross join lateral (
   select min(f.since) as since, min(l.opens_at) filter (where f.since is not null) as opens_at
     from holdfast.permit_line l
     left join lateral (
       select w.since
         from holdfast.permit_wait w
        where (w.name, w.key, w.lane, w.priority) = (l.name, l.key, l.lane, l.priority)
        order by w.since
        limit 1
     ) f on true
    where l.name = k.name
      and l.key = k.key
 ) g
 where :names::text[] is null
    or k.name = any (:names)
 order by k.name, k.key
 limit :limit
