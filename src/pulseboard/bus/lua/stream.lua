-- Shared by the scripts that read the position of a stream.
-- Returns the fields of XINFO STREAM by name; nil for a missing stream.
local function read_info(stream)
  if redis.call('EXISTS', stream) == 0 then return nil end
  local info, flat = {}, redis.call('XINFO', 'STREAM', stream)
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  return info
end
