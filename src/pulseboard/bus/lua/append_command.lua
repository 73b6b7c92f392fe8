-- Shared by send_command.lua and ingest.lua: send one command to services, and record it as open.
-- Requires: audit
--   record      hash of this command; commands: stream that services read
--   open        zset of open commands by the time at which they were sent; audit: stream
--   json        the command, a JSON object; command_id, service: its members of that name
--   signature   signature of the bytes of json, or ''
--   count       number of target instances (integer)
--   expires_ms  time (ms) until which an instance may start the command
-- Returns the feed id.
-- Limits of the commands stream: count, bytes, age in s. A command goes only to instances that
-- listen when it is sent, so an instance that starts later needs no old commands.
local COMMANDS_LIMIT = {1000, 4000000, 86400}
-- Seconds that Redis keeps a record after its command expires. KEPT_OF_MANY_S holds while the
-- commands stream is at its limit of count or above half its limit of bytes. Otherwise a program
-- that sends commands in a loop would fill Redis with records.
local KEPT_S, KEPT_OF_MANY_S = 7 * 86400, 600
local function keep_for(commands, wanted_s)
  -- The size counts too: XTRIM removes large commands long before their count reaches its limit.
  local many = redis.call('XLEN', commands) >= COMMANDS_LIMIT[1]
    or (redis.call('MEMORY', 'USAGE', commands, 'SAMPLES', 0) or 0) > COMMANDS_LIMIT[2] / 2
  return many and math.min(wanted_s, KEPT_OF_MANY_S) or wanted_s
end

local function append_command(
  record, commands, open, audit, json, command_id, service, signature, count, expires_ms
)
  local id = append_event('command', json)
  append_audit(audit, 'command', json)
  -- A command without a target was refused: no service reads it, and there will be no receipt.
  if tonumber(count) == 0 then return id end
  local place = redis.call('XADD', commands, 'MAXLEN', '~', COMMANDS_LIMIT[1],
    next_id(commands, KEYS[2]), 'service', service, 'data', json, 'signature', signature)
  trim(commands, COMMANDS_LIMIT)
  redis.call('HSET', record, 'data', json, 'cursor', id, 'place', place, 'left', count)
  -- An instance needs the record to claim the command, so it stays until the command expires.
  local left_s = math.ceil((tonumber(expires_ms) - read_clock(KEYS[2])) / 1000)
  redis.call('EXPIRE', record, math.max(0, left_s) + keep_for(commands, KEPT_S))
  redis.call('ZADD', open, string.format('%.0f', (read_clock(KEYS[2]))), command_id)
  return id
end
