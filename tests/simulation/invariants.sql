-- What holds beside tests/invariants.sql where nobody changes leases and times by hand.

-- invariant: 3b. what was written under a later hold is later
select w.run_id, w.key, w.hold, w.at, w.before
  from (select j.run_id, j.key, j.hold, j.at,
               max(j.at) over (partition by j.run_id order by j.hold range between unbounded preceding and 1 preceding) as before
          from holdfast.journal j) w
 where w.at < w.before
 limit 10

-- invariant: 4e. who was given up had no lease any more
select w.id, w.name, w.lease_until, w.ended_at
  from holdfast.worker w
 where w.state = 'lost'
   and w.lease_until > w.ended_at
 limit 10

-- invariant: 2b. what a run has set last is recorded with its end
select e.run_id
  from holdfast.result e
  join holdfast.run r on r.id = e.run_id and r.name = 'sequence'
 where e.status = 1
   and not exists (select from holdfast.journal j where j.run_id = e.run_id and j.key like 'state:total#%')
 limit 10

-- invariant: S1. a worker and a bucket go from state to state as their tables say, step by step
select m.what, m.id, m.before, m.after
  from simulated.moved m
 where not exists (select
                     from simulated.allowed a
                    where a.what = m.what
                      and a.before is not distinct from m.before
                      and a.after is not distinct from m.after)
 limit 10
