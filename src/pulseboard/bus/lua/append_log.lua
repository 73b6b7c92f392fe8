-- Shared by log.lua and ingest.lua: append a batch of log lines of one instance.
-- Requires: feed
--   history  log history of the service (stream)
--   counts   number of lines ever logged (hash with the fields "<service>/<level>")
--   json     the log event
--   levels   number of lines in the event, by level: "info=3 error=1"
-- Returns the feed id.
function append.log(history, counts, service, json, levels)
  for level, lines in string.gmatch(levels, '(%a+)=(%d+)') do
    redis.call('HINCRBY', counts, service .. '/' .. level, lines)
  end
  return append_event('log', json, history)
end
