-- Schedules: runs that are started when a clock says so
-- oldest code: 10

-- A schedule is one row. What has to be computed from a calendar is computed by who looks at it; what may happen once is
-- decided here, in `tick`, under the row's lock and by its revision. No lease and no fence are needed for that: whoever
-- comes first makes the run of a tick, and whoever comes later, however late, finds another revision and changes nothing.
create table holdfast.schedule (
  id             uuid primary key,
  name           text not null unique,
  origin         text not null check (origin in ('code', 'client')),
  target         text not null,        -- the workflow or activity, as run.name
  kind           smallint not null check (kind in (1, 2)),
  said           text not null,        -- its times as somebody wrote them
  cron           text,                 -- by the wall clock of `zone`; or else
  zone           text not null,
  every          interval,             -- on the scale of real time, from `anchor`
  anchor         timestamptz,
  input          json not null,
  tick_parameter text,                 -- the parameter that gets the time of the tick
  lane           text not null,
  priority       smallint not null check (priority between 1 and 5),
  tags           jsonb,
  timeout        interval,
  starts_at      timestamptz,
  ends_at        timestamptz,
  jitter         interval not null,
  overlap        text not null check (overlap in ('skip', 'queue', 'allow', 'cancel_running')),
  catch_up       text not null check (catch_up in ('none', 'last', 'all')),
  catch_up_limit int not null,
  spec           text,                 -- of one in code: the digest of all of the above
  earlier_specs  text[] not null default '{}',
  asserted_at    timestamptz not null,
  active         boolean not null default true,
  retired_at     timestamptz,          -- since when workers that have its code do not have it any more
  paused         boolean not null default false,
  not_before     timestamptz,          -- ticks before this do not count: it was paused, or not there
  revision       bigint not null default 1,
  next_at        timestamptz,          -- the next tick that has not been decided about; null: there is none
  last_tick      timestamptz,
  last_run       uuid,
  running        uuid[] not null default '{}',
  queued         timestamptz[] not null default '{}',
  made           bigint not null default 0,
  skipped        bigint not null default 0,
  missed         bigint not null default 0,
  problem        text,
  created_at     timestamptz not null,
  updated_at     timestamptz not null,
  check ((cron is null) <> (every is null)),
  check ((every is null) = (anchor is null))
) with (fillfactor = 70);
create index schedule_due on holdfast.schedule (next_at) where active and not paused;
create index schedule_queued on holdfast.schedule (id) where cardinality(queued) > 0;
create index schedule_code on holdfast.schedule (name) where origin = 'code' and active;

create function holdfast.tick_run(p_schedule uuid, p_tick timestamptz) returns uuid
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
-- A UUIDv7 of the tick's own time, the rest from schedule and tick: so there can be one run of a tick only, whatever else
-- goes wrong.
as $$
select encode(set_byte(set_byte(b.bytes, 6, get_byte(b.bytes, 6) & 15 | 112), 8, get_byte(b.bytes, 8) & 63 | 128), 'hex')::uuid
  from (select overlay(substring(sha256(convert_to(p_schedule || '@' || t.micros, 'UTF8')) from 1 for 16)
                       placing substring(int8send(t.micros / 1000) from 3) from 1 for 6) as bytes
          from (select (extract(epoch from p_tick) * 1000000)::bigint as micros) t) b
$$;

create function holdfast.open_of(p_runs uuid[]) returns uuid[]
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Those of these runs that go on, each as what it has become.
as $$
select coalesce(array_agg(distinct n.run_id), '{}')
  from unnest(p_runs) as u (run_id)
 cross join lateral (
         select case
                  when exists (select 1 from holdfast.task t where t.run_id = u.run_id) then u.run_id
                  else holdfast.newest(u.run_id)
                end as run_id
       ) n
 where exists (select 1 from holdfast.task t where t.run_id = n.run_id)
$$;

