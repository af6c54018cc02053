-- Updates: requests to a run, which it answers
-- oldest code: 15
--
-- An update is a letter in the inbox, kind 9, journaled as `update:NAME#NUMBER`; the answer is a row of the journal, kind
-- 10, `reply#NUMBER`, written by the holder of the run with whatever else it writes. Whoever waits looks for that row, and
-- for the result of the run: one that has ended without the row will never answer.

create function holdfast.key_digest(p_key text) returns bytea
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
-- What is kept of the key of an update in the journal, where it is found also after the inbox has been emptied.
as $$ select substring(sha256(convert_to(p_key, 'UTF8')) from 1 for 8) $$;

create function holdfast.update(
  run_id uuid, name text, input json default 'null', key text default null, out run uuid, out number int
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run  uuid := $1;
  v_name text := $2;
  v_key  text := $4;
  v_task record;
  v_next record;
  v_held int;
begin
  if coalesce(v_name, '') = '' then
    raise exception 'an update needs a name' using errcode = 'HF007';
  end if;
  loop
    -- First the row's lock, then in a later statement the look at the key: two senders with one key queue up here.
    select t.lane, t.bucket_id into v_task from holdfast.task t where t.run_id = v_run for update;
    if v_key is not null then
      -- Unseen it lies in the inbox. What was seen is in the journal, also after the end of the run.
      select i.number
        into v_held
        from holdfast.inbox i
       where i.run_id = v_run
         and i.key = v_key
         and i.kind = 9
         and i.name = v_name
         and not i.seen;
      if v_held is null then
        select substring(j.key from '#(\d+)$')::int
          into v_held
          from holdfast.journal j
         where j.run_id = v_run
           and j.kind = 9
           and j.digest = holdfast.key_digest(v_key)
           and starts_with(j.key, 'update:' || v_name || '#')
         limit 1;
      end if;
      if v_held is not null then
        run := v_run;
        number := v_held;
      end if;
    end if;
    exit when v_task.lane is not null;
    select r.id, r.continuation
      into v_next
      from holdfast.successor s
      join holdfast.run r on r.id = s.next
     where s.run_id = v_run;
    exit when v_next.id is null;
    v_run := v_next.id;
    if v_next.continuation <> 1 then
      -- A retry or rewind has what is kept, and nothing else of it counts any more.
      number := null;
    end if;
  end loop;
  if number is not null then
    return;
  end if;
  run := v_run;
  if v_task.lane is null then
    perform holdfast.refuse_run(v_run);
  end if;
  with counted as (
    update holdfast.task t
       set inbox_count = t.inbox_count + 1,
           due_at = case
                      when t.bucket_id is null and t.waits_inbox and t.flags & 1 = 0
                           and t.inbox_count + 1 >= coalesce(t.wake_at, 0)
                      then least(t.due_at, holdfast.now())
                      else t.due_at
                    end
     where t.run_id = v_run
    returning t.inbox_count
  ), put as (
    insert into holdfast.inbox (run_id, number, kind, name, key, payload, at)
    select v_run, c.inbox_count, 9, v_name, v_key, coalesce($3, 'null'), holdfast.now()
      from counted c
  )
  select c.inbox_count into number from counted c;
  perform holdfast.hint(coalesce('inbox ' || v_task.bucket_id, 'due ' || v_task.lane));
end $$;
comment on function holdfast.update(uuid, text, json, text) is
  'Sends an update to a run; gives the run that has it, and its number there: see holdfast.reply.';

create function holdfast.update_successor(p_run uuid, p_number int) returns uuid
language sql stable
set search_path = pg_catalog, pg_temp
-- Which run has an update now that this one, which has ended, was sent and has not answered: null where none has. A run
-- that continues as new has answered whatever it does not hand on: only so does a number mean the same in both.
as $$
select s.next
  from holdfast.successor s
 where s.run_id = p_run
   and (exists (select from holdfast.inbox i where i.run_id = s.next and i.number = p_number and i.kind = 9)
        or exists (select
                     from holdfast.journal j
                    where j.run_id = s.next
                      and j.kind = 9
                      and holdfast.letter_number(j.kind, j.key, j.digest) = p_number))
 limit 1
$$;

create function holdfast.reply(run uuid, number int) returns json
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_run   uuid := $1;
  v_next  uuid;
  v_open  boolean;
  v_reply record;
begin
  loop
    -- First whether it has ended, and then the answer, which is there before the end, or with it.
    perform 1 from holdfast.task t where t.run_id = v_run;
    v_open := found;
    select j.output, j.error
      into v_reply
      from holdfast.journal j
     where j.run_id = v_run
       and j.key = 'reply#' || $2;
    if found then
      if v_reply.error is not null then
        raise exception 'the update was refused: %', coalesce(v_reply.error ->> 'message', 'see the journal')
          using errcode = 'HF009', detail = v_reply.error::text;
      end if;
      return v_reply.output;
    end if;
    if v_open then
      return null;
    end if;
    v_next := holdfast.update_successor(v_run, $2);
    exit when v_next is null;
    v_run := v_next;
  end loop;
  perform 1 from holdfast.run r where r.id = v_run;
  if not found then
    raise exception 'there is no run %', v_run using errcode = 'HF003';
  end if;
  raise exception 'run % has ended without an answer', v_run using errcode = 'HF004';
end $$;
comment on function holdfast.reply(uuid, int) is
  'The answer to an update, as it is stored; null as long as there is none.';
