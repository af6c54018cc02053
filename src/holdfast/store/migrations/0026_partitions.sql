-- Partitioning by day: run, journal and result in one table for each day
-- oldest code: 26
--
-- Nothing of it is done before `partition_by_day` is called. Ids are UUIDv7, so a day (of UTC) is a range of ids, and what is
-- written of a run lies in the tables of the day on which its id was made, whenever that is. Whoever has an id looks into one
-- table. A day that nobody needs any more goes by DROP.
--
-- Days are made ahead, by workers (`make_day`). What lies in no day, because nobody has made it in time or because a clock is
-- far off, goes to the default partition: nothing is refused for the lack of a table. A day of which something lies there
-- stays there for good, and is removed run by run. What was there before the tables were divided is one partition,
-- `run_before_20261122`: all that is older than that day.

create function holdfast.is_partitioned() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select c.relkind = 'p' from pg_class c where c.oid = 'holdfast.run'::regclass $$;

create function holdfast.rows_added(p_table regclass) returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
-- How many were ever added, as the statistics have it: of a table that is divided, to those of its parts that are left.
as $$
select coalesce((select sum(pg_stat_get_tuples_inserted(i.inhrelid))::bigint from pg_inherits i where i.inhparent = p_table),
                pg_stat_get_tuples_inserted(p_table))
$$;

create function holdfast.days() returns table (suffix text, low uuid, high uuid)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
-- The days that have tables of their own: what follows the tables' names, the first id and the first one after them.
as $$
select d.suffix,
       case when d.is_past then '00000000-0000-0000-0000-000000000000'::uuid else holdfast.first_id(d.day) end,
       holdfast.first_id(case when d.is_past then d.day else d.day + interval '1 day' end)
  from (select substring(c.relname from 5) as suffix,
               c.relname like 'run\_before\_%' as is_past,
               to_date(right(c.relname, 8), 'YYYYMMDD')::timestamptz as day
          from pg_inherits i
          join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'holdfast.run'::regclass
           and c.relname ~ '^run_(before_)?\d{8}$') d
$$;

create function holdfast.partition_by_day() returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '2s'
-- Divides the tables; false: they are divided. What is in them becomes the first partition as it is: it is read once, under a
-- lock for which everybody waits, and nothing is moved but ids from tomorrow on. For the owner of the schema.
as $$
declare
  v_empty   boolean;
  v_next    timestamptz;
  v_suffix  text;
  v_views   text[];
  v_looks   text[];
  v_old     text;
  v_defs    text[];
  v_primary record;
  v_def     text;
  v_row     record;
  v_table   record;
