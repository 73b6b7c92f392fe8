-- Ingest external messages: append each to the feed, once however many servers received it.
-- They were PUBLISHed already.
-- Requires: append_*
-- A program may publish the same bytes twice on purpose, so servers count: a server's n-th copy of
-- a message in an epoch is appended only when fewer than n copies were. A server that counts in an
-- epoch received all of it, so the n-th copy is the same message for each of them.
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 board, 5 seen, 6 lost,
--       7 latest metrics, 8 services (hashes), 9 last batch of this server (string),
--       10 open commands (zset), 11 audit (stream), then per event: history (stream) of its service
--       or record (hash) of its command, another key of its kind, and the copies of its message in
--       its epoch (hash: n, the copies appended, and a count per server). A key that a kind does
--       not use is the feed.
-- ARGV  1 limits (JSON), 2 server id, 3 ttl_ms of the copies, 4 batch number, 5 ttl_ms of the batch
--       number, then per event: kind, subject, json, and another argument of its kind:
--         kind     other key                 subject                     other argument
--         status   planned returns (list)    "<service>/<instance>"      back_in_s ('' or a number)
--         log      line counts (hash)        the service                 levels ("info=3 error=1")
--         metric   latest metrics (hash)     "<service>/<instance>"      nothing
--         command  commands (stream)         "<command id> <service>     its signature ('': none)
--                                            <number of target instances>
--                                            <ms until which it may be started>"
--         none     the same as command; the message is counted, and not appended
--         others   none                      the service                 nothing
-- Returns the feed ids of the messages that were appended.
local MOST_AHEAD_MS = 3600000
local server, ttl_ms, batch = ARGV[2], ARGV[3], ARGV[4]
local ids = {}
-- A server repeats a batch when it did not get the answer; its copies must not be counted twice.
if redis.call('GET', KEYS[9]) == batch then return ids end
redis.call('SET', KEYS[9], batch, 'PX', ARGV[5])

function append.command(record, commands, subject, json, signature)
  local command_id, service, count, expires_ms =
    string.match(subject, '^(%S+) (%S+) (%d+) (%d+)$')
  return (append_command(record, commands, KEYS[10], KEYS[11], json, command_id, service, signature,
    count, expires_ms))
end

-- Redis expires keys by its own clock. When that clock is behind and is set right, the counts of
-- messages that one server has ingested and another has not yet reported must not expire.
local _, behind = read_clock(KEYS[2])
if behind then
  local ahead_ms = tonumber(redis.call('HGET', KEYS[2], 'ahead'))
  ttl_ms = string.format('%.0f', ttl_ms + math.min(ahead_ms, MOST_AHEAD_MS))
end

for n = 1, (#KEYS - 11) / 3 do
  local key, arg = 9 + 3 * n, 2 + 4 * n
  local copies, kind = KEYS[key + 2], ARGV[arg]
  local received = redis.call('HINCRBY', copies, server, 1)
  if received > tonumber(redis.call('HGET', copies, 'n') or 0) then
    redis.call('HSET', copies, 'n', received)
    redis.call('PEXPIRE', copies, ttl_ms)
    if append[kind] then
      ids[#ids + 1] =
        append[kind](KEYS[key], KEYS[key + 1], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3])
    elseif kind ~= 'none' then
      ids[#ids + 1] = append_event(kind, ARGV[arg + 2], KEYS[key] ~= KEYS[1] and KEYS[key] or nil)
    end
  end
end
return ids
