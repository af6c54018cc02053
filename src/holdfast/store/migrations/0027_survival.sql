-- Survival: a worker that has lost its lease lives on
-- oldest code: 1

create function holdfast.survive(p_worker int, p_runs uuid[], p_holds int[], p_crashes smallint[]) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
-- What a worker says of the identity that it had before, when it could not renew its lease: its process lives on, it has
-- dropped all that it held, and no run was the reason. So no crash is counted against them; where that was done before,
-- because others were quicker, it is taken back. There is no fence: it has none any more, and holds nothing. Said twice it
-- changes nothing. Gives for how many runs a crash was taken back.
as $$
declare
  v_count int;
begin
  -- Whoever recovers it from now on reads this under the same lock. Nobody has to wait for its lease any longer.
  update holdfast.worker w
     set survived = true,
         lease_until = least(w.lease_until, clock_timestamp())
   where w.id = p_worker
     and w.state <> 'left';
  with counted as (
    -- Only while that crash is the last that can have been counted: under the same hold, or while the next holder lives.
    -- Back to its own lane; but who waits for a permit stands in a line of the other one, and is found there.
    select t.run_id, h.crashes,
           h.crashes < 2 and t.bucket_id is null and t.flags & 2048 = 0 and t.lane like '% alone' as back
      from unnest(p_runs, p_holds, p_crashes) as h (run_id, hold, crashes)
      join holdfast.task t on t.run_id = h.run_id
     where t.crashes > h.crashes
       and (t.hold = h.hold and t.bucket_id is null
            or t.hold = h.hold + 1 and t.bucket_id is not null)
     order by t.run_id
       for update of t skip locked
  )
  update holdfast.task t
     set crashes = c.crashes,
         lane = case when c.back then left(t.lane, -6) else t.lane end,
         -- Never in the past, where no claim of that line looks any more.
         due_at = case when c.back then greatest(t.due_at, holdfast.now()) else t.due_at end
    from counted c
   where t.run_id = c.run_id;
  get diagnostics v_count = row_count;
  return v_count;
end $$;
