-- A message that has ended is archived, in its place; the run of a workflow keeps its status, and so do its steps.
select count(*) filter (where m.archived_at is not null and coalesce(r.status::text, 'SUCCESS') = 'SUCCESS') as ended,
       count(*) filter (where m.archived_at is not null and r.status::text <> 'SUCCESS') as failed,
       count(*) filter (where m.archived_at is null) as "left",
       (select count(*) from pgqrs_workflow_steps where status::text = 'SUCCESS') as steps
  from pgqrs_messages m
  left join pgqrs_workflow_runs r on r.message_id = m.id
