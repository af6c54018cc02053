-- A job keeps its status.
select count(*) filter (where status = 'succeeded') as ended,
       count(*) filter (where status in ('failed', 'cancelled', 'aborted')) as failed,
       count(*) filter (where status in ('todo', 'doing')) as "left",
       0 as steps
  from procrastinate_jobs
