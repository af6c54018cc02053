-- Runs driven by hand. What writes to them sends its hints after the commit, unless it is part of a caller's transaction.

-- name: create_workflow
select holdfast.create_workflow(:name::text)

-- name: driven_workflows
select d.name
  from holdfast.driven d
 where :name::text is null
    or d.name = :name
 order by d.name

-- name: trigger_run
select s.id, s.existing, s.same, s.refused
  from holdfast.trigger_run(:id::uuid, :name::text, :lane::text, :priority::smallint, :input::text::json, :due::timestamptz,
                            :after::interval, :timeout::interval, :tags::text::jsonb, :options::text::json, :key::text,
                            :digest::bytea, :window::interval, :open::boolean, :taken::smallint, :hint::boolean) s

-- name: keep_driven
select s.run_id, s.kept
  from holdfast.keep_driven(:runs::uuid[], :holds::int[], :visibility::interval) s

-- name: acquire_step
select s.known, s.output, s.error, s.attempts, s.not_before
  from holdfast.acquire_step(:run::uuid, :hold::int, :key::text) s

-- name: record_step
select holdfast.record_step(:run::uuid, :hold::int, :key::text, :kind::smallint, :output::text::json, :error::text::json,
                            :attempt::int, :elapsed::interval, :after::interval, :visibility::interval,
                            :again::boolean)

-- name: record_step_quietly
select set_config('holdfast.hints', 'later', true),
       holdfast.record_step(:run::uuid, :hold::int, :key::text, :kind::smallint, :output::text::json, :error::text::json,
                            :attempt::int, :elapsed::interval, :after::interval, :visibility::interval,
                            :again::boolean),
       current_setting('holdfast.hinted', true) as hints

-- name: give_back
select holdfast.give_back(:run::uuid, :hold::int, :after::interval, :what::text, :again::boolean)

-- name: give_back_quietly
select set_config('holdfast.hints', 'later', true),
       holdfast.give_back(:run::uuid, :hold::int, :after::interval, :what::text, :again::boolean),
       current_setting('holdfast.hinted', true) as hints

-- name: end_driven
select holdfast.end_driven(:run::uuid, :hold::int, :status::smallint, :output::text::json, :error::text::json,
                           :again::boolean)

-- name: end_driven_quietly
select set_config('holdfast.hints', 'later', true),
       holdfast.end_driven(:run::uuid, :hold::int, :status::smallint, :output::text::json, :error::text::json,
                           :again::boolean),
       current_setting('holdfast.hinted', true) as hints
