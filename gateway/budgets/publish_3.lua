-- Publish an org's rules unless newer ones are there. Of two with the same version, which gateways with different files
-- make of the same change, the one with the newer file wins; of two with the same file, the one that knows of the later
-- command: it may have been given before the file was changed, and be known after. Version 0 is published only where
-- nothing is.
--
-- KEYS  1 rules of the org
-- ARGV  1 version  2 version of the file  3 version of what was set by command  4 document  5.. identities of its limits
-- Answers everything of the rules as stored afterwards: field, value, field, value...
--
-- Every change makes a new edition; gateways name theirs with each hold. An identity keeps the instant since when it is
-- counted for as long as it stays published; one that comes (back) starts now, and its counters are seeded. Equal
-- content keeps its edition, but not its version: what is older than the latest that said so must not replace it.

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000000 + clock[2])
local stored = redis.call('HMGET', KEYS[1], 'v', 'f', 'm', 'd')
local newer = not stored[1]
for i = 1, 3 do
  local theirs, ours = tonumber(stored[i] or 0), tonumber(ARGV[i])
  if newer or theirs ~= ours then
    newer = newer or theirs < ours
    break
  end
end
if newer then
  if stored[4] ~= ARGV[4] then
    local wanted = {}
    for i = 5, #ARGV do wanted['i:' .. ARGV[i]] = true end
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
      if string.sub(field, 1, 2) == 'i:' and not wanted[field] then redis.call('HDEL', KEYS[1], field) end
    end
    for field in pairs(wanted) do redis.call('HSETNX', KEYS[1], field, now) end
    redis.call('HSET', KEYS[1], 'd', ARGV[4], 'e', now)
  end
  redis.call('HSET', KEYS[1], 'v', ARGV[1], 'f', ARGV[2], 'm', ARGV[3])
end
return redis.call('HGETALL', KEYS[1])
