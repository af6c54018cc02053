-- All tables of the schema, with their indexes.
select sum(pg_total_relation_size(c.oid))::float8
  from pg_class c
 where c.relnamespace = 'holdfast'::regnamespace
   and c.relkind = 'r'
