-- What metrics read of the database, now and then.

-- name: gauges
-- One row for each line (lane and priority) that has runs which nobody holds, one for each name with blocked runs, and one
-- for who keeps vacuum from removing what has ended. Everything is bounded: the lines are found by jumping from one to the
-- next in the index of claims, and no more than :most are counted of a line. What is due is looked for above the floor, so
-- that the remains of finished work are not walked.
with recursive moment as materialized (
  select holdfast.now() as now
), line as (
  (select t.lane, t.priority
     from holdfast.task t
    where t.bucket_id is null
    order by t.lane, t.priority
    limit 1)
  union all
  select n.lane, n.priority
    from line l
   cross join lateral (
     select t.lane, t.priority
       from holdfast.task t
      where t.bucket_id is null
        and (t.lane, t.priority) > (l.lane, l.priority)
      order by t.lane, t.priority
      limit 1
   ) n
), horizon as (
  select age(backend_xmin) as transactions, xact_start as since
    from pg_stat_activity
   where backend_xmin is not null
     and datname = current_database()
     and pid <> pg_backend_pid()
  union all
  select age(transaction), prepared
    from pg_prepared_xacts
   where database = current_database()
  union all
  select age(xmin), null
    from pg_replication_slots
   where xmin is not null
)
select 'line' as kind, l.lane as label, l.priority::int as priority, due.n::float8 as first,
       coalesce(extract(epoch from m.now - due.oldest), 0)::float8 as second, later.n::float8 as third
  from line l
 cross join moment m
  left join holdfast.lane_floor f on f.lane = l.lane and f.priority = l.priority
 cross join lateral (
   select count(*) as n, min(d.due_at) as oldest
     from (select t.due_at
             from holdfast.task t
            where t.lane = l.lane
              and t.priority = l.priority
              and t.bucket_id is null
              and t.due_at >= coalesce(f.floor, '-infinity')
              and t.due_at <= m.now
            order by t.due_at
            limit :most) d
 ) due
 cross join lateral (
   select count(*) as n
     from (select 1
             from holdfast.task t
            where t.lane = l.lane
              and t.priority = l.priority
              and t.bucket_id is null
              and t.due_at > m.now
            limit :most) p
 ) later
union all
select 'blocked', b.name, null, count(*), null, null
  from holdfast.task b
 where b.flags & 2 <> 0
 group by b.name
union all
select 'horizon', '', null, coalesce(max(h.transactions), 0),
       coalesce(extract(epoch from clock_timestamp() - min(h.since)), 0), null
  from horizon h
