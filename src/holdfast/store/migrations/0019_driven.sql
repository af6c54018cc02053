-- Runs driven by hand: their code is somebody else's, who takes them, asks for one step after the other, and ends them
-- oldest code: 19
--
-- Such a run (kind 4) stands in a line of its own, `LANE driven NAME`, where no worker looks. Who takes it has it in hand
-- (flag 8) until `due_at`, and longer as long as that is moved on; the taking raises `hold`, and (run_id, hold) is the
-- receipt. Everything here that writes to a run locks its task, and writes only where the receipt is good. So the row itself
-- is the fence: unlike that of workers it holds at any isolation level, and in a transaction of the caller's own.
--
-- SQLSTATEs of our own, beside those of 0001: HF021 the receipt is not good any more, HF022 no workflow of this name is
-- driven by hand, HF023 the step has an outcome, HF024 the run is paused.

create table holdfast.driven (
  name       text primary key,
  created_at timestamptz not null
);

-- What is in somebody's hands, for those who look for runs that are under way.
create index task_in_hand on holdfast.task (run_id) where bucket_id is null and flags & 8 <> 0;

create function holdfast.driven_line(p_lane text, p_name text) returns text
language sql immutable parallel safe
-- No lane of a user has a blank in its name.
as $$ select p_lane || ' driven ' || p_name $$;

create function holdfast.create_workflow(name text) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  if coalesce(name, '') = '' or length(name) > 200 or position('@' in name) > 0 then
    perform holdfast.refuse('this workflow cannot be created', array['name', format(
      'name %L is not 1 to 200 characters without @', left(name, 250))]);
  end if;
  insert into holdfast.driven (name, created_at)
  values (create_workflow.name, holdfast.now())
  on conflict do nothing;
  return found;
end $$;
comment on function holdfast.create_workflow(text) is
  'Makes a workflow whose runs are driven by hand; false where it is there already.';

