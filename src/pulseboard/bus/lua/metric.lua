-- Publish metrics of one instance: feed, history, its latest metrics, and PUBLISH.
-- Requires: append_metric
-- KEYS  1 feed (stream), 2 clock (hash), 3 limits (string), 4 history (stream),
--       5 latest metrics (hash)
-- ARGV  1 limits (JSON), 2 channel, 3 field ("<service>/<instance>"), 4 json (an object without an
-- id)
-- Returns the feed id.
local id, stamped = append.metric(KEYS[4], KEYS[5], ARGV[3], ARGV[4])
redis.call('PUBLISH', ARGV[2], stamped)
return id
