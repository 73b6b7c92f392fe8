-- Read the board and the positions it is true at, in one step, so that nothing falls between it and the feed.
-- KEYS  1 feed (stream), 2 beats (stream), 3 board (hash)
-- Returns {last id of the feed, last id of the beats, ms by Redis' clock, board as field/value list, beats entries,
--          how many entries were ever added to the feed}.
local function position(key)
  if redis.call('EXISTS', key) == 0 then return '0-0', 0 end
  local info, flat = {}, redis.call('XINFO', 'STREAM', key)
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  return info['last-generated-id'], info['entries-added'] or 0
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local feed_id, added = position(KEYS[1])
local beats_id = position(KEYS[2])
return {feed_id, beats_id, now_ms, redis.call('HGETALL', KEYS[3]), redis.call('XRANGE', KEYS[2], '-', '+'), added}
