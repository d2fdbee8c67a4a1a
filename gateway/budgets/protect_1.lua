-- Whoever seeds a counter or builds a balance is still at it, and nobody else begins; or has given it up, and anybody may.
-- KEYS  1 counter or balance     ARGV  1 token  2 '1': still at it, '0': given up
-- Answers  ok | lost (another gateway is at it, or it is done)

local mark = redis.call('HGET', KEYS[1], 'u')
if not mark or string.match(mark, '^%S+') ~= ARGV[1] then return {'lost'} end
local clock = redis.call('TIME')
local since = ARGV[2] == '1' and string.format('%.0f', clock[1] * 1000000 + clock[2]) or '0'
redis.call('HSET', KEYS[1], 'u', ARGV[1] .. ' ' .. since)
return {'ok'}
