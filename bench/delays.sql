-- Between when each job was due and when its code was entered. The time of the first claim of what was taken ahead is when
-- it was due; of the rest, a job is due when it is made.
select 1000 * percentile_cont(0.5) within group (order by d.delay) as p50,
       1000 * percentile_cont(0.99) within group (order by d.delay) as p99
  from (select (e.output #>> '{}')::float8
                 - extract(epoch from case when e.first_claim_at - r.created_at > interval '1 second'
                                           then e.first_claim_at else r.created_at end)::float8 as delay
          from holdfast.result e
          join holdfast.run r on r.id = e.run_id and r.name = 'stamp') d
