-- Shared head of log.lua and ingest.lua: put a batch of log lines of one instance where readers find it.
--   history  stream of its service; counts: hash of lines ever logged, by "<service>/<level>"
--   json     the event; levels: how many lines of which level, "info=3 error=1"
-- Returns the feed id.
local function append_log(history, counts, service, json, levels)
  for level, lines in string.gmatch(levels, '(%a+)=(%d+)') do
    redis.call('HINCRBY', counts, service .. '/' .. level, lines)
  end
  return put('log', json, history)
end
