-- A job keeps its state.
select count(*) filter (where state = 'completed') as ended,
       count(*) filter (where state in ('failed', 'cancelled')) as failed,
       count(*) filter (where state in ('created', 'retry', 'active')) as "left",
       0 as steps
  from pgboss.job
 where name = 'bench'
