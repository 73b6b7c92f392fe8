-- Publish a batch of status events: feed, history, board and PUBLISH, all or nothing.
-- KEYS  1 feed (stream), 2 clock, 3 board, 4 seen, 5 lost (hashes), then per event:
--       history (stream) and planned returns (list) of its service
-- ARGV  1 feed_max, 2 feed_max_age_ms, 3 history_max, 4 history_ttl_s, 5 board_max (integers), then per event:
--       channel, field ("<service>/<instance>"), json (an object without an id), back_in_s ('' or a number)
-- Returns the feed ids, in order.
local ids = {}
for n = 1, (#KEYS - 5) / 2 do
  local at = 5 + (n - 1) * 4
  local keys = {
    feed = KEYS[1], clock = KEYS[2], board = KEYS[3], seen = KEYS[4], lost = KEYS[5],
    history = KEYS[4 + 2 * n], planned = KEYS[5 + 2 * n],
  }
  local id, stamped = append(keys, limits, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
  redis.call('PUBLISH', ARGV[at + 1], stamped)
  ids[n] = id
end
expire_feed(KEYS[1], KEYS[2], ARGV[2])
return ids
