-- Shared by the scripts of commands: append one entry to the audit.
-- Requires: feed
--   kind  'command' or 'receipt'; json: the event
local function append_audit(audit, kind, json)
  redis.call('XADD', audit, 'MAXLEN', '~', limits.audit[1], next_id(audit, KEYS[2]),
    'kind', kind, 'data', json)
  trim(audit, limits.audit)
end
