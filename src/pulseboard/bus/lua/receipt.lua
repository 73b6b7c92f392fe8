-- Publish a receipt: one step of a command at one instance.
-- Requires: append_receipt
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 record (hash), 5 open commands
--       (zset), 6 audit (stream)
-- ARGV  1 limits (JSON), 2 command id, 3 instance, 4 step, 5 the receipt (JSON object without a
--       time), 6 '1' for a final step, 7 '' or, from a server in place of the instance, the
--       condition: 'claimed' or 'unclaimed'
-- Returns the feed id; nothing when the condition does not hold or the step was reported before.
if ARGV[7] ~= '' then
  local claimed = redis.call('HEXISTS', KEYS[4], 'claim:' .. ARGV[3]) == 1
  if claimed ~= (ARGV[7] == 'claimed') then return false end
end
local guessed = ARGV[7] == '' and '0' or '1'
return append_receipt(KEYS[4], KEYS[5], KEYS[6], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6],
  guessed) or false
