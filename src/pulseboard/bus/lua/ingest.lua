-- Ingest a batch of external messages: append each message to the feed once, even if several
-- servers received it. The script does not PUBLISH them, because another program has done so.
-- Requires: append_*
-- A program may publish the same bytes twice on purpose. So each server counts the copies that it
-- receives in an epoch, the time between two markers (ingestor.py). The n-th copy that a server
-- receives is appended only if fewer than n copies of that epoch have been appended. Every server
-- that counts in an epoch receives all its messages, so the n-th copy is the same message for all.
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 board, 5 seen, 6 lost,
--       7 latest metrics, 8 services (hashes), 9 number of this server's last batch (string),
--       10 open commands (zset), 11 audit (stream), then 3 keys for each message:
--         the history of its service (stream), or for a command the record (hash);
--         the key in the column "other key" below;
--         the copies of the message in its epoch (hash: `n`, the number of copies appended, and for
--         each server id the number of copies received).
--       If a kind does not use one of these keys, the key of the feed is in its place.
-- ARGV  1 limits (JSON), 2 server id, 3 ttl_ms of the copies, 4 batch number, 5 ttl_ms of the batch
--       number, then 4 arguments for each message: kind, subject, json, other argument:
--         kind     other key                 subject                     other argument
--         status   planned returns (list)    "<service>/<instance>"      back_in_s ('' or a number)
--         log      line counts (hash)        the service                 levels ("info=3 error=1")
--         metric   latest metrics (hash)     "<service>/<instance>"      nothing
--         command  commands (stream)         "<command id> <service>     signature ('': none)
--                                            <number of target instances>
--                                            <ms until which it may be started>"
--         none     as for command: the message is counted, but not appended
--         others   none                      the service                 nothing
-- Returns the feed ids of the messages that this call appended.
-- The maximum (ms) by which a clock that is behind prolongs the lifetime of the copies.
local MOST_AHEAD_MS = 3600000
local server, ttl_ms, batch = ARGV[2], ARGV[3], ARGV[4]
local ids = {}
-- A server that got no answer sends the same batch again. Its copies must not be counted twice.
if redis.call('GET', KEYS[9]) == batch then return ids end
redis.call('SET', KEYS[9], batch, 'PX', ARGV[5])

function append.command(record, commands, subject, json, signature)
  local command_id, service, count, expires_ms =
    string.match(subject, '^(%S+) (%S+) (%d+) (%d+)$')
  return (append_command(record, commands, KEYS[10], KEYS[11], json, command_id, service, signature,
    count, expires_ms))
end

-- Redis expires keys by its own clock. If that clock is behind, a later correction moves it ahead.
-- The copies must not expire then, because another server may not have ingested them yet.
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
