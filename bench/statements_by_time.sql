-- What clients have said to the server in this database, and how long it took, in ms.
select queryid,
       left(regexp_replace(query, '\s+', ' ', 'g'), 90) as text,
       calls,
       total_exec_time + total_plan_time as took
  from pg_stat_statements
 where dbid = (select oid from pg_database where datname = current_database())
   and toplevel
   and query !~* 'pg_stat_statements'
