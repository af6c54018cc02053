-- Schedules: what clients and workers say about them. Payloads come as text and are cast here.

-- name: schedules_due
-- Those that are due, those whose queue may move, and the first of those that will be due.
with moment as materialized (
  select holdfast.now() as now
), chosen as materialized (
  (select s.id, 'due' as what
     from holdfast.schedule s, moment m
    where s.active
      and not s.paused
      and s.next_at <= m.now
      and s.id <> all (:without::uuid[])
    order by s.next_at
    limit :limit::int)
  union all
  (select s.id, 'next'
     from holdfast.schedule s, moment m
    where s.active
      and not s.paused
      and s.next_at > m.now
    order by s.next_at
    limit 1)
  union all
  (select s.id, 'queued'
     from holdfast.schedule s
    where cardinality(s.queued) > 0
      and s.active
      and not s.paused
      and s.id <> all (:without)
    order by s.id
    limit 1000)
)
select c.what, m.now, s.id, s.name, s.revision, s.cron, s.zone, s.every, s.anchor, s.starts_at, s.ends_at, s.jitter,
       s.overlap, s.catch_up, s.catch_up_limit, s.not_before, s.next_at, s.queued, s.tick_parameter, s.running,
       case when s.tick_parameter is not null and c.what <> 'next' then s.input::text end as input,
       c.what = 'queued' and holdfast.open_of(s.running) = '{}' as free
  from chosen c
  join holdfast.schedule s on s.id = c.id
 cross join moment m

-- name: tick
select holdfast.tick(
         :schedule, :revision, :next, :missed, :new::timestamptz[], :ticks::timestamptz[], :due::timestamptz[],
         :inputs::text[], :hint)

-- name: note_problem
-- For people to see; what the schedule does next does not hang on it.
update holdfast.schedule s
   set problem = :problem
 where s.id = :schedule
   and s.problem is distinct from :problem

-- name: carried_schedules
-- What is there of the schedules that this worker's code has, and whether a live worker has the same code as the row.
select n.name, s.id, s.origin, s.spec, s.earlier_specs, s.revision, s.active, s.next_at, s.cron, s.zone, s.every, s.anchor,
       s.starts_at, s.ends_at,
       s.retired_at < clock_timestamp() - :away::interval as away,
       exists (
         select 1
           from holdfast.worker w
          where w.ended_at is null
            and w.lease_until > clock_timestamp()
            and w.schedules ->> s.name = s.spec
       ) as carried,
       holdfast.now() as now
  from unnest(:names::text[]) as n (name)
  left join holdfast.schedule s on s.name = n.name

-- name: retire_schedules
-- Those in code that no live worker has any more. If one has the code of the workflow and not the schedule, somebody has
-- taken it out; otherwise its workers may just be away, and what it misses is not forgotten.
update holdfast.schedule s
   set active = false,
       revision = s.revision + 1,
       retired_at = case
                      when exists (
                        select 1
                          from holdfast.worker w
                         where w.ended_at is null
                           and w.lease_until > clock_timestamp()
                           and s.target = any (w.names)
                      )
                      then clock_timestamp()
                    end
 where s.origin = 'code'
   and s.active
   -- A worker says what its code has before it registers.
   and s.asserted_at < clock_timestamp() - :patience::interval
   and not exists (
         select 1
           from holdfast.worker w
          where w.ended_at is null
            and w.lease_until > clock_timestamp()
            and w.schedules ? s.name
       )
returning s.name

-- name: insert_schedule
with made as (
  insert into holdfast.schedule (
    id, name, origin, spec, target, kind, said, cron, zone, every, anchor, input, tick_parameter, lane, priority, tags,
    timeout, starts_at, ends_at, jitter, overlap, catch_up, catch_up_limit, paused, next_at, asserted_at, created_at,
    updated_at
  )
  values (
    holdfast.uuid7(), :name, :origin, :spec, :target, :kind, :said, :cron, :zone, :every, :anchor, :input::text::json,
    :tick_parameter, :lane, :priority, :tags::text::jsonb, :timeout, :starts_at, :ends_at, :jitter, :overlap, :catch_up,
    :catch_up_limit, :paused, :next_at, clock_timestamp(), holdfast.now(), holdfast.now()
  )
  on conflict (name) do nothing
  returning id
)
select m.id, holdfast.hint('schedule') from made m

