-- Queues: what consumers and those who look after them say to the database. Payloads come as text and are cast here, as for
-- starts. What changes a message that somebody has in hands carries its receipt, (run_id, hold).

-- name: settle_messages
-- Sent without the kinds that there are none of: most often all are acknowledged.
select run_id, why
  from holdfast.settle_messages(
         :line, :a_run::uuid[], :a_hold::int[], :k_run::uuid[], :k_hold::int[], :k_output::text[]::json[],
         :r_run::uuid[], :r_hold::int[], :r_after::interval[], :r_counts::boolean[],
         :x_run::uuid[], :x_hold::int[], :x_for::interval[], :d_run::uuid[], :d_hold::int[], :d_reason::text[])

-- name: exchange_messages
-- Both in one round trip and one commit: what was received last is settled, and more is received.
select s.run_id, 0 as hold, 0::smallint as priority, null::timestamptz as due_at, 0 as deliveries, false as dead,
       null::json as input, null::json as options, null::timestamptz as created_at, null::timestamptz as at,
       null::jsonb as tags, null::timestamptz as deadline, s.why
  from holdfast.settle_messages(
         :line, :a_run::uuid[], :a_hold::int[], :k_run::uuid[], :k_hold::int[], :k_output::text[]::json[],
         :r_run::uuid[], :r_hold::int[], :r_after::interval[], :r_counts::boolean[],
         :x_run::uuid[], :x_hold::int[], :x_for::interval[], :d_run::uuid[], :d_hold::int[], :d_reason::text[]) s
union all
select m.run_id, m.hold, m.priority, m.due_at, m.deliveries, m.dead, m.input, m.options, m.created_at, m.at, m.tags,
       m.deadline, null
  from holdfast.take_in_hand(:line, :batch, :visibility, :lower, :sweep, :ahead, :hands, false) m
