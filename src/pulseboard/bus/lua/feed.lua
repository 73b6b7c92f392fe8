-- Shared head of the scripts that put events into the feed. KEYS 1 feed (stream), 2 clock (hash), 3 limits (string), and ARGV 1
-- the limits to go by where no server has set any: JSON, as docs/reference/redis.md has it, {"<kind>": [count, bytes, age_s]}.
local limits = cjson.decode(ARGV[1])
do
  -- pcall: what somebody wrote there by hand must not keep events from the feed; and an older server did not know of each kind.
  local read, set = pcall(cjson.decode, redis.call('GET', KEYS[3]) or '{}')
  for kind, limit in pairs(read and type(set) == 'table' and set or {}) do limits[kind] = limit end
end

-- Streams are bounded in count by XADD; this bounds them in age, and every now and then (or now, if `at_once`) in bytes.
-- An event that is large for its stream is weighed at once: 32 such would be far more than the limit.
local WEIGH_EVERY, LARGE = 32, 512
local function tidy(stream, limit, at_once)
  redis.call('XTRIM', stream, 'MINID', '~', string.format('%.0f', math.max(0, read_clock(KEYS[2]) - limit[3] * 1000)))
  local length = redis.call('XLEN', stream)
  if length % WEIGH_EVERY ~= 0 and not at_once then return end
  local size = redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', 0)
  if size and size > limit[2] then
    -- A little more than need be, or the next event would be one too many again.
    redis.call('XTRIM', stream, 'MAXLEN', math.floor(length * limit[2] / size * 0.9))
  end
end

-- Put one event into the feed, and under the same id into a history unless that is nil. Returns the id.
local function put(kind, json, history)
  local id = next_id(KEYS[1], KEYS[2])
  id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', limits.feed[1], id, 'kind', kind, 'data', json)
  tidy(KEYS[1], limits.feed, #json * LARGE > limits.feed[2])
  if history then
    local limit = limits[kind] or cjson.decode(ARGV[1])[kind] -- they may be older than the kind
    -- pcall: a history that cannot take this id (the feed was evicted and Redis' clock set back, so that the history is
    -- ahead; or the key is not ours) must not keep an event from the feed, nor break a batch in the middle.
    if type(redis.pcall('XADD', history, 'MAXLEN', '~', limit[1], id, 'data', json)) == 'string' then
      tidy(history, limit, #json * LARGE > limit[2])
      redis.call('EXPIRE', history, limit[3])
    end
  end
  return id
end
