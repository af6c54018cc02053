-- What was started, and what came of it: a step that was dispatched is a step, and no run of its own.
select (select count(*) from holdfast.run where parent is null) as runs,
       (select count(*) from holdfast.task) as tasks,
       count(*) as results,
       count(*) filter (where t.status = 1) as succeeded,
       (select count(*) from holdfast.journal where kind <> 7) as steps
  from holdfast.result t
  join holdfast.run r on r.id = t.run_id and r.parent is null
