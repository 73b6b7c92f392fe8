-- Say whether a reader may go on after its cursor: nothing after it was trimmed, and the data is the data it was reading.
-- KEYS  1 feed (stream)
-- ARGV  1 cursor (stream id), 2 how many entries must at least have been added by now (integer): what was there and was read
-- Returns 1 or 0.
return check_continuity(KEYS[1], ARGV[1], tonumber(ARGV[2])) and 1 or 0