begin
  lock table holdfast.journal, holdfast.result, holdfast.run in access exclusive mode;
  -- Only now: somebody else may have done it.
  if holdfast.is_partitioned() then
    return false;
  end if;
  v_next := date_trunc('day', holdfast.now()) + interval '1 day';
  v_empty := not exists (select from holdfast.run)
             and not exists (select from holdfast.journal)
             and not exists (select from holdfast.result);
  v_suffix := case when v_empty then '_default' else '_before_' || to_char(v_next, 'YYYYMMDD') end;
  -- A view knows tables by what they are, and not by their names.
  select array_agg(format('%s', v.oid::regclass) order by v.oid), array_agg(pg_get_viewdef(v.oid) order by v.oid)
    into v_views, v_looks
    from pg_class v
   where v.relkind = 'v'
     and v.oid in (select r.ev_class
                     from pg_rewrite r
                     join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                    where d.refclassid = 'pg_class'::regclass
                      and d.refobjid in ('holdfast.run'::regclass, 'holdfast.journal'::regclass,
                                         'holdfast.result'::regclass));
  for v_table in
    select t.name, t.key, c.oid, c.relowner
      from (values ('journal', 'run_id'), ('result', 'run_id'), ('run', 'id')) as t (name, key)
      join pg_class c on c.oid = ('holdfast.' || t.name)::regclass
  loop
    v_old := v_table.name || v_suffix;
    v_defs := array(select pg_get_indexdef(i.indexrelid)
                      from pg_index i
                     where i.indrelid = v_table.oid
                       and not i.indisprimary
                     order by i.indexrelid);
    select k.conname as name, pg_get_constraintdef(k.oid) as def
      into strict v_primary
      from pg_constraint k
     where k.conrelid = v_table.oid
       and k.contype = 'p';
    for v_row in
      select c.relname
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
       where i.indrelid = v_table.oid
    loop
      execute format('alter index holdfast.%I rename to %I', v_row.relname,
                     v_old || substring(v_row.relname from length(v_table.name) + 1));
    end loop;
    execute format('alter table holdfast.%I rename to %I', v_table.name, v_old);
    execute format('create table holdfast.%I (like holdfast.%I including defaults including constraints including storage '
                   'including comments) partition by range (%I)', v_table.name, v_old, v_table.key);
    execute format('alter table holdfast.%I owner to %s', v_table.name, v_table.relowner::regrole);
    for v_row in
      select a.privilege_type as what, '' as columns, a.grantee, a.is_grantable
        from pg_class c, aclexplode(c.relacl) a
       where c.oid = v_table.oid
      union all
      select a.privilege_type, format(' (%I)', t.attname), a.grantee, a.is_grantable
        from pg_attribute t, aclexplode(t.attacl) a
       where t.attrelid = v_table.oid
    loop
      execute format('grant %s%s on holdfast.%I to %s%s', v_row.what, v_row.columns, v_table.name,
                     case when v_row.grantee = 0 then 'public' else v_row.grantee::regrole::text end,
                     case when v_row.is_grantable then ' with grant option' else '' end);
    end loop;
    execute format('alter table holdfast.%I add constraint %I %s', v_table.name, v_primary.name, v_primary.def);
    foreach v_def in array v_defs loop
      execute v_def;
    end loop;
    if not v_empty then
      execute format('create table holdfast.%I (like holdfast.%I including all)', v_table.name || '_default', v_table.name);
      execute format('with late as (delete from holdfast.%I where %I >= $1 returning *) '
                     'insert into holdfast.%I select * from late', v_old, v_table.key, v_table.name || '_default')
        using holdfast.first_id(v_next);
      execute format('alter table holdfast.%I attach partition holdfast.%I for values from (minvalue) to (%L)',
                     v_table.name, v_old, holdfast.first_id(v_next));
    end if;
    execute format('alter table holdfast.%I attach partition holdfast.%I default', v_table.name, v_table.name || '_default');
  end loop;
  for n in 1 .. coalesce(cardinality(v_views), 0) loop
    execute format('create or replace view %s as %s', v_views[n], v_looks[n]);
  end loop;
  return true;
end $$;
comment on function holdfast.partition_by_day() is
  'Divides run, journal and result by day, for good; false where they are. Then make the days: select holdfast.make_day(7).';

create function holdfast.has_strays(p_low uuid, p_high uuid) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Whether something of a range of ids lies in the default partition.
as $$
declare
  v_found boolean;
begin
  execute 'select exists (select from holdfast.run_default where id >= $1 and id < $2)
               or exists (select from holdfast.journal_default where run_id >= $1 and run_id < $2)
               or exists (select from holdfast.result_default where run_id >= $1 and run_id < $2)'
    into v_found
    using p_low, p_high;
  return v_found;
end $$;

create function holdfast.make_day(p_ahead int) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '150ms'
-- Makes the first day that is missing from today on, as far as so many days ahead, and gives its name; null: none is. All
-- three tables in one transaction: so what lies in a day lies there whole. Who finds no moment for the locks tries later.
as $$
declare
  v_day   timestamptz;
  v_low   uuid;
  v_high  uuid;
  v_table text;
  v_new   text;
