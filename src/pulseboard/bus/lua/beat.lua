-- Take the sign of life of one instance.
-- KEYS  1 beats (stream), 2 board (hash)
-- ARGV  1 beats_max (integer), 2 service, 3 instance
-- Returns 1 when the board knows the instance, 0 when its status must be sent again (Redis lost its data).
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'service', ARGV[2], 'instance', ARGV[3])
return redis.call('HEXISTS', KEYS[2], ARGV[2] .. '/' .. ARGV[3])
