-- Check that a reader may continue after its cursor: no entry after it was trimmed, and the feed is
-- still the same stream.
-- Requires: continuity
-- KEYS  1 feed (stream)
-- ARGV  1 cursor (stream id), 2 the least number of entries ever added to the feed (integer): those
--       that the reader has read
-- Returns 1 or 0.
return check_continuity(KEYS[1], ARGV[1], tonumber(ARGV[2])) and 1 or 0
