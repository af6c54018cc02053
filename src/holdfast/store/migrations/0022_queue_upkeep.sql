-- Looking after queues: what is done to all that stands there
-- oldest code: 22

create function holdfast.lock_messages(p_runs uuid[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set enable_seqscan = off
-- In the order of their ids, as everybody locks; what is locked in a later statement is as it is then.
as $$
begin
  perform 1 from holdfast.task t where t.run_id = any (p_runs) order by t.run_id for update;
end $$;

create function holdfast.drop_messages(p_runs uuid[]) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Removes messages whose tasks the caller has locked, whoever has them in hands. What was sent with a key stays, as
-- cancelled, so that the key does.
as $$
declare
  v_count int;
begin
  with gone as (
    delete from holdfast.task t
     where t.run_id = any (p_runs)
    returning t.run_id, t.first_claim_at
  ), dropped as (
    delete from holdfast.run r
     using gone g
     where r.id = g.run_id
       and r.options ->> 'keyed' is null
    returning r.id
  ), kept as (
    insert into holdfast.result (run_id, at, first_claim_at, status)
    select g.run_id, holdfast.now(), g.first_claim_at, 3
      from gone g
     where (g.run_id in (select d.id from dropped d)) is not true
  )
  select count(*)::int into v_count from gone;
  perform holdfast.tidy_messages(p_runs);
  return v_count;
end $$;

create function holdfast.purge_messages(p_lane text, p_before timestamptz, p_limit int) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
-- Some of the messages that were there at a moment, dead letters apart; nothing is left when it gives 0.
as $$
declare
  v_runs uuid[];
begin
  v_runs := array(
    select t.run_id
      from holdfast.task t
      join holdfast.run r on r.id = t.run_id
     where t.lane = p_lane
       and t.bucket_id is null
       and r.created_at <= p_before
       and not exists (select from holdfast.dead_letter l where l.run_id = t.run_id)
     limit p_limit);
  if v_runs = '{}' then
    return 0;
  end if;
  perform holdfast.lock_messages(v_runs);
  -- One that has become a dead letter meanwhile is none of these any more.
  v_runs := array(select r.id
                    from unnest(v_runs) as r (id)
                   where not exists (select from holdfast.dead_letter l where l.run_id = r.id));
  -- At least one, so that who counts goes on looking though others have been quicker with all of these.
  return greatest(holdfast.drop_messages(v_runs), 1);
end $$;

create function holdfast.purge_dead(p_lane text, p_runs uuid[], p_before timestamptz, p_limit int, out met int, out purged int)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Some of the dead letters of a queue: of these, or of all that were there at a moment.
as $$
declare
  v_runs uuid[] := holdfast.dead_letters_of(p_lane, p_runs, p_before, p_limit);
begin
  met := cardinality(v_runs);
  perform holdfast.lock_messages(v_runs);
  v_runs := array(select l.run_id from holdfast.dead_letter l where l.run_id = any (v_runs) and l.lane = p_lane);
  purged := holdfast.drop_messages(v_runs);
end $$;

create function holdfast.dead_letters_of(p_lane text, p_runs uuid[], p_before timestamptz, p_limit int) returns uuid[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
select array(
  select l.run_id
    from holdfast.dead_letter l
   where l.lane = p_lane
     and (p_runs is null or l.run_id = any (p_runs))
     and (p_before is null or l.at <= p_before)
   order by l.at, l.run_id
   limit p_limit)
$$;

create function holdfast.redrive_messages(
  p_lane text, p_runs uuid[], p_before timestamptz, p_limit int, out met int, out redriven int
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
-- Makes dead letters due again: their deliveries count anew, and one that was paused is not any more.
as $$
declare
  v_now  timestamptz;
  v_runs uuid[] := holdfast.dead_letters_of(p_lane, p_runs, p_before, p_limit);
begin
  met := cardinality(v_runs);
  perform holdfast.lock_messages(v_runs);
  v_now := holdfast.now();
  -- In a later statement than the lock: of two who redrive the same one finds nothing left to do.
  with freed as (
    delete from holdfast.dead_letter l
     where l.run_id = any (v_runs)
       and l.lane = p_lane
    returning l.run_id
  )
  update holdfast.task t
     set due_at = v_now,
         wake_at = t.hold,
         flags = t.flags & ~1
    from freed f
   where t.run_id = f.run_id;
  get diagnostics redriven = row_count;
  delete from holdfast.pause p where p.run_id = any (v_runs)
     and not exists (select from holdfast.task t where t.run_id = p.run_id and t.flags & 1 <> 0);
end $$;
