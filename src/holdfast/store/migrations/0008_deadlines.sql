-- Runs whose timeout passes before anybody has begun them: nothing of them is alive, so any worker may end them.
-- oldest code: 8

-- Only of runs that have a timeout; the others pay nothing for it.
create index task_deadline on holdfast.task (deadline) where deadline is not null and first_claim_at is null;

create function holdfast.end_overdue(p_limit int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
  v_now   timestamptz := holdfast.now();
  v_ended uuid[];
begin
  with overdue as (
    select t.run_id
      from holdfast.task t
     where t.deadline is not null
       and t.first_claim_at is null
       and t.deadline <= v_now
     order by t.deadline
     limit p_limit
       for update skip locked
  ), ended as (
    delete from holdfast.task t
     using overdue o
     where t.run_id = o.run_id
    returning t.run_id
  ), written as (
    insert into holdfast.result (run_id, at, status, error)
    select d.run_id,
           v_now,
           2,
           json_build_object(
             'type', 'holdfast.core.errors:RunTimedOut',
             'message', 'the run''s timeout has passed before a worker took it',
             'reason', 'timeout'
           )
      from ended d
  )
  select array_agg(d.run_id) into v_ended from ended d;
  if v_ended is null then
    return 0;
  end if;
  delete from holdfast.inbox i where i.run_id = any (v_ended);
  delete from holdfast.pause p where p.run_id = any (v_ended);
  perform holdfast.hint('end *');
  return cardinality(v_ended);
end $$;
