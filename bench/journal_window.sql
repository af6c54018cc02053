-- What was written to holdfast.journal from $1 seconds after the first row until $2 seconds before the last; without the
-- notes that an activity was dispatched.
with steps as materialized (
  select at from holdfast.journal where kind <> 7
), w as (
  select min(at) + $1::float8 * interval '1 second' as began,
         max(at) - $2::float8 * interval '1 second' as ended
    from steps
)
select extract(epoch from w.ended - w.began)::float8 as seconds,
       count(t.at) as count,
       count(t.at) filter (where t.at <= w.began + (w.ended - w.began) / 10) as first_tenth,
       count(t.at) filter (where t.at > w.ended - (w.ended - w.began) / 10) as last_tenth
  from w
  left join steps t on t.at > w.began and t.at <= w.ended
 group by w.began, w.ended
