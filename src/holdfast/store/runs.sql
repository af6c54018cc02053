-- Looking at runs. Nothing here writes.

-- name: ended_runs
-- How those of these runs ended that have.
-- `newest` is the run that one has become, if it has: that is to be asked for instead.
select e.run_id, e.status, e.output, e.error,
       case when s.next is not null then holdfast.newest(s.next) end as newest
  from holdfast.result e
  left join holdfast.successor s on s.run_id = e.run_id
 where e.run_id = any (:runs::uuid[])

-- name: known_runs
-- Which of these runs exist, and how those of them ended that have. One whose record has gone before that of what it has
-- become (4) is known by that.
select u.id, coalesce(r.name, c.name) as name, case when r.id is null then 4 else e.status end as status, e.output, e.error,
       case when c.id is not null then holdfast.newest(c.id) end as newest
  from unnest(:runs::uuid[]) as u (id)
  left join holdfast.run r on r.id = u.id
  left join holdfast.result e on e.run_id = u.id
  left join holdfast.successor s on s.run_id = u.id
  left join holdfast.run c on c.id = s.next
 where r.id is not null
    or c.id is not null

-- name: run_status
select v.status
  from holdfast.runs v
 where v.id = holdfast.newest(:run::uuid)

-- name: run_details
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version, v.parent, v.root, v.continued_from,
       r.input, e.output, e.error, t.deadline, t.crashes,
       coalesce(t.waits_inbox, false) as waits_inbox,
       coalesce(t.flags & 4 <> 0, false) as cancel_requested,
       k.reason as blocked_reason, k.at as blocked_at,
       exists (
         select 1
           from holdfast.worker w
          where w.state = 'active'
            and w.lane = split_part(v.lane, ' ', 1)
            and coalesce(t.name, v.name) = any (w.names)
            and w.lease_until > clock_timestamp()
       ) as has_worker,
       t.waits_for, r.continuation
  from holdfast.runs v
  join holdfast.run r on r.id = v.id
  left join holdfast.task t on t.run_id = v.id
  left join holdfast.result e on e.run_id = v.id
  left join holdfast.blockage k on k.run_id = v.id
 where v.id = :run::uuid

-- name: run_state
-- The newest value of one state; a row without a value where it was never set.
select s.output, s.error
  from holdfast.run r
  left join lateral (
    select j.output, j.error
      from holdfast.journal j
     where j.run_id = r.id
       and j.kind = 8
       and starts_with(j.key, 'state:' || :name::text || '#')
     order by j.seq desc
     limit 1
  ) s on true
 where r.id = holdfast.newest(:run::uuid)

-- name: run_reports
-- How far attempts that are under way are.
select a.id as asked, t.run_id is null as ended, h.key, h.attempt, h.progress, h.at
  from unnest(:runs::uuid[]) as a (id)
 cross join lateral (
         select case
                  when exists (select from holdfast.task o where o.run_id = a.id) then a.id
                  else holdfast.newest(a.id)
                end as id
       ) n
  join holdfast.run r on r.id = n.id
  left join holdfast.task t on t.run_id = r.id
  left join holdfast.heartbeat h on h.run_id = t.run_id and h.progress is not null

