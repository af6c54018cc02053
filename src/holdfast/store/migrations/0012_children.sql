-- Children: what a run's end means to its parent, and a parent's end to its children
-- oldest code: 12

-- Children of one run, and all runs of one tree; who is nobody's child pays nothing for it.
create index run_family on holdfast.run (root, parent) where root is not null;

-- Runs that are to be cancelled because their parent has ended, or does not wait for them any more. The wish is committed
-- with its reason; any worker sees to it in a transaction of its own, so that nobody's flush waits for rows of others.
create table holdfast.cancel_request (
  run_id uuid primary key,
  at     timestamptz not null
);

create function holdfast.letter_number(p_kind smallint, p_key text, p_digest bytea) returns int
language sql immutable
set search_path = pg_catalog, pg_temp
-- The number in the inbox of what was journaled. That of a child's outcome, whose key is that of the call, stands where
-- others have a digest; a child that could not be started has come from nowhere.
as $$
select case when p_kind <> 6 then substring(p_key from '#(\d+)$')::int
            when length(p_digest) = 4 then ('x' || encode(p_digest, 'hex'))::bit(32)::int
       end
$$;

create function holdfast.tell_parents(p_runs uuid[], out inbox bigint[], out due text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Puts the ends of these runs, whose results this transaction has written, into the inboxes of their parents: every way
-- in which a child can end calls this. The caller has locked the parents' tasks, together with its own and in order of
-- their ids. Gives the buckets of parents that are held, and the lanes of those that became due.
--
-- A parent becomes due at the count that it has asked for: once, however many children it waits for. A child that did not
-- succeed wakes it at once, because it may be what the parent would not wait any further for; where the parent is held,
-- wake_at keeps that until it parks.
as $$
#variable_conflict use_column
declare
  v_now timestamptz := holdfast.now();
begin
  with told as (
    select r.parent, r.parent_key as name, e.status, e.output, e.error,
           row_number() over (partition by r.parent order by r.id) as n
      from unnest(p_runs) as x (run_id)
      join holdfast.run r on r.id = x.run_id
      join holdfast.result e on e.run_id = x.run_id
     where r.parent is not null
  ), counted as (
    update holdfast.task t
       set inbox_count = t.inbox_count + c.count,
           wake_at = case when c.urgent and t.bucket_id is not null then t.inbox_count + c.count else t.wake_at end,
           due_at = case
                      when t.bucket_id is null and t.waits_inbox and t.flags & 1 = 0
                           and (c.urgent or t.inbox_count + c.count >= coalesce(t.wake_at, 0))
                      then least(t.due_at, v_now)
                      else t.due_at
                    end
      from (select parent, count(*)::int as count, bool_or(status <> 1) as urgent from told group by parent) c
     where t.run_id = c.parent
    returning t.run_id, t.inbox_count - c.count as before, t.bucket_id,
              case when t.bucket_id is null and t.due_at <= v_now then t.lane end as lane
  ), written as (
    insert into holdfast.inbox (run_id, number, kind, name, payload, at)
    select c.run_id, c.before + o.n, 6, o.name,
           -- As it is stored: what was sealed stays sealed.
           ('{"status":' || o.status || ',"output":' || coalesce(o.output::text, 'null')
             || ',"error":' || coalesce(o.error::text, 'null') || '}')::json,
           v_now
      from told o
      join counted c on c.run_id = o.parent
  )
  select array_agg(distinct c.bucket_id) filter (where c.bucket_id is not null),
         array_agg(distinct c.lane) filter (where c.lane is not null)
    into inbox, due
    from counted c;
end $$;

create function holdfast.close_children(p_runs uuid[]) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- These runs have ended: their children that are still open are to be cancelled, but for the abandoned. A run whose
-- children are to be waited for ends after them, unless it is ended from outside; then they are cancelled as well.
as $$
begin
  insert into holdfast.cancel_request (run_id, at)
  select r.id, holdfast.now()
    from unnest(p_runs) as x (run_id)
    join holdfast.run p on p.id = x.run_id
    join holdfast.run r on r.root = coalesce(p.root, p.id) and r.parent = p.id
    join holdfast.task t on t.run_id = r.id
   where coalesce(r.options ->> 'on_parent_close', 'cancel') <> 'abandon'
     and t.flags & 4 = 0
  on conflict do nothing;
  return found;
end $$;

create function holdfast.lock_with_parent(p_run uuid, p_wait boolean) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- As lock_newest, and with the run the task of its parent, which is written if the run ends; both in order. Gives null
-- where somebody else is at one of them and that is not to be waited for.
as $$
declare
  v_run    uuid := p_run;
  v_parent uuid;
  v_locked uuid[];
begin
  loop
    select r.parent into v_parent from holdfast.run r where r.id = v_run;
    if not found then
      -- Its record may have gone before that of what it has become.
      if holdfast.newest(v_run) is not distinct from v_run then
        perform holdfast.refuse_run(p_run);
      end if;
      v_run := holdfast.newest(v_run);
      continue;
    end if;
    if p_wait then
      v_locked := array(select t.run_id
                          from holdfast.task t
                         where t.run_id in (v_run, v_parent)
                         order by t.run_id
                           for update);
    else
      v_locked := array(select t.run_id
                          from holdfast.task t
                         where t.run_id in (v_run, v_parent)
                         order by t.run_id
                           for update skip locked);
      perform 1 from holdfast.task t where t.run_id in (v_run, v_parent) and t.run_id <> all (v_locked);
      if found then
        return null;
      end if;
    end if;
    -- In a later statement than the lock, for which the transaction that continued it may have had to be waited for.
    if v_run = any (v_locked) or holdfast.newest(v_run) = v_run then
      return v_run;
    end if;
    v_run := holdfast.newest(v_run);
  end loop;
end $$;

create function holdfast.lock_many(p_runs uuid[]) returns uuid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Before these runs are ended, each by itself: locks all that this writes, in the order in which everybody locks. First the
-- tasks of what they are now, and of their parents; then the keys whose permits they give back. One alone needs none of it:
-- its own end locks in that order. Gives the same runs.
as $$
declare
  v_runs uuid[];
begin
  if cardinality(p_runs) > 1 then
    v_runs := array(select case when exists (select from holdfast.successor s where s.run_id = u.id)
                                then holdfast.newest(u.id)
                                else u.id
                           end
                      from unnest(p_runs) as u (id));
    perform 1
       from holdfast.task t
      where t.run_id = any (v_runs || array(select r.parent from holdfast.run r where r.id = any (v_runs)))
      order by t.run_id
        for update;
    perform 1
       from holdfast.task t
       join holdfast.permit p on p.run_id = t.run_id
       join holdfast.limit_key k on k.name = p.name and k.key = p.key
      where t.run_id = any (v_runs)
        and t.bucket_id is null
        and t.flags & 2048 <> 0
      order by k.name, k.key
        for update of k;
  end if;
  return p_runs;
end $$;

create function holdfast.cancel_run(p_run uuid, p_wait boolean, p_hint boolean) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Gives cancelled, requested or ended; or busy, where somebody else is at a row and that is not to be waited for.
as $$
#variable_conflict use_column
declare
  v_run  uuid := holdfast.lock_with_parent(p_run, p_wait);
  v_task record;
begin
  if v_run is null then
    return 'busy';
  end if;
  select t.lane, t.bucket_id, t.flags, t.first_claim_at, r.kind
    into v_task
    from holdfast.task t
    join holdfast.run r on r.id = t.run_id
   where t.run_id = v_run;
  if not found then
    return 'ended';
  end if;
  if v_task.bucket_id is null and (v_task.first_claim_at is null or v_task.kind <> 1) then
    -- Nobody has begun it, or nothing of it is alive: there is no clean-up code to run.
    perform holdfast.drop_task(v_run);
    if p_hint then
      perform holdfast.hint('end ' || v_run);
    end if;
    return 'cancelled';
  end if;
  if v_task.flags & 4 <> 0 then
    return 'requested';
  end if;
  -- A request: the run's own clean-up code obeys it, wherever it is next held.
  with counted as (
    update holdfast.task t
       set flags = t.flags | 4,
           inbox_count = t.inbox_count + 1,
           due_at = case when t.bucket_id is null and t.flags & 1 = 0 then least(t.due_at, holdfast.now()) else t.due_at end
     where t.run_id = v_run
    returning t.inbox_count
  )
  insert into holdfast.inbox (run_id, number, kind, name, at)
  select v_run, c.inbox_count, 5, 'cancel', holdfast.now() from counted c;
  perform holdfast.hint(coalesce('inbox ' || v_task.bucket_id, 'due ' || v_task.lane));
  return 'requested';
end $$;

create function holdfast.cancel_asked(p_limit int, out handled int, out busy int)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Obeys requests that were committed with their reason. What somebody else is at is left for the next time: busy.
as $$
declare
  v_run   uuid;
  v_word  text;
  v_ended boolean := false;
begin
  handled := 0;
  busy := 0;
  for v_run in
    select c.run_id from holdfast.cancel_request c order by c.run_id limit p_limit for update skip locked
  loop
    v_word := 'ended';
    if exists (select from holdfast.task t where t.run_id = holdfast.newest(v_run)) then
      v_word := holdfast.cancel_run(v_run, false, false);
    end if;
    if v_word = 'busy' then
      busy := busy + 1;
      continue;
    end if;
    delete from holdfast.cancel_request c where c.run_id = v_run;
    handled := handled + 1;
    v_ended := v_ended or v_word = 'cancelled';
  end loop;
  if v_ended then
    perform holdfast.hint('end *');
  end if;
end $$;

create function holdfast.continue_as_new(p_run uuid, p_hold int, p_new uuid, p_input json, p_unread text[]) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Makes the run that goes on for one which is about to be ended by its holder, whose task the caller has locked. It is the
-- same to everybody else: lane, tags, options, deadline, parent. What was sent and has not been seen by the code lies in
-- its inbox: of the journal what is named here, and what has come since, but for what was for steps of the old one. Gives its
-- id; null where that was done before.
as $$
declare
  v_now    timestamptz := holdfast.now();
  v_task   record;
  v_number int;
  v_flags  int;
begin
  -- Where it stands in line now, or is to stand: it may have been moved since its start.
  select t.deadline, t.flags,
         coalesce(w.lane, split_part(t.lane, ' ', 1)) as lane, coalesce(w.priority, t.priority) as priority
    into v_task
    from holdfast.task t
    left join holdfast.reschedule w on w.run_id = t.run_id and t.flags & 8192 <> 0
   where t.run_id = p_run
     and t.hold = p_hold;
  if not found then
    return null;
  end if;
  insert into holdfast.run (id, kind, name, lane, priority, input, parent, root, parent_key, tags, options, trace, created_at,
                            continued_from, continuation)
  select p_new, r.kind, r.name, v_task.lane, v_task.priority, p_input, r.parent, r.root, r.parent_key, r.tags, r.options,
         r.trace, v_now, p_run, 1
    from holdfast.run r
   where r.id = p_run
  on conflict (id) do nothing;
  if not found then
    return null;
  end if;
  insert into holdfast.successor (run_id, next) values (p_run, p_new);
  -- Letters keep their numbers, and a key stays with its letter.
  insert into holdfast.inbox (run_id, number, kind, name, key, payload, at)
  select p_new, l.number, l.kind, coalesce(substring(l.name from '^[a-z]+:(.*)#\d+$'), 'cancel'), i.key, l.output, l.at
    from (select holdfast.letter_number(j.kind, j.key, j.digest) as number, j.kind, j.key as name, j.output, j.at
            from holdfast.journal j
           where j.run_id = p_run
             and j.key = any (p_unread)) l
    left join holdfast.inbox i on i.run_id = p_run and i.number = l.number
  union all
  select p_new, i.number, i.kind, i.name, i.key, i.payload, i.at
    from holdfast.inbox i
   where i.run_id = p_run
     and not i.seen
     and i.kind in (4, 5, 9);
  -- The highest number there is, and no more: else the run would look for a letter that is not there.
  select coalesce(max(i.number), 0), case when bool_or(i.kind = 5) then 4 else 0 end
    into v_number, v_flags
    from holdfast.inbox i
   where i.run_id = p_new;
  -- What was asked of its holder, and not obeyed before this, is asked of it: to end (128), which it does when it is claimed,
  -- or else to be paused (1, 512).
  v_flags := v_task.flags & 641 | v_flags;
  insert into holdfast.task (run_id, name, lane, priority, due_at, inbox_count, deadline, flags)
  select r.id, r.name, r.lane, r.priority, case when v_flags & 129 = 1 then 'infinity' else v_now end, v_number,
         v_task.deadline, v_task.flags & 6160 | v_flags
    from holdfast.run r
   where r.id = p_new;
  if v_flags & 1 <> 0 then
    insert into holdfast.pause (run_id, at)
    select p_new, p.at from holdfast.pause p where p.run_id = p_run;
  end if;
  if v_task.flags & 2048 <> 0 then
    -- What goes on is the same execution: its permits are handed on.
    update holdfast.permit p set run_id = p_new where p.run_id = p_run;
  end if;
  return p_new;
end $$;
