-- Read one page of the entries after a cursor, up to a bound, for a client that resumes.
-- Requires: continuity
-- KEYS  1 feed (stream)
-- ARGV  1 cursor (stream id, exclusive), 2 bound (stream id, inclusive), 3 most entries,
--       4 most bytes of a page (integers); a page has at least one entry
-- Returns {1, entries, 1 when there may be more up to the bound, else 0}, or {0} when entries after
-- the cursor are missing.
if not check_continuity(KEYS[1], ARGV[1], 0) then return {0} end
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local page, size = {}, 0
for n, row in ipairs(found) do
  for _, text in ipairs(row[2]) do size = size + #text end
  if n > 1 and size > tonumber(ARGV[4]) then break end
  page[n] = row
end
return {1, page, (#page < #found or #found == tonumber(ARGV[3])) and 1 or 0}
