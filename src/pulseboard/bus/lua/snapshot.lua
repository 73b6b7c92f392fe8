-- Read the board and its position in the feed in one step, so that no event falls between them; and
-- the last events before it, for clients that resume at a server that has just started.
-- Requires: clock
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 board, 5 seen, 6 lost,
--       7 latest metrics, 8 services (hashes), 9 heartbeats, 10 incidents (streams)
-- ARGV  1 most incidents, 2 most events, 3 most bytes of events (integers)
-- Returns {last id of the feed, last id of the heartbeats, number of entries ever added to the
--          feed, ms by the board's clock, board, seen and lost as field/value lists, incidents and
--          events, both newest first}.
local function position(key)
  local info = read_info(key)
  if not info then return '0-0', 0 end
  return info['last-generated-id'], info['entries-added'] or 0
end

local function read_recent(key, count, max_bytes)
  local recent, size = {}, 0
  for n, row in ipairs(redis.call('XREVRANGE', key, '+', '-', 'COUNT', count)) do
    for _, text in ipairs(row[2]) do size = size + #text end
    if size > tonumber(max_bytes) then break end
    recent[n] = row
  end
  return recent
end

local feed_id, added = position(KEYS[1])
local heartbeats_id = position(KEYS[9])
return {
  feed_id, heartbeats_id, added, (read_clock(KEYS[2])),
  redis.call('HGETALL', KEYS[4]), redis.call('HGETALL', KEYS[5]), redis.call('HGETALL', KEYS[6]),
  redis.call('XREVRANGE', KEYS[10], '+', '-', 'COUNT', ARGV[1]),
  read_recent(KEYS[1], ARGV[2], ARGV[3]),
}
