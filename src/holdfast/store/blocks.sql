-- Permits that workers lease in advance. Each function checks the fence first.

-- name: claim_leased
select *
  from holdfast.claim_leased(
         :worker, :epoch, :buckets, :lanes, :priorities, :room, :lower, :sweep, :names, :ahead, :generations)

-- name: lease_permits
select task, size
  from holdfast.lease_permits(:worker, :epoch, :tasks, :least, :best, :generations, :l_task, :l_name, :l_most)

-- name: return_permits
select task, size, wanted
  from holdfast.return_permits(:worker, :epoch, :tasks, :generations)
