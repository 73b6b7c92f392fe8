-- Shared head of publish.lua and ingest.lua: put one status event where readers find it.
--   history  stream of its service; planned: list of the instances of its service that mean to come back
--   field    "<service>/<instance>" in the board
--   json     the event, a JSON object without an id
--   back_in_s  '' or, with a planned goodbye, for how long it means to be away
-- Returns the feed id, and the JSON with that id as its last member (what PUBLISH and the board carry).
local function append(history, planned, field, json, back_in_s)
  local id = put('status', json, history)
  local stamped = string.sub(json, 1, -2) .. ',"id":"' .. id .. '"}'
  local known = redis.call('HEXISTS', BOARD, field) == 1
  if back_in_s ~= '' then
    redis.call('LREM', planned, 0, field)
    redis.call('RPUSH', planned, field)
    redis.call('EXPIRE', planned, limits.status[3])
  elseif redis.call('EXISTS', planned) == 1 then
    redis.call('LREM', planned, 0, field) -- it came back itself
    if not known then take_place(planned, field) end
  end
  -- A flood of new names must not grow the board without end; who is on it already stays current.
  if known or redis.call('HLEN', BOARD) < limits.board then
    redis.call('HSET', BOARD, field, stamped)
    -- So that its history is found when nothing of it is on the board any more.
    if not known and redis.call('HLEN', SERVICES) < 2 * limits.board then
      redis.call('HSET', SERVICES, string.match(field, '^[^/]*'), string.match(id, '^%d+'))
    end
  end
  return id, stamped
end
