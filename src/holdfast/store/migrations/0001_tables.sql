-- The engine's tables and the functions that guard them.
--
-- Four tables carry everything. `run` is what was asked, `journal` what a workflow has seen, `result` how it ended: each
-- row of these is written once. `task` is the one live row of a run that has not ended, and the only one that is updated.
-- There are no foreign keys and no triggers on them: what keeps them together is that every write goes through the
-- functions below, and that the invariants are checked by the tests after every fault.
--
-- Who may write what: a client inserts `run` and `task` (start), increments `inbox_count` and inserts into `inbox`
-- (signal, cancel). Everything else is written by the worker that holds the run, through `claim` and `flush`, each of
-- which first proves that the worker's lease is alive (`fence`).
--
-- SQLSTATEs of our own: HF001 the worker is fenced, HF002 wrong isolation level, HF003 there is no such run,
-- HF004 the run has ended, HF005 the key belongs to a run with another input, HF006 a run in this flush is another
-- holder's (its ids in the detail), HF007 bad argument, HF008 the run is not in a state for this, HF009 the run has
-- refused the update, HF010 the key is taken.
--
-- Hints travel on one channel, named for the schema: `due LANE`, `inbox BUCKET`, `end RUN RUN …`, `reply RUN RUN …`,
-- `worker`, `cancel`. They only make things faster.
-- oldest code: 1

create function holdfast.now() returns timestamptz
language sql volatile parallel safe
as $$ select clock_timestamp() $$;
comment on function holdfast.now() is
  'The time that decides when a run is due. Tests replace it; leases never use it.';

create function holdfast.uuid7() returns uuid
language sql volatile parallel safe
set search_path = pg_catalog, pg_temp
-- RFC 9562: 48 bits of Unix milliseconds, the version, 12 bits of the fraction of the millisecond, then random bits. So
-- those that one session makes grow.
as $$
select encode(overlay(uuid_send(gen_random_uuid())
                      placing int8send(m.micros / 1000 << 16 | 28672 | m.micros % 1000 * 4096 / 1000)
                      from 1 for 8),
              'hex')::uuid
  from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as micros) m
$$;

create table holdfast.run (
  id         uuid primary key,
  kind       smallint not null check (kind in (1, 2, 3, 4)),
  name       text not null,
  lane       text not null,
  priority   smallint not null check (priority between 1 and 5),
  input      json,
  parent     uuid,
  root       uuid,             -- null: itself, as of every run that is nobody's child
  tags       jsonb,
  options    json,
  trace      json,
  created_at timestamptz not null,
  -- The run that this one goes on from, and how: 1 continue as new, 2 retry, 3 rewind, 4 fork.
  continued_from uuid,
  continuation   smallint check (continuation between 1 and 4),
  parent_key     text,         -- of a child: the key of its outcome in its parent's journal
  check ((continued_from is null) = (continuation is null))
);
-- What has taken the place of a run: one run at most. A fork has not. It stands beside `run`, so that whoever has an id finds
-- it by one look, however many days the runs are spread over.
create table holdfast.successor (
  run_id uuid primary key,
  next   uuid not null
);
create index successor_next on holdfast.successor (next);

create table holdfast.task (
  run_id         uuid primary key,
  name           text not null,    -- of the run; with @version from the first claim by a worker whose code has versions
  lane           text not null,
  priority       smallint not null,
  due_at         timestamptz not null,
  bucket_id      bigint,
  hold           int not null default 0,
  inbox_count    int not null default 0,
  waits_inbox    boolean not null default false,
  wake_at        int,
  crashes        smallint not null default 0,
  flags          smallint not null default 0,
  first_claim_at timestamptz,
  deadline       timestamptz,
  waits_for      text              -- what it waited for when it was parked, one a line: signal:upgrade, timer#2, charge#1;
                                   -- of one driven by hand, who has it (@hands:NAME), or what was said of it (@said:TEXT)
) with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_analyze_scale_factor = 0.1,
  autovacuum_vacuum_cost_delay = 1
);
-- Answers every claim: due_at is the single truth about when a run is in line.
create index task_due on holdfast.task (lane, priority, due_at, run_id) where bucket_id is null;
-- What a worker holds: for recovery and for the sweep of dead buckets.
create index task_held on holdfast.task (bucket_id) where bucket_id is not null;
create index task_blocked on holdfast.task (name) where flags & 2 <> 0;

create table holdfast.journal (
  run_id     uuid not null,
  at         timestamptz not null,
  started_at timestamptz,
  not_before timestamptz,
  seq        int not null,
  hold       int not null,
  kind       smallint not null,
  attempts   smallint not null default 0,
  key        text not null,
  digest     bytea,
  output     json,
  error      json,
  primary key (run_id, key)
);

create table holdfast.result (
  run_id         uuid primary key,
  at             timestamptz not null,
  first_claim_at timestamptz,
  status         smallint not null check (status in (1, 2, 3, 4)),
  output         json,
  error          json,
  version        text
);
create index result_unhappy on holdfast.result (at) where status in (2, 3);

