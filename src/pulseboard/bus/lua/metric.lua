-- Publish some metrics of one instance: feed, history, the latest of the instance, and PUBLISH.
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 history (stream), 5 latest (hash)
-- ARGV  1 limits (JSON), 2 channel, 3 field ("<service>/<instance>"), 4 json (an object without an id)
-- Returns the feed id.
local id, stamped = append_metric(KEYS[4], KEYS[5], ARGV[3], ARGV[4])
redis.call('PUBLISH', ARGV[2], stamped)
return id
