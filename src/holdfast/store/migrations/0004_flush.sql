-- Flush: everything that the runs of one worker want to write, in one transaction
-- oldest code: 1

create function holdfast.end_held(
  e_run uuid[], e_hold int[], e_status smallint[], e_output json[], e_error json[],
  p_not uuid[],        -- of these runs nothing is written
  p_at timestamptz,
  out ended int, out inbox bigint[], out due text[], out asks boolean, out limited uuid[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Ends runs that their holders hold still: the result is made from what was deleted, so there is never both a task and a
-- result, nor neither. Every end by a holder is made here, whose caller has checked the fence, or will, and has locked the
-- tasks of the runs and of those that are told. Gives how many have ended; the buckets and lanes of parents that have
-- something new; whether somebody is asked to end; and who may have permits, which the caller gives back, last of all.
as $$
#variable_conflict use_column
declare
  v_inboxes uuid[];
  v_onward  uuid[];
  v_marked  uuid[];
  v_told    uuid[];
  v_closing uuid[];
  v_beaten  uuid[];
begin
  with gone as (
    delete from holdfast.task t
     using unnest(e_run, e_hold, e_status, e_output, e_error) as e (run_id, hold, status, output, error)
     where t.run_id = e.run_id
       and t.hold = e.hold
       and t.run_id <> all (p_not)
    returning t.run_id, t.first_claim_at, t.inbox_count, t.flags, t.name, e.status, e.output, e.error
  ), written as (
    insert into holdfast.result (run_id, at, first_claim_at, status, output, error, version)
    select d.run_id, p_at,
           -- In the future: of what was taken ahead of its time and ended before it.
           case when d.first_claim_at <= p_at then d.first_claim_at end,
           d.status, d.output, d.error, nullif(split_part(d.name, '@', 2), '')
      from gone d
  )
  select count(*)::int,
         array_agg(d.run_id) filter (where d.inbox_count > 0),
         array_agg(d.run_id) filter (where d.inbox_count > 0 and d.status = 4),
         array_agg(d.run_id) filter (where d.flags & 8195 <> 0),
         array_agg(d.run_id) filter (where d.flags & 16 <> 0 and d.status <> 4),
         array_agg(d.run_id) filter (where d.flags & 32 <> 0),
         array_agg(d.run_id) filter (where d.flags & 1024 <> 0),
         array_agg(d.run_id) filter (where d.flags & 2048 <> 0)
    into ended, v_inboxes, v_onward, v_marked, v_told, v_closing, v_beaten, limited
    from gone d;
  asks := false;
  if v_inboxes is not null then
    -- Where it goes on as a new one, the keys of the signals that it has seen stay, and are asked for (`knew_key`).
    delete from holdfast.inbox i
     where i.run_id = any (v_inboxes)
       and (v_onward is null or i.kind <> 4 or not i.seen or i.run_id <> all (v_onward));
  end if;
  if v_beaten is not null then
    delete from holdfast.heartbeat o where o.run_id = any (v_beaten);
  end if;
  if v_marked is not null then
    delete from holdfast.blockage k where k.run_id = any (v_marked);
    delete from holdfast.pause p where p.run_id = any (v_marked);
    delete from holdfast.reschedule w where w.run_id = any (v_marked);
  end if;
  if v_told is not null then
    select p.inbox, p.due into inbox, due from holdfast.tell_parents(v_told) p;
  end if;
  if v_closing is not null then
    asks := holdfast.close_children(v_closing);
  end if;
end $$;

create function holdfast.flush(
  p_worker int, p_epoch int,
  p_wait boolean,      -- wait for busy rows rather than pass over them
  p_again boolean,     -- this call may have been committed before: its answer was lost
  j_run uuid[], j_hold int[], j_seq int[], j_kind smallint[], j_key text[], j_digest bytea[], j_output json[],
  j_error json[], j_attempts smallint[], j_elapsed interval[], j_at timestamptz[], j_after interval[],
  m_run uuid[], m_hold int[], m_due timestamptz[], m_after interval[], m_seen int[], m_waits boolean[],
  m_set smallint[], m_clear smallint[], m_progress boolean[], m_what text[], m_wake int[],
  e_run uuid[], e_hold int[], e_status smallint[], e_output json[], e_error json[], e_parent uuid[],
  s_run uuid[], s_number int[],
  b_run uuid[], b_hold int[], b_set smallint[], b_clear smallint[],
  k_run uuid[], k_reason text[],
  h_run uuid[], h_hold int[], h_key text[], h_attempt smallint[], h_details json[],
  h_progress json[],
  x_run uuid[], x_child uuid[],
  c_run uuid[], c_hold int[], c_id uuid[], c_kind smallint[], c_name text[], c_lane text[], c_priority smallint[],
  c_input json[], c_timeout interval[], c_tags jsonb[], c_options json[], c_key text[], c_root uuid[],
  q_run uuid[], q_hold int[], q_name text[],
  n_run uuid[], n_hold int[], n_id uuid[], n_input json[], n_unread text[]
) returns table (at timestamptz, busy uuid[], lost uuid[], inbox bigint[], due text[], asks boolean, overtaken text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_now     timestamptz;
  v_at      timestamptz;
  v_run     uuid[];
  v_hold    int[];
  v_locked  uuid[];
  v_mine    uuid[];
  v_out     uuid[] := '{}';
  v_busy    uuid[] := '{}';
  v_lost    uuid[] := '{}';
  v_blocked uuid[];
  v_foreign uuid[];
  v_parents uuid[] := '{}';
  v_closing uuid[];
  v_inbox   bigint[];
  v_due     text[];
  v_asks    boolean := false;
  v_late    text[];
  v_moved   uuid[];
  v_begun   boolean[];
  v_limited uuid[];
  v_ended   uuid[];
begin
  perform holdfast.fence(p_worker, p_epoch);
  v_now := holdfast.now();
  v_at := v_now;

  -- 1. Lock every task row that will be written, in run_id order: two flushes that write the same rows then queue up
  --    instead of meeting in a deadlock. Journal rows need no lock: a held run is moved and ended by its holder only.
  v_run := m_run || e_run || b_run || q_run;
  if cardinality(v_run) > 0 or cardinality(c_run) > 0 then
    v_hold := m_hold || e_hold || b_hold || q_hold;
    if cardinality(c_run) > 0 then
      select v_run || array_agg(c.run_id), v_hold || array_agg(c.hold)
        into v_run, v_hold
        from (select distinct u.run_id, u.hold from unnest(c_run, c_hold) as u (run_id, hold)) c;
    end if;
    if cardinality(e_parent) > 0 then
      -- Those that will be told of an end. They stand among the others without a hold, so they are never `mine`.
      v_parents := array(select distinct u.run_id from unnest(e_parent) as u (run_id) where u.run_id is not null);
    end if;
    if p_wait then
      select array_agg(s.run_id), array_agg(s.run_id) filter (where s.mine)
        into v_locked, v_mine
        from (select t.run_id, t.hold = x.hold as mine
                from unnest(v_run || v_parents, v_hold) as x (run_id, hold)
                join holdfast.task t on t.run_id = x.run_id
               order by t.run_id
                 for update of t) s;
    else
      select array_agg(s.run_id), array_agg(s.run_id) filter (where s.mine)
        into v_locked, v_mine
        from (select t.run_id, t.hold = x.hold as mine
                from unnest(v_run || v_parents, v_hold) as x (run_id, hold)
                join holdfast.task t on t.run_id = x.run_id
               order by t.run_id
                 for update of t skip locked) s;
    end if;
    v_mine := coalesce(v_mine, '{}');
    if cardinality(v_mine) < cardinality(v_run) then
      -- Somebody else is at the row (busy: next time), or it is not ours any more (lost: the instance is dropped).
      v_out := array(select unnest(v_run) except select unnest(v_mine));
      v_busy := array(select t.run_id
                        from holdfast.task t
                        join unnest(v_run, v_hold) as x (run_id, hold) on x.run_id = t.run_id and x.hold = t.hold
                       where t.run_id = any (v_out)
                         and t.run_id <> all (coalesce(v_locked, '{}')));
      v_lost := array(select unnest(v_out) except select unnest(v_busy));
    end if;
    if cardinality(v_parents) > 0 and not p_wait then
      -- Somebody else is at the row of a parent: its child ends with the next flush.
      v_foreign := array(select t.run_id
                           from holdfast.task t
                          where t.run_id = any (v_parents)
                            and t.run_id <> all (coalesce(v_locked, '{}')));
      if cardinality(v_foreign) > 0 then
        v_foreign := array(select u.run_id
                             from unnest(e_run, e_parent) as u (run_id, parent)
                            where u.parent = any (v_foreign)
                              and u.run_id <> all (v_out));
        v_busy := v_busy || v_foreign;
        v_out := v_out || v_foreign;
      end if;
    end if;
    if cardinality(q_run) > 0 then
      -- The ends of attempts that may be completed from outside. Who does that holds the lock on the run's row until it is
      -- committed: so after it, in a statement of its own, either the completion is seen here, and the attempt has not
      -- ended as its worker believed; or whoever comes later finds the rows that follow.
      select array_agg(q.run_id || ' ' || q.name), v_out || array_agg(q.run_id)
        into v_late, v_out
        from unnest(q_run, q_name) as q (run_id, name)
       where q.run_id <> all (v_out)
         and exists (select from holdfast.inbox i
                      where i.run_id = q.run_id
                        and i.kind in (13, 14)
                        and i.name = q.name);
    end if;
  end if;

  -- 2. The journal, before anything that says "parked" or "ended".
  if cardinality(j_run) > 0 then
    if p_again then
      insert into holdfast.journal (run_id, hold, seq, kind, key, digest, output, error, attempts, started_at, at, not_before)
      select j.run_id, j.hold, j.seq, j.kind, j.key, j.digest, j.output, j.error, j.attempts,
             v_now - j.elapsed, greatest(v_now, j.at), v_now + j.after
        from unnest(j_run, j_hold, j_seq, j_kind, j_key, j_digest, j_output, j_error, j_attempts, j_elapsed, j_at, j_after)
             as j (run_id, hold, seq, kind, key, digest, output, error, attempts, elapsed, at, after)
       where j.run_id <> all (v_out)
      on conflict (run_id, key) do nothing;
      v_foreign := array(select distinct x.run_id
                           from unnest(j_run, j_hold, j_seq, j_key) as x (run_id, hold, seq, key)
                           join holdfast.journal j on j.run_id = x.run_id and j.key = x.key
                          where (j.hold, j.seq) <> (x.hold, x.seq)
                            and x.run_id <> all (v_out));
      if cardinality(v_foreign) > 0 then
        raise exception 'another holder has written to the journal of these runs'
          using errcode = 'HF006', detail = array_to_string(v_foreign, ' ');
      end if;
      -- If the first call was committed, the answer is its time and not this one's: what the holder goes on with is what
      -- a replay will read.
      v_at := least(v_now, (select min(j.at)
                              from unnest(j_run, j_key) as x (run_id, key)
                              join holdfast.journal j on j.run_id = x.run_id and j.key = x.key
                             where x.run_id <> all (v_out)));
    else
      insert into holdfast.journal (run_id, hold, seq, kind, key, digest, output, error, attempts, started_at, at, not_before)
      select j.run_id, j.hold, j.seq, j.kind, j.key, j.digest, j.output, j.error, j.attempts,
             v_now - j.elapsed, greatest(v_now, j.at), v_now + j.after
        from unnest(j_run, j_hold, j_seq, j_kind, j_key, j_digest, j_output, j_error, j_attempts, j_elapsed, j_at, j_after)
             as j (run_id, hold, seq, kind, key, digest, output, error, attempts, elapsed, at, after)
       where j.run_id <> all (v_out);
    end if;
  end if;

  -- 3. Children, in the commit of the journal rows that say so. The task hangs on the run: a second call makes nothing.
  if cardinality(c_run) > 0 then
    with asked as materialized (
      select c.*
        from unnest(c_run, c_id, c_kind, c_name, c_lane, c_priority, c_input, c_timeout, c_tags, c_options, c_key, c_root)
             as c (run_id, id, kind, name, lane, priority, input, timeout, tags, options, key, root)
       where c.run_id <> all (v_out)
    ), made as (
      insert into holdfast.run (id, kind, name, lane, priority, input, parent, root, parent_key, tags, options, created_at)
      -- A lane's name has no blank: what follows one says in which of its lines the task stands.
      select a.id, a.kind, a.name, split_part(a.lane, ' ', 1), a.priority, a.input, a.run_id, a.root, a.key, a.tags,
             a.options, v_now
        from asked a
      on conflict (id) do nothing
      returning id
    ), queued as (
      insert into holdfast.task (run_id, name, lane, priority, due_at, deadline, flags)
      select a.id, a.name, a.lane, a.priority, v_now, v_now + a.timeout, 16
        from asked a
       -- `is true` keeps this a look into a hash table; as a join it would be planned as a nested loop.
       where (a.id in (select made.id from made)) is true
    )
    select array_agg(distinct a.run_id) filter (where a.options ->> 'on_parent_close' is distinct from 'abandon'),
           array_agg(distinct a.lane)
      into v_closing, v_due
      from asked a;
    if v_closing is not null then
      -- Once for each parent: its end will have to see to them.
      update holdfast.task t
         set flags = t.flags | 32
       where t.run_id = any (v_closing)
         and t.flags & 32 = 0;
    end if;
  end if;

  if cardinality(x_run) > 0 then
    insert into holdfast.cancel_request (run_id, at)
    select distinct x.child, v_now
      from unnest(x_run, x_child) as x (run_id, child)
     where x.run_id <> all (v_out)
    on conflict do nothing;
    v_asks := true;
  end if;

  -- 4. What was seen leaves the inbox; a key stays until the run ends, so that it is refused a second time.
  if cardinality(s_run) > 0 then
    delete from holdfast.inbox i
     using unnest(s_run, s_number) as s (run_id, number)
     where i.run_id = s.run_id
       and i.number = s.number
       and i.key is null
       and i.run_id <> all (v_out);
    update holdfast.inbox i
       set seen = true,
           payload = null
      from unnest(s_run, s_number) as s (run_id, number)
     where i.run_id = s.run_id
       and i.number = s.number
       and i.key is not null
       and i.run_id <> all (v_out);
  end if;

  -- 5. Flags of runs that stay held: one that was held by a worker which died says so before its code is entered again;
  --    one that was woken has obeyed. Before a move, which may take it back.
  if cardinality(b_run) > 0 then
    update holdfast.task t
       set flags = ((t.flags | b.set) & ~b.clear)::smallint,
           -- One that was taken ahead of its time, and for which something has come.
           due_at = case when b.set & 8 <> 0 and t.flags & 1 = 0 then least(t.due_at, v_now) else t.due_at end
      from unnest(b_run, b_hold, b_set, b_clear) as b (run_id, hold, set, clear)
     where t.run_id = b.run_id
       and t.hold = b.hold
       and t.bucket_id is not null
       and t.run_id <> all (v_out);
  end if;

  -- What attempts that are under way have said of themselves. Only of runs that are held still: a row that outlived its run
  -- would stay for ever. Then what is said of attempts that have ended (0) goes.
  if cardinality(h_run) > 0 then
    -- Of several about one attempt each may say what the others do not: the last of each counts.
    insert into holdfast.heartbeat as o (run_id, key, attempt, hold, details, progress, at)
    select h.run_id, h.key, (array_agg(h.attempt order by h.n desc))[1], max(h.hold),
           (array_agg(h.details order by h.n desc) filter (where h.details is not null))[1],
           (array_agg(h.progress order by h.n desc) filter (where h.progress is not null))[1],
           v_now
      from unnest(h_run, h_hold, h_key, h_attempt, h_details, h_progress) with ordinality
           as h (run_id, hold, key, attempt, details, progress, n)
      join holdfast.task t on t.run_id = h.run_id
                          and t.hold = h.hold
                          and t.bucket_id is not null
     where h.attempt > 0
       and h.run_id <> all (v_out)
     group by h.run_id, h.key
    on conflict (run_id, key) do update
       set attempt = excluded.attempt,
           hold = excluded.hold,
           -- What an earlier attempt has said is for the next one; how far it was is not true any more.
           details = coalesce(excluded.details, o.details),
           progress = case
                        when (o.hold, o.attempt) = (excluded.hold, excluded.attempt)
                        then coalesce(excluded.progress, o.progress)
                        else excluded.progress
                      end,
           at = excluded.at
     where o.hold <= excluded.hold;
    delete from holdfast.heartbeat o
     using unnest(h_run, h_hold, h_key, h_attempt, h_details) as h (run_id, hold, key, attempt, details)
     where o.run_id = h.run_id
       and o.key = h.key
       and h.attempt = 0
       and o.hold <= h.hold
       and h.run_id <> all (v_out);
  end if;

  -- 6. Park, retry, give back. Only what is held still: a second call finds nothing left to do. The inbox counter is
  --    compared in the row itself, so a signal that commits between our snapshot and our lock is still seen.
  if cardinality(m_run) > 0 then
    with moved as (
      update holdfast.task t
         set bucket_id = null,
             -- Null: given back as it was when it was taken, perhaps ahead of its time.
             waits_inbox = coalesce(m.waits, t.waits_inbox),
             wake_at = case when m.waits is null then t.wake_at else m.wake end,
             -- One that nobody has begun is as if it had never been taken.
             first_claim_at = case
                                when not m.progress and (m.seen < 0 or holdfast.is_untouched(t)) then null
                                else t.first_claim_at
                              end,
             name = case
                      when not m.progress and (m.seen < 0 or holdfast.is_untouched(t)) then split_part(t.name, '@', 1)
                      else t.name
                    end,
             due_at = case
                        -- Asked for since the holder last looked: terminate and wake at once, pause for good.
                        when (t.flags & ~m.clear) & 384 <> 0 then v_now
                        when t.flags & 1 <> 0 then 'infinity'
                        when t.inbox_count > m.seen and t.flags & 4 <> 0 then v_now
                        when coalesce(m.waits, t.waits_inbox)
                             and (t.inbox_count >= coalesce(m.wake, case when m.waits is null then t.wake_at end, m.seen + 1)
                                  or t.wake_at > m.seen and t.inbox_count >= t.wake_at)
                        then v_now
                        else greatest(coalesce(m.due, v_now + m.after, t.due_at), v_now)
                      end,
             flags = ((t.flags & ~m.clear) | m.set)::smallint,
             crashes = case when m.progress then 0 else t.crashes end,
             -- Given back before its code was entered, it waits for what it waited for.
             waits_for = case when m.progress then m.what else t.waits_for end,
             -- Progress clears a suspect: it goes back to its own lane.
             lane = case when m.progress and t.lane like '% alone' then left(t.lane, -6) else t.lane end
        from unnest(m_run, m_hold, m_due, m_after, m_seen, m_waits, m_set, m_clear, m_progress, m_what, m_wake)
             as m (run_id, hold, due, after, seen, waits, set, clear, progress, what, wake)
       where t.run_id = m.run_id
         and t.hold = m.hold
         -- The same call again finds it given back already, and must not undo what came since.
         and t.bucket_id is not null
         and t.run_id <> all (v_out)
      returning t.run_id, m.clear & 2 <> 0 as unblocked, t.flags & 8192 <> 0 as rescheduled, m.progress,
                m.clear & 2048 <> 0 as limited
    )
    select array_agg(run_id) filter (where unblocked), array_agg(run_id) filter (where rescheduled),
           array_agg(progress) filter (where rescheduled), array_agg(run_id) filter (where limited)
      into v_blocked, v_moved, v_begun, v_limited
      from moved;
    if v_blocked is not null then
      delete from holdfast.blockage k where k.run_id = any (v_blocked);
    end if;
    if v_moved is not null then
      v_due := v_due || holdfast.move_runs(v_moved, v_begun);
    end if;
  end if;

  if cardinality(k_run) > 0 then
    insert into holdfast.blockage (run_id, reason, at)
    select k.run_id, k.reason, v_now
      from unnest(k_run, k_reason) as k (run_id, reason)
     where k.run_id <> all (v_out)
    on conflict (run_id) do update
       set reason = excluded.reason,
           at = excluded.at
     where blockage.reason <> excluded.reason;
  end if;

  -- 7. The end.
  if cardinality(e_run) > 0 then
    if cardinality(n_run) > 0 then
      -- What goes on for them, while the task is still there to be copied.
      v_foreign := array(select holdfast.continue_as_new(n.run_id, n.hold, n.id, n.input, string_to_array(n.unread, chr(10)))
                           from unnest(n_run, n_hold, n_id, n_input, n_unread) as n (run_id, hold, id, input, unread)
                          where n.run_id <> all (v_out));
      v_due := v_due || array(select distinct t.lane from holdfast.task t where t.run_id = any (v_foreign));
    end if;
    select n.inbox, v_due || n.due, v_asks or n.asks, n.limited
      into v_inbox, v_due, v_asks, v_ended
      from holdfast.end_held(e_run, e_hold, e_status, e_output, e_error, v_out, v_now) n;
  end if;

  -- 8. The permits of those that have ended or stopped, in one order; last, because others wait for these rows.
  if v_limited is not null or v_ended is not null then
    v_due := v_due || holdfast.release(v_limited || v_ended, true);
  end if;

  return query select v_at, v_busy, v_lost, v_inbox, v_due, v_asks, v_late;
end $$;