begin
  if not holdfast.is_partitioned() or not pg_try_advisory_xact_lock(holdfast.fence_class(), -2) then
    return null;
  end if;
  for v_day in
    select date_trunc('day', holdfast.now()) + n * interval '1 day' from generate_series(0, p_ahead) as g (n)
  loop
    v_low := holdfast.first_id(v_day);
    v_high := holdfast.first_id(v_day + interval '1 day');
    continue when exists (select from holdfast.days() d where d.low < v_high and d.high > v_low)
               or holdfast.has_strays(v_low, v_high);
    execute 'lock table holdfast.journal_default, holdfast.result_default, holdfast.run_default in access exclusive mode';
    continue when holdfast.has_strays(v_low, v_high);
    foreach v_table in array array['journal', 'result', 'run'] loop
      v_new := v_table || to_char(v_day, '_YYYYMMDD');
      execute format('create table holdfast.%I (like holdfast.%I including all)', v_new, v_table);
      -- Attached, and not made as a part of it: so nobody who reads or writes waits for more than the default partition.
      execute format('alter table holdfast.%I attach partition holdfast.%I for values from (%L) to (%L)',
                     v_table, v_new, v_low, v_high);
    end loop;
    return to_char(v_day, 'YYYY-MM-DD');
  end loop;
  return null;
end $$;
revoke all on function holdfast.make_day(int) from public;

