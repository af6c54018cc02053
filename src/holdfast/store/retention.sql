-- Retention: what goes when it is old enough, and the index for tags.

-- name: take_turn
select holdfast.take_turn(:task, :every::interval)

-- name: prune
select last, runs, rest
  from holdfast.prune(:statuses::smallint[], :ages::interval[], :keep_keys::interval, :after::uuid, :limit::int, :dry::boolean)

-- name: prune_keys
select holdfast.prune_keys(:limit::int)

-- name: tags_indexed
select exists (
  select 1
    from pg_catalog.pg_index i
   where i.indexrelid = to_regclass('holdfast.run_tags')
     and i.indisvalid
)

-- name: drop_tags_index
-- Also what is left of one that could not be finished.
drop index concurrently if exists holdfast.run_tags

-- name: make_tags_index
create index concurrently if not exists run_tags on holdfast.run using gin (tags jsonb_path_ops) where tags is not null

-- name: is_partitioned
select holdfast.is_partitioned()

-- name: drop_tags_index_of_days
drop index if exists holdfast.run_tags

-- name: make_tags_index_of_days
-- Where the tables are divided by day it cannot be made beside everything else: starts wait for it.
create index if not exists run_tags on holdfast.run using gin (tags jsonb_path_ops) where tags is not null
