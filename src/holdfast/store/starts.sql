-- Starting runs. Payloads come as text and are cast here, so that a connection on which the caller has registered a JSON
-- codec of his own can be used like any other.

-- name: start_plain
-- Runs without keys: one statement, one commit. What starts have in common comes once, and each says at which place.
-- Sent a second time it does nothing, because the insert of the task hangs on what the insert of the run returns.
-- `is true` keeps that condition from becoming a join, which for arrays of unknown length is planned as a nested loop: so
-- it is a look into a hash table, whatever the length.
with moment as materialized (
  select holdfast.now() as now
), asked as materialized (
  select s.id, s.input, s.manner, s.options, (:kinds::smallint[])[s.manner] as kind, (:names::text[])[s.manner] as name,
         (:lanes::text[])[s.manner] as lane, (:priorities::smallint[])[s.manner] as priority
    from unnest(:ids::uuid[], :inputs::text[], :manners::int[], :options::text[]) as s (id, input, manner, options)
), made as (
  insert into holdfast.run (id, kind, name, lane, priority, input, tags, options, created_at)
  select a.id, a.kind, a.name, a.lane, a.priority, a.input::json, (:tags::text[])[a.manner]::jsonb, a.options::json, m.now
    from asked a, moment m
  on conflict (id) do nothing
  returning id
), queued as (
  insert into holdfast.task (run_id, name, lane, priority, due_at, deadline)
  select a.id, a.name, a.lane, a.priority,
         greatest(coalesce((:due::timestamptz[])[a.manner], m.now + (:after::interval[])[a.manner], m.now), m.now),
         m.now + (:timeouts::interval[])[a.manner]
    from asked a, moment m
   where (a.id in (select made.id from made)) is true
)
select pg_notify('{channel}', h.payload)
  from unnest(:hints::text[]) as h (payload)

-- name: start_one
-- As start_plain for a single run, which is most of what an idle client sends: planned and executed in half the time.
with made as (
  insert into holdfast.run (id, kind, name, lane, priority, input, tags, options, created_at)
  select :id::uuid, :kind::smallint, :name::text, :lane::text, :priority::smallint, :input::text::json,
         :tags::text::jsonb, :options::text::json, m.now
    from (select holdfast.now() as now offset 0) m
  on conflict (id) do nothing
  returning id, name, lane, priority, created_at
), queued as (
  insert into holdfast.task (run_id, name, lane, priority, due_at, deadline)
  select r.id, r.name, r.lane, r.priority,
         greatest(coalesce(:due::timestamptz, r.created_at + :after::interval, r.created_at), r.created_at),
         r.created_at + :timeout::interval
    from made r
)
select pg_notify('{channel}', :hint::text)
 where :hint::text is not null

-- name: start_keyed
-- Runs with and without keys, through the function that SQL's own callers use too. In the order asked for.
select s.id, s.existing, s.same, s.refused
  from holdfast.start_many(
         :ids::uuid[], :kinds::smallint[], :names::text[], :lanes::text[], :priorities::smallint[],
         :inputs::text[]::json[], :due::timestamptz[], :after::interval[], :timeouts::interval[], :tags::text[]::jsonb[],
         :options::text[]::json[], :keys::text[], :digests::bytea[], :hint::boolean,
         :windows::interval[], :open::boolean[], :taken::smallint[]) s
