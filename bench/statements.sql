-- How many statements clients have sent in this database.
select coalesce(sum(calls), 0)::float8
  from pg_stat_statements
 where dbid = (select oid from pg_database where datname = current_database())
