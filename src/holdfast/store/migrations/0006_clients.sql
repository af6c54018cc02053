-- What clients call
-- oldest code: 1

create function holdfast.start_many(
  p_ids uuid[], p_kinds smallint[], p_names text[], p_lanes text[], p_priorities smallint[], p_inputs json[],
  p_due timestamptz[], p_after interval[], p_timeouts interval[], p_tags jsonb[], p_options json[],
  p_keys text[], p_digests bytea[], p_hint boolean,
  -- How long from now a key is its run's (null: for ever), or whether while that is open; and what if it is another's: 0 the
  -- start is answered with that run, 1 it is refused, 2 that run is replaced.
  p_windows interval[] default '{}', p_open boolean[] default '{}', p_taken smallint[] default '{}'
) returns table (id uuid, existing boolean, same boolean, refused boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_now  timestamptz;
  v_new  int;
  v_keys record;
  v_own  uuid[] := '{}';
  v_not  uuid[] := '{}';
begin
  -- Keys in order, so that two batches with the same keys queue up instead of meeting in a deadlock; of two starts in one
  -- batch with the same key the first makes the run.
  insert into holdfast.start_key (name, key, run_id, digest, at, until, while_open)
  select s.name, s.key, s.id, s.digest, holdfast.now(), holdfast.now() + s.span, coalesce(s.open, false)
    from unnest(p_ids, p_names, p_keys, p_digests, p_windows, p_open) with ordinality
         as s (id, name, key, digest, span, open, n)
   where s.key is not null
   order by s.name, s.key, s.n
  on conflict do nothing;
  get diagnostics v_new = row_count;
  if v_new < cardinality(array_remove(p_keys, null)) then
    -- Some are another's: for how long, and what that comes to, is seen in later statements and under their locks.
    select k.own, k.replaced, k.refused
      into strict v_keys
      from holdfast.take_keys(p_ids, p_names, p_keys, p_digests, p_windows, p_open, p_taken, p_hint) k;
    v_not := v_keys.refused;
    v_own := v_keys.own || v_keys.replaced;
    if v_keys.replaced <> '{}' then
      -- Another start of this very call has taken their keys: they are over before they began.
      v_now := holdfast.now();
      with made as (
        insert into holdfast.run (id, kind, name, lane, priority, input, tags, options, created_at)
        select s.id, s.kind, s.name, case when s.kind = 4 then split_part(s.lane, ' ', 1) else s.lane end, s.priority, s.input,
               s.tags, s.options, v_now
          from unnest(p_ids, p_kinds, p_names, p_lanes, p_priorities, p_inputs, p_tags, p_options)
               as s (id, kind, name, lane, priority, input, tags, options)
         where s.id = any (v_keys.replaced)
        on conflict (id) do nothing
        returning id
      )
      insert into holdfast.result (run_id, at, status)
      select m.id, v_now, 3 from made m;
    end if;
  end if;
  -- After the keys, for which another's transaction may have had to be waited for: a run must not become due in the past,
  -- where no claim looks any more.
  v_now := holdfast.now();
  -- Who holds each key is read in a second statement: in the one that inserts, a caller that lost the race sees nothing.
  return query
  with asked as materialized (
    select s.*, case when s.id = any (v_own) then s.id else coalesce(k.run_id, s.id) end as owner,
           k.digest as held_digest
      from unnest(p_ids, p_kinds, p_names, p_lanes, p_priorities, p_inputs, p_due, p_after, p_timeouts, p_tags,
                  p_options, p_keys, p_digests) with ordinality
           as s (id, kind, name, lane, priority, input, due, after, timeout, tags, options, key, digest, n)
      -- `limit` keeps this a look into the index for each row, whatever the planner believes of the arrays' length.
      left join lateral (
        select h.run_id, h.digest from holdfast.start_key h where h.name = s.name and h.key = s.key limit 1
      ) k on true
  ), made as (
    insert into holdfast.run (id, kind, name, lane, priority, input, tags, options, created_at)
    -- A lane's name has no blank: what follows one says in which of its lines the task stands.
    select a.id, a.kind, a.name, case when a.kind = 4 then split_part(a.lane, ' ', 1) else a.lane end, a.priority, a.input,
           a.tags, a.options, v_now
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
                              where r.id = a.owner
                                -- What it has become may have another one.
                                and r.continued_from is null),
                            -- Made by this very statement, which does not see it yet.
                            (select o.input::text = a.input::text or o.input::jsonb = a.input::jsonb
                               from asked o
                              where o.id = a.owner
                              limit 1),
                            true)
         end,
         a.id = any (v_not)
    from asked a
   order by a.n;
  if p_hint then
    perform holdfast.hint('due ' || l.lane) from (select distinct lane from unnest(p_lanes) as u (lane)) l;
  end if;
