-- How many connections a worker has here.
select count(*)::float8
  from pg_stat_activity
 where datname = current_database()
   and application_name like 'holdfast%'
   and application_name not like 'holdfast client%'
