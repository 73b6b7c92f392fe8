-- Read the board and the positions it is true at, in one step, so that nothing falls between it and the feed.
-- KEYS  1 feed (stream), 2 beats (stream), 3 board, 4 seen, 5 lost (hashes), 6 incidents (stream)
-- ARGV  1 how many incidents (integer)
-- Returns {last id of the feed, last id of the beats, how many entries were ever added to the feed, ms by Redis' clock,
--          board, seen and lost as field/value lists, incidents, the latest first}.
local function position(key)
  if redis.call('EXISTS', key) == 0 then return '0-0', 0 end
  local info, flat = {}, redis.call('XINFO', 'STREAM', key)
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  return info['last-generated-id'], info['entries-added'] or 0
end
local feed_id, added = position(KEYS[1])
local beats_id = position(KEYS[2])
return {
  feed_id, beats_id, added, read_clock(), redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4]),
  redis.call('HGETALL', KEYS[5]), redis.call('XREVRANGE', KEYS[6], '+', '-', 'COUNT', ARGV[1]),
}
