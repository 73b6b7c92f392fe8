-- Shared by the scripts that read the time: the board's clock, which never goes back.
-- Requires: stream
-- It is Redis' own clock. That clock may be set back, or a failover may lead to a host whose clock
-- is behind. The ids of streams would then stand still until the clock had caught up, and all ages
-- with them. From then on the board's clock is ahead of Redis' own: sync_clock.lua maintains it,
-- and every script that creates an id uses it.
--   hash {at, ahead}: at Redis' own time `at` (ms), at the last synchronization, the board's clock
--   was `ahead` ms ahead; without the hash both are equal
-- How long (ms) ids may stand still, as they do when a clock is set back by moments.
local TOLERANCE_MS = 500
-- The most time (ms) between two synchronizations. A larger step means that the clock was set.
local STRIDE_MS = 5000

-- Returns the last id of a stream as two numbers, 0 and 0 for a missing stream.
local function last_id(stream)
  local info = read_info(stream)
  if not info then return 0, 0 end
  local ms, seq = string.match(info['last-generated-id'], '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- Returns the time that passed for the board since Redis' own clock read `at`. A jump of that clock
-- does not count. Otherwise each time the clock is set back and right again, the board's clock
-- would run as far ahead once more.
local function passed_since(at, own_ms)
  return math.min(math.max(0, own_ms - at), STRIDE_MS)
end

local function read_own_clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns the board's time in ms, and whether Redis' own clock is behind it. The time is read once
-- and stays the same during a script.
local now_ms, behind
local function read_clock(clock)
  if not now_ms then
    local known = redis.call('HMGET', clock, 'at', 'ahead')
    local at, ahead = tonumber(known[1]), tonumber(known[2])
    now_ms = read_own_clock()
    -- Redis' own clock may have been set right; the next synchronization will notice that.
    behind = at ~= nil and now_ms < at + ahead - TOLERANCE_MS
    if behind then now_ms = at + ahead + passed_since(at, now_ms) end
  end
  return now_ms, behind
end

-- Returns the id for a new entry of a stream: '*', or one by the board's clock where Redis' own
-- clock is behind it.
local function next_id(stream, clock)
  local time_ms, shifted = read_clock(clock)
  if not shifted then return '*' end
  local ms, seq = last_id(stream)
  -- Both parts are written out, because Redis 6.2 does not accept '<ms>-*'.
  return string.format('%.0f-%.0f', math.max(time_ms, ms), time_ms > ms and 0 or seq + 1)
end
