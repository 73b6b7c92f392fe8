-- Read what followed a cursor, up to a bound, for a reader that comes back; one page at a time.
-- KEYS  1 feed (stream)
-- ARGV  1 cursor (stream id, exclusive), 2 bound (stream id, inclusive), 3 count (integer)
-- Returns {1, entries}, or {0} when what followed the cursor is not all there.
if not unbroken(KEYS[1], ARGV[1], 0) then return {0} end
return {1, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])}
