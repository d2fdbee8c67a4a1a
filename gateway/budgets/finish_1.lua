-- Last step of seeding: add what the ledger knows and open the counter, if it is still this caller's to seed.
-- KEYS  1 counter     ARGV  1 token  2 base     Answers  ok | lost

local mark = redis.call('HGET', KEYS[1], 'u')
if not mark or string.match(mark, '^%S+') ~= ARGV[1] then return {'lost'} end
redis.call('HINCRBY', KEYS[1], 's', ARGV[2])
redis.call('HDEL', KEYS[1], 'u')
return {'ok'}
