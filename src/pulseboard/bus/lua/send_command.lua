-- Send a command, once for each idempotency key.
-- Requires: append_command
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 record (hash), 5 commands (stream),
--       6 open commands (zset), 7 audit (stream), 8 idempotency key (string)
-- ARGV  1 limits (JSON), 2 channel, 3 json, 4 command id, 5 service, 6 signature ('': none),
--       7 number of target instances (integer), 8 digest of the request ('': no idempotency key),
--       9 ttl_s of the idempotency key, 10 time (ms) until which an instance may start the command
-- Returns {1, feed id}; {0, "<command id> <digest>"} when the same key was used before.
if ARGV[8] ~= '' then
  local known = redis.call('GET', KEYS[8])
  if known then return {0, known} end
  redis.call('SET', KEYS[8], ARGV[4] .. ' ' .. ARGV[8], 'EX', keep_for(KEYS[5], tonumber(ARGV[9])))
end
local id = append_command(KEYS[4], KEYS[5], KEYS[6], KEYS[7], ARGV[3], ARGV[4], ARGV[5], ARGV[6],
  ARGV[7], ARGV[10])
redis.call('PUBLISH', ARGV[2], stamp(ARGV[3], id))
return {1, id}
