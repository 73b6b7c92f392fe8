-- Shared by is_continuous.lua and replay.lua: check that no entry after a cursor was trimmed or
-- lost.
-- Requires: stream
-- Returns that as a boolean, and the number of entries ever added to the feed. In doubt the answer
-- is no: a new board costs little, an unnoticed gap does not.
local function check_continuity(feed, cursor, added_before)
  local info = read_info(feed)
  if not info then return cursor == '0-0' and added_before == 0, 0 end
  local added = info['entries-added'] or added_before -- Redis 6.2 does not count them.
  -- A stream that counts from the start again was deleted, and a blocked reader does not notice
  -- that.
  if added < added_before then return false, added end
  return #redis.call('XRANGE', feed, cursor, cursor) == 1
    -- The last entry that was read was trimmed by age, and no entry followed it.
    or info['last-generated-id'] == cursor
    or (cursor == '0-0' and added == info['length']), added
end
