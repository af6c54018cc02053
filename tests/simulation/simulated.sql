-- What a simulation has in the place of what Postgres gives: the schema stands before pg_catalog on every search path, so
-- the functions of the engine, which name these without a schema, find them here.
create schema simulated;

create sequence simulated.clock;
create sequence simulated.identities;

-- It stands still until the simulation moves it; no transaction has to commit for that.
create function simulated.clock_timestamp() returns timestamptz
language sql volatile parallel unsafe
as $$ select timestamptz 'epoch' + c.last_value * interval '1 microsecond' from simulated.clock c $$;

create function simulated.gen_random_uuid() returns uuid
language sql volatile parallel unsafe
as $$ select md5(nextval('simulated.identities')::text)::uuid $$;

-- Returns when the session is gone, so that what follows does not depend on how quickly that went.
create function simulated.pg_terminate_backend(p_pid int) returns boolean
language sql volatile parallel unsafe
as $$ select pg_catalog.pg_terminate_backend(p_pid, 5000) $$;

-- Since when, by the simulated clock, a session has a transaction open.
create unlogged table simulated.opened (pid int primary key, since timestamptz not null);

create view simulated.pg_stat_activity as
select a.datid, a.datname, a.pid, a.usename, a.application_name, a.backend_type, a.state, a.backend_xid, a.backend_xmin,
       a.wait_event_type, a.wait_event, a.query, a.query_start, a.backend_start, a.state_change,
       case when a.xact_start is not null then coalesce(o.since, simulated.clock_timestamp()) end as xact_start
  from pg_catalog.pg_stat_activity a
  left join simulated.opened o on o.pid = a.pid;

-- Each time that a message is made. Its row goes when it is acknowledged, so nothing else remembers that it was there.
create unlogged table simulated.made (run_id uuid not null);

create function simulated.note_made() returns trigger
language plpgsql
as $$
begin
  insert into simulated.made (run_id) values (new.id);
  return null;
end $$;

create trigger simulated_made after insert on holdfast.run
  for each row when (new.kind = 3) execute function simulated.note_made();

-- Each time that a worker or a bucket changes its state, also several times within one statement; and what may follow on
-- what, as the tables in the code say.
create unlogged table simulated.moved (
  what text not null, id bigint not null, before text, after text, at bigint generated always as identity);
create table simulated.allowed (what text not null, before text, after text);

create function simulated.note_moved() returns trigger
language plpgsql
as $$
begin
  insert into simulated.moved (what, id, before, after)
  values (tg_table_name, coalesce(new.id, old.id), old.state, new.state);
  return null;
end $$;

create trigger simulated_made after insert or delete on holdfast.bucket
  for each row execute function simulated.note_moved();
create trigger simulated_moved after update of state on holdfast.bucket
  for each row when (old.state <> new.state) execute function simulated.note_moved();
create trigger simulated_made after insert or delete on holdfast.worker
  for each row execute function simulated.note_moved();
create trigger simulated_moved after update of state on holdfast.worker
  for each row when (old.state <> new.state) execute function simulated.note_moved();

-- What transactional activities write.
create unlogged table simulated.entry (book uuid not null, line int not null);

do $$
declare
  v record;
begin
  for v in
    select p.oid::regprocedure as name
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace and n.nspname = 'holdfast'
     where exists (select from unnest(p.proconfig) c where c like 'search_path=%')
  loop
    execute format('alter function %s set search_path = simulated, pg_catalog, pg_temp', v.name);
  end loop;
  for v in
    select c.oid::regclass as name
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace and n.nspname in ('holdfast', 'simulated')
     where c.relkind = 'r'
  loop
    -- Where rows lie, and what is planned, depends on nothing but what was said.
    execute format('alter table %s set (autovacuum_enabled = off)', v.name);
  end loop;
end $$;
