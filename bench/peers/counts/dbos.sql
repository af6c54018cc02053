-- A workflow keeps its status and its output; so do its steps.
select count(*) filter (where status = 'SUCCESS') as ended,
       count(*) filter (where status in ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')) as failed,
       count(*) filter (where status in ('ENQUEUED', 'PENDING', 'DELAYED')) as "left",
       (select count(*) from dbos.operation_outputs) as steps
  from dbos.workflow_status
