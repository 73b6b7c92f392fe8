-- Declare instances lost, each loss once even when several servers ask. Keep their last words, and
-- append a lifecycle event.
-- Requires: lifecycle
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 board, 5 seen, 6 lost,
--       7 latest metrics, 8 services (hashes), 9 incidents (stream)
-- ARGV  1 limits (JSON), then per instance: field ("<service>/<instance>"), feed id of its last
--       known event, ms of its last sign of life, the incident (a JSON object without id and
--       declaration time), its last log lines (JSON array)
-- Returns the number of instances that were declared lost.
local incidents, declared = KEYS[9], 0
for i = 2, #ARGV, 5 do
  local field, tail, seen_ms = ARGV[i], '"id":"' .. ARGV[i + 1] .. '"}', ARGV[i + 2]
  local stamped = redis.call('HGET', BOARD, field)
  local current = stamped and string.sub(stamped, -#tail) == tail
    -- The server may be behind: an instance with a newer sign of life than ARGV says is not lost.
    and tonumber(redis.call('HGET', SEEN, field) or 0) <= tonumber(seen_ms)
  if current and redis.call('HGET', LOST, field) ~= seen_ms then
    redis.call('HSET', LOST, field, seen_ms)
    local incident = string.format('%s,"declared":%.0f', string.sub(ARGV[i + 3], 1, -2),
      (read_clock(KEYS[2])))
    local id = redis.call('XADD', incidents, 'MAXLEN', '~', limits.incident[1], '*',
      'data', incident .. '}', 'event', stamped, 'lines', ARGV[i + 4],
      'metrics', redis.call('HGET', LATEST, field) or '')
    trim(incidents, limits.incident)
    append_lifecycle(field, 'lost', ',"incident":' .. incident .. ',"id":"' .. id .. '"}')
    declared = declared + 1
  end
end
return declared
