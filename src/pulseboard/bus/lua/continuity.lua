-- Say whether a reader may go on after its cursor: nothing after it was trimmed, and the data is the data it was reading.
-- KEYS  1 feed (stream)
-- ARGV  1 cursor (stream id)
-- Returns 1 or 0. In doubt 0: a fresh board costs little, a silent gap does not.
local cursor = ARGV[1]
if redis.call('EXISTS', KEYS[1]) == 0 then return cursor == '0-0' and 1 or 0 end
local entries = redis.call('XRANGE', KEYS[1], cursor, cursor)
if #entries == 1 then return 1 end
local info, added, length = redis.call('XINFO', 'STREAM', KEYS[1]), nil, nil
for i = 1, #info, 2 do
  -- The last entry read was trimmed by age, and nothing came since.
  if info[i] == 'last-generated-id' and info[i + 1] == cursor then return 1 end
  if info[i] == 'entries-added' then added = info[i + 1] end
  if info[i] == 'length' then length = info[i + 1] end
end
return cursor == '0-0' and added == length and 1 or 0
