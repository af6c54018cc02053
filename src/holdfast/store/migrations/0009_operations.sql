-- Operating runs: pause, resume, wake, terminate
--
-- What can be done to a parked run is done at once. A held run is moved and ended by its holder only, so for one of these
-- it is a request, a flag that the holder sees within a second: 128 terminate, 256 wake, 1 pause, and with it 512 if what
-- runs is not to be waited for. A request that the holder overlooks because it parks is obeyed by the row itself (`flush`).
--
-- A run that was continued by another one (`run.continued_from`) is meant by its old id too: except as a fork, which is a
-- run of its own.
-- oldest code: 9

create function holdfast.newest(p_run uuid) returns uuid
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_run  uuid := p_run;
  v_next uuid;
begin
  loop
    select s.next into v_next from holdfast.successor s where s.run_id = v_run;
    if v_next is null then
      return v_run;
    end if;
    v_run := v_next;
  end loop;
end $$;
comment on function holdfast.newest(uuid) is
  'The run that this one has become by retries, rewinds and continue-as-new; itself if by none.';

create function holdfast.lock_newest(p_run uuid) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Locks the task of the run, or of what it has become, and gives the id of that; there is none if that has ended.
as $$
declare
  v_run uuid := p_run;
begin
  loop
    perform 1 from holdfast.task t where t.run_id = v_run for update;
    if found then
      return v_run;
    end if;
    -- In a later statement than the lock, for which the transaction that continued it may have had to be waited for.
    if holdfast.newest(v_run) is not distinct from v_run then
      perform 1 from holdfast.run r where r.id = v_run;
      if not found then
        perform holdfast.refuse_run(p_run);
      end if;
      return v_run;
    end if;
    v_run := holdfast.newest(v_run);
  end loop;
end $$;

create function holdfast.pause(run_id uuid, at_once boolean default false) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run  uuid := holdfast.lock_newest(pause.run_id);
  v_task record;
  v_set  int := case when at_once then 513 else 1 end;
begin
  select t.bucket_id, t.flags, t.due_at into v_task from holdfast.task t where t.run_id = v_run;
  if not found then
    return 'ended';
  end if;
  if v_task.flags & v_set = v_set or v_task.flags & 1 <> 0 and v_task.bucket_id is null then
    return case when v_task.bucket_id is null then 'nothing' else 'requested' end;
  end if;
  if v_task.flags & 2048 <> 0 and v_task.bucket_id is null then
    -- It leaves the line in which it waits for a permit: when it is resumed it asks for one anew.
    delete from holdfast.permit_wait w where w.run_id = v_run;
    if found and v_task.due_at = 'infinity' then
      v_task.due_at := holdfast.now();
    end if;
  end if;
  insert into holdfast.pause (run_id, due_at, at)
  -- What was only taken ahead of its time is due at that time still when it is resumed.
  values (v_run,
          case
            when v_task.bucket_id is null
                 or (select holdfast.left_due(t) > holdfast.now() from holdfast.task t where t.run_id = v_run)
            then v_task.due_at
          end,
          holdfast.now())
  on conflict do nothing;
  -- Due never, held or not: so neither recovery nor a signal makes it due.
  update holdfast.task t
     set flags = t.flags | v_set,
         due_at = 'infinity'
   where t.run_id = v_run;
  if v_task.bucket_id is null then
    return 'done';
  end if;
  perform holdfast.hint('inbox ' || v_task.bucket_id);
  return 'requested';
end $$;
comment on function holdfast.pause(uuid, boolean) is
  'Pauses a run until it is resumed: at once where it is parked, else what runs is finished first. '
  'Gives done, requested, nothing (it was paused) or ended.';

create function holdfast.resume(run_id uuid) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run  uuid := holdfast.lock_newest(resume.run_id);
  v_task record;
  v_now  timestamptz;
  v_due  timestamptz;