end $$;

create function holdfast.payload_limit() returns int
language sql stable
set search_path = pg_catalog, pg_temp
-- Apps know theirs, and check before they send; who speaks SQL is held to this one.
as $$
select case when s.value ~ '^[1-9][0-9]{0,8}$' then s.value::int else 131072 end
  from (select current_setting('holdfast.payload_limit', true) as value) s
$$;
comment on function holdfast.payload_limit() is
  'The most bytes that a payload from SQL may have: the setting holdfast.payload_limit, else 128 KiB.';

create function holdfast.payload_mistake(what text, payload json) returns text
language sql stable
set search_path = pg_catalog, pg_temp
-- What is wrong with the size of a payload; null if nothing.
as $$
select case
         when octet_length($2::text) > holdfast.payload_limit()
         then format('%s has %s bytes: use %s at most (the setting holdfast.payload_limit), or store it elsewhere and pass '
                     'a reference', $1, octet_length($2::text), holdfast.payload_limit())
       end
$$;

create function holdfast.check_start(
  p_what text, p_name text, p_input json, p_key text, p_lane text, p_priority text, p_at timestamptz, p_after interval,
  p_timeout interval, p_tags jsonb, p_headers jsonb, p_window text default 'forever', p_taken text default 'return_existing',
  p_line text default 'lane',       -- what the argument is called that says in which line it stands
  p_wrong text[] default '{}'       -- what the caller has found already
) returns smallint
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Refuses a start from SQL whose arguments cannot be used, with all that is wrong with them. Gives the priority's number.
as $$
declare
  v_priority smallint := array_position(array['very-low', 'low', 'medium', 'high', 'critical'], p_priority);
  v_size     text := holdfast.payload_mistake('input', p_input);
  v_wrong    text[] := p_wrong;  -- pairs: an argument, and what is wrong with it
begin
  if coalesce(p_name, '') = '' then
    v_wrong := v_wrong || array['name', p_what || ' needs the name of a workflow or activity'];
  elsif length(p_name) > 200 then
    v_wrong := v_wrong || array['name', format('name has %s characters: use 1 to 200', length(p_name))];
  elsif position('@' in p_name) > 0 then
    v_wrong := v_wrong || array['name', format(
      'name %s has an @: a run begins with the highest version, so start it by the name alone', p_name)];
  end if;
  if json_typeof(p_input) <> 'object' then
    v_wrong := v_wrong || array['input', 'input is one JSON object by parameter name, not ' || json_typeof(p_input)];
  elsif v_size is not null then
    v_wrong := v_wrong || array['input', v_size];
  end if;
  if length(p_key) not between 1 and 500 then
    v_wrong := v_wrong || array['key', format('key has %s characters: use 1 to 500', length(p_key))];
  end if;
  if p_window not in ('forever', 'open') and holdfast.as_window(p_window) is null then
    v_wrong := v_wrong || array['key_window', format(
      'key_window %L is not forever, open or an interval of more than zero, and at most 365000 days', p_window)];
  end if;
  if p_taken not in ('return_existing', 'reject', 'replace') then
    v_wrong := v_wrong || array['key_taken', format(
      'key_taken %L is not one of return_existing, reject, replace', p_taken)];
  end if;
  if p_key is null and (p_window <> 'forever' or p_taken <> 'return_existing') then
    v_wrong := v_wrong || array['key', 'key_window and key_taken go with a key'];
  end if;
  if coalesce(p_lane, '') !~ '^[^[:space:]]{1,200}$' then
    v_wrong := v_wrong || array[p_line, format('%s %L is not 1 to 200 characters without blanks', p_line, p_lane)];
  end if;
  if v_priority is null then
    v_wrong := v_wrong || array['priority', format(
      'priority %L is not one of very-low, low, medium, high, critical', p_priority)];
  end if;
  if p_at is not null and p_after is not null then
    v_wrong := v_wrong || array['at', 'give at or after, not both'];
  end if;
  if p_at not between '0001-01-01 00:00+00' and '9999-01-01 00:00+00' then
    v_wrong := v_wrong || array['at', format('at is %s: use a time before the year 9999', p_at)];
  end if;
  if p_after not between interval '0' and interval '365000 days' then
    v_wrong := v_wrong || array['after', format('after is %s: after is zero or more, and at most 365000 days', p_after)];
  end if;
  if p_timeout <= interval '0' or p_timeout > interval '365000 days' then
    v_wrong := v_wrong || array['timeout', format(
      'timeout is %s: after is zero or more, and timeout more than zero, and at most 365000 days', p_timeout)];
  end if;
  if not holdfast.is_of_texts(p_tags) then
    v_wrong := v_wrong || array['tags', format('tags is one JSON object of texts, not %s', left(p_tags::text, 200))];
  end if;
  if not holdfast.is_of_texts(p_headers) then
    v_wrong := v_wrong || array['headers', format('headers is one JSON object of texts, not %s', left(p_headers::text, 200))];
  elsif octet_length(p_headers::text) > 8192 then
    v_wrong := v_wrong || array['headers', format(
      'headers has %s bytes as JSON: use 8192 at most, and the input for what is larger', octet_length(p_headers::text))];
  end if;
  if cardinality(v_wrong) > 0 then
    perform holdfast.refuse(
      case when p_line = 'queue' then 'the message cannot be sent'
           else format('%s cannot be started', coalesce(quote_literal(left(nullif(p_name, ''), 200)), 'this run'))
      end, v_wrong);
  end if;
  return v_priority;