create table holdfast.inbox (
  run_id  uuid not null,
  number  int not null,            -- the value of task.inbox_count from the very update that counted it
  kind    smallint not null,       -- as journal.kind: 4 signal, 5 cancel, 6 the outcome of a child
  name    text not null,
  key     text,                    -- refuses a second one with the same key until the run ends, or what it goes on as
  seen    boolean not null default false,
  payload json,
  at      timestamptz not null,
  primary key (run_id, number)
);
create unique index inbox_key on holdfast.inbox (run_id, key, kind, name) where key is not null;

create table holdfast.start_key (
  name   text not null,
  key    text not null,
  run_id uuid not null,
  digest bytea,
  at     timestamptz not null,
  -- How long the key is that run's: until then, or while that run is open; else for ever, or for a time after its record
  -- has gone.
  until      timestamptz,
  while_open boolean not null default false,
  primary key (name, key)
);
create index start_key_run on holdfast.start_key (run_id);
create index start_key_until on holdfast.start_key (until) where until is not null;

create table holdfast.blockage (
  run_id uuid primary key,
  reason text not null,
  at     timestamptz not null
);

-- A paused run, and when it would have been due: null where it was held when it was paused.
create table holdfast.pause (
  run_id uuid primary key,
  due_at timestamptz,
  at     timestamptz not null
);

create table holdfast.worker (
  id          int generated always as identity primary key,
  name        text not null,
  host        text not null,
  pid         int not null,
  lane        text not null,
  -- Null: it consumes a queue, and has none of their duties.
  mode        text default 'full' check (mode in ('full', 'coordinator', 'execution', 'drain')),
  version     text not null default '',  -- of the package
  names       text[] not null,
  schedules   jsonb,                -- what its code has of these: their names, each with its digest
  epoch       int not null default 1,
  lease       interval not null,
  lease_until timestamptz not null,
  state       text not null default 'active'
              check (state in ('active', 'paused', 'draining', 'stopping', 'left', 'lost')),
  command     text check (command in ('pause', 'drain', 'stop', 'stop now')),  -- what its heartbeats are answered
  survived    boolean not null default false,  -- its process lives on: it has lost its lease, and none of its runs is why
  started_at  timestamptz not null,
  ended_at    timestamptz
) with (fillfactor = 50);
-- Not on lease_until: a heartbeat must stay a HOT update.
create index worker_alive on holdfast.worker (id) where ended_at is null;

-- The epoch once more, in a row that no heartbeat touches: a transactional activity share-locks it last.
create table holdfast.fence (
  worker_id int primary key,
  epoch     int not null
);

create table holdfast.bucket (
  id         bigint generated always as identity primary key,
  worker_id  int not null,
  lane       text not null,
  priority   smallint not null,
  state      text not null default 'active'
             check (state in ('active', 'completing', 'lost', 'draining', 'ready to delete')),
  overflowed int not null default 0,  -- runs that went back unbegun, as its worker said last
  created_at timestamptz not null
);
create index bucket_worker on holdfast.bucket (worker_id);

create table holdfast.lane_floor (
  lane     text not null,
  priority smallint not null,
  floor    timestamptz not null,
  at       timestamptz not null,
  primary key (lane, priority)
);

create view holdfast.runs as
select r.id,
       r.kind,
       r.name,
       coalesce(split_part(t.lane, ' ', 1), r.lane) as lane,
       coalesce(t.priority, r.priority) as priority,
       case when e.status = 1 then 'succeeded'
            when e.status = 2 then 'failed'
            when e.status = 3 then 'cancelled'
            when e.status = 4 then 'continued'
            when t.flags & 1 <> 0 then 'paused'
            when t.bucket_id is not null and t.due_at <= holdfast.now() then 'running'
            -- Not a worker's: in somebody's hands until then.
            when t.flags & 8 <> 0 and t.due_at > holdfast.now() then 'running'
            when t.flags & 2 <> 0 then 'blocked'
            when t.due_at <= holdfast.now() then 'ready'
            -- Taken ahead of its time; one that has begun waits for that as it did.
            when t.bucket_id is not null
                 and (t.first_claim_at is null
                      or t.first_claim_at > holdfast.now()
                         and not exists (select from holdfast.journal j where j.run_id = r.id))
            then 'assigned'
            when t.flags & 2048 <> 0 and t.due_at = 'infinity' then 'waiting'
            when t.first_claim_at is null then 'scheduled'
            else 'waiting'
       end as status,
       r.tags,
       r.parent,
       coalesce(r.root, r.id) as root,
       r.continued_from,
       r.created_at,
       t.due_at,
       coalesce(t.first_claim_at, e.first_claim_at) as first_claim_at,
       e.at as ended_at,
       case
         when t.bucket_id is null and t.flags & 8 <> 0 and t.due_at > holdfast.now() then substring(t.waits_for from 8)
         else w.name
       end as worker,
       case when t.run_id is null then e.version else nullif(split_part(t.name, '@', 2), '') end as version
  from holdfast.run r
  left join holdfast.task t on t.run_id = r.id
  left join holdfast.result e on e.run_id = r.id
  left join holdfast.bucket b on b.id = t.bucket_id
  left join holdfast.worker w on w.id = b.worker_id;
comment on view holdfast.runs is 'Every run with the status that people see.';
