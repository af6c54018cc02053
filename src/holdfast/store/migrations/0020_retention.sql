-- Retention: the records of ended runs go when they are old enough, their keys later
-- oldest code: 20
--
-- What goes, goes whole: a run with its journal and its result, in one transaction. A root goes when all of its tree has
-- ended, and before its children: so nobody can go on from a tree of which a part is missing, and a tree of any size goes
-- in steps of a bounded size. A child whose root has gone has nothing to wait for any more.
--
-- A run that was continued, retried or rewound goes before what has taken its place, and not the other way round. What
-- goes on then says that it was continued from the first of them (`run.continued_from`), of which nothing else is left:
-- that is the id that its starter has, by which `newest` still finds it.

-- What is done now and then by one worker of many, and when it was done last.
create table holdfast.upkeep (
  task text primary key,
  at   timestamptz not null
);

create function holdfast.take_turn(p_task text, p_every interval) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- True for one of all who ask within that time.
as $$
begin
  insert into holdfast.upkeep as u (task, at)
  values (p_task, clock_timestamp())
  on conflict (task) do update
     set at = excluded.at
   where u.at <= excluded.at - p_every;
  return found;
end $$;

create function holdfast.is_old(p_status smallint, p_at timestamptz, p_statuses smallint[], p_ages interval[])
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select coalesce(p_at < holdfast.now() - p_ages[array_position(p_statuses, p_status)], false) $$;

create function holdfast.first_id(p_at timestamptz) returns uuid
language sql stable
set search_path = pg_catalog, pg_temp
-- The id below which all lie that were made before this time.
as $$ select (lpad(to_hex(greatest((extract(epoch from p_at) * 1000)::bigint, 0)), 12, '0') || repeat('0', 20))::uuid $$;

create function holdfast.prunable(p_runs uuid[], p_statuses smallint[], p_ages interval[]) returns uuid[]
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Those of these ended runs that are to go. A root: when what it has become is old enough, and all of its tree has ended;
-- one that continued as new also by itself, however long that goes on. A child: when its root has gone.
as $$
select coalesce(array_agg(r.id order by r.id), '{}')
  from unnest(p_runs) as u (run_id)
  join holdfast.run r on r.id = u.run_id
  join holdfast.result e on e.run_id = r.id
  left join holdfast.successor s on s.run_id = r.id
  left join holdfast.result n on n.run_id = case when s.next is null then r.id else holdfast.newest(s.next) end
 where case
         when r.root is not null then not exists (select 1 from holdfast.run p where p.id = r.root)
         else (holdfast.is_old(n.status, n.at, p_statuses, p_ages)
               or e.status = 4 and holdfast.is_old(e.status, e.at, p_statuses, p_ages))
              and not exists (select 1
                                from holdfast.run k
                                join holdfast.task t on t.run_id = k.id
                               where k.root = r.id)
       end
$$;

create function holdfast.lock_records(p_runs uuid[]) returns uuid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Locks what is to go of these ended runs, and what is to be changed because they go. Gives those of which it has all;
-- what somebody else is at, to retry or to tag it or to start with its key, stays until the next time: nothing is waited
-- for, so there is no circle.
as $$
declare
  v_runs  uuid[];
  v_held  uuid[];
  v_keys  uuid[];
  v_plans uuid[];
begin
  v_runs := array(select e.run_id
                    from holdfast.result e
                   where e.run_id = any (p_runs)
                   order by e.run_id
                     for update skip locked);
  -- From here on nobody goes on from one of them; who has done so before is seen by this statement.
  v_held := array(select r.id
                    from holdfast.run r
                   where r.id in (select unnest(v_runs)
                                   union
                                  select s.next
                                    from holdfast.successor s
                                   where s.run_id = any (v_runs))
                   order by r.id
                     for update skip locked);
  v_keys := array(select k.run_id
                    from holdfast.start_key k
                   where k.run_id = any (v_runs)
                   order by k.name, k.key
                     for update skip locked);
  v_plans := array(select s.id
                     from holdfast.schedule s
                    where s.last_run = any (v_runs)
                       or s.running && v_runs
                    order by s.id
                      for update skip locked);
  v_runs := array(select u.run_id
                    from unnest(v_runs) as u (run_id)
                    left join holdfast.successor n on n.run_id = u.run_id
                   where u.run_id = any (v_held)
                     and (n.next is null or n.next = any (v_held))
                     and (select count(*) from holdfast.start_key k where k.run_id = u.run_id)
                         = coalesce(cardinality(array_positions(v_keys, u.run_id)), 0)
                     and not exists (select 1
                                       from holdfast.schedule s
                                      where (s.last_run = u.run_id or u.run_id = any (s.running))
                                        and s.id <> all (v_plans)));
  return v_runs;
