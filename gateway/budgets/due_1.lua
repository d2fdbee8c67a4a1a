-- Which holds have outlived their deadline.
-- KEYS  1 holds  2 deadlines     ARGV  1 how many at most     Answers request id, record, request id, record...

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])
local found = {}
for i = 1, #due do
  found[#found + 1] = due[i]
  found[#found + 1] = redis.call('HGET', KEYS[1], due[i]) or ''
end
return found