begin
  select t.bucket_id, t.flags, t.lane, t.waits_inbox into v_task from holdfast.task t where t.run_id = v_run;
  if not found then
    return 'ended';
  end if;
  if v_task.flags & 1 = 0 then
    return 'nothing';
  end if;
  delete from holdfast.pause p where p.run_id = v_run returning p.due_at into v_due;
  v_now := holdfast.now();
  -- As it would have been due; at once where it was held when it was paused, or where something came meanwhile.
  if v_task.flags & 388 <> 0
     or v_task.waits_inbox and exists (select from holdfast.inbox i where i.run_id = v_run and not i.seen) then
    v_due := v_now;
  end if;
  update holdfast.task t
     set flags = t.flags & ~513,
         due_at = greatest(coalesce(v_due, v_now), v_now)
   where t.run_id = v_run;
  perform holdfast.hint(coalesce('inbox ' || v_task.bucket_id, 'due ' || v_task.lane));
  return 'done';
end $$;
comment on function holdfast.resume(uuid) is 'Lets a paused run go on. Gives done, nothing (it was not paused) or ended.';

create function holdfast.wake(run_id uuid) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run  uuid := holdfast.lock_newest(wake.run_id);
  v_task record;
begin
  select t.bucket_id, t.flags, t.due_at, t.lane, t.first_claim_at, holdfast.is_untouched(t) as untouched, r.kind
    into v_task
    from holdfast.task t
    join holdfast.run r on r.id = t.run_id
   where t.run_id = v_run;
  if not found then
    return 'ended';
  end if;
  if v_task.flags & 256 <> 0 then
    return 'requested';
  end if;
  if v_task.bucket_id is not null then
    if v_task.flags & 1 <> 0 then
      return 'nothing';
    end if;
    if v_task.due_at > holdfast.now() and (v_task.kind <> 1 or v_task.untouched) then
      -- Taken ahead of its time, and nothing of it runs: its holder gives it back, and it is due.
      update holdfast.task t set due_at = holdfast.now() where t.run_id = v_run;
      perform holdfast.hint('inbox ' || v_task.bucket_id);
      return 'done';
    end if;
    if v_task.kind <> 1 then
      return 'nothing';
    end if;
    update holdfast.task t set flags = t.flags | 256 where t.run_id = v_run;
    perform holdfast.hint('inbox ' || v_task.bucket_id);
    return 'requested';
  end if;
  if v_task.due_at <= holdfast.now() or v_task.due_at = 'infinity' or v_task.flags & 8 <> 0 then
    return 'nothing';
  end if;
  -- Which of its timers is the earliest is known to its code only: so whoever claims it next rings that one. Where it has
  -- not begun, or is blocked, or is a job, there is no timer to ring, and to be due is all.
  update holdfast.task t
     set flags = case
                   when v_task.kind = 1 and v_task.first_claim_at is not null and t.flags & 2 = 0 then t.flags | 256
                   else t.flags
                 end,
         due_at = holdfast.now()
   where t.run_id = v_run;
  perform holdfast.hint('due ' || v_task.lane);
  return 'done';
end $$;
comment on function holdfast.wake(uuid) is
  'Ends the sleep of a run early: its earliest timer rings now, or its next attempt begins. '
  'Gives done, requested, nothing (it does not sleep) or ended.';

create function holdfast.drop_task(p_run uuid) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Ends a run that nobody holds, and whose row the caller has locked together with its parent's, as cancelled.
as $$
declare
  v_ended  record;
  v_told   record;
  v_bucket bigint;
  v_lane   text;
begin
  with ended as (
    delete from holdfast.task t
     where t.run_id = p_run
       and t.bucket_id is null
    returning t.run_id, t.first_claim_at, t.inbox_count, t.flags, t.name, t.lane
  ), written as (
    insert into holdfast.result (run_id, at, first_claim_at, status, version)
    select d.run_id, holdfast.now(), d.first_claim_at, 3, nullif(split_part(d.name, '@', 2), '') from ended d
  )
  select d.inbox_count, d.flags, d.lane into strict v_ended from ended d;
  if v_ended.inbox_count > 0 then
    delete from holdfast.inbox i where i.run_id = p_run;
  end if;
  if v_ended.flags & 3 <> 0 then
    delete from holdfast.blockage k where k.run_id = p_run;
    delete from holdfast.pause p where p.run_id = p_run;
  end if;
  if v_ended.flags & 1024 <> 0 then
    delete from holdfast.heartbeat h where h.run_id = p_run;
  end if;
  if v_ended.lane like '% queue' then
    delete from holdfast.dead_letter l where l.run_id = p_run;
  end if;
  if v_ended.flags & 32 <> 0 and holdfast.close_children(array[p_run]) then
    perform holdfast.hint('cancel');
  end if;
  if v_ended.flags & 16 <> 0 then
    select p.inbox, p.due into v_told from holdfast.tell_parents(array[p_run]) p;
    foreach v_bucket in array coalesce(v_told.inbox, '{}') loop
      perform holdfast.hint('inbox ' || v_bucket);
    end loop;
    foreach v_lane in array coalesce(v_told.due, '{}') loop
      perform holdfast.hint('due ' || v_lane);
    end loop;
  end if;
  if v_ended.flags & 2048 <> 0 then
    perform holdfast.release_told(array[p_run], true);
  end if;
