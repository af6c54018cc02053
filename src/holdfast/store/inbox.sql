-- What is sent to runs.

-- name: send_signal
select holdfast.put_signal(:run::uuid, :name::text, :payload::text::json, :key::text)

-- name: send_signal_quietly
-- Gives the hints instead of sending them; the columns are evaluated in their order.
select set_config('holdfast.hints', 'later', true),
       holdfast.put_signal(:run::uuid, :name::text, :payload::text::json, :key::text) as answer,
       current_setting('holdfast.hinted', true) as hints

-- name: complete_attempt
select holdfast.complete_attempt(:token::text, :kind::smallint, :payload::text::json, :call::text)

-- name: complete_attempt_quietly
select set_config('holdfast.hints', 'later', true),
       holdfast.complete_attempt(:token::text, :kind::smallint, :payload::text::json, :call::text) as answer,
       current_setting('holdfast.hinted', true) as hints

-- name: request_cancel
select holdfast.cancel(:run::uuid)

-- name: request_cancel_quietly
select set_config('holdfast.hints', 'later', true),
       holdfast.cancel(:run::uuid) as answer,
       current_setting('holdfast.hinted', true) as hints
