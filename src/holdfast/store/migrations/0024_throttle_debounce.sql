-- Throttles and debounces: which of many starts become runs that begin
-- oldest code: 24
--
-- Both are decided in the claim that finds a start, under the lock of its key: so it does not matter who started it, nor
-- how, and nobody pays for it who does not use them. What counts is when a start was due, not when a worker came to see
-- it. A throttle lets it pass, or ends it at once; a debounce lets it wait in the line of its key (`permit_wait`) until no
-- other has come for long enough: who comes in that time takes its place, and it ends. What has passed is not asked again
-- (flag 4096 of its task).

create function holdfast.throttled(p_i int[], p_name text[], p_key text[], p_most int[], p_span interval[],
                                   p_since timestamptz[]) returns int[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Which of these starts are too many. The caller has locked the rows of their keys.
as $$
declare
  v_start record;
  v_name  text;
  v_key   text;
  v_full  timestamptz;
  v_gone  int[] := '{}';
begin
  for v_start in
    select s.*
      from unnest(p_i, p_name, p_key, p_most, p_span, p_since) as s (i, name, key, most, span, since)
     order by s.name, s.key, s.since, s.i
  loop
    if (v_start.name, v_start.key) is distinct from (v_name, v_key) then
      update holdfast.limit_key k set full_at = v_full where k.name = v_name and k.key = v_key;
      v_name := v_start.name;
      v_key := v_start.key;
      select k.full_at into v_full from holdfast.limit_key k where k.name = v_name and k.key = v_key;
    end if;
    if v_start.i = any (v_gone) then
      null;  -- Another throttle of it has ended it.
    elsif holdfast.permits_left(0, v_full, v_start.most, v_start.span, v_start.since) > 0 then
      v_full := greatest(v_full, v_start.since) + v_start.span;
    else
      v_gone := v_gone || v_start.i;
    end if;
  end loop;
  update holdfast.limit_key k set full_at = v_full where k.name = v_name and k.key = v_key;
  return v_gone;
end $$;

create function holdfast.debounced(
  p_i int[], p_name text[], p_key text[], p_window interval[], p_at_most interval[], p_run uuid[], p_since timestamptz[],
  p_waiters int, p_seen timestamptz,
  out gone int[], out heirs uuid[],           -- who is replaced, and by whom
  out waits int[], out by_at timestamptz[],   -- who has to wait, and until when at the latest
  out old uuid[], out old_heirs uuid[]        -- who waits already, was not asked about, and is replaced
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Which of these starts, and of those that wait already for their keys, replace which. The caller has locked the keys. The
-- first of them wait already, `p_waiters`; all that were due by `p_seen` were looked for.
as $$
declare
  v_start record;
  -- The start that has none after it so far.
  l_i     int;
  l_run   uuid;
  l_name  text;
  l_key   text;
  l_over  timestamptz;  -- its window
  v_end   timestamptz;
begin
  gone := '{}';
  heirs := '{}';
  waits := '{}';
  by_at := '{}';
  old := '{}';
  old_heirs := '{}';
  for v_start in
    with asked as (
      select s.* from unnest(p_i, p_name, p_key, p_window, p_at_most, p_run, p_since)
                      as s (i, name, key, span, at_most, run_id, since)
    )
    select a.i, a.name, a.key, a.span, a.at_most, a.run_id, a.since, w.by_at
      from asked a
      left join holdfast.permit_wait w on w.run_id = a.run_id and w.name = a.name
     union all
    select null, k.name, k.key, k.span, k.at_most, w.run_id, w.since, w.by_at
      from (select distinct on (a.name, a.key) a.name, a.key, a.span, a.at_most from asked a) k
      join holdfast.permit_wait w on w.name = k.name and w.key = k.key
     where w.run_id <> all (p_run)
     union all
    select null, null, null, null, null, null, null, null
     order by 2 nulls last, 3, 7, 6
  loop
    if (v_start.name, v_start.key) = (l_name, l_key) and v_start.since < least(l_over, v_end) then
      if l_i is null then
        old := old || l_run;
        old_heirs := old_heirs || v_start.run_id;
      else
        gone := gone || l_i;
        heirs := heirs || v_start.run_id;
      end if;
    else
      -- Its window was over when the next one came, or none has come. Whoever is new waits to be looked at once more:
      -- another claim may have one in hand that came after it.
      if l_i > p_waiters or l_i is not null and least(l_over, v_end) > p_seen then
        waits := waits || l_i;
        by_at := by_at || v_end;
      end if;
      v_end := coalesce(v_start.by_at, v_start.since + v_start.at_most, 'infinity');
    end if;
    l_i := v_start.i;
    l_run := v_start.run_id;
    l_name := v_start.name;
    l_key := v_start.key;
    l_over := v_start.since + v_start.span;
  end loop;
end $$;

create function holdfast.drop_starts(p_runs uuid[], p_reasons text[], p_kinds text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Ends runs that nobody has begun, that have no parents, and whose tasks the caller has locked, as cancelled.
as $$
declare
  v_letters uuid[];
begin
  with ended as (
    delete from holdfast.task t
     using unnest(p_runs, p_reasons, p_kinds) as d (run_id, reason, kind)
     where t.run_id = d.run_id
    returning t.run_id, t.inbox_count, d.reason, d.kind
  ), written as (
    insert into holdfast.result (run_id, at, status, error)
    select e.run_id, holdfast.now(), 3,
           json_build_object('type', 'holdfast.core.errors:RunCancelled', 'message', e.reason, 'reason', e.kind)
      from ended e
  )
  select array_agg(e.run_id) filter (where e.inbox_count > 0) into v_letters from ended e;
  delete from holdfast.permit_wait w where w.run_id = any (p_runs);
  delete from holdfast.inbox i where i.run_id = any (v_letters);
  perform holdfast.hint('end *');
end $$;

create function holdfast.sift(
  x_i int[], x_name text[], x_key text[], x_most int[], x_interval interval[], x_at_most interval[],
  c_run uuid[], c_since timestamptz[], p_waiters int, p_seen timestamptz,
  out gone int[], out passed int[], out waits int[], out names text[], out keys text[], out by_at timestamptz[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Part of `claim_limited`: asks the throttles and the debounces of what it has found, and ends what they do not let pass.
as $$
declare
  v_heirs     uuid[];
  v_old       uuid[];
  v_old_heirs uuid[];
  v_too_many  int[];
  v_locked    uuid[];
begin
  v_too_many := holdfast.throttled(array_agg(s.i), array_agg(s.name), array_agg(s.key), array_agg(s.most), array_agg(s.span),
                                   array_agg(c_since[s.i]))
    from unnest(x_i, x_name, x_key, x_most, x_interval) as s (i, name, key, most, span)
   where s.name like 'throttle %';
  select d.gone, d.heirs, d.waits, d.by_at, d.old, d.old_heirs
    into gone, v_heirs, waits, by_at, v_old, v_old_heirs
    from (select array_agg(s.i) as i, array_agg(s.name) as name, array_agg(s.key) as key, array_agg(s.span) as span,
                 array_agg(s.at_most) as at_most, array_agg(c_run[s.i]) as run, array_agg(c_since[s.i]) as since
            from unnest(x_i, x_name, x_key, x_interval, x_at_most) as s (i, name, key, span, at_most)
           where s.name like 'debounce %'
             and s.i <> all (v_too_many)) s
   cross join lateral holdfast.debounced(s.i, s.name, s.key, s.span, s.at_most, s.run, s.since, p_waiters, p_seen) d;
  if cardinality(v_old) > 0 then
    -- Somebody may be at the row: then it waits on, and is found out when it is looked at again.
    v_locked := array(select t.run_id
                        from holdfast.task t
                       where t.run_id = any (v_old)
                         and t.bucket_id is null
                         and (t.due_at = 'infinity') is true
                         and t.flags & 2065 = 2048
                       order by t.run_id
                         for update skip locked);
  end if;
  if cardinality(v_too_many) + cardinality(gone) + coalesce(cardinality(v_locked), 0) > 0 then
    perform holdfast.drop_starts(array_agg(d.run_id), array_agg(d.reason), array_agg(d.kind))
       from (select distinct c_run[t.i] as run_id, 'its throttle lets no more start in this time' as reason,
                    'throttle' as kind
               from unnest(v_too_many) as t (i)
              union all
             select c_run[g.i], 'replaced by run ' || g.heir || ', which was started later', 'debounce'
               from unnest(gone, v_heirs) as g (i, heir)
              union all
             select o.run_id, 'replaced by run ' || o.heir || ', which was started later', 'debounce'
               from unnest(v_old, v_old_heirs) as o (run_id, heir)
              where o.run_id = any (v_locked)) d;
  end if;
  gone := gone || v_too_many;
  passed := array(select distinct s.i
                    from unnest(x_i, x_name) as s (i, name)
                   where s.name ~ '^(throttle|debounce) '
                     and s.i <> all (gone)
                     and s.i <> all (waits));
  names := array(select s.name
                   from unnest(waits) with ordinality as w (i, n)
                   join unnest(x_i, x_name) as s (i, name) on s.i = w.i and s.name like 'debounce %'
                  order by w.n);
  keys := array(select s.key
                  from unnest(waits) with ordinality as w (i, n)
                  join unnest(x_i, x_name, x_key) as s (i, name, key) on s.i = w.i and s.name like 'debounce %'
                 order by w.n);
end $$;
