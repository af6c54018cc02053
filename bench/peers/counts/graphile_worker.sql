-- A job that has ended is deleted, and nothing is left of it: how many there were is known by the last of their ids.
select coalesce(pg_sequence_last_value('graphile_worker.jobs_id_seq1'), 0) - count(*) as ended,
       count(*) filter (where attempts >= max_attempts) as failed,
       count(*) as "left",
       0 as steps
  from graphile_worker._private_jobs
