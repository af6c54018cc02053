-- What `holdfast db check` asks. Each statement only reads, needs no rights beyond those of a client, and the first three
-- need no schema.

-- name: server
select current_setting('server_version') as version,
       current_setting('server_version_num')::int as number,
       current_user::text as role,
       current_database()::text as database,
       pg_is_in_recovery() as standby,
       current_setting('default_transaction_read_only')::boolean as read_only,
       has_database_privilege(current_database(), 'create') as may_create,
       current_setting('max_connections')::int as max_connections,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as usable,
       -- Counted from the statistics and not from pg_stat_activity, which hides the sessions of others.
       (select coalesce(sum(numbackends), 0) from pg_stat_database)::int as used

-- name: horizon
-- Who keeps vacuum from removing what has ended, the oldest first: claims get slower behind a horizon that stands still.
-- Sessions of other databases hold back only the tables that all databases share, and a catalog_xmin only the catalogs.
with holder as (
  select 'session' as kind,
         format('pid %s, %s, %s, %s', pid, coalesce(usename, 'background'), coalesce(nullif(application_name, ''), 'unnamed'),
                state) as who,
         backend_xmin as xmin,
         xact_start as since
    from pg_stat_activity
   where backend_xmin is not null
     and datname = current_database()
     and pid <> pg_backend_pid()
  union all
  select 'prepared transaction', gid, transaction, prepared
    from pg_prepared_xacts
   where database = current_database()
  union all
  select 'replication slot', slot_name, xmin, null
    from pg_replication_slots
   where xmin is not null
  union all
  select 'standby', coalesce(client_addr::text, application_name), backend_xmin, null
    from pg_stat_replication
   where backend_xmin is not null
)
select kind,
       who,
       age(xmin) as age,
       clock_timestamp() - since as held
  from holder
 order by age(xmin) desc, since nulls last
 limit 5

-- name: missing_rights
-- Of these rights, those that the current user does not have; '' stands for the whole table.
select g.name, g.right_, g.column_
  from unnest(:tables::text[], :rights::text[], :columns::text[]) with ordinality as g (name, right_, column_, n)
  join pg_class c on c.relname = g.name
  join pg_namespace s on s.oid = c.relnamespace and s.nspname = :schema
 where not case when g.column_ = '' then has_table_privilege(c.oid, g.right_)
                else has_column_privilege(c.oid, g.column_, g.right_)
           end
 order by g.n

-- name: unserved_versions
-- Open runs that are pinned to a version which no live worker of their lane carries. It walks all tasks.
select p.lane, p.name, p.version, p.runs
  from (
    select regexp_replace(t.lane, ' alone$', '') as lane,
           split_part(t.name, '@', 1) as name,
           split_part(t.name, '@', 2) as version,
           t.name as task_name,
           count(*)::int as runs
      from holdfast.task t
     where position('@' in t.name) > 0
     group by 1, t.name
  ) p
 where not exists (
         select 1
           from holdfast.worker w
          where w.state = 'active'
            and w.lane = p.lane
            and p.task_name = any (w.names)
            and w.lease_until > clock_timestamp()
       )
 order by p.lane, p.name, p.version

-- name: live_workers
select w.id,
       w.name,
       w.host,
       w.pid,
       w.lane,
       w.state,
       w.started_at,
       w.lease,
       w.lease_until - clock_timestamp() as left_of_lease,
       (select count(*)
          from holdfast.bucket b
          join holdfast.task t on t.bucket_id = b.id
         where b.worker_id = w.id)::int as held
  from holdfast.worker w
 where w.ended_at is null
   and w.lease_until > clock_timestamp()
 order by w.lane, w.name
