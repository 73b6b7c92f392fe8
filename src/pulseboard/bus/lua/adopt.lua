-- Put plain publishes into the feed, once however many servers saw them. They were PUBLISHed already.
-- The same bytes may come twice on purpose, so servers count: a server's n-th sight of a payload is adopted only when
-- fewer than n were. A server that subscribed after the last adoption starts its count there, for it saw none of those.
-- KEYS  1 feed (stream), 2 board (hash), 3 last batch of this server (string), then per event:
--       history of its service (stream), adoptions of its digest (hash: n, at, and a count per server)
-- ARGV  1..5 as in publish.lua, 6 server id, 7 ms at which it subscribed, 8 ttl_ms of the adoptions, 9 batch number,
--       10 ttl_ms of the batch number, then per event: field, json
-- Returns the feed ids of those adopted.
local server, joined_ms, ttl_ms, batch = ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]
local ids = {}
-- A batch is sent again when its answer was lost; its sights must not be counted twice.
if redis.call('GET', KEYS[3]) == batch then return ids end
redis.call('SET', KEYS[3], batch, 'PX', ARGV[10])

local now_ms = expire_feed(KEYS[1], ARGV[2])
for n = 1, (#KEYS - 3) / 2 do
  local history, adoptions = KEYS[2 + 2 * n], KEYS[3 + 2 * n]
  local field, json = ARGV[9 + 2 * n], ARGV[10 + 2 * n]
  local known = redis.call('HMGET', adoptions, 'n', 'at', server)
  local adopted, at = tonumber(known[1] or 0), tonumber(known[2] or 0)
  local seen = tonumber(known[3] or (at < joined_ms and adopted or 0)) + 1
  redis.call('HSET', adoptions, server, seen)
  if seen > adopted then
    redis.call('HSET', adoptions, 'n', seen, 'at', now_ms)
    redis.call('PEXPIRE', adoptions, ttl_ms)
    ids[#ids + 1] = append({feed = KEYS[1], board = KEYS[2], history = history}, limits, field, json)
  end
end
return ids
