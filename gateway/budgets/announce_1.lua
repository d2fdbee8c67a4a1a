-- Announce what a counter has come to other than by a settlement: by its base from the ledger, by a limit that was
-- lowered under it; or that a call was refused for it. Whatever was announced before is not announced again.
--
-- KEYS  1 counter or balance  2 alert stream
-- ARGV  1 limit  2 its ladder ('' = none)  3 '1' if a call was refused for it  4 admission (JSON) of the call, or ''
-- Answers  how many announcements were made
--
-- For the fields of an announcement see gateway.budgets.crossing.

local clock = redis.call('TIME')
local now = int(clock[1] * 1000000 + clock[2])
local counter = redis.call('HMGET', KEYS[1], 's', 'a', 'z', 'u', 'granted', 'spent')
redis.call('XLEN', KEYS[2])
local made = 0
local settled = counter[5] and int(counter[5] - (counter[6] or '0')) or counter[1] or '0'

if ARGV[2] ~= '' and not counter[4] then
  local levels, enforced, told, mark = reached(ARGV[1], ARGV[2], tonumber(settled), counter[2])
  if levels then
    redis.call('HSET', KEYS[1], 'a', told .. mark)
    redis.call('XADD', KEYS[2], '*', 'e', 'level', 'k', KEYS[1], 'm', ARGV[1], 's', settled, 't', now, 'v', levels,
      'f', enforced, 'd', '', 'a', ARGV[4])
    made = made + 1
  end
end
if ARGV[3] == '1' and counter[3] ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'z', ARGV[1])
  redis.call('XADD', KEYS[2], '*', 'e', 'stop', 'k', KEYS[1], 'm', ARGV[1], 's', settled, 't', now, 'v', '',
    'f', '1', 'd', counter[5] or '', 'a', ARGV[4])
  made = made + 1
end
return made
