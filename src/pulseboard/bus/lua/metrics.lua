-- Shared head of metric.lua and ingest.lua: put some metrics of one instance where readers find them.
--   history  stream of its service; latest: hash of the last event of each instance, by "<service>/<instance>"
--   field    "<service>/<instance>"
--   json     the event, a JSON object without an id
-- Returns the feed id, and the JSON with that id as its last member (what PUBLISH and `latest` carry).
local LOOKED_AT = 8 -- as many at random: among them is one of the oldest eighth, nearly always

-- A flood of new names must not fill the hash for good: most publishers of plain metrics stand on no board, whose instances
-- are taken off one day. So when it is full, one of those goes that have said nothing for long.
local function make_room_among(latest)
  local oldest, oldest_ms
  for _, field in ipairs(redis.call('HRANDFIELD', latest, LOOKED_AT)) do
    local ms = tonumber(string.match(redis.call('HGET', latest, field), '"id":"(%d+)%-%d+"}$') or 0)
    if not oldest_ms or ms < oldest_ms then oldest, oldest_ms = field, ms end
  end
  redis.call('HDEL', latest, oldest)
end

local function append_metric(history, latest, field, json)
  local id = put('metric', json, history)
  local stamped = string.sub(json, 1, -2) .. ',"id":"' .. id .. '"}'
  if redis.call('HEXISTS', latest, field) == 0 and redis.call('HLEN', latest) >= limits.board then
    make_room_among(latest)
  end
  redis.call('HSET', latest, field, stamped)
  return id, stamped
end
