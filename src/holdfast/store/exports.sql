-- Runs as they are exported, and which of many are taken as a sample. Nothing here writes.

-- name: exported_runs
select r.id, r.kind, r.name,
       case when t.run_id is null then e.version else nullif(split_part(t.name, '@', 2), '') end as version,
       r.lane, coalesce(t.priority, r.priority) as priority, r.input, r.tags, r.options, r.parent, r.root, r.created_at,
       coalesce(t.first_claim_at, e.first_claim_at) as first_claim_at,
       coalesce(t.flags & 64 <> 0, true) as entered,
       e.status, e.at, e.output, e.error
  from holdfast.run r
  left join holdfast.task t on t.run_id = r.id
  left join holdfast.result e on e.run_id = r.id
 where r.id = any (:runs::uuid[])
 order by r.id

-- name: sample_open
-- Open runs of workflows, as many of each workflow and version as there is room for; those that have begun first, and the
-- same ones each time. It walks all tasks.
with pool as (
  select t.run_id, t.name,
         row_number() over (partition by t.name order by t.first_claim_at is null, md5(t.run_id::text)) as n,
         count(*) over (partition by t.name)::int as runs
    from holdfast.task t
    join holdfast.run r on r.id = t.run_id
   where r.kind = 1
     and (:names::text[] is null or r.name = any (:names))
)
select p.run_id, p.name, p.runs
  from pool p
 order by p.n, p.name
 limit :count::int

-- name: sample_ended
-- The same of runs that have ended, among the latest that were started.
with latest as (
  select e.run_id, e.version
    from holdfast.result e
   where e.first_claim_at is not null
   order by e.run_id desc
   limit :among::int
), pool as (
  select l.run_id, r.name || coalesce('@' || l.version, '') as name,
         row_number() over (partition by r.name, l.version order by md5(l.run_id::text)) as n,
         count(*) over (partition by r.name, l.version)::int as runs
    from latest l
    join holdfast.run r on r.id = l.run_id
   where r.kind = 1
     and (:names::text[] is null or r.name = any (:names))
)
select p.run_id, p.name, p.runs
  from pool p
 order by p.n, p.name
 limit :count::int
