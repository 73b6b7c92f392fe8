-- Publish a batch of status events: feed, history, board and PUBLISH, all or nothing.
-- Requires: append_status
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 board, 5 seen, 6 lost,
--       7 latest metrics, 8 services (hashes), then per event: history (stream) and planned returns
--       (list) of its service
-- ARGV  1 limits (JSON), then per event: channel, field ("<service>/<instance>"), json (an object
--       without an id), back_in_s ('' or a number)
-- Returns the feed ids, in order.
local ids = {}
for n = 1, (#KEYS - 8) / 2 do
  local at = 2 + (n - 1) * 4
  local id, stamped =
    append.status(KEYS[7 + 2 * n], KEYS[8 + 2 * n], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  redis.call('PUBLISH', ARGV[at], stamped)
  ids[n] = id
end
return ids
