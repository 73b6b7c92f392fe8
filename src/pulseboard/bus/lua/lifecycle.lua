-- Shared head of the scripts that say what became of an instance.
-- Put a lifecycle event into the feed.
--   keys    {feed = stream, clock = hash}
--   field   "<service>/<instance>"; a service's name has no slash
--   more    further members, as JSON text that begins with a comma, or ''
local function tell(keys, feed_max, field, event, more)
  local service, instance = string.match(field, '^([^/]*)/(.*)$')
  local json = string.format('{"service":%s,"instance":%s,"timestamp":%.0f,"event":"%s"%s}',
    cjson.encode(service), cjson.encode(instance), (read_clock(keys.clock)), event, more)
  local id = next_id(keys.feed, keys.clock)
  redis.call('XADD', keys.feed, 'MAXLEN', '~', feed_max, id, 'kind', 'lifecycle', 'data', json)
end

-- Take an instance off the board; say so in the feed. Returns whether it was on it.
local function take_off(keys, feed_max, field, more)
  redis.call('HDEL', keys.seen, field)
  redis.call('HDEL', keys.lost, field)
  if redis.call('HDEL', keys.board, field) == 0 then return false end
  tell(keys, feed_max, field, 'gone', more)
  return true
end

-- A new instance came after a planned goodbye of its service: it takes the place of the one that has been away longest.
local function take_place(keys, limits, field)
  local more = ',"replaced_by":' .. cjson.encode((string.gsub(field, '^[^/]*/', '')))
  while true do
    local away = redis.call('LPOP', keys.planned)
    if not away or take_off(keys, limits.feed_max, away, more) then return end
  end
end
