-- Take instances off the board, but only where nothing newer came from them meanwhile.
-- KEYS  1 board (hash)
-- ARGV  pairs of field ("<service>/<instance>") and the feed id of its last known event
-- Returns how many were taken off.
local gone = 0
for i = 1, #ARGV, 2 do
  local stamped = redis.call('HGET', KEYS[1], ARGV[i])
  local tail = '"id":"' .. ARGV[i + 1] .. '"}'
  if stamped and string.sub(stamped, -#tail) == tail then gone = gone + redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return gone
