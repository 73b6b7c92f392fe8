-- Shared by publish.lua and ingest.lua: append one status event.
-- Requires: lifecycle
--   history    stream of the service's status events
--   planned    list of the service's instances that plan to return
--   field      "<service>/<instance>" in the board
--   json       the event, a JSON object without an id
--   back_in_s  '' or, with a planned return, the duration of the absence
-- Returns the feed id, and the JSON with that id as its last member (for PUBLISH and the board).
function append.status(history, planned, field, json, back_in_s)
  local id = append_event('status', json, history)
  local stamped = stamp(json, id)
  local known = redis.call('HEXISTS', BOARD, field) == 1
  if back_in_s ~= '' then
    redis.call('LREM', planned, 0, field)
    redis.call('RPUSH', planned, field)
    redis.call('EXPIRE', planned, limits.status[3])
  elseif redis.call('EXISTS', planned) == 1 then
    redis.call('LREM', planned, 0, field) -- This instance itself returned.
    if not known then replace_absent(planned, field) end
  end
  -- A flood of new names must not grow the board without end. Instances on the board stay current.
  if known or redis.call('HLEN', BOARD) < limits.board then
    redis.call('HSET', BOARD, field, stamped)
    -- The history of a service can then be found after its last instance has left the board.
    if not known and redis.call('HLEN', SERVICES) < 2 * limits.board then
      redis.call('HSET', SERVICES, string.match(field, '^[^/]*'), string.match(id, '^%d+'))
    end
  end
  return id, stamped
end
