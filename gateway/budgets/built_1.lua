-- Last step of building a balance: add what the ledger knows and open it, if it is still this caller's to build.
-- KEYS  1 balance     ARGV  1 token  2 granted  3 spent  4 id of the latest change  5 rungs  6 reference or ''
-- Answers  ok | lost

local mark = redis.call('HGET', KEYS[1], 'u')
if not mark or string.match(mark, '^%S+') ~= ARGV[1] then return {'lost'} end
redis.call('HINCRBY', KEYS[1], 'granted', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'spent', ARGV[3])
redis.call('HSET', KEYS[1], 'b', '1', 'i', ARGV[4], 'x', ARGV[5])
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'ref', ARGV[6]) end
redis.call('HDEL', KEYS[1], 'u')
return {'ok'}
