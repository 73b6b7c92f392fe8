-- Take instances off the board, but only where nothing newer came from them meanwhile; each is told in the feed.
-- KEYS  1 feed (stream), 2 clock, 3 board, 4 seen, 5 lost (hashes)
-- ARGV  1 feed_max (integer), then pairs of field ("<service>/<instance>") and the feed id of its last known event
-- Returns how many were taken off.
local keys, gone = {feed = KEYS[1], clock = KEYS[2], board = KEYS[3], seen = KEYS[4], lost = KEYS[5]}, 0
for i = 2, #ARGV, 2 do
  local stamped = redis.call('HGET', keys.board, ARGV[i])
  local tail = '"id":"' .. ARGV[i + 1] .. '"}'
  if stamped and string.sub(stamped, -#tail) == tail then
    take_off(keys, ARGV[1], ARGV[i], '')
    gone = gone + 1
  end
end
return gone
