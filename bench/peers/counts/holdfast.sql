-- A run that has ended has a result, one that has not has a task. Runs of activities that were dispatched are steps, and
-- the journal has a row of kind 7 for each that is one too many.
select count(*) filter (where t.status = 1) as ended,
       count(*) filter (where t.status <> 1) as failed,
       (select count(*) from holdfast.task) as "left",
       (select count(*) from holdfast.journal where kind <> 7) as steps
  from holdfast.result t
  join holdfast.run r on r.id = t.run_id and r.parent is null
