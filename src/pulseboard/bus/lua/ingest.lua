-- Put plain publishes into the feed, once however many servers saw them. They were PUBLISHed already.
-- The same bytes may come twice on purpose, so servers count: a server's n-th sight of a payload in an epoch is adopted only
-- when fewer than n were. Who counts in an epoch heard all of it, so a sight is the same publish to each of them.
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 board, 5 seen, 6 lost, 7 latest metrics, 8 services (hashes),
--       9 last batch of this server (string), 10 open commands (zset), 11 audit (stream), then per event: history (stream) of its
--       service or record (hash) of its command, another key of its kind, and adoptions of its digest in its epoch (hash: n, a
--       count per server)
-- ARGV  1 limits (JSON), 2 server id, 3 ttl_ms of the adoptions, 4 batch number, 5 ttl_ms of the batch number, then per
--       event: kind, subject, json, and another argument of its kind:
--         status  planned returns (list); "<service>/<instance>"; back_in_s ('' or a number)
--         log     counts (hash); the service; levels ("info=3 error=1")
--         metric  latest (hash); "<service>/<instance>"; nothing
--         none     the same as command: it is counted, and goes nowhere
--         command  commands (stream); "<command id> <service> <to how many instances> <ms until
--                 which it may be begun>"; its signature ('': none)
-- Returns the feed ids of those adopted.
local MOST_AHEAD_MS = 3600000
local server, ttl_ms, batch = ARGV[2], ARGV[3], ARGV[4]
local ids = {}
-- A batch is sent again when its answer was lost; its sights must not be counted twice.
if redis.call('GET', KEYS[9]) == batch then return ids end
redis.call('SET', KEYS[9], batch, 'PX', ARGV[5])

local function adopt_command(record, commands, subject, json, signature)
  local command_id, service, count, expires_ms = string.match(subject, '^(%S+) (%S+) (%d+) (%d+)$')
  return (append_command(record, commands, KEYS[10], KEYS[11], json, command_id, service, signature, count, expires_ms))
end

-- Redis expires keys by its own clock. While that is behind, being set right again must not take the counts of what one server
-- has adopted and another has still to report.
local _, behind = read_clock(KEYS[2])
if behind then
  local ahead_ms = tonumber(redis.call('HGET', KEYS[2], 'ahead'))
  ttl_ms = string.format('%.0f', ttl_ms + math.min(ahead_ms, MOST_AHEAD_MS))
end

local function pass_over() end

local adopt = {
  status = append, log = append_log, metric = append_metric, command = adopt_command, none = pass_over,
}
for n = 1, (#KEYS - 11) / 3 do
  local key, arg = 9 + 3 * n, 2 + 4 * n
  local adoptions = KEYS[key + 2]
  local seen = redis.call('HINCRBY', adoptions, server, 1)
  if seen > tonumber(redis.call('HGET', adoptions, 'n') or 0) then
    redis.call('HSET', adoptions, 'n', seen)
    redis.call('PEXPIRE', adoptions, ttl_ms)
    ids[#ids + 1] = adopt[ARGV[arg]](KEYS[key], KEYS[key + 1], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3])
  end
end
return ids
