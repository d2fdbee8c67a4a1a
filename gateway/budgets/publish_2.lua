-- Publish an org's rules unless newer ones are there. Equal content keeps its version. Of two with the same version,
-- which gateways with different files make of the same change, the one with the newer file wins. Version 0 is published
-- only where nothing is.
--
-- KEYS  1 rules of the org     ARGV  1 version  2 version of the file  3 document  4.. identities of its limits
-- Answers everything of the rules as stored afterwards: field, value, field, value...
--
-- Every change makes a new edition; gateways name theirs with each hold. An identity keeps the instant since when it is
-- counted for as long as it stays published; one that comes (back) starts now, and its counters are seeded.

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
local stored = redis.call('HMGET', KEYS[1], 'v', 'd', 'f')
local v, f = tonumber(stored[1]), tonumber(stored[3] or 0)
local newer = not v or v < tonumber(ARGV[1]) or (v == tonumber(ARGV[1]) and f < tonumber(ARGV[2]))
if stored[2] ~= ARGV[3] and newer then
  local wanted = {}
  for i = 4, #ARGV do wanted['i:' .. ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 2) == 'i:' and not wanted[field] then redis.call('HDEL', KEYS[1], field) end
  end
  for field in pairs(wanted) do redis.call('HSETNX', KEYS[1], field, now) end
  redis.call('HSET', KEYS[1], 'v', ARGV[1], 'f', ARGV[2], 'd', ARGV[3], 'e', now)
end
return redis.call('HGETALL', KEYS[1])
