-- Shared head of the scripts that ask for the time: the board's clock. It is Redis' own, and never goes back.
-- Redis' own clock may be set back, or a failover may lead to a host whose clock is behind. The ids of streams would then stand
-- still until it had caught up, and with them all that is judged by them. So from then on the board's clock is ahead of it;
-- sync_clock.lua sees to that, and every script that stamps something goes by it.
--   hash {at, ahead}: when Redis' own time was `at` (ms), at the last look, the board's was `ahead` ms more; no hash: none
local TOLERANCE_MS = 500 -- so long the ids may stand still, as they do when a clock is set back by moments
local STRIDE_MS = 5000 -- what may lie between two looks; more is no time that passed, but a clock that was set

-- Returns the last id of a stream as two numbers, 0 and 0 where there is none.
local function last_id(stream)
  local info = read_info(stream)
  if not info then return 0, 0 end
  local ms, seq = string.match(info['last-generated-id'], '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- Returns how much time has passed for the board since a look when Redis' own clock said `at`. What that was set since does not
-- count: ahead of it, the board would be as far ahead once more each time that its clock is set back and right again.
local function passed_since(at, own_ms)
  return math.min(math.max(0, own_ms - at), STRIDE_MS)
end

local function read_own_clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns the board's time in ms, and whether Redis' own is behind it: asked once, and the same all through a script.
local now_ms, behind
local function read_clock(clock)
  if not now_ms then
    local known = redis.call('HMGET', clock, 'at', 'ahead')
    local at, ahead = tonumber(known[1]), tonumber(known[2])
    now_ms = read_own_clock()
    -- Redis' own clock may have been set right since, and the next look will say so.
    behind = at ~= nil and now_ms < at + ahead - TOLERANCE_MS
    if behind then now_ms = at + ahead + passed_since(at, now_ms) end
  end
  return now_ms, behind
end

-- Returns the id under which to add to a stream: '*', or one by the board's clock where Redis' own is behind it.
local function next_id(stream, clock)
  local time_ms, shifted = read_clock(clock)
  if not shifted then return '*' end
  local ms, seq = last_id(stream)
  -- Spelt out, since Redis 6.2 does not take '<ms>-*'.
  return string.format('%.0f-%.0f', math.max(time_ms, ms), time_ms > ms and 0 or seq + 1)
end
