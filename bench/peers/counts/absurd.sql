-- A task keeps its state and its result; so do its checkpoints.
select count(*) filter (where state = 'completed') as ended,
       count(*) filter (where state in ('failed', 'cancelled')) as failed,
       count(*) filter (where state in ('pending', 'running', 'sleeping')) as "left",
       (select count(*) from absurd.c_bench) as steps
  from absurd.t_bench
