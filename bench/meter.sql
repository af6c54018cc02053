-- What the server has done until now: bytes of WAL, transactions that wrote, and what is stored of runs.
select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as wal,
       pg_snapshot_xmax(pg_current_snapshot())::text::float8 as commits,
       (select sum(pg_total_relation_size(c.oid))::float8
          from pg_class c
         where c.relnamespace = 'holdfast'::regnamespace
           and c.relkind = 'r'
           and c.relname ~ '^(run|journal|result)(_|$)') as stored
