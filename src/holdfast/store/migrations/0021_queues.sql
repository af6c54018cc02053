-- Queues: messages are runs without code, which consumers take and settle
--
-- A queue's line is a lane of its own, `emails queue`: no lane of a user has a blank in its name, so no worker serves it. A
-- message is never in a bucket. Who receives it raises `hold`, and moves `due_at` to when it becomes visible again: so what a
-- consumer leaves behind that has died comes back by itself, and nothing has to look for it. The receipt is (run_id, hold):
-- whatever is done to a message carries it, and does nothing where somebody else has received the message meanwhile. `hold`
-- is also the count of its deliveries, from `wake_at` on, which is its hold when it was last redriven.
--
-- Flag 8 says that a message is in somebody's hands. A dead letter is due never and has a row in `dead_letter`, until it is
-- redriven or purged.
-- oldest code: 21

-- Of queues that were paused or configured; the others have no row.
create table holdfast.queue (
  lane           text primary key,
  paused_at      timestamptz,
  max_deliveries int check (max_deliveries between 1 and 1000000)
);

create table holdfast.dead_letter (
  run_id     uuid primary key,
  lane       text not null,
  reason     text not null,
  deliveries int not null,
  at         timestamptz not null
);
create index dead_letter_lane on holdfast.dead_letter (lane, at, run_id);

