-- name: is_plain_name
-- Whether the schema's name needs no quotes, and is not one of those that the server keeps for itself.
select quote_ident(:schema::text) = :schema
       and :schema not like 'pg\_%'

-- name: migration_table_exists
select exists (
  select 1
    from pg_catalog.pg_tables
   where schemaname = :schema
     and tablename = 'migration'
)

-- name: applied_migrations
select version, name, checksum, oldest_code, applied_at
  from holdfast.migration
 order by version

-- name: lock_migrations
-- Held by the session, not by a transaction: a migration is a transaction of its own.
select pg_advisory_lock(hashtextextended('holdfast migrations of ' || :schema::text, 0))

-- name: unlock_migrations
select pg_advisory_unlock(hashtextextended('holdfast migrations of ' || :schema::text, 0))

-- name: record_migration
insert into holdfast.migration (version, name, checksum, oldest_code)
values (:version, :name, :checksum, :oldest_code)
