-- Shared by claim_command.lua and receipt.lua: append a receipt, each step once.
-- Requires: audit
--   record   hash of the command; open: zset of open commands; audit: stream
--   instance, step; json: the receipt, a JSON object without a time
--   final    '1' for a final step; guessed: '1' from a server, for an instance that fell silent
-- Returns the feed id; nil when the step was reported before, or the instance has reported its
-- final step.
local function append_receipt(record, open, audit, command_id, instance, step, json, final, guessed)
  local last = redis.call('HGET', record, 'last:' .. instance)
  -- An instance that comes back overrules a guess. No other final step is overruled.
  if last and (guessed == '1' or not string.find(last, '^guessed')) then return nil end
  local stamped =
    string.format('%s,"timestamp":%.0f}', string.sub(json, 1, -2), (read_clock(KEYS[2])))
  local field = 'receipt:' .. step .. ':' .. instance
  local known = redis.call('EXISTS', record) == 1
  if known and redis.call('HSETNX', record, field, '') == 0 and not last then return nil end
  local id = append_event('receipt', stamped)
  append_audit(audit, 'receipt', stamped)
  if not known then return id end -- The record has expired.
  redis.call('HSET', record, field, id .. ' ' .. stamped)
  if final == '1' then
    redis.call('HSET', record, 'last:' .. instance, guessed == '1' and 'guessed' or step)
    if not last and redis.call('HINCRBY', record, 'left', -1) <= 0 then
      redis.call('ZREM', open, command_id)
    end
  end
  return id
end
