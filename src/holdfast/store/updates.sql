-- Updates and their answers.

-- name: send_update_quietly
-- Gives the hints instead of sending them; the columns are evaluated in their order.
select set_config('holdfast.hints', 'later', true),
       holdfast.update(:run::uuid, :name::text, :payload::text::json, :key::text) as answer,
       current_setting('holdfast.hinted', true) as hints

-- name: read_replies
-- Those of these updates that are answered, and those whose runs have ended: with what the run has become since, if that
-- has taken the update along.
select w.run_id, w.number, j.answered, j.output, j.error, e.status, e.error as failure,
       case when j.answered is null then holdfast.update_successor(w.run_id, w.number) end as successor
  from unnest(:runs::uuid[], :numbers::int[]) as w (run_id, number)
  left join lateral (
    select true as answered, j.output, j.error
      from holdfast.journal j
     where j.run_id = w.run_id
       and j.key = 'reply#' || w.number
     limit 1
  ) j on true
  left join lateral (
    select e.status, e.error from holdfast.result e where e.run_id = w.run_id limit 1
  ) e on true
 where j.answered
    or e.status is not null