create function holdfast.take_in_hand(
  p_line text, p_batch int, p_visibility interval,
  p_lower timestamptz[],  -- the watermarks of the five priorities
  p_sweep boolean, p_ahead interval,
  p_hands text,           -- who takes them, where that is to be seen
  p_driven boolean        -- whether this is a line of runs that are driven by hand, and not of messages
) returns table (
  run_id uuid, hold int, priority smallint, due_at timestamptz, deliveries int, dead boolean, input json, options json,
  created_at timestamptz, at timestamptz, tags jsonb, deadline timestamptz
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
-- The next of a line, the highest priority first, and who takes them has them in hand. What was taken too often is not
-- given to anybody any more, but is in the answer, as dead, so that its place in line is known: a message becomes a dead
-- letter here; a run is ended by the caller.
as $$
#variable_conflict use_column
declare
  v_now   timestamptz;
  v_queue record;
  v_due   record;
  v_most  int;
  v_count int := 0;
begin
  select q.paused_at, q.max_deliveries into v_queue from holdfast.queue q where q.lane = p_line;
  v_most := coalesce(v_queue.max_deliveries, 20);
  v_now := holdfast.now();
  if v_queue.paused_at is null then
    -- Several small statements: to begin one that opens every table takes longer than to take one message. Each probe is
    -- bounded from both sides, as those of `claim`; and no more rows are locked than are taken, because the outer limit
    -- ends the probes.
    select array_agg(d.run_id) as runs, array_agg(d.due_at) as due, array_agg(d.dead) as dead
      into v_due
      from (
        select t.run_id, t.due_at,
               case when p_driven then t.deadline <= v_now or t.flags & 8 <> 0 and t.crashes >= 4
                    else t.hold - coalesce(t.wake_at, 0) >= v_most
               end is true as dead
          from (
            select p.priority::smallint as priority,
                   case when p_sweep
                        then coalesce((select f.floor from holdfast.lane_floor f
                                        where f.lane = p_line and f.priority = p.priority), '-infinity')
                        else p_lower[p.priority]
                   end as lower
              from generate_series(5, 1, -1) as p (priority)
          ) l
         cross join lateral (
           select t.run_id, t.due_at, t.hold, t.wake_at, t.flags, t.crashes, t.deadline
             from holdfast.task t
            where t.lane = p_line
              and t.priority = l.priority
              and t.bucket_id is null
              and t.due_at >= l.lower
              and t.due_at <= v_now
            order by t.due_at, t.run_id
            limit p_batch
              for update skip locked
         ) t
         limit p_batch
      ) d;
    v_count := coalesce(cardinality(v_due.runs), 0);
  end if;
  if v_count > 0 then
    if true = any (v_due.dead) and not p_driven then
      insert into holdfast.dead_letter (run_id, lane, reason, deliveries, at)
      select t.run_id, p_line, 'delivered ' || v_most || ' times, and never acknowledged', t.hold - coalesce(t.wake_at, 0),
             v_now
        from unnest(v_due.runs, v_due.dead) as d (run_id, dead)
        join holdfast.task t on t.run_id = d.run_id
       where d.dead;
    end if;
    return query
    with taken as (
      update holdfast.task t
         set hold = t.hold + 1,
             -- Whoever had a run in hand has neither ended it nor given it back, nor recorded anything since.
             crashes = case when p_driven and t.flags & 8 <> 0 then t.crashes + 1 else 0 end,
             due_at = case when d.dead and not p_driven then 'infinity' else least(v_now + p_visibility, t.deadline) end,
             flags = case when d.dead and not p_driven then t.flags & ~8 else (t.flags & ~256) | 8 end,
             waits_for = '@hands:' || p_hands,
             first_claim_at = coalesce(t.first_claim_at, v_now)
        from unnest(v_due.runs, v_due.due, v_due.dead) as d (run_id, due_at, dead)
       where t.run_id = d.run_id
      returning t.run_id, t.hold, t.priority, d.due_at, t.hold - coalesce(t.wake_at, 0) as deliveries, d.dead, t.deadline
    )
    select k.run_id, k.hold, k.priority, k.due_at, k.deliveries, k.dead, r.input, r.options, r.created_at, v_now, r.tags,
           k.deadline
      from taken k
      join holdfast.run r on r.id = k.run_id
     order by k.priority desc, k.due_at, k.run_id;
  end if;
  if v_count < p_batch then
    -- What comes next, for who waits; only a short way ahead.
    return query
    select null::uuid, 0, 0::smallint,
           (select min(n.due_at)
              from generate_series(1, 5) as p (priority)
             cross join lateral (
               select t.due_at
                 from holdfast.task t
                where t.lane = p_line
                  and t.priority = p.priority
                  and t.bucket_id is null
                  and t.due_at > v_now
                  and t.due_at <= v_now + p_ahead
                order by t.due_at
                limit 1
             ) n),
           0, v_queue.paused_at is not null, null::json, null::json, null::timestamptz, v_now, null::jsonb,
           null::timestamptz;
  end if;
end $$;

create function holdfast.settle_messages(
  p_lane text,
  a_run uuid[], a_hold int[],                                         -- acknowledged: nothing of them stays
  k_run uuid[], k_hold int[], k_output json[],                        -- archived: their results stay
  r_run uuid[], r_hold int[], r_after interval[], r_counts boolean[], -- given back; where it does not count, unopened
  x_run uuid[], x_hold int[], x_for interval[],                       -- kept for longer
  d_run uuid[], d_hold int[], d_reason text[]                         -- dead
) returns table (run_id uuid, why text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
-- Does this to messages whose receipts are valid, and gives the others, each with why it is not: gone, taken (somebody has
-- received it since), released or dead. No message may be named twice in one call.
as $$
#variable_conflict use_column
declare
  v_now    timestamptz := holdfast.now();
  v_run    uuid[] := a_run || k_run || r_run || x_run || d_run;
  v_done   uuid[] := '{}';
  v_some   uuid[];
  v_marked uuid[];
  v_gone   record;
begin
  -- In the order of their ids, as everybody locks. Where it is one kind only, its statement does that by itself.
  if cardinality(v_run) > greatest(cardinality(a_run), cardinality(k_run), cardinality(r_run), cardinality(x_run),
                                   cardinality(d_run)) then
    perform 1 from holdfast.task t where t.run_id = any (v_run) order by t.run_id for update;
  end if;

  if cardinality(a_run) > 0 then
    with gone as (
      delete from holdfast.task t
       using (select * from unnest(a_run, a_hold) as u (run_id, hold) order by u.run_id offset 0) a
       where t.run_id = a.run_id
         and t.hold = a.hold
         and t.flags & 8 <> 0
         and t.lane = p_lane
      returning t.run_id, t.flags, t.inbox_count, t.first_claim_at
    ), dropped as (
      delete from holdfast.run r
       using gone g
       where r.id = g.run_id
         and r.options ->> 'keyed' is null
      returning r.id
    )
    select array_agg(g.run_id) as runs, array_agg(g.first_claim_at) as begun,
           array_agg(g.run_id) filter (where g.flags & 1 <> 0 or g.inbox_count > 0) as marked,
           (select count(*) from dropped) as dropped
      into v_gone
      from gone g;
    v_done := v_done || v_gone.runs;
    if cardinality(v_gone.runs) > v_gone.dropped then
      -- What was sent with a key stays, so that the key does: a second send with it must not make the message again.
      insert into holdfast.result (run_id, at, first_claim_at, status)
      select g.run_id, v_now, g.begun, 1
        from unnest(v_gone.runs, v_gone.begun) as g (run_id, begun)
        join holdfast.run r on r.id = g.run_id;
    end if;
    if v_gone.marked is not null then
      perform holdfast.tidy_messages(v_gone.marked);
    end if;
  end if;

  if cardinality(k_run) > 0 then
    with gone as (
      delete from holdfast.task t
       using (select * from unnest(k_run, k_hold, k_output) as u (run_id, hold, output) order by u.run_id offset 0) k
       where t.run_id = k.run_id
         and t.hold = k.hold
         and t.flags & 8 <> 0
         and t.lane = p_lane
      returning t.run_id, t.flags, t.inbox_count, t.first_claim_at, k.output
    ), kept as (
      insert into holdfast.result (run_id, at, first_claim_at, status, output)
      select g.run_id, v_now, g.first_claim_at, 1, g.output
        from gone g
    )
    select array_agg(g.run_id), array_agg(g.run_id) filter (where g.flags & 1 <> 0 or g.inbox_count > 0)
      into v_some, v_marked
      from gone g;
    v_done := v_done || v_some;
    if v_marked is not null then
      perform holdfast.tidy_messages(v_marked);
    end if;
  end if;

  if cardinality(r_run) > 0 then
    with back as (
      update holdfast.task t
         set due_at = case when t.flags & 1 <> 0 then t.due_at else v_now + r.after end,
             flags = t.flags & ~8,
             waits_for = null,
             wake_at = case when r.counts then t.wake_at else coalesce(t.wake_at, 0) + 1 end
        from (select * from unnest(r_run, r_hold, r_after, r_counts) as u (run_id, hold, after, counts)
               order by u.run_id offset 0) r
       where t.run_id = r.run_id
         and t.hold = r.hold
         and t.flags & 8 <> 0
         and t.lane = p_lane
      returning t.run_id, t.flags & 1 <> 0 as paused
    )
    select array_agg(b.run_id), array_agg(b.run_id) filter (where b.paused) into v_some, v_marked from back b;
    v_done := v_done || v_some;
    if v_marked is not null then
      -- Paused meanwhile: that it is due then holds from when it is resumed.
      update holdfast.pause p
         set due_at = v_now + r.after
        from unnest(r_run, r_after) as r (run_id, after)
       where p.run_id = r.run_id
         and p.run_id = any (v_marked);
    end if;
  end if;

  if cardinality(x_run) > 0 then
    with longer as (
      update holdfast.task t
         set due_at = case when t.flags & 1 <> 0 then t.due_at else v_now + x.for_ end
        from (select * from unnest(x_run, x_hold, x_for) as u (run_id, hold, for_) order by u.run_id offset 0) x
       where t.run_id = x.run_id
         and t.hold = x.hold
         and t.flags & 8 <> 0
         and t.lane = p_lane
      returning t.run_id, t.flags & 1 <> 0 as paused
    )
    select array_agg(l.run_id), array_agg(l.run_id) filter (where l.paused) into v_some, v_marked from longer l;
    v_done := v_done || v_some;
    if v_marked is not null then
      update holdfast.pause p
         set due_at = v_now + x.for_
        from unnest(x_run, x_for) as x (run_id, for_)
       where p.run_id = x.run_id
         and p.run_id = any (v_marked);
    end if;
  end if;

  if cardinality(d_run) > 0 then
    with dead as (
      -- Its hold moves on, so that no receipt is valid any more; and it is not paused but dead.
      update holdfast.task t
         set due_at = 'infinity',
             flags = t.flags & ~9,
             hold = t.hold + 1
        from (select * from unnest(d_run, d_hold, d_reason) as u (run_id, hold, reason) order by u.run_id offset 0) d
       where t.run_id = d.run_id
         and t.hold = d.hold
         and t.flags & 8 <> 0
         and t.lane = p_lane
      returning t.run_id, t.hold - 1 - coalesce(t.wake_at, 0) as deliveries, d.reason
    ), buried as (
      insert into holdfast.dead_letter (run_id, lane, reason, deliveries, at)
      select d.run_id, p_lane, d.reason, d.deliveries, v_now
        from dead d
    )
    select array_agg(d.run_id) into v_some from dead d;
    v_done := v_done || v_some;
    delete from holdfast.pause p where p.run_id = any (v_some);
  end if;

  if cardinality(v_done) < cardinality(v_run) then
    return query
    select s.run_id,
           case when t.run_id is null then 'gone'
                when exists (select from holdfast.dead_letter l where l.run_id = t.run_id) then 'dead'
                when t.hold = s.hold then 'released'
                else 'taken'
           end
      from unnest(v_run, a_hold || k_hold || r_hold || x_hold || d_hold) as s (run_id, hold)
      left join holdfast.task t on t.run_id = s.run_id and t.lane = p_lane
     where s.run_id <> all (v_done);
  end if;
end $$;

create function holdfast.tidy_messages(p_runs uuid[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Removes what hangs on messages whose tasks the caller has deleted, beside their runs and results.
as $$
begin
  delete from holdfast.inbox i where i.run_id = any (p_runs);
  delete from holdfast.pause p where p.run_id = any (p_runs);
  delete from holdfast.dead_letter l where l.run_id = any (p_runs);
end $$;

-- What a consumer says of itself, beside its row among the workers: it has a name, a lease and commands as they have, and no
-- buckets. The lease decides nothing but whether it is believed to be there: what fences a consumer are its receipts.
create table holdfast.consumer (
  worker_id int primary key,
  lane      text not null,
  state     text not null check (state in ('ready', 'polling', 'suspended', 'stopped')),
  in_hands  int not null default 0,
  handled   bigint not null default 0,
  rate      float8 not null default 0,   -- handled in a second, between its last two heartbeats
  at        timestamptz not null
);
create index consumer_lane on holdfast.consumer (lane);

create function holdfast.register_consumer(p_name text, p_host text, p_pid int, p_lane text, p_lease interval)
returns table (worker_id int, epoch int)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_worker int;
begin
  insert into holdfast.worker (name, host, pid, lane, mode, names, lease, lease_until, started_at)
  values (p_name, p_host, p_pid, p_lane, null, '{}', p_lease, clock_timestamp() + p_lease, clock_timestamp())
  returning id into v_worker;
  insert into holdfast.consumer (worker_id, lane, state, at)
  values (v_worker, p_lane, 'ready', clock_timestamp());
  return query select v_worker, 1;
end $$;

create function holdfast.beat_consumer(
  p_worker int, p_epoch int, p_state text, p_in_hands int, p_handled bigint, p_rate float8
) returns table (command text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Gives a row if its lease still was alive, and is renewed.
as $$
#variable_conflict use_column
declare
  v_command text;
begin
  update holdfast.worker w
     set lease_until = clock_timestamp() + w.lease,
         state = case p_state when 'suspended' then 'paused' else 'active' end
   where w.id = p_worker
     and w.epoch = p_epoch
     and w.lease_until > clock_timestamp()
     and w.state not in ('left', 'lost')
  returning w.command into v_command;
  if not found then
    return;
  end if;
  update holdfast.consumer c
     set state = p_state,
         in_hands = p_in_hands,
         handled = p_handled,
         rate = p_rate,
         at = clock_timestamp()
   where c.worker_id = p_worker;
  return query select v_command;
end $$;

create function holdfast.leave_consumer(p_worker int, p_epoch int, p_handled bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  update holdfast.worker w
     set state = 'left', epoch = w.epoch + 1, lease_until = clock_timestamp(), ended_at = clock_timestamp()
   where w.id = p_worker
     and w.epoch = p_epoch;
  if found then
    update holdfast.consumer c
       set state = 'stopped', in_hands = 0, rate = 0, handled = p_handled, at = clock_timestamp()
     where c.worker_id = p_worker;
  end if;
end $$;
