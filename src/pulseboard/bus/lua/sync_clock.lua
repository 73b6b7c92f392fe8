-- Look at the clock: a server asks at its start and every two seconds, and so keeps the board's clock from going back.
-- KEYS  1 feed (stream), 2 clock (hash), 3 beats (stream)
-- Returns ms by the board's clock.
local own_ms, known = read_own_clock(), redis.call('HMGET', KEYS[2], 'at', 'ahead')
local last_ms = math.max((last_id(KEYS[1])), (last_id(KEYS[3])))
if own_ms >= last_ms - TOLERANCE_MS then
  redis.call('HDEL', KEYS[2], 'at', 'ahead')
  return math.max(own_ms, last_ms)
end
-- Away from Redis' own clock only as long as need be: a second in fifty is given back, as NTP would, which no rhythm feels.
local at = tonumber(known[1] or own_ms)
local now_ms = math.max(last_ms, math.floor(at + tonumber(known[2] or 0) + passed_since(at, own_ms) * 49 / 50 + 0.5))
redis.call('HSET', KEYS[2], 'at', string.format('%.0f', own_ms), 'ahead', string.format('%.0f', now_ms - own_ms))
return now_ms
