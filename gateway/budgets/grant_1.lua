-- Add credits to a balance, once per grant id. A negative amount takes them away (expiry, refund).
-- KEYS  1 balance  2 grants     ARGV  1 grant id  2 amount
-- Answers  ok granted spent held   |   dup (same id, same amount)   |   conflict amount (same id, other amount)

local before = redis.call('HGET', KEYS[2], ARGV[1])
if before then
  if before == ARGV[2] then return {'dup'} end
  return {'conflict', before}
end
redis.call('HGET', KEYS[1], 'granted')
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'granted', ARGV[2])
redis.call('HSETNX', KEYS[1], 'b', '1')
local balance = redis.call('HMGET', KEYS[1], 'granted', 'spent', 'held')
return {'ok', balance[1], balance[2] or '0', balance[3] or '0'}
