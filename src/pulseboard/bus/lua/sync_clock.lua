-- Read the board's clock and keep it from going back. A server calls this at its start and every
-- two seconds.
-- Requires: clock
-- KEYS  1 feed (stream), 2 clock (hash), 3 heartbeats (stream)
-- Returns ms by the board's clock.
local own_ms, known = read_own_clock(), redis.call('HMGET', KEYS[2], 'at', 'ahead')
local last_ms = math.max((last_id(KEYS[1])), (last_id(KEYS[3])))
if own_ms >= last_ms - TOLERANCE_MS then
  redis.call('HDEL', KEYS[2], 'at', 'ahead')
  return math.max(own_ms, last_ms)
end
-- The board's clock approaches Redis' own at one second in fifty, as NTP would. Heartbeat intervals
-- do not notice that.
local at = tonumber(known[1] or own_ms)
local passed_ms = passed_since(at, own_ms) * 49 / 50
local now_ms = math.max(last_ms, math.floor(at + tonumber(known[2] or 0) + passed_ms + 0.5))
redis.call('HSET', KEYS[2],
  'at', string.format('%.0f', own_ms), 'ahead', string.format('%.0f', now_ms - own_ms))
return now_ms