end $$;

create function holdfast.terminate(run_id uuid) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run  uuid := holdfast.lock_with_parent(terminate.run_id, true);
  v_task record;
begin
  select t.bucket_id, t.flags into v_task from holdfast.task t where t.run_id = v_run;
  if not found then
    return 'ended';
  end if;
  if v_task.bucket_id is null then
    perform holdfast.drop_task(v_run);
    perform holdfast.hint('end ' || v_run);
    return 'done';
  end if;
  if v_task.flags & 128 = 0 then
    update holdfast.task t set flags = t.flags | 128 where t.run_id = v_run;
    perform holdfast.hint('inbox ' || v_task.bucket_id);
  end if;
  return 'requested';
end $$;
comment on function holdfast.terminate(uuid) is
  'Ends a run as cancelled, without its clean-up code: at once where it is parked, else its holder does within a second. '
  'Gives done, requested or ended.';

create function holdfast.continue_run(
  p_run uuid, p_new uuid, p_how smallint,
  p_kept int[],        -- the seqs of its journal that the new run keeps
  p_without text,      -- a signal or update that the new run is not sent again
  p_input json, p_timeout interval, p_options json
) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Makes a run that goes on from another one: its journal begins with a copy of what is kept, and what was sent to the
-- other one beyond that lies in its inbox. A rewind ends the other one, if that is open, in the same transaction.
-- Gives done, open (a retry is of what has ended), held (it must be given back first), child, or continued.
as $$
declare
  v_now    timestamptz;
  v_run    record;
  v_task   record;
  v_open   boolean;
  v_begun  timestamptz;
  v_name   text;
  v_number int;
  v_lane   text;
