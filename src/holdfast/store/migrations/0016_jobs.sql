-- Jobs: keys that are taken for a while, and runs that are moved in line
-- oldest code: 16

create function holdfast.take_keys(
  p_ids uuid[], p_names text[], p_keys text[], p_digests bytea[], p_windows interval[], p_open boolean[], p_taken smallint[],
  p_hint boolean,
  out own uuid[],       -- what the same call has made before: its answer was lost
  out replaced uuid[],  -- of this very call, by others of it
  out refused uuid[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Decides about the keys of these starts that belong to other runs: each for as long as its run's start has said. Whoever
-- wants one of these has its row's lock, so of all that come at once each sees what the one before has made of it, and
-- what has ended before then has ended. A key for ever, by which its run is only to be found, needs no lock: it stays
-- as it is.
as $$
#variable_conflict use_column
declare
  v_start  record;
  v_holder record;
  v_new    boolean;
begin
  own := '{}';
  replaced := '{}';
  refused := '{}';
  -- In the order of the keys, all before the first is changed: so that two batches queue up.
  perform 1
     from unnest(p_ids, p_names, p_keys, p_taken) as s (id, name, key, taken)
     join holdfast.start_key k on k.name = s.name and k.key = s.key
    where k.run_id <> s.id
      and (k.until is not null or k.while_open or s.taken > 0)
    order by k.name, k.key
      for update of k;
  if 2 = any (p_taken) then
    -- Their runs in the order of their ids, as everywhere where more than one is written.
    perform 1
       from holdfast.task t
      where t.run_id = any (array(
              select holdfast.newest(k.run_id)
                from unnest(p_ids, p_names, p_keys, p_taken) as s (id, name, key, taken)
                join holdfast.start_key k on k.name = s.name and k.key = s.key
               where s.taken = 2
                 and k.run_id <> s.id))
      order by t.run_id
        for update;
  end if;
  for v_start in
    select s.*
      from unnest(p_ids, p_names, p_keys, p_digests, p_windows, p_open, p_taken) with ordinality
           as s (id, name, key, digest, span, open, taken, n)
      left join holdfast.start_key k on k.name = s.name and k.key = s.key
     where s.key is not null
       and (k.run_id is null
            or k.run_id <> s.id and (k.until is not null or k.while_open or s.taken > 0))
     order by s.name, s.key, s.n
  loop
    loop
      select k.run_id, k.until, k.while_open
        into v_holder
        from holdfast.start_key k
       where k.name = v_start.name
         and k.key = v_start.key
         for update;
      exit when found;
      -- It was removed since, because its time was over.
      insert into holdfast.start_key (name, key, run_id, digest, at, until, while_open)
      values (v_start.name, v_start.key, v_start.id, v_start.digest, holdfast.now(), holdfast.now() + v_start.span,
              coalesce(v_start.open, false))
      on conflict do nothing;
    end loop;
    continue when v_holder.run_id = v_start.id;
    if exists (select from holdfast.run r where r.id = v_start.id) then
      own := own || v_start.id;
      continue;
    end if;
    -- One of this call that has the key, and will be made after this.
    v_new := v_holder.run_id = any (p_ids) and not exists (select from holdfast.run r where r.id = v_holder.run_id);
    if not coalesce(v_holder.until <= holdfast.now(), false)
       and not (v_holder.while_open
                and not v_new
                and not exists (select from holdfast.task t where t.run_id = holdfast.newest(v_holder.run_id)))
    then
      if v_start.taken = 1 then
        refused := refused || v_start.id;
      end if;
      continue when coalesce(v_start.taken, 0) <> 2;
      if v_new then
        replaced := replaced || v_holder.run_id;
      elsif exists (select from holdfast.task t where t.run_id = holdfast.newest(v_holder.run_id)) then
        perform holdfast.cancel_run(v_holder.run_id, true, p_hint);
      end if;
    end if;
    update holdfast.start_key k
       set run_id = v_start.id,
           digest = v_start.digest,
           at = holdfast.now(),
           until = holdfast.now() + v_start.span,
           while_open = coalesce(v_start.open, false)
     where k.name = v_start.name
       and k.key = v_start.key;
  end loop;
end $$;

create function holdfast.call_jobs(p_worker int, p_epoch int, p_runs uuid[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Who starts a run by its name need not know what it is, and it is a workflow until a worker that has the code says that it
-- is a job.
as $$
begin
  perform holdfast.fence(p_worker, p_epoch);
  update holdfast.run r
     set kind = 2
   where r.id = any (p_runs)
     and r.kind = 1;
end $$;

-- Rescheduling
--
-- What nobody holds is moved at once. A held run is moved by its holder only: there it is a request, a row of `reschedule`
-- and a flag (8192) that the holder sees within a second. It gives back what it has not begun; what runs is let run, and the
-- request is obeyed when it comes back, by whoever gives it back: the holder, or recovery.

create table holdfast.reschedule (
  run_id   uuid primary key,
  due_at   timestamptz,   -- null: as it would be
  priority smallint,
  lane     text,
  at       timestamptz not null
);

create function holdfast.move_runs(p_runs uuid[], p_begun boolean[] default null) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Obeys the requests about these runs, which nobody holds any more and whose rows the caller has locked. When a workflow
-- goes on is for its code to say, once that has begun, and so it is for whoever completes an attempt from outside. Gives the
-- lanes in which something is due.
as $$
declare
  v_now timestamptz := holdfast.now();
  v_due text[];
begin
  with wanted as (
    delete from holdfast.reschedule w
     where w.run_id = any (p_runs)
    returning w.run_id, w.due_at, w.priority, w.lane
  ), meant as (
    select w.run_id, w.priority, w.lane,
           case
             when t.waits_inbox then null
             when r.kind = 1
                  and coalesce(p_begun[array_position(p_runs, w.run_id)], t.flags & 64 <> 0)
             then null
             else w.due_at
           end as due_at
      from wanted w
      join holdfast.run r on r.id = w.run_id
      join holdfast.task t on t.run_id = w.run_id
  ), paused as (
    update holdfast.pause p
       set due_at = coalesce(m.due_at, p.due_at)
      from meant m
     where p.run_id = m.run_id
  ), moved as (
    update holdfast.task t
       set flags = t.flags & ~8192,
           priority = coalesce(m.priority, t.priority),
           lane = case
                    when m.lane is null then t.lane
                    -- One that its crashes have set apart stays apart.
                    when t.lane like '% alone' then holdfast.lane_alone(m.lane)
                    else m.lane
                  end,
           -- Never in the past, where no claim of the new line looks any more. Paused it is due never; and what is to end,
           -- or to be woken, is due at once.
           due_at = case
                      when t.flags & 389 <> 0 then greatest(t.due_at, v_now)
                      else greatest(coalesce(m.due_at, t.due_at), v_now)
                    end
      from meant m
     where t.run_id = m.run_id
    returning t.lane, t.due_at
  )
  select array_agg(distinct m.lane) into v_due from moved m where m.due_at <= v_now;
  return v_due;
end $$;

create function holdfast.move_given_back() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Obeys all requests about runs that this transaction has given back: there are few requests at any time.
as $$
declare
  v_runs uuid[] := array(select w.run_id
                           from holdfast.reschedule w
                           join holdfast.task t on t.run_id = w.run_id
                          where t.bucket_id is null
                          order by t.run_id
                            for update of t skip locked);
begin
  if cardinality(v_runs) > 0 then
    perform holdfast.move_runs(v_runs);
  end if;
end $$;

create function holdfast.reschedule(
  run_id uuid, at timestamptz default null, after interval default null, priority text default null, lane text default null
) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run      uuid;
  v_task     record;
  v_now      timestamptz;
  v_due      timestamptz;
  v_priority smallint := array_position(array['very-low', 'low', 'medium', 'high', 'critical'], reschedule.priority);
  v_lanes    text[];
begin
  if reschedule.at is null and reschedule.after is null and reschedule.priority is null and reschedule.lane is null then
    raise exception 'reschedule needs a time (at or after), a priority or a lane' using errcode = 'HF007';
  end if;
  if reschedule.at is not null and reschedule.after is not null then
    raise exception 'give at or after, not both' using errcode = 'HF007';
  end if;
  if reschedule.after < interval '0' then
    raise exception 'after is zero or more' using errcode = 'HF007';
  end if;
  if reschedule.at in ('infinity', '-infinity') then
    raise exception 'at is %: pause it, or give a time', reschedule.at using errcode = 'HF007';
  end if;
  if reschedule.priority is not null and v_priority is null then
    raise exception 'priority % is not one of very-low, low, medium, high, critical', quote_literal(reschedule.priority)
      using errcode = 'HF007';
  end if;
  if reschedule.lane !~ '^[^[:space:]]{1,200}$' then
    raise exception 'lane % is not 1 to 200 characters without blanks', quote_literal(reschedule.lane)
      using errcode = 'HF007';
  end if;
  v_run := holdfast.lock_newest(reschedule.run_id);
  select t.bucket_id, t.flags, t.due_at, t.hold, t.first_claim_at, t.waits_inbox, t.lane, r.kind
    into v_task
    from holdfast.task t
    join holdfast.run r on r.id = t.run_id
   where t.run_id = v_run;
  if not found then
    return 'ended';
  end if;
  v_now := holdfast.now();
  v_due := coalesce(reschedule.at, v_now + reschedule.after);
  if v_due is not null then
    -- What a worker has taken ahead of its time it has not begun.
    if v_task.kind = 1
       and v_task.first_claim_at is not null
       and not (v_task.bucket_id is not null and v_task.hold = 1 and v_task.due_at > v_now)
    then
      return 'begun';
    end if;
    if v_task.waits_inbox and v_task.kind <> 1 then
      return 'outside';
    end if;
  end if;
  if v_task.kind > 2 then
    return 'outside';
  end if;
  if v_task.flags & 2048 <> 0 and v_task.bucket_id is null then
    -- It leaves the line in which it waits for a permit, and asks for one anew where it is moved to.
    perform holdfast.stop_waiting(array[v_run]);
  end if;
  insert into holdfast.reschedule as w (run_id, due_at, priority, lane, at)
  values (v_run, v_due, v_priority, reschedule.lane, v_now)
  on conflict (run_id) do update
     set due_at = coalesce(excluded.due_at, w.due_at),
         priority = coalesce(excluded.priority, w.priority),
         lane = coalesce(excluded.lane, w.lane),
         at = excluded.at;
  if v_task.bucket_id is not null then
    update holdfast.task t set flags = t.flags | 8192 where t.run_id = v_run;
    perform holdfast.hint('inbox ' || v_task.bucket_id);
    return 'requested';
  end if;
  v_lanes := holdfast.move_runs(array[v_run]);
  -- Somebody may have to look earlier than he thinks.
  select array_agg(distinct l.lane) into v_lanes
    from (select unnest(v_lanes) as lane union select t.lane from holdfast.task t where t.run_id = v_run) l;
  perform holdfast.hint('due ' || l.lane) from unnest(v_lanes) as l (lane);
  return 'done';
end $$;
comment on function holdfast.reschedule(uuid, timestamptz, interval, text, text) is
  'Moves a run to another time, priority or lane: at once where nobody holds it, else when its worker gives it back. '
  'Gives done, requested, ended; or begun, or outside, where its time is not for others to say.';
