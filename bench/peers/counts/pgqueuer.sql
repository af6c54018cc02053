-- A job that has ended is deleted, and a line in the log says how.
select count(*) filter (where status = 'successful') as ended,
       count(*) filter (where status in ('exception', 'canceled', 'deleted', 'failed')) as failed,
       (select count(*) from pgqueuer) as "left",
       0 as steps
  from pgqueuer_log
