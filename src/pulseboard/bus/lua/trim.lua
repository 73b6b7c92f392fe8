-- Trim streams to the current limits. Each append also trims its stream, but a quiet stream may get
-- no entry for days.
-- Requires: feed
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), then streams
-- ARGV  1 limits (JSON), then for each stream the name of its limit
-- Returns nothing.
local now_s = read_clock(KEYS[2]) / 1000
for n = 4, #KEYS do
  local stream, kind = KEYS[n], ARGV[n - 2]
  local limit = limits[kind]
  if redis.call('TYPE', stream).ok == 'stream' then
    redis.call('XTRIM', stream, 'MAXLEN', '~', limit[1], 'LIMIT', 0)
    trim(stream, limit, true)
    -- These three streams never expire. A history expires when its last event has reached the limit
    -- of age.
    if kind ~= 'feed' and kind ~= 'audit' and kind ~= 'incident' then
      redis.call('EXPIRE', stream, math.ceil(last_id(stream) / 1000 + limit[3] - now_s))
    end
  end
end
