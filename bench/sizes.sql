-- The tables that hold only what is live, with their indexes.
select t.name, pg_total_relation_size(('holdfast.' || t.name)::regclass) as bytes
  from unnest(array['task', 'inbox', 'worker', 'bucket', 'lane_floor']) as t (name)
