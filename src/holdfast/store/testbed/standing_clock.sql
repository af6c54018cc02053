-- A clock that stands still until it is moved. Everything that asks holdfast.now() follows; leases do not ask it.
create table if not exists holdfast.standing_clock (
  only_row boolean primary key default true check (only_row),
  at       timestamptz not null
);
create or replace function holdfast.now() returns timestamptz
language sql volatile parallel safe
as $$ select c.at from holdfast.standing_clock c $$;
