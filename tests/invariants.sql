-- The invariants of the engine that can be read from its tables. Each query gives the rows that break one; they hold at
-- every moment, in one snapshot each, also while workers work and after every fault.

-- invariant: 1a. no run has both a task and a result
select t.run_id from holdfast.task t join holdfast.result r on r.run_id = t.run_id limit 10

-- invariant: 1b. no run has neither a task nor a result
select r.id
  from holdfast.run r
  left join holdfast.task t on t.run_id = r.id
  left join holdfast.result e on e.run_id = r.id
 where t.run_id is null and e.run_id is null
 limit 10

-- invariant: 1c. no task, result, journal row or letter without a run
select 'task' as what, t.run_id from holdfast.task t where not exists (select from holdfast.run r where r.id = t.run_id)
union all
select 'result', e.run_id from holdfast.result e where not exists (select from holdfast.run r where r.id = e.run_id)
union all
select 'journal', j.run_id from holdfast.journal j where not exists (select from holdfast.run r where r.id = j.run_id)
union all
select 'inbox', i.run_id from holdfast.inbox i where not exists (select from holdfast.run r where r.id = i.run_id)
limit 10

-- invariant: 1d. a run is paused exactly while it has a row that says since when
select coalesce(t.run_id, p.run_id) as run_id, t.flags, p.at
  from holdfast.task t
  full join holdfast.pause p on p.run_id = t.run_id
 where (coalesce(t.flags, 0) & 1 <> 0) <> (p.run_id is not null)
 limit 10

-- invariant: 1e. a run is to be rescheduled exactly while it is held and has a row that says how
select coalesce(t.run_id, w.run_id) as run_id, t.flags, t.bucket_id, w.at
  from holdfast.task t
  full join holdfast.reschedule w on w.run_id = t.run_id
 where (coalesce(t.flags, 0) & 8192 <> 0) <> (w.run_id is not null)
    or w.run_id is not null and t.bucket_id is null
 limit 10

-- invariant: 2. the seqs of a journal are distinct, and its keys are
select run_id, count(*), count(distinct seq), count(distinct key)
  from holdfast.journal
 group by run_id
having count(*) <> count(distinct seq) or count(*) <> count(distinct key)
 limit 10

-- invariant: 3. no journal row under a hold that was never given
select j.run_id, j.key, j.hold, t.hold as latest
  from holdfast.journal j
  join holdfast.task t on t.run_id = j.run_id
 where j.hold > t.hold or j.hold < 1
 limit 10

-- invariant: 4. what a bucket holds belongs to a lease that lives, or that ended within the last lease
select t.run_id, t.bucket_id, w.name, w.state, w.lease_until
  from holdfast.task t
  left join holdfast.bucket b on b.id = t.bucket_id
  left join holdfast.worker w on w.id = b.worker_id
 where t.bucket_id is not null
   and (w.id is null or w.state = 'left' or w.lease_until + w.lease + interval '1 second' < clock_timestamp())
 limit 10

-- invariant: 5. a run with letters that are not journaled is due, or held, or does not wait for its inbox
select t.run_id, t.inbox_count, t.due_at
  from holdfast.task t
 where t.bucket_id is null
   and t.waits_inbox
   and t.flags & 1 = 0
   and t.due_at > holdfast.now()
   and exists (select from holdfast.inbox i where i.run_id = t.run_id and not i.seen)
   and (t.wake_at is null or t.inbox_count >= t.wake_at)
 limit 10

-- invariant: 6. a letter is in the inbox or in the journal, never in both, and none is missing
select t.run_id, t.inbox_count,
       (select count(*) from holdfast.inbox i where i.run_id = t.run_id and not i.seen) as unseen,
       (select count(*) from holdfast.journal j
         where j.run_id = t.run_id and j.kind in (4, 5, 6, 9, 13, 14) and j.key <> 'cancel#0'
                               and (j.kind <> 6 or length(j.digest) = 4)) as journaled
  from holdfast.task t
 where t.inbox_count <> (select count(*) from holdfast.inbox i where i.run_id = t.run_id and not i.seen)
                      + (select count(*) from holdfast.journal j
                          where j.run_id = t.run_id and j.kind in (4, 5, 6, 9, 13, 14) and j.key <> 'cancel#0'
                            -- A child that could not be started has told nothing: its row has the digest of its input.
                            and (j.kind <> 6 or length(j.digest) = 4))
   -- What goes on from another run leaves out some of what that one was sent, and keeps the numbers.
   and not exists (select from holdfast.run r where r.id = t.run_id and r.continued_from is not null)
 limit 10

