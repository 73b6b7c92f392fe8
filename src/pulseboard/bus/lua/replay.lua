-- Read what followed a cursor, up to a bound, for a reader that comes back; one page at a time.
-- KEYS  1 feed (stream)
-- ARGV  1 cursor (stream id, exclusive), 2 bound (stream id, inclusive), 3 count, 4 max_bytes (integers): the most of a page,
--       which has one entry at least
-- Returns {1, entries, 1 when there may be more up to the bound, else 0}, or {0} when what followed the cursor is not all there.
if not check_continuity(KEYS[1], ARGV[1], 0) then return {0} end
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local page, size = {}, 0
for n, row in ipairs(found) do
  for _, text in ipairs(row[2]) do size = size + #text end
  if n > 1 and size > tonumber(ARGV[4]) then break end
  page[n] = row
end
return {1, page, (#page < #found or #found == tonumber(ARGV[3])) and 1 or 0}
