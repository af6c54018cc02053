-- What is sent to runs.

-- name: send_signal
select holdfast.signal(:run::uuid, :name::text, :payload::text::json, :key::text)

-- name: request_cancel
select holdfast.cancel(:run::uuid)
