-- Shared head of is_continuous.lua and replay.lua: whether nothing after a cursor was trimmed or lost, and how many entries were
-- ever added to the feed. In doubt no: a fresh board costs little, a silent gap does not.
local function check_continuity(feed, cursor, added_before)
  local info = read_info(feed)
  if not info then return cursor == '0-0' and added_before == 0, 0 end
  local added = info['entries-added'] or added_before -- Redis 6.2 does not count
  -- A stream that counts from the start again was deleted: who read on has seen nothing of that.
  if added < added_before then return false, added end
  return #redis.call('XRANGE', feed, cursor, cursor) == 1
    -- The last entry read was trimmed by age, and nothing came since.
    or info['last-generated-id'] == cursor
    or (cursor == '0-0' and added == info['length']), added
end
