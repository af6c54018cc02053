select (select count(*) from holdfast.run) as runs,
       (select count(*) from holdfast.task) as tasks,
       (select count(*) from holdfast.result) as results,
       (select count(*) from holdfast.result where status = 1) as succeeded,
       (select count(*) from holdfast.journal) as steps
