-- Publish a receipt: one step of a command at one instance.
-- Requires: append_receipt
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 record (hash), 5 open commands
--       (zset), 6 audit (stream)
-- ARGV  1 limits (JSON), 2 command id, 3 instance, 4 step, 5 the receipt (JSON object without a
--       time), 6 '1' for a final step, 7 '' if the instance reports the step. If a server reports
--       it in place of the instance: 'claimed' or 'unclaimed', as the command must be.
-- Returns the feed id. Returns nothing when the command is not as ARGV 7 requires, when the step
-- was reported before, or when the instance has reported its final step.
if ARGV[7] ~= '' then
  local claimed = redis.call('HEXISTS', KEYS[4], 'claim:' .. ARGV[3]) == 1
  if claimed ~= (ARGV[7] == 'claimed') then return false end
end
-- A server does not know what the instance did, so its receipt is a guess.
local guessed = ARGV[7] == '' and '0' or '1'
return append_receipt(KEYS[4], KEYS[5], KEYS[6], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6],
  guessed) or false