-- name: update_schedule
-- By the revision that was read: what a tick or another client has done meanwhile is not lost. One that has got another
-- spec remembers the one before.
with made as (
  update holdfast.schedule s
     set spec = :spec,
         earlier_specs = case
                           when s.spec is distinct from :spec then array_append(array_remove(s.earlier_specs, :spec), s.spec)
                           else s.earlier_specs
                         end,
         target = :target,
         kind = :kind,
         said = :said,
         cron = :cron,
         zone = :zone,
         every = :every,
         anchor = :anchor,
         input = :input::text::json,
         tick_parameter = :tick_parameter,
         lane = :lane,
         priority = :priority,
         tags = :tags::text::jsonb,
         timeout = :timeout,
         starts_at = :starts_at,
         ends_at = :ends_at,
         jitter = :jitter,
         overlap = :overlap,
         catch_up = :catch_up,
         catch_up_limit = :catch_up_limit,
         next_at = :next_at,
         not_before = case when :afresh then holdfast.now() else s.not_before end,
         queued = case when :afresh then '{}' else s.queued end,
         asserted_at = clock_timestamp(),
         active = true,
         retired_at = null,
         problem = null,
         revision = s.revision + 1,
         updated_at = holdfast.now()
   where s.id = :schedule
     and s.revision = :revision
  returning s.id
)
select m.id, holdfast.hint('schedule') from made m

-- name: pause_schedule
with made as (
  update holdfast.schedule s
     set paused = true,
         revision = s.revision + 1
   where s.name = :name
     and not s.paused
  returning s.id
)
select m.id, holdfast.hint('schedule') from made m

-- name: resume_schedule
-- What would have been due meanwhile is not made up for.
with made as (
  update holdfast.schedule s
     set paused = false,
         not_before = holdfast.now(),
         revision = s.revision + 1
   where s.name = :name
     and s.paused
  returning s.id
)
select m.id, holdfast.hint('schedule') from made m

-- name: delete_schedule
-- One that live code has would come back.
delete from holdfast.schedule s
 where s.name = :name
   and (s.origin = 'client' or not s.active)
returning s.id

-- name: trigger_schedule
select r.id
  from holdfast.schedule s
 cross join lateral holdfast.start_many(
         array[:run::uuid], array[s.kind], array[s.target], array[s.lane], array[s.priority], array[:input::text::json],
         '{}', '{}', array[s.timeout], array[jsonb_build_object('schedule', s.name) || coalesce(s.tags, '{}')],
         array[json_build_object('schedule', json_build_object('id', s.id, 'name', s.name))], '{}', '{}', :hint) r
 where s.name = :name

-- name: read_schedules
-- All that is known of them, in the order of their names.
select s.id, s.name, s.origin, s.target, s.kind, s.said, s.cron, s.zone, s.every, s.anchor, s.input::text as input,
       s.tick_parameter, s.lane, s.priority, s.tags::text as tags, s.timeout, s.starts_at, s.ends_at, s.jitter, s.overlap,
       s.catch_up, s.catch_up_limit, s.spec, s.active, s.paused, s.revision, s.next_at, s.last_tick, s.last_run,
       holdfast.open_of(s.running) as running,
       s.queued, s.made, s.skipped, s.missed, s.problem, s.created_at, s.updated_at
  from holdfast.schedule s
 where s.name > :after
   and (:name::text is null or s.name = :name)
 order by s.name
 limit :limit::int

-- name: schedule_clock
select holdfast.now()
