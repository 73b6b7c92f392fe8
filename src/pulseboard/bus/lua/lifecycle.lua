-- Shared head of the scripts that say what became of an instance. KEYS 4 board, 5 seen, 6 lost, 7 latest metrics,
-- 8 services (hashes).
local BOARD, SEEN, LOST, LATEST, SERVICES = KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]

-- Put a lifecycle event into the feed.
--   field   "<service>/<instance>"; a service's name has no slash
--   more    further members, as JSON text that begins with a comma, or ''
local function tell(field, event, more)
  local service, instance = string.match(field, '^([^/]*)/(.*)$')
  local json = string.format('{"service":%s,"instance":%s,"timestamp":%.0f,"event":"%s"%s}',
    cjson.encode(service), cjson.encode(instance), (read_clock(KEYS[2])), event, more)
  put('lifecycle', json)
end

-- Take an instance off the board; say so in the feed. Returns whether it was on it.
local function take_off(field, more)
  redis.call('HDEL', SEEN, field)
  redis.call('HDEL', LOST, field)
  redis.call('HDEL', LATEST, field)
  if redis.call('HDEL', BOARD, field) == 0 then return false end
  tell(field, 'gone', more)
  return true
end

-- A new instance came after a planned goodbye of its service: it takes the place of the one that has been away longest.
local function take_place(planned, field)
  local more = ',"replaced_by":' .. cjson.encode((string.gsub(field, '^[^/]*/', '')))
  while true do
    local away = redis.call('LPOP', planned)
    if not away or take_off(away, more) then return end
  end
end
