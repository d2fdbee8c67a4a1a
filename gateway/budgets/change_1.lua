-- Apply a change of the ledger to a balance: once, and only on top of the change before it.
--
-- KEYS  1 balance
-- ARGV  1 id of the change  2 id of the one before  3 how much was granted  4 rungs  5 balance just after a top-up or ''
-- Answers  ok | dup (applied before) | gap (the one before was lost, or is still to come) | unbuilt

local balance = redis.call('HMGET', KEYS[1], 'b', 'i')
if not balance[1] then return {'unbuilt'} end
local latest = tonumber(balance[2] or '0')
if latest >= tonumber(ARGV[1]) then return {'dup'} end
if latest ~= tonumber(ARGV[2]) then return {'gap'} end
redis.call('HINCRBY', KEYS[1], 'granted', ARGV[3])
redis.call('HSET', KEYS[1], 'i', ARGV[1], 'x', ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'ref', ARGV[5]) end
return {'ok'}
