-- Shared by log.lua and ingest.lua: append a batch of log lines of one instance.
-- Requires: feed
--   history  stream of the service's log; counts: hash of lines ever logged, by "<service>/<level>"
--   json     the event; levels: number of lines of each level, "info=3 error=1"
-- Returns the feed id.
function append.log(history, counts, service, json, levels)
  for level, lines in string.gmatch(levels, '(%a+)=(%d+)') do
    redis.call('HINCRBY', counts, service .. '/' .. level, lines)
  end
  return append_event('log', json, history)
end