-- invariant: 6b. where a run goes on from another one, its count is the number of the last letter there is
select t.run_id, t.inbox_count
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where r.continued_from is not null
   and t.inbox_count <> greatest(
         (select coalesce(max(i.number), 0) from holdfast.inbox i where i.run_id = t.run_id and not i.seen),
         (select coalesce(max(holdfast.letter_number(j.kind, j.key, j.digest)), 0)
            from holdfast.journal j where j.run_id = t.run_id and j.kind in (4, 5, 6, 9, 13, 14)))
 limit 10

-- invariant: 6c. the outcome of a child that has ended is in its parent's inbox or journal, once, unless the parent has ended
select r.parent, r.id as child, r.parent_key,
       (select count(*) from holdfast.inbox i where i.run_id = r.parent and i.kind = 6 and i.name = r.parent_key) as in_inbox,
       (select count(*) from holdfast.journal j where j.run_id = r.parent and j.kind = 6 and j.key = r.parent_key) as journaled
  from holdfast.run r
  join holdfast.result e on e.run_id = r.id and e.status <> 4
  join holdfast.task t on t.run_id = r.parent
 where (select count(*) from holdfast.inbox i where i.run_id = r.parent and i.kind = 6 and i.name = r.parent_key)
     + (select count(*) from holdfast.journal j where j.run_id = r.parent and j.kind = 6 and j.key = r.parent_key) <> 1
 limit 10