end $$;

create function holdfast.as_window(p_text text) returns interval
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- For how long a key is its run's; null where this is no such time.
as $$
begin
  return case when p_text::interval > interval '0' and p_text::interval <= interval '365000 days' then p_text::interval end;
exception when data_exception then
  return null;
end $$;

create function holdfast.is_of_texts(p_pairs jsonb) returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
-- Whether this is nothing, or a JSON object whose values are all texts.
as $$
select case
         when p_pairs is null then true
         when jsonb_typeof(p_pairs) <> 'object' then false
         else not exists (select from jsonb_each(p_pairs) e where jsonb_typeof(e.value) <> 'string')
       end
$$;

create function holdfast.refuse(p_what text, p_wrong text[]) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Raises HF007: pairs of an argument and what is wrong with it. The detail has the arguments alone, for programs.
as $$
declare
  v_arguments text[] := array(select distinct p_wrong[n] from generate_series(1, cardinality(p_wrong), 2) as n);
begin
  raise exception '%: %', p_what,
    array_to_string(array(select p_wrong[n + 1] from generate_series(1, cardinality(p_wrong), 2) as n order by n), '; ')
    using errcode = 'HF007',
          detail = array_to_string(v_arguments, ' '),
          hint = format('Nothing was written. Give arguments by name, as in %s => ...; \df holdfast.* shows them all.',
                        v_arguments[1]);
end $$;

