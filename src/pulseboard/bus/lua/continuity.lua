-- Say whether a reader may go on after its cursor: nothing after it was trimmed, and the data is the data it was reading.
-- KEYS  1 feed (stream)
-- ARGV  1 cursor (stream id), 2 how many entries had ever been added when this was last asked (integer)
-- Returns {1 or 0, how many entries were ever added}. In doubt 0: a fresh board costs little, a silent gap does not.
local cursor, added_before = ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then return {cursor == '0-0' and 1 or 0, 0} end
local info = {}
local flat = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
local added = info['entries-added'] or added_before -- Redis 6.2 does not count
-- A stream that counts from the start again was deleted: who read on has seen nothing of that.
if added < added_before then return {0, added} end
local unbroken = #redis.call('XRANGE', KEYS[1], cursor, cursor) == 1
  -- The last entry read was trimmed by age, and nothing came since.
  or info['last-generated-id'] == cursor
  or (cursor == '0-0' and added == info['length'])
return {unbroken and 1 or 0, added}
