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
  v_now     timestamptz := holdfast.now();
  v_runs    uuid[];
  v_parents uuid[];
  v_locked  uuid[];
  v_ended   uuid[];
  v_told    uuid[];
  v_limited uuid[];
begin
  select array_agg(o.run_id), array_agg(o.parent) filter (where o.parent is not null)
    into v_runs, v_parents
    from (
      select t.run_id,
             case when t.flags & 16 <> 0 then (select r.parent from holdfast.run r where r.id = t.run_id) end as parent
        from holdfast.task t
       where t.deadline is not null
         and t.first_claim_at is null
         and t.deadline <= v_now
       order by t.deadline
       limit p_limit
    ) o;
  if v_runs is null then
    return 0;
  end if;
  -- Their parents too, who will be told; what others are at is left for the next time.
  v_locked := array(select t.run_id
                      from holdfast.task t
                     where t.run_id = any (v_runs || v_parents)
                     order by t.run_id
                       for update skip locked);
  with ended as (
    delete from holdfast.task t
     where t.run_id = any (v_runs)
       and t.run_id = any (v_locked)
       and t.first_claim_at is null
       and not exists (select 1
                         from holdfast.run r
                         join holdfast.task p on p.run_id = r.parent
                        where r.id = t.run_id
                          and t.flags & 16 <> 0
                          and p.run_id <> all (v_locked))
    returning t.run_id, t.flags
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
  select array_agg(d.run_id), array_agg(d.run_id) filter (where d.flags & 16 <> 0),
         array_agg(d.run_id) filter (where d.flags & 2048 <> 0)
    into v_ended, v_told, v_limited
    from ended d;
  if v_ended is null then
    return 0;
  end if;
  delete from holdfast.inbox i where i.run_id = any (v_ended);
  delete from holdfast.pause p where p.run_id = any (v_ended);
  if v_told is not null then
    perform holdfast.hint('inbox ' || b.id) from holdfast.tell_parents(v_told) p, unnest(p.inbox) as b (id);
    -- Whoever has become due is found by its lane's poll within a second.
  end if;
  if v_limited is not null then
    perform holdfast.release_told(v_limited, true);
  end if;
  perform holdfast.hint('end *');
  return cardinality(v_ended);
end $$;
