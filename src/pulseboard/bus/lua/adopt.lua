-- Put plain publishes into the feed, once however many servers saw them. They were PUBLISHed already.
-- The same bytes may come twice on purpose, so servers count: a server's n-th sight of a payload is adopted only when
-- fewer than n were. A server that subscribed after the last adoption starts its count there, for it saw none of those.
-- KEYS  1 feed (stream), 2 clock, 3 board, 4 seen, 5 lost (hashes), 6 last batch of this server (string), then per event:
--       history (stream) and planned returns (list) of its service, adoptions of its digest (hash: n, at, a count per server)
-- ARGV  1..5 as in publish.lua, 6 server id, 7 ms at which it subscribed, 8 ttl_ms of the adoptions, 9 batch number,
--       10 ttl_ms of the batch number, then per event: field, json, back_in_s ('' or a number)
-- Returns the feed ids of those adopted.
local server, joined_ms, ttl_ms, batch = ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]
local ids = {}
-- A batch is sent again when its answer was lost; its sights must not be counted twice.
if redis.call('GET', KEYS[6]) == batch then return ids end
redis.call('SET', KEYS[6], batch, 'PX', ARGV[10])

local now_ms = expire_feed(KEYS[1], KEYS[2], ARGV[2])
for n = 1, (#KEYS - 6) / 3 do
  local adoptions = KEYS[6 + 3 * n]
  local field, json, back_in_s = ARGV[8 + 3 * n], ARGV[9 + 3 * n], ARGV[10 + 3 * n]
  local known = redis.call('HMGET', adoptions, 'n', 'at', server)
  local adopted, at = tonumber(known[1] or 0), tonumber(known[2] or 0)
  local seen = tonumber(known[3] or (at < joined_ms and adopted or 0)) + 1
  redis.call('HSET', adoptions, server, seen)
  if seen > adopted then
    redis.call('HSET', adoptions, 'n', seen, 'at', now_ms)
    redis.call('PEXPIRE', adoptions, ttl_ms)
    local keys = {
      feed = KEYS[1], clock = KEYS[2], board = KEYS[3], seen = KEYS[4], lost = KEYS[5],
      history = KEYS[4 + 3 * n], planned = KEYS[5 + 3 * n],
    }
    ids[#ids + 1] = append(keys, limits, field, json, back_in_s)
  end
end
return ids
