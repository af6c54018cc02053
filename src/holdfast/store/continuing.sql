-- Runs that go on from others: retry, rewind, fork.

-- name: run_origin
-- What a run is, and how it ended if it has.
select r.id, r.kind, r.name, r.options, r.created_at, r.tags, e.status, e.error, t.run_id is not null as open,
       coalesce(t.flags & 1 <> 0, false) as paused
  from holdfast.run r
  left join holdfast.task t on t.run_id = r.id
  left join holdfast.result e on e.run_id = r.id
 where r.id = case when :exact::boolean then :run::uuid else holdfast.newest(:run) end

-- name: journal_outline
-- A journal without what came of its steps, except for errors.
select j.seq, j.kind, j.key, j.started_at, j.at, j.error
  from holdfast.journal j
 where j.run_id = :run::uuid
 order by j.seq

-- name: continue_run
select holdfast.continue_run(:run::uuid, :new::uuid, :how::smallint, :kept::int[], :without::text, :input::text::json,
                             :timeout::interval, :options::text::json)

-- name: newest_run
select holdfast.newest(:run::uuid)

-- name: replaced_runs
-- Those of these runs that others have taken the place of.
select s.run_id
  from holdfast.successor s
 where s.run_id = any (:runs::uuid[])
