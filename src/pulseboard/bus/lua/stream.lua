-- Shared head of the scripts that ask where a stream stands.
-- Returns what XINFO says of it, by name; nothing where there is none.
local function read_info(stream)
  if redis.call('EXISTS', stream) == 0 then return nil end
  local info, flat = {}, redis.call('XINFO', 'STREAM', stream)
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  return info
end

