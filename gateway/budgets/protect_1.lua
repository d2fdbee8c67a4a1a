-- Whoever seeds a counter or builds a balance is still at it: nobody else begins.
-- KEYS  1 counter or balance     ARGV  1 token     Answers  ok | lost (another gateway is at it, or it is done)

local mark = redis.call('HGET', KEYS[1], 'u')
if not mark or string.match(mark, '^%S+') ~= ARGV[1] then return {'lost'} end
local clock = redis.call('TIME')
redis.call('HSET', KEYS[1], 'u', ARGV[1] .. ' ' .. string.format('%.0f', clock[1] * 1000000 + clock[2]))
return {'ok'}
