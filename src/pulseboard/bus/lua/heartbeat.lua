-- Record a heartbeat of one instance.
-- Requires: clock
-- KEYS  1 heartbeats (stream), 2 clock, 3 board, 4 seen, 5 lost (hashes)
-- ARGV  1 most heartbeats in the stream (integer), 2 service, 3 instance, 4 lag_ms: how long its
--       event loop has not answered (integer; 0: it answers), 5 feed id of its last event that
--       Redis confirmed (string; '': none)
-- Returns 1 when the board has the instance and that event, 0 when its status must be sent again:
-- Redis lost its data; a failover lost writes that the old master had not replicated; another
-- process of the same name stopped gracefully; or the instance was declared lost and is back, which
-- heartbeats alone do not record in the history.
local field, confirmed = ARGV[2] .. '/' .. ARGV[3], ARGV[5] or ''

local function is_older(id, than)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  local than_ms, than_seq = string.match(than, '^(%d+)-(%d+)$')
  ms, than_ms = tonumber(ms), tonumber(than_ms)
  return ms < than_ms or (ms == than_ms and tonumber(seq) < tonumber(than_seq))
end

local entry = {'service', ARGV[2], 'instance', ARGV[3]}
if ARGV[4] ~= '0' then entry[5], entry[6] = 'lag', ARGV[4] end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], next_id(KEYS[1], KEYS[2]),
  unpack(entry))
local stamped = redis.call('HGET', KEYS[3], field)
if not stamped then return 0 end
local seen, lost = redis.call('HGET', KEYS[4], field), redis.call('HGET', KEYS[5], field)
redis.call('HSET', KEYS[4], field, string.match(id, '^%d+'))
-- The status stands before these members, and a quote in an instance's name is escaped, so this
-- matches only the graceful stop of the event itself.
if string.match(stamped, ',"stopped":true,"id":"[%d-]+"}$')
  or string.match(stamped, ',"stopped":true,"back_in_s":[%d.e+-]+,"id":"[%d-]+"}$')
then
  return 0
end
local known = string.match(stamped, '"id":"(%d+-%d+)"}$')
if lost and known then
  local latest = math.max(tonumber(seen or 0), tonumber(string.match(known, '^%d+')))
  if latest <= tonumber(lost) then return 0 end
end
return (confirmed ~= '' and known and is_older(known, confirmed)) and 0 or 1
