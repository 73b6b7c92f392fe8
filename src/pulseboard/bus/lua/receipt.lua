-- Tell what became of a command at one instance.
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 record (hash), 5 open (zset), 6 audit (stream)
-- ARGV  1 limits (JSON), 2 command id, 3 instance, 4 step, 5 the receipt (JSON object without a time), 6 '1' when nothing follows it,
--       7 '' or, where a server says it for an instance: "claimed", "unclaimed" - what must be the case for that, or nothing is told
-- Returns the feed id; nothing when there was nothing to tell.
if ARGV[7] ~= '' then
  local claimed = redis.call('HEXISTS', KEYS[4], 'claim:' .. ARGV[3]) == 1
  if claimed ~= (ARGV[7] == 'claimed') then return false end
end
return tell_receipt(KEYS[4], KEYS[5], KEYS[6], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '' and '0' or '1') or false
