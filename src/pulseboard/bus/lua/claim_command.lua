-- Claim a command for one instance. Only its claimant may start it, in time, and only once.
-- Requires: append_receipt
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 record (hash),
--       5 open commands (zset), 6 audit (stream)
-- ARGV  1 limits (JSON), 2 command id, 3 instance, 4 run id of the claimant (string),
--       5 ms until which it may be started, 6 the receipt "received" (JSON object without a time)
-- Returns 'ok'; 'late' after its time; 'taken' when another run of this instance claimed it, or the
-- instance has reported its final step.
local field = 'claim:' .. ARGV[3]
local claimed = redis.call('HGET', KEYS[4], field)
if claimed and claimed ~= ARGV[4] then return 'taken' end
if redis.call('HEXISTS', KEYS[4], 'last:' .. ARGV[3]) == 1 then return 'taken' end
if read_clock(KEYS[2]) > tonumber(ARGV[5]) then return 'late' end
-- The same run asks again when it did not get the answer.
if claimed then return 'ok' end
-- A command without a record was lost with Redis' data, or invented, so no instance runs it.
if redis.call('EXISTS', KEYS[4]) == 0 then return 'taken' end
redis.call('HSET', KEYS[4], field, ARGV[4])
append_receipt(KEYS[4], KEYS[5], KEYS[6], ARGV[2], ARGV[3], 'received', ARGV[6], '0', '0')
return 'ok'
