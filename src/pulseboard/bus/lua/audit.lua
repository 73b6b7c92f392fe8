-- Shared head of the scripts that command: write who did what, and what became of it.
local function note_deed(audit, kind, json)
  redis.call('XADD', audit, 'MAXLEN', '~', limits.audit[1], next_id(audit, KEYS[2]), 'kind', kind, 'data', json)
  tidy(audit, limits.audit)
end
