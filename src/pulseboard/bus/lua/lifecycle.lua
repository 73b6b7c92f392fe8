-- Shared by the scripts that change the board.
-- Requires: feed
-- KEYS  4 board, 5 seen, 6 lost, 7 latest metrics, 8 services (hashes)
local BOARD, SEEN, LOST, LATEST, SERVICES = KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]

-- Appends a lifecycle event to the feed.
--   field    "<service>/<instance>"; the name of a service has no slash
--   event    'lost' or 'gone'
--   members  the other members of the event, as JSON text that begins with a comma, or ''
local function append_lifecycle(field, event, members)
  local service, instance = string.match(field, '^([^/]*)/(.*)$')
  local json = string.format('{"service":%s,"instance":%s,"timestamp":%.0f,"event":"%s"%s}',
    cjson.encode(service), cjson.encode(instance), (read_clock(KEYS[2])), event, members)
  append_event('lifecycle', json)
end

-- Removes an instance from the board and appends the event `gone` with these members. Returns false
-- if the instance was not on the board.
local function remove_instance(field, members)
  redis.call('HDEL', SEEN, field)
  redis.call('HDEL', LOST, field)
  redis.call('HDEL', LATEST, field)
  if redis.call('HDEL', BOARD, field) == 0 then return false end
  append_lifecycle(field, 'gone', members)
  return true
end

-- Removes one stopped instance from the board, because a new instance of its service has come.
--   planned  list of the service's instances that plan to return, the longest absent first
--   field    "<service>/<instance>" of the new instance
local function replace_absent(planned, field)
  local members = ',"replaced_by":' .. cjson.encode((string.gsub(field, '^[^/]*/', '')))
  while true do
    local absent = redis.call('LPOP', planned)
    if not absent or remove_instance(absent, members) then return end
  end
end
