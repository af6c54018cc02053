-- Days: run, journal and result in one table for each.

-- name: partition_by_day
select holdfast.partition_by_day()

-- name: make_day
select holdfast.make_day(:ahead::int)

-- name: prune_day
select last, runs
  from holdfast.prune_day(:statuses::smallint[], :ages::interval[], :keep_keys::interval, :after::uuid, :limit::int)

-- name: partition_state
select partitioned, past, first_day, last_day, ahead, strays
  from holdfast.partition_state()