end $$;

create function holdfast.foremost(p_runs uuid[]) returns uuid[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- These runs without those that have taken the place of a run which stays.
as $$
declare
  v_runs uuid[] := p_runs;
  v_some uuid[];
begin
  loop
    v_some := array(select u.run_id
                      from unnest(v_runs) as u (run_id)
                      join holdfast.run r on r.id = u.run_id
                      left join holdfast.run b on b.id = r.continued_from and r.continuation <> 4
                     where b.id is null
                        or b.id = any (v_runs));
    exit when cardinality(v_some) = cardinality(v_runs);
    v_runs := v_some;
  end loop;
  return v_runs;
end $$;

create function holdfast.drop_records(p_runs uuid[], p_keep_keys interval) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Removes these runs, which the caller has locked.
as $$
declare
  v_next  uuid[];  -- what goes on from one of them and stays,
  v_first uuid[];  -- and the first of those before it
begin
  with recursive back as (
    select s.next as id, s.run_id as origin, 1 as steps
      from holdfast.successor s
     where s.run_id = any (p_runs)
       and s.next <> all (p_runs)
     union all
    select b.id, r.continued_from, b.steps + 1
      from back b
      join holdfast.run r on r.id = b.origin
     where b.origin = any (p_runs)
       and r.continued_from is not null
       and r.continuation <> 4
  )
  select array_agg(f.id), array_agg(f.origin)
    into v_next, v_first
    from (select distinct on (b.id) b.id, b.origin from back b order by b.id, b.steps desc) f;
  -- A key means what the run has become; where that goes too, it stays as long as it was promised: for its window, where it
  -- has one.
  update holdfast.start_key k
     set run_id = n.newest,
         until = case when n.newest = any (p_runs) then coalesce(k.until, holdfast.now() + p_keep_keys) else k.until end
    from (select o.run_id, o.key, o.name, holdfast.newest(o.run_id) as newest
            from holdfast.start_key o
           where o.run_id = any (p_runs)) n
   where k.name = n.name
     and k.key = n.key;
  -- So does what a schedule has made last, and what it waits for.
  update holdfast.schedule s
     set last_run = case
                      when s.last_run <> all (p_runs) then s.last_run
                      when holdfast.newest(s.last_run) <> all (p_runs) then holdfast.newest(s.last_run)
                    end,
         running = array(select holdfast.newest(u.run_id)
                           from unnest(s.running) with ordinality as u (run_id, n)
                          where u.run_id <> all (p_runs)
                             or holdfast.newest(u.run_id) <> all (p_runs)
                          order by u.n)
   where s.last_run = any (p_runs)
      or s.running && p_runs;
  delete from holdfast.successor s
   using holdfast.run r
   where r.id = any (p_runs)
     and s.run_id = r.continued_from
     and s.next = r.id;
  delete from holdfast.successor s where s.run_id = any (p_runs);
  delete from holdfast.journal j where j.run_id = any (p_runs);
  delete from holdfast.inbox i where i.run_id = any (p_runs);
  delete from holdfast.cancel_request c where c.run_id = any (p_runs);
  delete from holdfast.result e where e.run_id = any (p_runs);
  delete from holdfast.run r where r.id = any (p_runs);
  -- After the deletes: a run is continued once.
  if v_next is not null then
    insert into holdfast.successor (run_id, next)
    select u.origin, u.run_id
      from unnest(v_next, v_first) as u (run_id, origin);
    update holdfast.run r
       set continued_from = u.origin
      from unnest(v_next, v_first) as u (run_id, origin)
     where r.id = u.run_id
       and r.continued_from <> u.origin;
  end if;
end $$;

create function holdfast.prune_runs(
  p_seen uuid[], p_statuses smallint[], p_ages interval[], p_keep_keys interval, p_limit int,
  out runs int,     -- that went
  out rest boolean  -- children are left whose root has gone
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
-- Removes those of these ended runs that are to go, with at most so many of their children.
as $$
#variable_conflict use_column
declare
  v_roots uuid[];
  v_kin   uuid[];
begin
  runs := 0;
  rest := false;
  v_roots := holdfast.prunable(p_seen, p_statuses, p_ages);
  v_roots := holdfast.lock_records(v_roots);
  -- Judged once more, in a statement of its own: from now on nobody can go on from them any more.
  v_roots := holdfast.foremost(holdfast.prunable(v_roots, p_statuses, p_ages));
  if cardinality(v_roots) = 0 then
    return;
  end if;
  -- Who does not find room here, or is being retried, is found as a child without a root.
  v_kin := array(select c.id from holdfast.run c where c.root = any (v_roots) order by c.id limit p_limit);
  rest := cardinality(v_kin) = p_limit;
  v_kin := holdfast.lock_records(v_kin);
  v_roots := v_roots || holdfast.foremost(v_kin);
  perform holdfast.drop_records(v_roots, p_keep_keys);
  runs := cardinality(v_roots);
  insert into holdfast.upkeep (task, at)
  values ('pruned', clock_timestamp())
  on conflict (task) do update
     set at = excluded.at;
end $$;

create function holdfast.prune(
  p_statuses smallint[], p_ages interval[],  -- how long runs with these ends are kept; all others are kept for ever
  p_keep_keys interval,                      -- how long their keys are refused after them
  p_after uuid, p_limit int,                 -- looks at so many results, from there on; so many children go at most
  p_dry boolean,                             -- only counts
  out last uuid,                             -- where to go on; null at the end
  out runs int,                              -- that went; null: somebody else does it at this moment
  out rest boolean                           -- children are left whose root has gone: begin once more
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
  v_bound uuid;
  v_seen  uuid[];
  v_roots uuid[];
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'records must be removed under READ COMMITTED' using errcode = 'HF002';
  end if;
  runs := 0;
  rest := false;
  -- One at a time: two would only walk over each other's remains.
  if not pg_try_advisory_xact_lock(holdfast.fence_class(), -1) then
    last := p_after;
    runs := null;
    return;
  end if;
  -- An id tells when its run was made: what is younger than the least of the ages cannot have ended so long ago. With an
  -- hour for clocks of clients that are ahead. Where days go as a whole, what its day cannot go with goes a day later.
  select case when holdfast.is_partitioned()
              then holdfast.first_id(date_trunc('day', (o.at - case when p_dry then interval '0' else interval '1 day' end)
                                                       at time zone 'UTC') at time zone 'UTC')
              else holdfast.first_id(o.at + interval '1 hour')
         end
    into v_bound
    from (select holdfast.now() - min(u.age) as at from unnest(p_ages) as u (age)) o;
  v_seen := array(select e.run_id
                    from holdfast.result e
                   where e.run_id > p_after
                     and e.run_id < v_bound
                   order by e.run_id
                   limit p_limit);
  if cardinality(v_seen) = p_limit then
    last := v_seen[p_limit];
  end if;
  if p_dry then
    v_roots := holdfast.prunable(v_seen, p_statuses, p_ages);
    runs := cardinality(v_roots) + (select count(*) from holdfast.run c where c.root = any (v_roots));
    return;
  end if;
  select p.runs, p.rest into runs, rest from holdfast.prune_runs(v_seen, p_statuses, p_ages, p_keep_keys, p_limit) p;
end $$;

create function holdfast.prune_keys(p_limit int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Lets keys go whose time is over; a start that looks at one at this moment finds it in its later statements too.
as $$
declare
  v_gone int;
begin
  with old as (
    select k.name, k.key
      from holdfast.start_key k
     where k.until < holdfast.now() - interval '1 hour'
     order by k.until
     limit p_limit
       for update skip locked
  )
  delete from holdfast.start_key k
   using old o
   where k.name = o.name
     and k.key = o.key;
  get diagnostics v_gone = row_count;
  return v_gone;
end $$;
