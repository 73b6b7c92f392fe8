-- Shared by metric.lua and ingest.lua: append metrics of one instance.
-- Requires: feed
--   history  stream of the service's metrics
--   latest   hash of the latest event of each instance, by "<service>/<instance>"
--   field    "<service>/<instance>"
--   json     the event, a JSON object without an id
-- Returns the feed id, and the JSON with that id as its last member (for PUBLISH and `latest`).

-- Number of random fields from which the oldest is removed. Nearly always one of 8 is among the
-- oldest eighth of the hash.
local CANDIDATES = 8

-- A flood of new names must not fill the hash for ever: most external publishers of metrics are on
-- no board, so no eviction removes them. A full hash loses a field that was not updated for long.
local function remove_old(latest)
  local oldest, oldest_ms
  for _, field in ipairs(redis.call('HRANDFIELD', latest, CANDIDATES)) do
    local ms = tonumber(string.match(redis.call('HGET', latest, field), '"id":"(%d+)%-%d+"}$') or 0)
    if not oldest_ms or ms < oldest_ms then oldest, oldest_ms = field, ms end
  end
  redis.call('HDEL', latest, oldest)
end

function append.metric(history, latest, field, json)
  local id = append_event('metric', json, history)
  local stamped = stamp(json, id)
  if redis.call('HEXISTS', latest, field) == 0 and redis.call('HLEN', latest) >= limits.board then
    remove_old(latest)
  end
  redis.call('HSET', latest, field, stamped)
  return id, stamped
end
