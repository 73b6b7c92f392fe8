-- Take the sign of life of one instance.
-- KEYS  1 beats (stream), 2 board (hash), 3 seen (hash)
-- ARGV  1 beats_max (integer), 2 service, 3 instance, 4 lag_ms: how long its event loop has not answered (integer; 0: it answers)
-- Returns 1 when the board knows the instance, 0 when its status must be sent again (Redis lost its data).
local field = ARGV[2] .. '/' .. ARGV[3]
local beat = {'service', ARGV[2], 'instance', ARGV[3]}
if ARGV[4] ~= '0' then beat[5], beat[6] = 'lag', ARGV[4] end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(beat))
if redis.call('HEXISTS', KEYS[2], field) == 0 then return 0 end
redis.call('HSET', KEYS[3], field, string.match(id, '^%d+'))
return 1
