-- Shared head of publish.lua and adopt.lua: put one event where readers find it.
--   keys    {feed = stream, clock, board, seen, lost = hashes, history = stream, planned = list}
--   limits  {feed_max, feed_max_age_ms, history_max, board_max = counts; history_ttl_s}
--   field   "<service>/<instance>" in the board
--   json    the event, a JSON object without an id
--   back_in_s  '' or, with a planned goodbye, for how long it means to be away
-- Returns the feed id, and the JSON with that id as its last member (what PUBLISH and the board carry).
local function append(keys, limits, field, json, back_in_s)
  local id = next_id(keys.feed, keys.clock)
  id = redis.call('XADD', keys.feed, 'MAXLEN', '~', limits.feed_max, id, 'kind', 'status', 'data', json)
  -- pcall: a history that cannot take this id (the feed was evicted and Redis' clock set back, so that the history is
  -- ahead; or the key is not ours) must not keep its service off the board, nor break a batch in the middle.
  redis.pcall('XADD', keys.history, 'MAXLEN', '~', limits.history_max, id, 'data', json)
  redis.call('EXPIRE', keys.history, limits.history_ttl_s)
  local stamped = string.sub(json, 1, -2) .. ',"id":"' .. id .. '"}'
  local known = redis.call('HEXISTS', keys.board, field) == 1
  if back_in_s ~= '' then
    redis.call('LREM', keys.planned, 0, field)
    redis.call('RPUSH', keys.planned, field)
    redis.call('EXPIRE', keys.planned, limits.history_ttl_s)
  elseif redis.call('EXISTS', keys.planned) == 1 then
    redis.call('LREM', keys.planned, 0, field) -- it came back itself
    if not known then take_place(keys, limits, field) end
  end
  -- A flood of new names must not grow the board without end; who is on it already stays current.
  if known or redis.call('HLEN', keys.board) < tonumber(limits.board_max) then
    redis.call('HSET', keys.board, field, stamped)
  end
  return id, stamped
end

-- Drop what is older than the feed's age limit. Returns ms by the board's clock.
local function expire_feed(feed, clock, max_age_ms)
  local now_ms = read_clock(clock)
  redis.call('XTRIM', feed, 'MINID', '~', string.format('%.0f', math.max(0, now_ms - tonumber(max_age_ms))))
  return now_ms
end

local limits = {
  feed_max = ARGV[1], history_max = ARGV[3], history_ttl_s = ARGV[4], board_max = ARGV[5],
}
