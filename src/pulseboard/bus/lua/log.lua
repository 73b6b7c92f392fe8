-- Publish a batch of log lines of one instance: feed, history, counts, and a PUBLISH for each line.
-- Requires: append_log
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 history (stream), 5 line counts
--       (hash), 6 last batch of this instance (string)
-- ARGV  1 limits (JSON), 2 channel, 3 service, 4 the members that all lines share (JSON object:
--       service, instance), 5 number of lines dropped before these (integer), 6 levels
--       ("info=3 error=1"), 7 batch id, 8 ttl_ms of the batch id, then each line (JSON object)
-- Returns the feed id; nothing for a batch that was published before.
-- The SDK repeats a batch when it did not get the answer.
if redis.call('GET', KEYS[6]) == ARGV[7] then return false end
redis.call('SET', KEYS[6], ARGV[7], 'PX', ARGV[8])

local shared, lines = string.sub(ARGV[4], 1, -2), {unpack(ARGV, 9)}
local dropped = ARGV[5] == '0' and '' or ',"dropped":' .. ARGV[5]
local json = shared .. dropped .. ',"lines":[' .. table.concat(lines, ',') .. ']}'
local id = append.log(KEYS[4], KEYS[5], ARGV[3], json, ARGV[6])
for n, line in ipairs(lines) do
  local json_of_line = shared .. ',' .. string.sub(line, 2)
  redis.call('PUBLISH', ARGV[2], stamp(json_of_line, id .. '.' .. n - 1))
end
return id