create function holdfast.start_one(
  p_kind int, p_name text, p_input json, p_key text, p_line text, p_priority smallint, p_at timestamptz, p_after interval,
  p_timeout interval, p_tags jsonb, p_options json, p_window text, p_taken text
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- One start from SQL, whose arguments have been checked.
as $$
declare
  v_row record;
begin
  select s.id, s.same, s.refused into v_row
    from holdfast.start_many(
           array[holdfast.uuid7()], array[p_kind::smallint], array[p_name], array[p_line], array[p_priority],
           array[coalesce(p_input, '{}')], array[p_at], array[p_after], array[p_timeout], array[p_tags],
           array[p_options], array[p_key],
           array[null::bytea], true,
           array[case when p_window not in ('forever', 'open') then holdfast.as_window(p_window) end],
           array[p_window = 'open'],
           array[case p_taken when 'reject' then 1 when 'replace' then 2 else 0 end::smallint]) s;
  if v_row.refused then
    raise exception 'key % of % is taken by run %', p_key, p_name, v_row.id
      using errcode = 'HF010', detail = v_row.id::text,
            hint = 'Nothing was started. Wait until the key is free, or start with key_taken => ''replace''.';
  end if;
  if not v_row.same then
    raise exception 'key % of % belongs to run %, which was started with another input', p_key, p_name, v_row.id
      using errcode = 'HF005', detail = v_row.id::text,
            hint = 'Use another key, or the run that it belongs to: its id is in the detail.';
  end if;
  return v_row.id;
end $$;

create function holdfast.start(
  name text, input json default '{}', key text default null, lane text default 'default', priority text default 'medium',
  at timestamptz default null, after interval default null, timeout interval default null, tags jsonb default null,
  headers jsonb default null, key_window text default 'forever', key_taken text default 'return_existing',
  job boolean default false
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  v_priority smallint := holdfast.check_start('start', name, input, key, lane, priority, at, after, timeout, tags, headers,
                                              key_window, key_taken);
begin
  return holdfast.start_one(case when job then 2 else 1 end, name, input, key, lane, v_priority, at, after, timeout, tags,
                            case when headers <> '{}' then json_build_object('headers', headers) end, key_window, key_taken);
end $$;
comment on function holdfast.start(text, json, text, text, text, timestamptz, interval, interval, jsonb, jsonb, text, text,
                                   boolean) is
  'Starts a run by name, inside the caller''s transaction, and gives its id.';

create function holdfast.send(
  queue text, body json default 'null', key text default null, priority text default 'medium', at timestamptz default null,
  after interval default null, headers jsonb default null
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- A message is a run without code, in the lane of its queue, which is its name too. One with a key says so: it is kept when
-- it has been acknowledged, so that its key is.
as $$
#variable_conflict use_variable
declare
  v_size     text := holdfast.payload_mistake('body', body);
  v_priority smallint := holdfast.check_start('send', 'message', '{}', key, queue, priority, at, after, null, null, headers,
                                              p_line => 'queue',
                                              p_wrong => case when v_size is null then '{}' else array['body', v_size] end);
  v_options  jsonb := case when key is not null then '{"keyed": true}' else '{}' end::jsonb
                      || case when headers <> '{}' then jsonb_build_object('headers', headers) else '{}' end;
begin
  return holdfast.start_one(3, queue || ' queue', coalesce(body, 'null'), key, queue || ' queue', v_priority, at, after, null,
                            null, nullif(v_options, '{}')::json, 'forever', 'return_existing');
end $$;
comment on function holdfast.send(text, json, text, text, timestamptz, interval, jsonb) is
  'Sends a message to a queue, inside the caller''s transaction, and gives its id; a second one with its key makes none.';

create function holdfast.refuse_run(p_run uuid) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Says why a run that has no task takes nothing.
as $$
begin
  perform 1 from holdfast.run r where r.id = p_run;
  if found then
    raise exception 'run % has ended', p_run
      using errcode = 'HF004', detail = p_run::text,
            hint = 'Nothing can be sent to it any more; holdfast.result says how it ended.';
  end if;
  raise exception 'there is no run %', p_run
    using errcode = 'HF003', detail = coalesce(p_run::text, 'null'),
          hint = 'It may have been rolled back, or be in another database or schema.';
end $$;

create function holdfast.knew_key(p_run uuid, p_key text) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Whether a signal with this key was seen by one of those that have gone on as this run: the last hundred, because each is
-- looked for in turn.
as $$
declare
  v_run uuid := p_run;
  v_how smallint;
begin
  for n in 1..100 loop
    select r.continued_from, r.continuation into v_run, v_how from holdfast.run r where r.id = v_run;
    if v_run is null or v_how = 4 then
      return false;
    end if;
    perform 1 from holdfast.inbox i where i.run_id = v_run and i.key = p_key and i.kind = 4;
    if found then
      return true;
    end if;
  end loop;
  return false;
end $$;

create function holdfast.put_signal(p_run uuid, p_name text, p_payload json, p_key text) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_task record;
begin
  -- First the row's lock, then in a later statement the look at the key: two senders with one key queue up here.
  select t.run_id, t.lane, t.bucket_id into v_task from holdfast.task t where t.run_id = p_run for update;
  if not found then
    -- Whoever has its old id means the run that it has become.
    if holdfast.newest(p_run) <> p_run then
      return holdfast.put_signal(holdfast.newest(p_run), p_name, p_payload, p_key);
    end if;
    perform holdfast.refuse_run(p_run);
  end if;
  if p_key is not null then
    perform 1 from holdfast.inbox i where i.run_id = p_run and i.key = p_key and i.kind = 4;
    if found or holdfast.knew_key(p_run, p_key) then
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
     where t.run_id = p_run
    returning t.inbox_count
  )
  insert into holdfast.inbox (run_id, number, kind, name, key, payload, at)
  select p_run, c.inbox_count, 4, p_name, p_key, coalesce(p_payload, 'null'), holdfast.now()
    from counted c;
  perform holdfast.hint(coalesce('inbox ' || v_task.bucket_id, 'due ' || v_task.lane));
  return true;
end $$;

create function holdfast.signal(run_id uuid, name text, payload json default 'null', key text default null) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  v_size  text := holdfast.payload_mistake('payload', payload);
  v_wrong text[] := '{}';
begin
  if coalesce(name, '') = '' then
    v_wrong := v_wrong || array['name', 'a signal needs a name'];
  elsif length(name) > 200 then
    v_wrong := v_wrong || array['name', format('name has %s characters: use 1 to 200', length(name))];
  end if;
  if v_size is not null then
    v_wrong := v_wrong || array['payload', v_size];
  end if;
  if length(key) not between 1 and 500 then
    v_wrong := v_wrong || array['key', format('key has %s characters: use 1 to 500', length(key))];
  end if;
  if cardinality(v_wrong) > 0 then
    perform holdfast.refuse(format('the signal to run %s cannot be sent', run_id), v_wrong);
  end if;
  return holdfast.put_signal(run_id, name, payload, key);
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
