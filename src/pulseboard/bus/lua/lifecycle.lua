-- Shared head of the scripts that say what became of an instance.
local function read_clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Put a lifecycle event into the feed.
--   field   "<service>/<instance>"; a service's name has no slash
--   more    further members, as JSON text that begins with a comma, or ''
local function tell(feed, feed_max, field, event, now_ms, more)
  local service, instance = string.match(field, '^([^/]*)/(.*)$')
  local json = string.format('{"service":%s,"instance":%s,"timestamp":%.0f,"event":"%s"%s}',
    cjson.encode(service), cjson.encode(instance), now_ms, event, more)
  redis.call('XADD', feed, 'MAXLEN', '~', feed_max, '*', 'kind', 'lifecycle', 'data', json)
end

-- Take an instance off the board; say so in the feed. Returns whether it was on it.
local function take_off(keys, feed_max, field, more)
  redis.call('HDEL', keys.seen, field)
  redis.call('HDEL', keys.lost, field)
  if redis.call('HDEL', keys.board, field) == 0 then return false end
  tell(keys.feed, feed_max, field, 'gone', read_clock(), more)
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
