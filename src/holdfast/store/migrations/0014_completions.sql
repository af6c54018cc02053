-- Activities that are completed from outside, by a token
--
-- A completion is a letter to the run: kind 13 with a value, 14 with a failure; its name is the attempt, `ask#1@1`. The run
-- journals it and then, by the activity's own rules, the outcome or the failed attempt that it leads to. SQLSTATE HF008: the
-- attempt has been completed already, or is over.
-- oldest code: 1

create function holdfast.complete_attempt(p_token text, p_kind smallint, p_payload json, p_call text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- `p_call` tells a call that is made again, because its answer was lost, from a second one.
as $$
#variable_conflict use_column
declare
  v_parts json;
  v_run   uuid;
  v_key   text;
  v_name  text;
  v_held  text;
  v_task  record;
begin
  begin
    v_parts := convert_from(
                 decode(rpad(translate(p_token, '-_', '+/'), (length(p_token) + 3) / 4 * 4, '='), 'base64'), 'utf8')::json;
    v_run := (v_parts ->> 0)::uuid;
    v_key := v_parts ->> 2;
    v_name := v_key || '@' || (v_parts ->> 1)::int;
  exception when others then
    v_name := null;
  end;
  if v_name is null then
    raise exception '% is not the token of an activity', quote_nullable(p_token) using errcode = 'HF007';
  end if;
  select t.run_id, t.lane, t.bucket_id into v_task from holdfast.task t where t.run_id = v_run for update;
  if not found then
    perform holdfast.refuse_run(v_run);
  end if;
  -- In later statements than the lock: two who complete one attempt queue up there.
  select i.key into v_held
    from holdfast.inbox i
   where i.run_id = v_run
     and i.kind in (13, 14)
     and i.name = v_name;
  if v_held = p_call then
    return;
  end if;
  if found or exists (select from holdfast.journal j where j.run_id = v_run and j.key = v_key) then
    raise exception '% has been completed already', v_key using errcode = 'HF008', detail = v_run::text;
  end if;
  if exists (select from holdfast.journal j where j.run_id = v_run and j.key = v_name) then
    raise exception 'attempt % of % is over', v_parts ->> 1, v_key using errcode = 'HF008', detail = v_run::text;
  end if;
  with counted as (
    update holdfast.task t
       set inbox_count = t.inbox_count + 1,
           due_at = case
                      when t.bucket_id is null and t.waits_inbox and t.flags & 1 = 0
                           and t.inbox_count + 1 >= coalesce(t.wake_at, 0)
                      then least(t.due_at, holdfast.now())
                      else t.due_at
                    end
     where t.run_id = v_run
    returning t.inbox_count
  )
  insert into holdfast.inbox (run_id, number, kind, name, key, payload, at)
  select v_run, c.inbox_count, p_kind, v_name, p_call, coalesce(p_payload, 'null'), holdfast.now()
    from counted c;
  perform holdfast.hint(coalesce('inbox ' || v_task.bucket_id, 'due ' || v_task.lane));
end $$;

create function holdfast.complete(token text, output json default 'null') returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  v_size text := holdfast.payload_mistake('output', output);
begin
  if v_size is not null then
    perform holdfast.refuse('this activity cannot be completed', array['output', v_size]);
  end if;
  perform holdfast.complete_attempt(token, 13::smallint, coalesce(output, 'null'), 'complete ' || gen_random_uuid());
end $$;
comment on function holdfast.complete(text, json) is
  'Completes an activity from outside: this is its result.';

create function holdfast.fail(token text, message text, permanent boolean default false) returns void
language sql volatile
as $$
select holdfast.complete_attempt(
         $1, 14::smallint,
         json_build_object(
           'type', case when $3 then 'holdfast.core.errors:GiveUp' else 'holdfast.core.errors:ActivityFailed' end,
           'message', coalesce($2, '')),
         'complete ' || gen_random_uuid())
$$;
comment on function holdfast.fail(text, text, boolean) is
  'Fails an attempt at an activity from outside; it is tried again as its retry policy says, unless that is permanent.';
