-- A job that has ended is deleted, and nothing is left of it: how many there were is known by their ids.
select coalesce((select last_value from graphile_worker.jobs_id_seq1), 0) as ended,
       count(*) filter (where attempts >= max_attempts) as failed,
       count(*) as "left",
       0 as steps
  from graphile_worker._private_jobs