create function holdfast.partition_state(
  out partitioned boolean,
  out past boolean,     -- something is left of what was there before
  out first_day date, out last_day date,
  out ahead int,        -- so many days after today have tables
  out strays boolean    -- something lies in no day, or has until lately
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
  partitioned := holdfast.is_partitioned();
  select coalesce(bool_or(d.suffix like 'before%'), false),
         min(to_date(d.suffix, 'YYYYMMDD')) filter (where d.suffix not like 'before%'),
         max(to_date(d.suffix, 'YYYYMMDD')) filter (where d.suffix not like 'before%')
    into past, first_day, last_day
    from holdfast.days() d;
  ahead := greatest(last_day - holdfast.now()::date, 0);
  -- Sizes are nobody's secret; what is in the table is.
  strays := coalesce(pg_relation_size(to_regclass('holdfast.run_default')), 0) > 0;
end $$;

create function holdfast.over_the_edge(p_low uuid, p_high uuid, p_limit int) returns uuid[]
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- The runs of a day whose tree or chain goes on beyond it; those whose records have gone do not count.
as $$
select array(
  select c.root
    from holdfast.run c
   where c.root >= p_low
     and c.root < p_high
     and (c.id < p_low or c.id >= p_high)
   union
  select c.id
    from holdfast.run c
   where c.id >= p_low
     and c.id < p_high
     and c.root < p_low
     and exists (select from holdfast.run p where p.id = c.root)
   union
  select c.id
    from holdfast.run c
   where c.id >= p_low
     and c.id < p_high
     and c.root >= p_high
     and exists (select from holdfast.run p where p.id = c.root)
   union
  select s.run_id
    from holdfast.successor s
   where s.run_id >= p_low
     and s.run_id < p_high
     and (s.next < p_low or s.next >= p_high)
     and exists (select from holdfast.run p where p.id = s.run_id)
   union
  select s.next
    from holdfast.successor s
   where s.next >= p_low
     and s.next < p_high
     and (s.run_id < p_low or s.run_id >= p_high)
     and exists (select from holdfast.run p where p.id = s.run_id)
   limit p_limit
)
$$;

create function holdfast.prune_day(
  p_statuses smallint[], p_ages interval[], p_keep_keys interval,  -- as of `prune`
  p_after uuid, p_limit int,
  out last uuid,    -- where to go on; null at the end
  out runs bigint   -- that went; null: somebody else prunes at this moment
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
-- What is looked at is one day: its own tables are planned for, and read as a whole.
set plan_cache_mode = force_custom_plan
set enable_seqscan = on
set lock_timeout = '150ms'
set jit = off
-- Removes the oldest day after this one by DROP, if all of its runs have ended and are old enough. Trees and chains that
-- reach over its ends go run by run first, as where there are no days; then it is to be called again. A day of which
-- anything stays is left as it is.
as $$
#variable_conflict use_column
declare
  v_now    timestamptz := holdfast.now();
  v_day    record;
  v_beyond uuid[];
  v_count  bigint;
  v_keys   bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'records must be removed under READ COMMITTED' using errcode = 'HF002';
  end if;
  runs := 0;
  if not pg_try_advisory_xact_lock(holdfast.fence_class(), -1) then
    last := p_after;
    runs := null;
    return;
  end if;
  select d.suffix, d.low, d.high
    into v_day
    from holdfast.days() d
   where d.high > p_after
     and d.high <= holdfast.first_id(v_now - (select min(u.age) from unnest(p_ages) as u (age)))
   order by d.high
   limit 1;
  if not found then
    return;
  end if;
  last := v_day.high;
  if exists (select from holdfast.task t where t.run_id >= v_day.low and t.run_id < v_day.high) then
    return;
  end if;
  -- From here on none of its runs can end, and nothing waits for that: none is open. Everybody may read.
  execute format('lock table holdfast.%I in share mode', 'result_' || v_day.suffix);
  if exists (select
               from holdfast.result e
              where e.run_id >= v_day.low
                and e.run_id < v_day.high
                and (e.at < v_now - p_ages[array_position(p_statuses, e.status)]) is not true) then
    return;
  end if;
  select count(*) into v_count from holdfast.result e where e.run_id >= v_day.low and e.run_id < v_day.high;
  v_beyond := holdfast.over_the_edge(v_day.low, v_day.high, p_limit);
  if cardinality(v_beyond) > 0 then
    select p.runs into runs from holdfast.prune_runs(v_beyond, p_statuses, p_ages, p_keep_keys, p_limit) p;
    if runs > 0 then
      last := p_after;
    end if;
    return;
  end if;
  -- Keys and schedules that somebody is at keep the day until the next time: nothing is waited for.
  perform 1
     from holdfast.start_key k
    where k.run_id >= v_day.low
      and k.run_id < v_day.high
      for update skip locked;
  get diagnostics v_keys = row_count;
  if v_keys < (select count(*) from holdfast.start_key k where k.run_id >= v_day.low and k.run_id < v_day.high) then
    return;
  end if;
  -- For a moment nobody reads or writes; whoever goes on from one of these runs has done so before or finds it gone.
  lock table only holdfast.journal, only holdfast.result, only holdfast.run in access exclusive mode;
  if exists (select from holdfast.task t where t.run_id >= v_day.low and t.run_id < v_day.high)
     or cardinality(holdfast.over_the_edge(v_day.low, v_day.high, 1)) > 0 then
    return;
  end if;
  update holdfast.start_key k
     set until = coalesce(k.until, v_now + p_keep_keys)
   where k.run_id >= v_day.low
     and k.run_id < v_day.high;
  update holdfast.schedule s
     set last_run = case when s.last_run >= v_day.low and s.last_run < v_day.high then null else s.last_run end,
         running = array(select u.run_id
                           from unnest(s.running) with ordinality as u (run_id, n)
                          where u.run_id < v_day.low
                             or u.run_id >= v_day.high
                          order by u.n)
   where s.last_run >= v_day.low and s.last_run < v_day.high
      or exists (select from unnest(s.running) as u (run_id) where u.run_id >= v_day.low and u.run_id < v_day.high);
  -- The id of the first of a chain, whose record has gone, leads on to what is beyond this day.
  delete from holdfast.successor s where s.next >= v_day.low and s.next < v_day.high;
  delete from holdfast.inbox i where i.run_id >= v_day.low and i.run_id < v_day.high;
  delete from holdfast.cancel_request c where c.run_id >= v_day.low and c.run_id < v_day.high;
  runs := v_count;
  execute format('drop table holdfast.%I, holdfast.%I, holdfast.%I',
                 'journal_' || v_day.suffix, 'result_' || v_day.suffix, 'run_' || v_day.suffix);
  insert into holdfast.upkeep (task, at)
  values ('pruned', clock_timestamp())
  on conflict (task) do update
     set at = excluded.at;
exception
  when lock_not_available then
    -- Somebody reads for long, a dump perhaps. The next time, then.
    last := v_day.high;
    runs := 0;
end $$;
revoke all on function holdfast.prune_day(smallint[], interval[], interval, uuid, int) from public;