create function holdfast.tick(
  p_schedule uuid, p_revision bigint,
  p_next timestamptz,     -- the tick after all these
  p_missed int,
  p_new timestamptz[],    -- the ticks to be made, in order
  p_ticks timestamptz[],  -- for these and those that stand in the queue: when each run is due, and its input if it has one
  p_due timestamptz[],
  p_inputs text[],
  p_hint boolean
) returns timestamptz[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '4s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_schedule record;
  v_open     uuid[];
  v_queue    timestamptz[];
  v_make     timestamptz[] := '{}';
  v_ids      uuid[];
  v_made     uuid[] := '{}';
  v_skipped  int := 0;
  v_run      uuid;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'ticks must be decided under READ COMMITTED' using errcode = 'HF002';
  end if;
  select * into v_schedule
    from holdfast.schedule s
   where s.id = p_schedule
     and s.revision = p_revision
     and s.active
     and not s.paused
     for update skip locked;
  if not found then
    return null;
  end if;
  -- A statement of its own: what ended before the lock was granted has ended.
  v_open := holdfast.open_of(v_schedule.running);
  v_queue := v_schedule.queued;
  if v_schedule.overlap = 'allow' then
    v_make := v_queue || p_new;
    v_queue := '{}';
  else
    case
      when cardinality(p_new) = 0 then
        null;
      when v_schedule.overlap = 'cancel_running' then
        v_skipped := cardinality(v_queue) + cardinality(p_new) - 1;
        v_queue := p_new[cardinality(p_new):];
        -- In run_id order, and all of them before the first is touched: so no circle with a flush.
        perform 1 from holdfast.task t where t.run_id = any (v_open) order by t.run_id for update;
        foreach v_run in array v_open loop
          if exists (select 1 from holdfast.task t where t.run_id = v_run) then
            perform holdfast.cancel(v_run);
          end if;
        end loop;
        v_open := holdfast.open_of(v_open);
      when v_schedule.overlap = 'skip' and cardinality(p_new) = 1 and cardinality(v_open) + cardinality(v_queue) > 0 then
        v_skipped := 1;
      else
        -- Several at once are those that were missed: they are made up for one after another.
        v_queue := v_queue || p_new;
        v_skipped := greatest(cardinality(v_queue) - 1000, 0);
        v_queue := v_queue[:1000];
    end case;
    if cardinality(v_open) = 0 then
      v_make := v_queue[:1];
      v_queue := v_queue[2:];
    end if;
  end if;
  if not v_make <@ p_ticks then
    raise exception 'a tick of schedule % is to be made of which no due time was given', v_schedule.name;
  end if;
  if cardinality(v_make) > 0 then
    select array_agg(holdfast.tick_run(p_schedule, m.tick) order by m.tick) into v_ids from unnest(v_make) as m (tick);
    -- One that is there was made before: the clock, or the schedule, has gone back and forth.
    v_made := array(select m.id from unnest(v_ids) as m (id)
                     where not exists (select 1 from holdfast.run r where r.id = m.id));
  end if;
  if cardinality(v_made) > 0 then
    perform holdfast.start_many(
      array_agg(m.id), array_agg(v_schedule.kind), array_agg(v_schedule.target), array_agg(v_schedule.lane),
      array_agg(v_schedule.priority), array_agg(coalesce(p.input::json, v_schedule.input)), array_agg(p.due), '{}',
      array_agg(v_schedule.timeout + greatest(p.due - holdfast.now(), interval '0')),
      array_agg(jsonb_build_object('schedule', v_schedule.name) || coalesce(v_schedule.tags, '{}')),
      array_agg(json_build_object('schedule', json_build_object(
        'id', v_schedule.id, 'name', v_schedule.name,
        'tick', to_char(m.tick at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))),
      '{}', '{}', p_hint)
      from unnest(v_ids, v_make) as m (id, tick)
      join unnest(p_ticks, p_due, p_inputs) as p (tick, due, input) on p.tick = m.tick
     where m.id = any (v_made);
  end if;
  v_open := v_open || array(select t.run_id from holdfast.task t where t.run_id = any (v_ids) and t.run_id <> all (v_open));
  update holdfast.schedule s
     set revision = s.revision + 1,
         next_at = p_next,
         last_tick = coalesce(p_new[cardinality(p_new)], s.last_tick),
         last_run = coalesce(v_ids[cardinality(v_ids)], s.last_run),
         -- Where runs may overlap there can be any number of them; enough to see whether one goes on.
         running = v_open[greatest(cardinality(v_open) - 99, 1):],
         queued = v_queue,
         made = s.made + cardinality(v_made),
         skipped = s.skipped + v_skipped,
         missed = s.missed + p_missed,
         problem = null
   where s.id = p_schedule;
  return v_make;
end $$;
