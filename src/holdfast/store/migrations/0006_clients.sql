-- What clients call
-- oldest code: 1

create function holdfast.start_many(
  p_ids uuid[], p_kinds smallint[], p_names text[], p_lanes text[], p_priorities smallint[], p_inputs json[],
  p_due timestamptz[], p_after interval[], p_timeouts interval[], p_tags jsonb[], p_options json[],
  p_keys text[], p_digests bytea[], p_hint boolean
) returns table (id uuid, existing boolean, same boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz;
begin
  -- Keys in order, so that two batches with the same keys queue up instead of meeting in a deadlock; of two starts in one
  -- batch with the same key the first makes the run.
  insert into holdfast.start_key (name, key, run_id, digest, at)
  select s.name, s.key, s.id, s.digest, holdfast.now()
    from unnest(p_ids, p_names, p_keys, p_digests) with ordinality as s (id, name, key, digest, n)
   where s.key is not null
   order by s.name, s.key, s.n
  on conflict do nothing;
  -- After the keys, for which another's transaction may have had to be waited for: a run must not become due in the past,
  -- where no claim looks any more.
  v_now := holdfast.now();
  -- Who holds each key is read in a second statement: in the one that inserts, a caller that lost the race sees nothing.
  return query
  with asked as materialized (
    select s.*, coalesce(k.run_id, s.id) as owner, k.digest as held_digest
      from unnest(p_ids, p_kinds, p_names, p_lanes, p_priorities, p_inputs, p_due, p_after, p_timeouts, p_tags,
                  p_options, p_keys, p_digests) with ordinality
           as s (id, kind, name, lane, priority, input, due, after, timeout, tags, options, key, digest, n)
      -- `limit` keeps this a look into the index for each row, whatever the planner believes of the arrays' length.
      left join lateral (
        select h.run_id, h.digest from holdfast.start_key h where h.name = s.name and h.key = s.key limit 1
      ) k on true
  ), made as (
    insert into holdfast.run (id, kind, name, lane, priority, input, tags, options, created_at)
    select a.id, a.kind, a.name, a.lane, a.priority, a.input, a.tags, a.options, v_now
      from asked a
     where a.owner = a.id
    on conflict (id) do nothing
    returning id
  ), queued as (
    insert into holdfast.task (run_id, name, lane, priority, due_at, deadline)
    select a.id, a.name, a.lane, a.priority, greatest(coalesce(a.due, v_now + a.after, v_now), v_now), v_now + a.timeout
      from asked a
     -- `is true` keeps this a look into a hash table; as a join it would be planned as a nested loop.
     where (a.id in (select made.id from made)) is true
  )
  select case when a.owner = a.id then a.owner else holdfast.newest(a.owner) end, a.owner <> a.id,
         case when a.owner = a.id then true
              when a.held_digest is not null and a.digest is not null then a.held_digest = a.digest
              -- Started from SQL, which knows no digests: the inputs themselves are compared.
              else coalesce((select r.input::text = a.input::text or r.input::jsonb = a.input::jsonb
                               from holdfast.run r
                              where r.id = a.owner),
                            -- Made by this very statement, which does not see it yet.
                            (select o.input::text = a.input::text or o.input::jsonb = a.input::jsonb
                               from asked o
                              where o.id = a.owner
                              limit 1),
                            true)
         end
    from asked a
   order by a.n;
  if p_hint then
    perform holdfast.hint('due ' || l.lane) from (select distinct lane from unnest(p_lanes) as u (lane)) l;
  end if;
end $$;

create function holdfast.start(
  name text, input json default '{}', key text default null, lane text default 'default', priority text default 'medium',
  at timestamptz default null, after interval default null, timeout interval default null, tags jsonb default null
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  v_priority smallint := array_position(array['very-low', 'low', 'medium', 'high', 'critical'], start.priority);
  v_row      record;
begin
  if coalesce(start.name, '') = '' then
    raise exception 'start needs the name of a workflow or activity' using errcode = 'HF007';
  end if;
  if position('@' in start.name) > 0 then
    raise exception 'name % has an @: a run begins with the highest version, so start it by the name alone', start.name
      using errcode = 'HF007';
  end if;
  if length(start.key) not between 1 and 500 then
    raise exception 'key has % characters: use 1 to 500', length(start.key) using errcode = 'HF007';
  end if;
  if coalesce(start.lane, '') !~ '^[^[:space:]]{1,200}$' then
    raise exception 'lane % is not 1 to 200 characters without blanks', quote_nullable(start.lane) using errcode = 'HF007';
  end if;
  if v_priority is null then
    raise exception 'priority % is not one of very-low, low, medium, high, critical', quote_nullable(start.priority)
      using errcode = 'HF007';
  end if;
  if start.at is not null and start.after is not null then
    raise exception 'give at or after, not both' using errcode = 'HF007';
  end if;
  if start.after < interval '0' or start.timeout <= interval '0' then
    raise exception 'after is zero or more, and timeout more than zero' using errcode = 'HF007';
  end if;
  if json_typeof(coalesce(start.input, '{}')) <> 'object' then
    raise exception 'input is one JSON object by parameter name, not %', json_typeof(start.input) using errcode = 'HF007';
  end if;
  if jsonb_typeof(start.tags) <> 'object'
     or exists (select 1 from jsonb_each(case when jsonb_typeof(start.tags) = 'object' then start.tags end) e
                 where jsonb_typeof(e.value) <> 'string') then
    raise exception 'tags is one JSON object of texts, not %', start.tags using errcode = 'HF007';
  end if;
  select s.id, s.existing, s.same into v_row
    from holdfast.start_many(
           array[holdfast.uuid7()], array[1::smallint], array[start.name], array[start.lane], array[v_priority],
           array[coalesce(start.input, '{}')], array[start.at], array[start.after], array[start.timeout],
           array[start.tags], array[null::json], array[start.key], array[null::bytea], true) s;
  if not v_row.same then
    raise exception 'key % of % belongs to run %, which was started with another input', start.key, start.name, v_row.id
      using errcode = 'HF005', detail = v_row.id::text;
  end if;
  return v_row.id;
end $$;
comment on function holdfast.start(text, json, text, text, text, timestamptz, interval, interval, jsonb) is
  'Starts a run by name, inside the caller''s transaction, and gives its id.';

create function holdfast.signal(run_id uuid, name text, payload json default 'null', key text default null) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_task record;
begin
  if coalesce(signal.name, '') = '' then
    raise exception 'a signal needs a name' using errcode = 'HF007';
  end if;
  -- First the row's lock, then in a later statement the look at the key: two senders with one key queue up here.
  select t.run_id, t.lane, t.bucket_id into v_task from holdfast.task t where t.run_id = signal.run_id for update;
  if not found then
    -- Whoever has its old id means the run that it has become.
    if holdfast.newest(signal.run_id) <> signal.run_id then
      return holdfast.signal(holdfast.newest(signal.run_id), signal.name, signal.payload, signal.key);
    end if;
    perform 1 from holdfast.run r where r.id = signal.run_id;
    if found then
      raise exception 'run % has ended', signal.run_id using errcode = 'HF004';
    end if;
    raise exception 'there is no run %', signal.run_id using errcode = 'HF003';
  end if;
  if signal.key is not null then
    perform 1 from holdfast.inbox i where i.run_id = signal.run_id and i.key = signal.key and i.kind = 4;
    if found then
      return false;
    end if;
  end if;
  -- Only a task that waits for its inbox becomes due: one that sleeps, backs off or is paused does not.
  with counted as (
    update holdfast.task t
       set inbox_count = t.inbox_count + 1,
           due_at = case
                      when t.bucket_id is null and t.waits_inbox and t.flags & 1 = 0
                           and t.inbox_count + 1 >= coalesce(t.wake_at, 0)
                      then least(t.due_at, holdfast.now())
                      else t.due_at
                    end
     where t.run_id = signal.run_id
    returning t.inbox_count
  )
  insert into holdfast.inbox (run_id, number, kind, name, key, payload, at)
  select signal.run_id, c.inbox_count, 4, signal.name, signal.key, coalesce(signal.payload, 'null'), holdfast.now()
    from counted c;
  perform holdfast.hint(coalesce('inbox ' || v_task.bucket_id, 'due ' || v_task.lane));
  return true;
end $$;
comment on function holdfast.signal(uuid, text, json, text) is
  'Sends a signal to a run; false where one with this key was sent before.';

create function holdfast.cancel(run_id uuid) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  return holdfast.cancel_run(cancel.run_id, true, true);
end $$;
comment on function holdfast.cancel(uuid) is
  'Cancels a run: at once where nothing of it has begun, else as a request to it. Gives cancelled, requested or ended.';
