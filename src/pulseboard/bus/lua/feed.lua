-- Shared by the scripts that append to the feed.
-- Requires: clock
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string)
-- ARGV  1 default limits, for a Redis without limits from a server: JSON as in
--       docs/reference/redis.md, {"<kind>": [count, bytes, age_s]}
local limits = cjson.decode(ARGV[1])
do
  -- pcall, because a wrong value in that key must not keep events from the feed. Limits that an
  -- older server wrote do not have every kind.
  local read, set = pcall(cjson.decode, redis.call('GET', KEYS[3]) or '{}')
  for kind, limit in pairs(read and type(set) == 'table' and set or {}) do limits[kind] = limit end
end

-- append.<kind>: the function that stores an external event of a kind. Each file append_<kind>.lua
-- adds its own; a kind without one has no storage besides the feed and its history.
local append = {}

-- XADD bounds a stream in count. This bounds it in age, and in bytes at every 32nd entry, or at
-- once with `at_once`, for an event that is large for its stream: 32 of those would far exceed the
-- limit.
local CHECK_BYTES_EVERY, LARGE = 32, 512
local function trim(stream, limit, at_once)
  local oldest_ms = math.max(0, read_clock(KEYS[2]) - limit[3] * 1000)
  redis.call('XTRIM', stream, 'MINID', '~', string.format('%.0f', oldest_ms))
  local length = redis.call('XLEN', stream)
  if length % CHECK_BYTES_EVERY ~= 0 and not at_once then return end
  local size = redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', 0)
  if size and size > limit[2] then
    -- A tenth more than necessary, or the next event would exceed the limit again.
    redis.call('XTRIM', stream, 'MAXLEN', math.floor(length * limit[2] / size * 0.9))
  end
end

-- Appends one event to the feed, and under the same id to a history unless that is nil.
-- Returns the id.
local function append_event(kind, json, history)
  local id = next_id(KEYS[1], KEYS[2])
  id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', limits.feed[1], id, 'kind', kind, 'data', json)
  trim(KEYS[1], limits.feed, #json * LARGE > limits.feed[2])
  if history then
    -- The limits in Redis may be older than the kind.
    local limit = limits[kind] or cjson.decode(ARGV[1])[kind]
    -- pcall, because a history that rejects this id must not keep the event from the feed, nor stop
    -- a batch in the middle. It does so when the feed was evicted and Redis' clock was set back, so
    -- that the history is ahead, or when another program uses the key.
    local added = redis.pcall('XADD', history, 'MAXLEN', '~', limit[1], id, 'data', json)
    if type(added) == 'string' then
      trim(history, limit, #json * LARGE > limit[2])
      redis.call('EXPIRE', history, limit[3])
    end
  end
  return id
end

-- Returns an event's JSON with its feed id as the last member.
local function stamp(json, id)
  return string.sub(json, 1, -2) .. ',"id":"' .. id .. '"}'
end