begin
  perform 1 from holdfast.run r where r.id = p_new;
  if found then
    return 'done';  -- by the same call before, of which the answer was lost
  end if;
  select t.bucket_id, t.first_claim_at, t.deadline, t.name
    into v_task
    from holdfast.task t
   where t.run_id = p_run
     for update;
  v_open := found;
  if not v_open then
    -- Its record must not go meanwhile.
    perform 1 from holdfast.result e where e.run_id = p_run for key share;
    if not found then
      perform holdfast.refuse_run(p_run);
    end if;
  end if;
  -- In a later statement than the lock: who has changed its tags held that.
  select r.kind, r.name, r.lane, r.priority, r.input, r.parent, r.tags, r.trace
    into strict v_run
    from holdfast.run r
   where r.id = p_run;
  if v_open and p_how = 2 then
    return 'open';
  end if;
  if v_open and p_how = 3 and v_run.parent is not null then
    return 'child';
  end if;
  if v_open and p_how = 3 and v_task.bucket_id is not null then
    return 'held';
  end if;
  v_now := holdfast.now();
  v_lane := case when v_run.kind = 4 then holdfast.driven_line(v_run.lane, v_run.name) else v_run.lane end;
  -- Its own time begins when it did: then its timers are due when they were. And it goes on with the version that the
  -- journal is of; without a journal it begins anew, with the highest.
  v_name := v_run.name;
  if v_run.kind in (1, 4) and cardinality(p_kept) > 0 then
    if v_open then
      v_begun := v_task.first_claim_at;
      v_name := v_task.name;
    else
      select e.first_claim_at, v_run.name || coalesce('@' || e.version, '')
        into v_begun, v_name
        from holdfast.result e
       where e.run_id = p_run;
    end if;
  end if;
  if p_how <> 4 then
    insert into holdfast.successor (run_id, next) values (p_run, p_new) on conflict do nothing;
    if not found then
      -- One of two who did this at the same time.
      return 'continued';
    end if;
  end if;
  insert into holdfast.run (id, kind, name, lane, priority, input, tags, options, trace, created_at, continued_from, continuation)
  values (p_new, v_run.kind, v_run.name, v_run.lane, v_run.priority, coalesce(p_input, v_run.input), v_run.tags, p_options,
          v_run.trace, v_now, p_run, p_how)
  on conflict do nothing;
  if not found then
    return 'continued';
  end if;
  insert into holdfast.journal (run_id, at, started_at, not_before, seq, hold, kind, attempts, key, digest, output, error)
  select p_new, j.at, j.started_at, j.not_before, j.seq, 1, j.kind, j.attempts, j.key, j.digest, j.output, j.error
    from holdfast.journal j
   where j.run_id = p_run
     and j.seq = any (p_kept);
  -- Signals and updates keep their numbers. A key that is known to be used, which only an open run still knows, stays used.
  -- Both in one statement: a holder may journal one of them meanwhile, and it must not be missed in either place.
  insert into holdfast.inbox (run_id, number, kind, name, key, seen, payload, at)
  select p_new, l.number, l.kind, l.name, i.key, l.kept, case when not l.kept then l.payload end, l.at
    from (select substring(j.key from '#(\d+)$')::int as number,
                 j.kind,
                 substring(j.key from '^(?:signal|update):(.*)#\d+$') as name,
                 j.seq = any (p_kept) as kept, j.output as payload, j.at
            from holdfast.journal j
           where j.run_id = p_run
             and j.kind in (4, 9)
             and j.key is distinct from p_without) l
    left join holdfast.inbox i on i.run_id = p_run and i.number = l.number
   where not l.kept
      or i.key is not null
  union all
  select p_new, i.number, i.kind, i.name, i.key, false, i.payload, i.at
    from holdfast.inbox i
   where i.run_id = p_run
     and i.kind in (4, 9)
     and not i.seen;
  -- The highest number there is, and no more: else the run would look for a letter that is not there.
  select coalesce(max(n.number), 0)
    into v_number
    from (select i.number from holdfast.inbox i where i.run_id = p_new
          union all
          select holdfast.letter_number(j.kind, j.key, j.digest)
            from holdfast.journal j
           where j.run_id = p_new
             and j.kind in (4, 5, 6, 9)) n;
  -- No throttle and no debounce is asked of it: nobody has started it anew.
  insert into holdfast.task (run_id, name, lane, priority, due_at, hold, inbox_count, first_claim_at, flags, deadline)
  values (p_new, v_name, v_lane, v_run.priority, v_now,
          -- A journal is read of runs that were held before.
          case when cardinality(p_kept) > 0 then 1 else 0 end,
          v_number, v_begun, 4096,
          case when p_timeout is not null then v_now + p_timeout when v_open and p_how = 3 then v_task.deadline end);
  if v_open and p_how = 3 then
    perform holdfast.drop_task(p_run);
    perform holdfast.hint('end ' || p_run);
  end if;
  perform holdfast.hint('due ' || v_lane);
  return 'done';
end $$;

create function holdfast.retag(run_id uuid, set jsonb default '{}', remove text[] default '{}') returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- The code of a run goes on seeing the tags that it was started with: those are kept in its options at the first change.
as $$
#variable_conflict use_column
declare
  v_run  uuid;
  v_tags jsonb;
begin
  loop
    -- Open, it cannot go on as another one under the lock on its task, nor when it has ended under that on its result.
    v_run := holdfast.lock_newest(coalesce(v_run, retag.run_id));
    perform 1 from holdfast.result e where e.run_id = v_run for update;
    exit when holdfast.newest(v_run) = v_run;
  end loop;
  update holdfast.run r
     set tags = nullif((coalesce(r.tags, '{}') || retag.set) - retag.remove, '{}'),
         options = case
                     when r.options::jsonb ? 'tags' then r.options
                     else (coalesce(r.options::jsonb, '{}') || jsonb_build_object('tags', coalesce(r.tags, '{}')))::json
                   end
   where r.id = v_run
  returning coalesce(r.tags, '{}') into v_tags;
  if not found then
    raise exception 'there is no run %', retag.run_id using errcode = 'HF003';
  end if;
  return v_tags;
end $$;
comment on function holdfast.retag(uuid, jsonb, text[]) is 'Sets and removes tags of a run, and gives all that it has then.';
