-- Shared head of claim_command.lua and receipt.lua: tell what became of a command at one instance, each step once.
--   record   hash of the command; open: zset of commands; audit: stream
--   instance, step; json: the receipt, a JSON object without a time
--   final    '1' when nothing follows it; guessed: '1' when a server says it for an instance that has gone silent
-- Returns the feed id; nil when it was told before, or the instance itself has had the last word.
local function tell_receipt(record, open, audit, command_id, instance, step, json, final, guessed)
  local last = redis.call('HGET', record, 'last:' .. instance)
  -- A guess is overruled by the instance, should it come back; nothing else that was last is.
  if last and (guessed == '1' or not string.find(last, '^guessed')) then return nil end
  local stamped = string.format('%s,"timestamp":%.0f}', string.sub(json, 1, -2), (read_clock(KEYS[2])))
  local known = redis.call('EXISTS', record) == 1
  if known and redis.call('HSETNX', record, 'receipt:' .. step .. ':' .. instance, '') == 0 and not last then return nil end
  local id = put('receipt', stamped)
  note_deed(audit, 'receipt', stamped)
  if not known then return id end -- it is older than what is kept
  redis.call('HSET', record, 'receipt:' .. step .. ':' .. instance, id .. ' ' .. stamped)
  if final == '1' then
    redis.call('HSET', record, 'last:' .. instance, guessed == '1' and 'guessed' or step)
    if not last and redis.call('HINCRBY', record, 'left', -1) <= 0 then redis.call('ZREM', open, command_id) end
  end
  return id
end
