-- What `holdfast top` asks, again and again: so each statement is bounded, however much there is. It only reads.

-- name: top_lines
-- The first :lines lines (lane and priority) that have runs which nobody holds, found by jumping from one to the next in the
-- index of claims; no more than :most are counted of a line, and what is due is looked for above its floor.
with recursive moment as materialized (
  select holdfast.now() as now
), line as (
  (select t.lane, t.priority, 1 as n
     from holdfast.task t
    where t.bucket_id is null
      and t.lane >= coalesce(:lane::text, '')
    order by t.lane, t.priority
    limit 1)
  union all
  select f.lane, f.priority, l.n + 1
    from line l
   cross join lateral (
     select t.lane, t.priority
       from holdfast.task t
      where t.bucket_id is null
        and (t.lane, t.priority) > (l.lane, l.priority)
      order by t.lane, t.priority
      limit 1
   ) f
   where l.n < :lines::int
     -- What stands beside a lane is called as it, with a word more.
     and (:lane::text is null or split_part(f.lane, ' ', 1) = :lane)
)
select l.lane, l.priority::int as priority, due.n::int as due,
       coalesce(extract(epoch from m.now - due.oldest), 0)::float8 as oldest, later.n::int as parked
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
            limit :most::int) d
 ) due
 cross join lateral (
   select count(*) as n
     from (select 1
             from holdfast.task t
            where t.lane = l.lane
              and t.priority = l.priority
              and t.bucket_id is null
              and t.due_at > m.now
            limit :most::int) p
 ) later

-- name: top_counters
-- How many rows were ever added to these tables, as the server's statistics have it, a second late at most; and how many tasks
-- there are, as the planner thinks. None of it looks at a row.
select clock_timestamp() as at,
       holdfast.rows_added('holdfast.run') as started,
       holdfast.rows_added('holdfast.result') as ended,
       holdfast.rows_added('holdfast.journal') as recorded,
       pg_stat_get_live_tuples('holdfast.task'::regclass) as open