-- invariant: 6d. a child and the row of its parent's journal that says it was started are written together
-- Where a root has gone because it was old enough, those below it go too, by and by.
select j.run_id, j.key, j.output #>> '{}' as child
  from holdfast.journal j
 where j.kind = 7
   and exists (select from holdfast.run r left join holdfast.run p on p.id = r.root
                where r.id = j.run_id and (r.root is null or p.id is not null))
   -- What goes on from another run has its journal, and nothing is told to it.
   and not exists (select from holdfast.run r where r.id = j.run_id and r.continued_from is not null)
   and not exists (select from holdfast.run r
                    where r.id = (j.output #>> '{}')::uuid and r.parent = j.run_id and r.parent_key || '>' = j.key)
union all
select r.parent, r.parent_key, r.id::text
  from holdfast.run r
 where r.parent is not null
   and r.continued_from is null
   and exists (select from holdfast.run p where p.id = r.root)
   and not exists (select from holdfast.journal j
                    where j.run_id = r.parent and j.kind = 7 and j.key = r.parent_key || '>')
 limit 10

-- invariant: 6e. an activity that was dispatched has no outcome of an attempt that was made with its workflow
select j.run_id, j.key
  from holdfast.journal j
  join holdfast.journal s on s.run_id = j.run_id and s.kind = 7 and s.key = j.key || '>'
 where j.kind = 1
 limit 10

-- invariant: 6f. a run goes on for each that ended as continued, and for no other: as its parent's child, where that is one
select e.run_id, e.status, n.id as next, r.parent, n.parent as parent_of_next
  from holdfast.result e
  join holdfast.run r on r.id = e.run_id
  left join holdfast.run n on n.continued_from = e.run_id and n.continuation = 1
 where (e.status = 4) <> (n.id is not null)
    or n.id is not null and (r.parent, r.root, r.parent_key) is distinct from (n.parent, n.root, n.parent_key)
 limit 10

-- invariant: 6g. a run that goes on for another begins when that ends, in one commit; the record of that may have gone
select n.id, n.continued_from
  from holdfast.run n
 where n.continuation = 1
   and exists (select from holdfast.run r where r.id = n.continued_from)
   and not exists (select from holdfast.result e where e.run_id = n.continued_from and e.status = 4)
 limit 10

-- invariant: 6h. what has taken the place of a run says so itself, and stands beside: of forks there is none
select n.id, n.continued_from, s.run_id, s.next
  from (select r.id, r.continued_from from holdfast.run r where r.continuation <> 4) n
  full join holdfast.successor s on s.next = n.id and s.run_id = n.continued_from
 where n.id is null
    or s.next is null
 limit 10

-- invariant: 7. a result is not older than what the run has seen
select e.run_id, e.at, max(j.at) as seen
  from holdfast.result e
  join holdfast.journal j on j.run_id = e.run_id
 group by e.run_id, e.at
having max(j.at) > e.at + interval '1 second'
 limit 10

-- invariant: 9. a key belongs to one run, which is there, or has gone, and then it says for how long
select k.name, k.key, k.run_id
  from holdfast.start_key k
 where k.until is null
   and not exists (select from holdfast.run r where r.id = k.run_id)
 limit 10

-- invariant: 9b. a tick of a schedule makes one run
select r.options #>> '{schedule,id}' as schedule, r.options #>> '{schedule,tick}' as tick, count(*)
  from holdfast.run r
 where r.options #>> '{schedule,tick}' is not null
   and r.continued_from is null
 group by 1, 2
having count(*) > 1
 limit 10

-- invariant: 9c. a schedule has made as many runs as it says, but for those whose records have gone; the last is there
select s.name, s.made, s.last_run,
       (select count(*) from holdfast.run r
         where r.options #>> '{schedule,id}' = s.id::text and r.options #>> '{schedule,tick}' is not null
           and r.continued_from is null) as runs
  from holdfast.schedule s
 where s.made < (select count(*) from holdfast.run r
                  where r.options #>> '{schedule,id}' = s.id::text and r.options #>> '{schedule,tick}' is not null
                    and r.continued_from is null)
    or s.made > (select count(*) from holdfast.run r
                  where r.options #>> '{schedule,id}' = s.id::text and r.options #>> '{schedule,tick}' is not null
                    and r.continued_from is null)
   and not exists (select from holdfast.upkeep u where u.task = 'pruned')
    or s.last_run is not null and not exists (select from holdfast.run r where r.id = s.last_run)
 limit 10

-- invariant: 9d. as many permits of a key are held, or leased in blocks, as its row says, and no more than there are
select k.name, k.key, k.taken, k.most, k.full_at, h.permits, h.leased
  from holdfast.limit_key k
 cross join lateral (
   select (select count(*) from holdfast.permit p where p.name = k.name and p.key = k.key) as permits,
          case when k.key = '' then (select coalesce(sum(b.size), 0) from holdfast.permit_block b where b.name = k.name)
               else 0
          end as leased
 ) h
 where k.taken <> h.permits + h.leased
    or k.taken > k.most
union all
select p.name, p.key, null, null, null, count(*), null
  from holdfast.permit p
 where not exists (select from holdfast.limit_key k where k.name = p.name and k.key = p.key)
 group by p.name, p.key
union all
select b.name, '', null, null, null, null, sum(b.size)
  from holdfast.permit_block b
 where not exists (select from holdfast.limit_key k where k.name = b.name and k.key = '')
 group by b.name
 limit 10

-- invariant: 9h. a worker holds no more runs without permits of their own than it has leased, and a block has a worker
select b.worker_id, b.task, b.name, b.size, h.held
  from holdfast.permit_block b
 cross join lateral (
   select count(*) as held
     from holdfast.bucket u
     join holdfast.task t on t.bucket_id = u.id
    where u.worker_id = b.worker_id
      and t.name = b.task
      and not exists (select from holdfast.permit p where p.run_id = t.run_id)
 ) h
 where h.held > b.size
    or not exists (select from holdfast.worker w where w.id = b.worker_id and (w.ended_at is null or h.held > 0))
 limit 10

-- invariant: 9e. a permit is of a run that is held or due, or of a workflow that has not ended; its flags say so
select p.run_id, p.name, p.key, p.kept, t.flags, t.bucket_id, t.due_at
  from holdfast.permit p
  left join holdfast.task t on t.run_id = p.run_id
 where t.run_id is null
    or t.flags & 2048 = 0
    or not p.kept and t.bucket_id is null and t.due_at > holdfast.now()
 limit 10

-- invariant: 9f. who waits for a permit stands in a line, which is open while one is free
select w.run_id, w.name, w.key, g.opens_at, k.taken, k.most
  from holdfast.permit_wait w
  left join holdfast.permit_line g on (g.name, g.key, g.lane, g.priority) = (w.name, w.key, w.lane, w.priority)
  left join holdfast.limit_key k on (k.name, k.key) = (w.name, w.key)
 where g.name is null
    or k.name is null
    or w.name !~ '^(rate|debounce) ' and k.taken < k.most and g.opens_at > holdfast.now()
 limit 10

-- invariant: 9g. a run that has left the line of what is due for want of a permit waits in one of a key, and none else does
select coalesce(t.run_id, w.run_id) as run_id, t.flags, t.due_at, t.bucket_id, w.name, w.key
  from holdfast.permit_wait w
  full join holdfast.task t on t.run_id = w.run_id
 where t.run_id is null
    or w.run_id is not null and (t.bucket_id is not null or t.flags & 2048 = 0)
    or w.run_id is null and t.flags & 2049 = 2048 and t.bucket_id is null and t.due_at = 'infinity'
       and not t.waits_inbox and not exists (select from holdfast.permit p where p.run_id = t.run_id)
 limit 10

-- invariant: 4b. a heartbeat is of a run that has not ended, and whose flags say that it has some
select h.run_id, h.key, t.flags
  from holdfast.heartbeat h
  left join holdfast.task t on t.run_id = h.run_id
 where t.run_id is null or t.flags & 1024 = 0
 limit 10

-- invariant: an answer is to an update that the run has taken
select j.run_id, j.key
  from holdfast.journal j
 where j.kind = 10
   and not exists (select from holdfast.journal u
                    where u.run_id = j.run_id
                      and u.kind = 9
                      and u.key ~ ('#' || substring(j.key from '\d+$') || '$'))
 limit 10

-- invariant: 4c. a run that is driven by hand stands in the line of its name, where no other does, and in no worker's bucket
select t.run_id, r.kind, t.lane, t.bucket_id
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where (r.kind = 4) <> (t.lane = holdfast.driven_line(r.lane, r.name))
    or r.kind = 4 and t.bucket_id is not null
 limit 10

-- invariant: 4d. what is in somebody's hands was taken, is in no bucket's, and says who has it until when; or is paused
select t.run_id, t.hold, t.flags, t.due_at, t.waits_for
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where r.kind = 4
   and (t.flags & 8 <> 0) <> (coalesce(t.waits_for, '') like '@hands:%')
    or r.kind = 4 and t.flags & 8 <> 0 and (t.hold < 1 or t.first_claim_at is null)
    or r.kind = 4 and t.flags & 8 <> 0 and t.due_at = 'infinity' and t.flags & 1 = 0
 limit 10

-- invariant: Q1. a message is in no bucket, and in the lane of its queue, which is its name
select t.run_id, t.bucket_id, t.lane, r.lane as was, r.name
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where r.kind = 3
   and (t.bucket_id is not null or t.lane not like '% queue' or t.lane <> r.lane or t.name <> r.name or r.name <> r.lane)
 limit 10

-- invariant: Q2. a message is a dead letter exactly while it is due never, unless it is paused; and nobody has it in hands
select coalesce(t.run_id, l.run_id) as run_id, t.due_at, t.flags, t.hold, l.reason
  from (select t.* from holdfast.task t join holdfast.run r on r.id = t.run_id and r.kind = 3) t
  full join holdfast.dead_letter l on l.run_id = t.run_id
 where t.run_id is null
    or l.run_id is not null and (t.due_at <> 'infinity' or t.flags & 8 <> 0 or t.lane <> l.lane)
    or l.run_id is null and t.due_at = 'infinity' and t.flags & 1 = 0
 limit 10

-- invariant: Q3. what is in somebody's hands was delivered; and no more deliveries are forgotten than there were
select t.run_id, t.hold, t.wake_at, t.flags
  from holdfast.task t
  join holdfast.run r on r.id = t.run_id
 where r.kind = 3
   and (t.flags & 8 <> 0 and t.hold < 1 or coalesce(t.wake_at, 0) > t.hold)
 limit 10
