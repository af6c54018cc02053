-- Limits: how many runs at once, and how many in a time
-- oldest code: 17
--
-- Touched only by runs of definitions that have a limit: workers ask for these names apart from all others, through
-- `claim_limited`, and hand it the limits of their code; nobody else pays for anything.
--
-- A run is taken only together with a permit of each of its limits, in one commit. So a limit holds at every commit: the
-- count is a number in a row, `limit_key`, which is locked by who takes and by who gives back. What finds no permit leaves
-- the line of what is due, so that no claim walks over it again: it stands in a line of its key, `permit_wait`, due never.
-- Giving back opens the lines of the key, and the next claim takes from the open ones, in turn. There is nothing that a
-- crash could leave behind: a permit is a row of a run that has a task, and goes with it.
--
-- Order of locks: tasks first (others' are passed over), then rows of `limit_key` by name and key, then what belongs to
-- these: permits, lines. The flag of a task is 2048: it has, or had, rows here.

create table holdfast.limit_key (
  name  text not null,
  key   text not null,           -- '' where the limit has no keys, or the input has none
  taken int not null default 0,  -- as many permits are held
  full_at timestamptz,           -- of a rate: when all of its burst will be there again
  most  int not null,            -- as many may be held, or come in one burst, as who asked last believed
  at    timestamptz not null,
  primary key (name, key)
) with (fillfactor = 50);

create table holdfast.permit (
  run_id uuid not null,
  name   text not null,
  key    text not null,
  kept   boolean not null,       -- until the run ends, however often it is parked: of a workflow
  primary key (run_id, name)
);

create table holdfast.permit_wait (
  run_id   uuid primary key,
  name     text not null,
  key      text not null,
  lane     text not null,
  priority smallint not null,
  task     text not null,        -- task.name
  since    timestamptz not null,
  by_at    timestamptz           -- of a debounce: then it begins at the latest
);
create index permit_wait_line on holdfast.permit_wait (name, key, lane, priority, since, run_id);

-- The lines in which runs wait for a key. A closed one opens when a permit comes back; and by itself after a while,
-- because the next version of the code may have a higher limit.
create table holdfast.permit_line (
  name     text not null,
  key      text not null,
  lane     text not null,
  priority smallint not null,
  opens_at timestamptz not null,
  primary key (name, key, lane, priority)
) with (fillfactor = 50);
create index permit_line_open on holdfast.permit_line (lane, priority, opens_at);

create function holdfast.limit_text(p_key text) returns text
language sql immutable parallel safe
-- A key as it is stored: a long one as its beginning and its hash.
as $$ select case when length(p_key) <= 200 then p_key else left(p_key, 160) || '~' || md5(p_key) end $$;

create function holdfast.limit_key_of(p_input json, p_options json, p_path text, p_default text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
-- The key of a run: what its input has at this path, or what its start has noted because the input is sealed.
as $$
declare
  v_path text[] := string_to_array(p_path, '.');
begin
  return holdfast.limit_text(coalesce(p_options #>> array['keys', p_path], p_input #>> v_path, p_default, ''));
exception when data_exception or untranslatable_character or program_limit_exceeded then
  -- Text in it has characters that no text of this server can have. Where that is not the key, the key is as it is.
  begin
    return holdfast.limit_text(
             coalesce(regexp_replace(p_input::text, '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '?', 'g')::json #>> v_path,
                      p_default, ''));
  exception when others then
    return '';
  end;
end $$;

create function holdfast.permits_left(p_taken int, p_full_at timestamptz, p_most int, p_interval interval, p_now timestamptz)
returns int
language sql immutable parallel safe
-- Of a rate: one comes back every interval, until there are `most` again.
as $$
select case when p_interval is null then p_most - p_taken
            else least(p_most,
                       floor(p_most - extract(epoch from greatest(p_full_at - p_now, interval '0'))
                                      / extract(epoch from p_interval))::int)
       end
$$;

create function holdfast.release(p_runs uuid[], p_all boolean) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Gives back the permits of these runs, whose tasks the caller has locked, or deleted: all, or only those that are not kept
-- while a run is parked. Gives the lanes in which others may be taken now. The last that a transaction locks.
as $$
declare
  v_now   timestamptz := holdfast.now();
  v_names text[];
  v_keys  text[];
  v_count int[];
  v_lanes text[];
begin
  delete from holdfast.permit_wait w where w.run_id = any (p_runs);
  with gone as (
    delete from holdfast.permit p
     where p.run_id = any (p_runs)
       and (p_all or not p.kept)
    returning p.name, p.key
  )
  select array_agg(c.name order by c.name, c.key), array_agg(c.key order by c.name, c.key),
         array_agg(c.count order by c.name, c.key)
    into v_names, v_keys, v_count
    from (select g.name, g.key, count(*)::int as count from gone g group by g.name, g.key) c;
  if v_names is null then
    return '{}';
  end if;
  perform 1
     from (select k.name
             from unnest(v_names, v_keys) as c (name, key)
             join holdfast.limit_key k on k.name = c.name and k.key = c.key
            order by k.name, k.key
              for update of k) l;
  update holdfast.limit_key k
     set taken = k.taken - c.count,
         at = v_now
    from unnest(v_names, v_keys, v_count) as c (name, key, count)
   where k.name = c.name
     and k.key = c.key;
  -- A statement of its own, after the lock: who has found no permit before is in line now.
  with opened as (
    update holdfast.permit_line l
       set opens_at = v_now
      from unnest(v_names, v_keys) as c (name, key)
     where l.name = c.name
       and l.key = c.key
       and l.opens_at > v_now
    returning l.lane
  )
  select array_agg(distinct o.lane) into v_lanes from opened o;
  delete from holdfast.limit_key k
   using unnest(v_names, v_keys) as c (name, key)
   where k.name = c.name
     and k.key = c.key
     and k.key <> ''
     and k.taken = 0
     and k.full_at is null
     and not exists (select from holdfast.permit_line l where l.name = k.name and l.key = k.key);
  return coalesce(v_lanes, '{}');
end $$;

create function holdfast.release_told(p_runs uuid[], p_all boolean) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- As release, and tells the lanes.
as $$
declare
  v_lane text;
begin
  foreach v_lane in array holdfast.release(p_runs, p_all) loop
    perform holdfast.hint('due ' || v_lane);
  end loop;
end $$;

create function holdfast.tidy_limits(p_limit int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Forgets keys that nobody uses any more: a rate's, which nobody gives back, and those that were asked for in vain.
as $$
declare
  v_count int;
begin
  with idle as (
    select k.name, k.key
      from holdfast.limit_key k
     where k.taken = 0
       and k.at < holdfast.now() - interval '1 minute'
       and (k.full_at is null or k.full_at < holdfast.now())
       and not exists (select from holdfast.permit_line l where l.name = k.name and l.key = k.key)
     limit p_limit
       for update skip locked
  )
  delete from holdfast.limit_key k using idle i where k.name = i.name and k.key = i.key;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

create function holdfast.forget_moved(p_picked uuid[], p_locked uuid[], p_now timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Of runs that were picked from their lines, and could not be locked as they were then: those that do not wait any more.
as $$
declare
  v_stale uuid[];
begin
  -- Somebody is at the row, or it does not wait here any more: somebody has changed its line or its time.
  v_stale := array(select t.run_id
                     from holdfast.task t
                     join holdfast.permit_wait w on w.run_id = t.run_id
                    where t.run_id = any (p_picked)
                      and t.run_id <> all (p_locked)
                      and not (t.bucket_id is null and t.due_at = 'infinity' and t.flags & 2049 = 2048
                               and t.lane = w.lane and t.priority = w.priority)
                      for update of t skip locked);
  delete from holdfast.permit_wait w
   where w.run_id = any (v_stale)
      or w.run_id = any (p_picked) and not exists (select from holdfast.task t where t.run_id = w.run_id);
  update holdfast.task t
     set due_at = p_now
   where t.run_id = any (v_stale)
     and t.bucket_id is null
     and (t.due_at = 'infinity') is true
     and t.flags & 2049 = 2048;
end $$;

create function holdfast.set_lines(
  p_name text[], p_key text[], p_lane text[], p_priority smallint[], p_limits text[], p_most int[], p_interval interval[],
  p_now timestamptz
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- When each of these lines, whose keys the caller has locked, is to be looked into again: at once while permits are left, and
-- after who stands open already; that of a rate when there is one again; of a debounce when it has been quiet for long
-- enough; else when one is given back. One in which nobody stands goes.
as $$
begin
  with asked as (
    select u.name, u.key, u.lane, u.priority,
           exists (select from holdfast.permit_wait z
                    where z.name = u.name and z.key = u.key and z.lane = u.lane and z.priority = u.priority) as any,
           case when u.name like 'debounce %'
                then (select greatest(min(least(z.since + l.span, z.by_at)), p_now)
                        from holdfast.permit_wait z
                       where z.name = u.name and z.key = u.key and z.lane = u.lane and z.priority = u.priority)
                when l.span is not null
                then greatest(p_now, k.full_at - (l.most - 1) * l.span)
                when k.taken < l.most then p_now
                else p_now + interval '30 seconds'
           end as opens_at
      from unnest(p_name, p_key, p_lane, p_priority) as u (name, key, lane, priority)
     cross join lateral (
       select h.taken, h.full_at from holdfast.limit_key h where h.name = u.name and h.key = u.key limit 1
     ) k
     cross join lateral (
       select max(i.most) as most, max(i.span) as span
         from unnest(p_limits, p_most, p_interval) as i (name, most, span)
        where i.name = u.name
     ) l
  ), stands as (
    insert into holdfast.permit_line as l (name, key, lane, priority, opens_at)
    select a.name, a.key, a.lane, a.priority, coalesce(a.opens_at, p_now)
      from asked a
     where a.any
     order by 1, 2, 3, 4
    on conflict (name, key, lane, priority) do update
       set opens_at = excluded.opens_at
  )
  delete from holdfast.permit_line l
   using asked a
   where not a.any
     and l.name = a.name
     and l.key = a.key
     and l.lane = a.lane
     and l.priority = a.priority;
  -- There may be thousands of these, and nothing is known of them but who stands in line.
  delete from holdfast.limit_key k
   using unnest(p_name, p_key) as u (name, key)
   where u.name like 'fair %'
     and k.name = u.name
     and k.key = u.key
     and not exists (select from holdfast.permit_line l where l.name = k.name and l.key = k.key);
end $$;

create function holdfast.stop_waiting(p_runs uuid[]) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Puts runs that wait for a permit back into the line of what is due: whoever takes them asks for their permits anew.
as $$
declare
  v_now  timestamptz := holdfast.now();
  v_runs uuid[];
begin
  v_runs := array(select t.run_id
                    from holdfast.task t
                   where t.run_id = any (p_runs)
                   order by t.run_id
                     for update skip locked);
  delete from holdfast.permit_wait w where w.run_id = any (v_runs);
  update holdfast.task t
     set due_at = v_now
   where t.run_id = any (v_runs)
     and t.bucket_id is null
     and (t.due_at = 'infinity') is true
     and t.flags & 2049 = 2048;
  return cardinality(v_runs);
end $$;

create function holdfast.mind_lines(p_lanes text[], p_priorities smallint[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Lines that have stood open for minutes, and nobody has come: of limits that no code has any more, or not under this name.
as $$
declare
  v_line record;
begin
  for v_line in
    select g.name, g.key, g.lane, g.priority
      from holdfast.permit_line g
     where g.lane = any (p_lanes)
       and g.priority = any (p_priorities)
       and g.opens_at < holdfast.now() - case when g.name like 'fair %' then interval '1 hour' else interval '5 minutes' end
     limit 100
  loop
    perform holdfast.stop_waiting(array(select w.run_id
                                          from holdfast.permit_wait w
                                         where w.name = v_line.name
                                           and w.key = v_line.key
                                           and w.lane = v_line.lane
                                           and w.priority = v_line.priority
                                         order by w.since, w.run_id
                                         limit 1000));
    perform 1 from holdfast.limit_key k where k.name = v_line.name and k.key = v_line.key for update skip locked;
    if found or not exists (select from holdfast.limit_key k where k.name = v_line.name and k.key = v_line.key) then
      delete from holdfast.permit_line g
       where (g.name, g.key, g.lane, g.priority) = (v_line.name, v_line.key, v_line.lane, v_line.priority)
         and not exists (select from holdfast.permit_wait w
                          where (w.name, w.key, w.lane, w.priority) = (g.name, g.key, g.lane, g.priority));
    end if;
  end loop;
end $$;
