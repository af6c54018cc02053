-- The transactions of transactional activities. `begin_activity` and `record` are said over the user's own library: all
-- values are texts, whole numbers or floats, and are cast here, so that any driver can send them.

-- name: begin_activity
select holdfast.begin_activity(:worker::int, :name::text, :epoch::int, :mark::text, :limit::int)

-- name: record
-- Its effect rests on the fence that it checks itself, as the last thing before the commit.
select at, xid, inbox, due
  from holdfast.record(
         :worker::int, :epoch::int, :mark::text, :run::text::uuid, :hold::int, :seq::int, :key::text,
         decode(:digest::text, 'hex'), :output::text::json, :attempts::int, make_interval(secs => :elapsed::float8))

-- name: settle
select verdict, at
  from holdfast.settle(:run::uuid, :hold::int, :seq::int, :key::text, :xid::text, :end::boolean)

-- name: end_transactions
select holdfast.end_transactions(:worker::int, :pid::int)