-- name: run_journal
-- Of what was started it says which kind of run that is: a child, or a dispatched activity.
select j.seq, j.kind, j.key, j.attempts, j.started_at, j.at, j.not_before, j.output, j.error,
       case when j.kind = 7 then (select r.kind from holdfast.run r where r.id = (j.output #>> '{}')::uuid) end as started
  from holdfast.journal j
 where j.run_id = :run::uuid
 order by j.seq

-- name: run_inbox
select i.number, i.kind, i.name, i.key, i.payload, i.at
  from holdfast.inbox i
 where i.run_id = :run::uuid
   and not i.seen
 order by i.number

-- The pages of `list`. Each gives the same columns for the same filters; they differ in the table that they walk, newest
-- first, so that what is asked for is dense in it. Ids are UUIDv7: a range of ids is a range of time. The view is asked
-- for one run at a time (`offset 0` keeps it so): a page costs what is on it, whatever the planner thinks of the filters.

-- name: list_all
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from holdfast.run r
 cross join lateral (select * from holdfast.runs v where v.id = r.id offset 0) v
 where r.id >= :from_id::uuid
   and r.id < :to_id::uuid
   and (:name::text is null or r.name = :name)
   and (:version::text is null or v.version = :version)
   and (:lane::text is null or v.lane = :lane)
   and (:kind::smallint is null or r.kind = :kind)
   and (:tags::text is null or r.tags @> :tags::text::jsonb)
 order by r.id desc
 limit :count::int

-- name: list_family
-- The runs below one, through the one small index that knows families. In order first, as for what is blocked.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from (
    select r.id
      from holdfast.run r
     where r.root = coalesce(:root::uuid, (select coalesce(p.root, p.id) from holdfast.run p where p.id = :parent::uuid))
       and (:parent is null or r.parent = :parent)
       and r.id >= :from_id::uuid
       and r.id < :to_id::uuid
       and (:name::text is null or r.name = :name)
       and (:tags::text is null or r.tags @> :tags::text::jsonb)
     order by r.id desc
    offset 0
  ) f
 cross join lateral (select * from holdfast.runs v where v.id = f.id offset 0) v
 where (:statuses::text[] is null or v.status = any (:statuses))
   and (:version::text is null or v.version = :version)
   and (:lane::text is null or v.lane = :lane)
   and (:kind::smallint is null or v.kind = :kind)
 order by f.id desc
 limit :count::int

-- name: list_tagged
-- Where tags have an index (`holdfast db index-tags`), whatever the status is.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from holdfast.run r
 cross join lateral (select * from holdfast.runs v where v.id = r.id offset 0) v
 where r.tags @> :tags::text::jsonb
   and r.id >= :from_id::uuid
   and r.id < :to_id::uuid
   and (:name::text is null or r.name = :name)
   and (:version::text is null or v.version = :version)
   and (:lane::text is null or v.lane = :lane)
   and (:kind::smallint is null or r.kind = :kind)
   and (cardinality(:statuses::text[]) = 0 or v.status = any (:statuses))
 order by r.id desc
 limit :count::int

-- name: list_open
-- Runs that have not ended: each has a task. Their status is worked out as in the view, but from the task alone, so that
-- the few that are ready are found quickly among a million that wait.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from (select holdfast.now() as now) m
 cross join holdfast.task t
 cross join lateral (select * from holdfast.runs v where v.id = t.run_id offset 0) v
 where t.run_id >= :from_id::uuid
   and t.run_id < :to_id::uuid
   and case when t.flags & 1 <> 0 then 'paused'
            when t.bucket_id is not null and t.due_at <= m.now then 'running'
            when t.flags & 8 <> 0 and t.due_at > m.now then 'running'
            when t.flags & 2 <> 0 then 'blocked'
            when t.due_at <= m.now then 'ready'
            when t.bucket_id is not null
                 and (t.first_claim_at is null
                      or t.first_claim_at > m.now
                         and not exists (select from holdfast.journal j where j.run_id = t.run_id))
            then 'assigned'
            when t.first_claim_at is null then 'scheduled'
            else 'waiting'
       end = any (:statuses::text[])
   and (:name::text is null or split_part(t.name, '@', 1) = :name)
   and (:version::text is null or split_part(t.name, '@', 2) = :version)
   and (:lane::text is null or split_part(t.lane, ' ', 1) = :lane)
   and (:kind::smallint is null or v.kind = :kind)
   and (:tags::text is null or v.tags @> :tags::text::jsonb)
 order by t.run_id desc
 limit :count::int

-- name: list_held
-- Runs that a worker holds, or that are driven by hand and are in somebody's: few, however many are parked.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from (
    select h.run_id, h.name, h.lane
      from holdfast.task h
     where h.bucket_id is not null
    union all
    select d.run_id, d.name, d.lane
      from holdfast.task d
     where d.bucket_id is null
       and d.flags & 8 <> 0
  ) t
 cross join lateral (select * from holdfast.runs v where v.id = t.run_id offset 0) v
 where t.run_id >= :from_id::uuid
   and t.run_id < :to_id::uuid
   and v.status = any (:statuses::text[])
   and (:name::text is null or split_part(t.name, '@', 1) = :name)
   and (:version::text is null or split_part(t.name, '@', 2) = :version)
   and (:lane::text is null or split_part(t.lane, ' ', 1) = :lane)
   and (:kind::smallint is null or v.kind = :kind)
   and (:tags::text is null or v.tags @> :tags::text::jsonb)
 order by t.run_id desc
 limit :count::int

-- name: list_blocked
-- Each has a row that says why. In order first, as below: after a bad deploy they may be many.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from (
    select b.run_id
      from holdfast.blockage b
     where b.run_id >= :from_id::uuid
       and b.run_id < :to_id::uuid
     order by b.run_id desc
    offset 0
  ) k
 cross join lateral (select * from holdfast.runs v where v.id = k.run_id offset 0) v
 where v.status = any (:statuses::text[])
   and (:name::text is null or v.name = :name)
   and (:version::text is null or v.version = :version)
   and (:lane::text is null or v.lane = :lane)
   and (:kind::smallint is null or v.kind = :kind)
   and (:tags::text is null or v.tags @> :tags::text::jsonb)
 order by k.run_id desc
 limit :count::int

-- name: list_ended
-- Runs that have ended: each has a result.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from holdfast.result e
 cross join lateral (select * from holdfast.runs v where v.id = e.run_id offset 0) v
 where e.status = any (:endings::smallint[])
   and e.run_id >= :from_id::uuid
   and e.run_id < :to_id::uuid
   and (:name::text is null or v.name = :name)
   and (:version::text is null or v.version = :version)
   and (:lane::text is null or v.lane = :lane)
   and (:kind::smallint is null or v.kind = :kind)
   and (:tags::text is null or v.tags @> :tags::text::jsonb)
 order by e.run_id desc
 limit :count::int

-- name: list_unhappy
-- Failed and cancelled runs, the last to end first: the order of the one small index that knows them. They are put in
-- order by themselves (`offset 0`), so that the view is asked for those on the page only.
select v.id, v.kind, v.name, v.lane, v.priority, v.status, v.tags, v.created_at, v.due_at, v.first_claim_at, v.ended_at,
       v.worker, v.version
  from (
    select u.run_id, u.at
      from holdfast.result u
     where u.status in (2, 3)
       and u.status = any (:endings::smallint[])
       and u.at <= :ended_before::timestamptz
       and (u.at, u.run_id) < (:ended_before, :last_id::uuid)
       and u.run_id >= :from_id::uuid
       and u.run_id < :to_id::uuid
     order by u.at desc, u.run_id desc
    offset 0
  ) e
 cross join lateral (select * from holdfast.runs v where v.id = e.run_id offset 0) v
 where (:name::text is null or v.name = :name)
   and (:version::text is null or v.version = :version)
   and (:lane::text is null or v.lane = :lane)
   and (:kind::smallint is null or v.kind = :kind)
   and (:tags::text is null or v.tags @> :tags::text::jsonb)
 order by e.at desc, e.run_id desc
 limit :count::int
