-- Shared head of send_command.lua and ingest.lua: put one command on its way to services, and note that it is open.
--   record   hash of this command; commands: stream that services read; open: zset of commands, by when they were put
--   audit    stream of who did what
--   json     the command, a JSON object; command_id, service: its members of that name; signature: of its bytes, or ''
--   count    to how many instances it goes (integer); expires_ms: until when it may be begun
-- Returns the feed id.
-- What is on its way is wanted by who listens now: one that comes later has nothing to catch up with.
local ON_THE_WAY = {1000, 4000000, 86400}
-- Of more than so many a day the records go sooner, or somebody's loop would fill Redis with them.
local KEPT_S, KEPT_OF_MANY_S = 7 * 86400, 600
local function keep_for(commands, wanted_s)
  -- By bytes as well: large ones are trimmed from the stream long before they are so many.
  local many = redis.call('XLEN', commands) >= ON_THE_WAY[1]
    or (redis.call('MEMORY', 'USAGE', commands, 'SAMPLES', 0) or 0) > ON_THE_WAY[2] / 2
  return many and math.min(wanted_s, KEPT_OF_MANY_S) or wanted_s
end

local function append_command(record, commands, open, audit, json, command_id, service, signature, count, expires_ms)
  local id = put('command', json)
  note_deed(audit, 'command', json)
  -- What goes to nobody was refused: no service reads it, and there will be no receipt.
  if tonumber(count) == 0 then return id end
  local place = redis.call('XADD', commands, 'MAXLEN', '~', ON_THE_WAY[1], next_id(commands, KEYS[2]),
    'service', service, 'data', json, 'signature', signature)
  tidy(commands, ON_THE_WAY)
  redis.call('HSET', record, 'data', json, 'cursor', id, 'place', place, 'left', count)
  -- Whoever claims it needs the record, so it stays until the command's time is over.
  local left_s = math.ceil((tonumber(expires_ms) - read_clock(KEYS[2])) / 1000)
  redis.call('EXPIRE', record, math.max(0, left_s) + keep_for(commands, KEPT_S))
  redis.call('ZADD', open, string.format('%.0f', (read_clock(KEYS[2]))), command_id)
  return id
end