create function holdfast.check_driven(p_name text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform 1 from holdfast.driven d where d.name = p_name;
  if not found then
    raise exception 'there is no workflow % that is driven by hand', quote_nullable(p_name)
      using errcode = 'HF022', detail = p_name, hint = 'Create it first: holdfast.create_workflow(name), once, by anybody.';
  end if;
end $$;

create function holdfast.trigger_run(
  p_id uuid, p_name text, p_lane text, p_priority smallint, p_input json, p_due timestamptz, p_after interval,
  p_timeout interval, p_tags jsonb, p_options json, p_key text, p_digest bytea, p_window interval, p_open boolean,
  p_taken smallint, p_hint boolean
) returns table (id uuid, existing boolean, same boolean, refused boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  perform holdfast.check_driven(p_name);
  return query
  select s.id, s.existing, s.same, s.refused
    from holdfast.start_many(
           array[p_id], array[4::smallint], array[p_name], array[holdfast.driven_line(p_lane, p_name)], array[p_priority],
           array[p_input], array[p_due], array[p_after], array[p_timeout], array[p_tags], array[p_options], array[p_key],
           array[p_digest], p_hint, array[p_window], array[p_open], array[p_taken]) s;
end $$;

create function holdfast.trigger(
  name text, input json default '{}', key text default null, lane text default 'default', priority text default 'medium',
  at timestamptz default null, after interval default null, timeout interval default null, tags jsonb default null,
  headers jsonb default null, key_window text default 'forever', key_taken text default 'return_existing'
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  v_priority smallint := holdfast.check_start('trigger', name, input, key, lane, priority, at, after, timeout, tags, headers,
                                              key_window, key_taken);
begin
  perform holdfast.check_driven(name);
  return holdfast.start_one(4, name, input, key, holdfast.driven_line(lane, name), v_priority, at, after, timeout,
                            tags, case when headers <> '{}' then json_build_object('headers', headers) end, key_window,
                            key_taken);
end $$;
comment on function holdfast.trigger(text, json, text, text, text, timestamptz, interval, interval, jsonb, jsonb, text, text)
  is 'Makes a run of a workflow that is driven by hand, and executes nothing; gives its id.';

create function holdfast.take_driven(
  p_line text, p_batch int, p_visibility interval, p_lower timestamptz[], p_sweep boolean, p_ahead interval, p_hands text
) returns table (
  run_id uuid, hold int, priority smallint, due_at timestamptz, deliveries int, dead boolean, input json, options json,
  created_at timestamptz, at timestamptz, tags jsonb, deadline timestamptz
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set enable_seqscan = off
-- Takes runs as messages are taken. Those whose timeout is over, and those that were taken five times by somebody who did
-- not come back, end here.
as $$
#variable_conflict use_column
declare
  v_over record;
  v_runs uuid[] := '{}';
begin
  for run_id, hold, priority, due_at, deliveries, dead, input, options, created_at, at, tags, deadline in
    select * from holdfast.take_in_hand(p_line, p_batch, p_visibility, p_lower, p_sweep, p_ahead, p_hands, true)
  loop
    if dead and run_id is not null then
      v_runs := v_runs || run_id;
    end if;
    return next;
  end loop;
  if v_runs = '{}' then
    return;
  end if;
  select array_agg(t.run_id) as runs, array_agg(t.hold) as holds, array_agg(2::smallint) as statuses,
         array_agg(null::json) as outputs,
         array_agg(case
                     when t.deadline <= holdfast.now()
                     then json_build_object('type', 'holdfast.core.errors:RunTimedOut', 'reason', 'timeout',
                                            'message', 'the run did not end within its timeout')
                     else json_build_object('type', 'holdfast.core.errors:RunFailed', 'reason', 'crashes',
                                            'message', 'given up after ' || t.crashes || ' who took it and did not come back')
                   end) as errors
    into v_over
    from holdfast.task t
   where t.run_id = any (v_runs);
  perform holdfast.end_held(v_over.runs, v_over.holds, v_over.statuses, v_over.outputs, v_over.errors, '{}',
                            holdfast.now());
  perform holdfast.hint('end ' || array_to_string(v_over.runs[:100], ' '));
end $$;

create function holdfast.check_receipt(p_run uuid, p_hold int, p_lock boolean) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Whether the run is in these hands: raises HF021 where it is not, HF004 where it has ended. Gives the task's flags.
as $$
declare
  v_task record;
begin
  if p_lock then
    select t.hold, t.flags, t.waits_for into v_task from holdfast.task t where t.run_id = p_run for update;
  else
    select t.hold, t.flags, t.waits_for into v_task from holdfast.task t where t.run_id = p_run;
  end if;
  if not found then
    perform holdfast.refuse_run(p_run);
  end if;
  if v_task.hold <> p_hold or v_task.flags & 8 = 0 then
    raise exception 'run % is not in these hands any more: %', p_run,
      case when v_task.hold = p_hold then 'it was given back'
           when v_task.flags & 8 <> 0 then 'its time there was over, and ' || substring(v_task.waits_for from 8) || ' has it'
           else 'its time there was over, and somebody else took it since'
      end
      using errcode = 'HF021', detail = case when v_task.hold = p_hold then 'released' else 'taken' end,
            hint = 'Nothing was written. Whoever takes the run next goes on from what is recorded.';
  end if;
  return v_task.flags;
end $$;

create function holdfast.acquire_step(p_run uuid, p_hold int, p_key text)
returns table (known boolean, output json, error json, attempts int, not_before timestamptz)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- What is recorded of a step. Writes nothing: what may go on is decided where an outcome is written.
as $$
#variable_conflict use_column
begin
  if holdfast.check_receipt(p_run, p_hold, false) & 1 <> 0 then
    raise exception 'run % is paused', p_run
      using errcode = 'HF024', detail = p_run::text, hint = 'Give it back: it can be taken again when it is resumed.';
  end if;
  return query
  select o.key is not null, o.output, o.error, coalesce(a.attempts, 0), a.not_before
    from (select) one
    left join holdfast.journal o on o.run_id = p_run and o.key = p_key
    left join lateral (
      select j.attempts::int, j.not_before
        from holdfast.journal j
       where j.run_id = p_run
         and j.kind = 2
         and starts_with(j.key, p_key || '@')
         and position('@' in substring(j.key from length(p_key) + 2)) = 0
       order by j.seq desc
       limit 1
    ) a on true;
end $$;

create function holdfast.record_step(
  p_run uuid, p_hold int, p_key text, p_kind smallint, p_output json, p_error json, p_attempt int, p_elapsed interval,
  p_after interval, p_visibility interval, p_again boolean
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Records the outcome of a step (1), or a failed attempt (2), with which the run is given back until the next one is due.
-- `p_again`: this call may have been committed before, and its answer lost.
as $$
#variable_conflict use_column
declare
  v_now timestamptz;
begin
  if p_again then
    -- Under this hold nobody else writes, so a row like it is that of the first call.
    perform 1
       from holdfast.journal j
      where j.run_id = p_run
        and j.key = p_key
        and j.hold = p_hold
        and j.output::text is not distinct from p_output::text
        and j.error::text is not distinct from p_error::text;
    if found then
      return;
    end if;
  end if;
  perform holdfast.check_receipt(p_run, p_hold, true);
  v_now := holdfast.now();
  -- Progress; and with the row written, two transactions of one holder give no number twice, whatever their snapshots. As
  -- long as this one lasts no heartbeat can move the time on.
  update holdfast.task t
     set crashes = 0,
         due_at = case
                    when t.due_at < v_now + p_visibility / 2 then least(v_now + p_visibility, t.deadline)
                    else t.due_at
                  end
   where t.run_id = p_run;
  insert into holdfast.journal (run_id, hold, seq, kind, key, output, error, attempts, started_at, at, not_before)
  select p_run, p_hold, coalesce(max(j.seq), 0) + 1, p_kind, p_key, p_output, p_error, p_attempt, v_now - p_elapsed, v_now,
         v_now + p_after
    from holdfast.journal j
   where j.run_id = p_run
  on conflict (run_id, key) do nothing;
  if not found then
    raise exception '% of run % has an outcome already', p_key, p_run
      using errcode = 'HF023', detail = p_run::text, hint = 'What was recorded first counts: acquire the step to see it.';
  end if;
  if p_kind = 2 then
    perform holdfast.lay_down(p_run, p_after, regexp_replace(p_key, '@\d+$', ''));
  end if;
end $$;

create function holdfast.lay_down(p_run uuid, p_after interval, p_what text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Out of the hands of whom has it, whose receipt and lock the caller has: due again after a while; never, without one.
as $$
declare
  v_now  timestamptz := holdfast.now();
  v_task record;
begin
  if p_after is null then
    insert into holdfast.pause (run_id, due_at, at) values (p_run, null, v_now) on conflict do nothing;
  end if;
  update holdfast.task t
     set flags = (t.flags & ~8) | case when p_after is null then 1 else 0 end,
         due_at = case when p_after is null or t.flags & 1 <> 0 then 'infinity' else v_now + p_after end,
         crashes = 0,
         waits_for = p_what
   where t.run_id = p_run
  returning t.flags, t.lane into v_task;
  if v_task.flags & 1 <> 0 then
    -- Paused by somebody else meanwhile: that it is due then holds from when it is resumed.
    update holdfast.pause p set due_at = v_now + p_after where p.run_id = p_run;
  elsif p_after <= interval '0' then
    perform holdfast.hint('due ' || v_task.lane);
  end if;
end $$;

create function holdfast.give_back(p_run uuid, p_hold int, p_after interval, p_what text, p_again boolean) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Gives a run back: due again after a while; without one it is paused.
as $$
begin
  if p_again then
    perform 1 from holdfast.task t where t.run_id = p_run and t.hold = p_hold and t.flags & 8 = 0;
    if found then
      return;
    end if;
  end if;
  perform holdfast.check_receipt(p_run, p_hold, true);
  perform holdfast.lay_down(p_run, p_after, p_what);
end $$;

create function holdfast.end_driven(
  p_run uuid, p_hold int, p_status smallint, p_output json, p_error json, p_again boolean
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  if p_again then
    perform 1
       from holdfast.result e
      where e.run_id = p_run
        and e.status = p_status
        and e.output::text is not distinct from p_output::text
        and e.error::text is not distinct from p_error::text;
    if found then
      return;
    end if;
  end if;
  perform holdfast.check_receipt(p_run, p_hold, true);
  perform holdfast.end_held(array[p_run], array[p_hold], array[p_status], array[p_output], array[p_error], '{}',
                            holdfast.now());
  perform holdfast.hint('end ' || p_run);
end $$;

create function holdfast.keep_driven(p_runs uuid[], p_holds int[], p_visibility interval)
returns table (run_id uuid, kept boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
-- The heartbeat of who has these in hand: keeps them there for another while. Gives those that are not there any more,
-- and those that somebody writes to at this moment, which are there and were not kept.
as $$
#variable_conflict use_column
declare
  v_now    timestamptz;
  v_locked uuid[];
begin
  v_locked := array(
    select t.run_id
      from unnest(p_runs, p_holds) as x (run_id, hold)
      join holdfast.task t on t.run_id = x.run_id
                          and t.hold = x.hold
                          and t.flags & 8 <> 0
     order by t.run_id
       for update of t skip locked);
  v_now := holdfast.now();
  update holdfast.task t
     set due_at = least(v_now + p_visibility, t.deadline)
   where t.run_id = any (v_locked)
     and t.flags & 1 = 0;
  update holdfast.pause p
     set due_at = v_now + p_visibility
   where p.run_id = any (v_locked);
  return query
  select x.run_id, t.run_id is not null
    from unnest(p_runs, p_holds) as x (run_id, hold)
    left join holdfast.task t on t.run_id = x.run_id
                             and t.hold = x.hold
                             and t.flags & 8 <> 0
   where x.run_id <> all (v_locked);
end $$;
