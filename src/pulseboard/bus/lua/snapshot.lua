-- Read the board and the positions it is true at, in one step, so that nothing falls between it and the feed.
-- KEYS  1 feed (stream), 2 beats (stream), 3 board (hash)
-- Returns {last id of the feed, last id of the beats, ms by Redis' clock, board as field/value list, beats entries}.
local function last_id(key)
  if redis.call('EXISTS', key) == 0 then return '0-0' end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return {last_id(KEYS[1]), last_id(KEYS[2]), now_ms, redis.call('HGETALL', KEYS[3]), redis.call('XRANGE', KEYS[2], '-', '+')}
