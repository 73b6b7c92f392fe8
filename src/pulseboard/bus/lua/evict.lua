-- Remove instances from the board, each only if it has published nothing newer. Append a lifecycle
-- event for each.
-- Requires: lifecycle
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 board, 5 seen, 6 lost,
--       7 latest metrics, 8 services (hashes)
-- ARGV  1 limits (JSON), then pairs of field ("<service>/<instance>") and the feed id of its last
--       known event
-- Returns the number of instances that were removed.
local removed = 0
for i = 2, #ARGV, 2 do
  local stamped = redis.call('HGET', BOARD, ARGV[i])
  local tail = '"id":"' .. ARGV[i + 1] .. '"}'
  if stamped and string.sub(stamped, -#tail) == tail then
    remove_instance(ARGV[i], '')
    removed = removed + 1
  end
end
return removed
