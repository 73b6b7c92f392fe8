-- Return the time by the board's clock, and record how far that clock is ahead of Redis' own clock,
-- so that the board's clock never goes back. A server calls this at its start and every 2 s.
-- Requires: clock
-- KEYS  1 feed (stream), 2 clock (hash), 3 heartbeats (stream)
-- Returns the time in ms.
local own_ms, known = read_own_clock(), redis.call('HMGET', KEYS[2], 'at', 'ahead')
local last_ms = math.max((last_id(KEYS[1])), (last_id(KEYS[3])))
if own_ms >= last_ms - TOLERANCE_MS then
  redis.call('HDEL', KEYS[2], 'at', 'ahead')
  return math.max(own_ms, last_ms)
end
-- While the board's clock is ahead, it runs 2 % slower, until Redis' own clock has caught up. An
-- instance is late after 1.5 heartbeat intervals, so a difference of 2 % changes no state.
local at = tonumber(known[1] or own_ms)
local passed_ms = passed_since(at, own_ms) * 49 / 50
local now_ms = math.max(last_ms, math.floor(at + tonumber(known[2] or 0) + passed_ms + 0.5))
redis.call('HSET', KEYS[2],
  'at', string.format('%.0f', own_ms), 'ahead', string.format('%.0f', now_ms - own_ms))
return now_ms
