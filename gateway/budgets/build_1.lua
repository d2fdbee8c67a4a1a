-- First step of building a balance from the ledger: begin at zero, with what is held right now.
--
-- From here on every settlement is counted here, and all before have a sequence number of at most the one answered: the
-- ledger is asked for exactly those. Holds are looked through here: what a caller saw before may be of a time before
-- the balance was built by another gateway, admitted calls, and was lost again.
--
-- KEYS  1 holds  2 sequence  3 balance
-- ARGV  1 token  2 how long a token protects (us)  3 the org, as subjects begin with it
--
-- Answers  attached sequence   |   busy (another gateway is at it)   |   ready (built already)

local function int(number) return string.format('%.0f', number) end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local balance = redis.call('HMGET', KEYS[3], 'b', 'u', 'a', 'z')
if balance[1] then return {'ready'} end
if balance[2] and now - string.match(balance[2], ' (%d+)$') < tonumber(ARGV[2]) then return {'busy'} end
redis.call('HEXISTS', KEYS[1], ARGV[1])

local sequence = redis.call('GET', KEYS[2])
if not sequence then
  sequence = int(now)
  redis.call('SET', KEYS[2], sequence)
end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], 'u', ARGV[1] .. ' ' .. int(now), 'granted', 0, 'spent', 0, 'held', 0)
-- What was announced of it stays announced.
if balance[3] then redis.call('HSET', KEYS[3], 'a', balance[3]) end
if balance[4] then redis.call('HSET', KEYS[3], 'z', balance[4]) end
for _, record in ipairs(redis.call('HVALS', KEYS[1])) do
  local amount, prepaid, org = string.match(record, '^(%d+)\n%d+\n(%d?)\n[^\n]*\n(%S+) ')
  if prepaid == '1' and org == ARGV[3] then redis.call('HINCRBY', KEYS[3], 'held', amount) end
end
return {'attached', sequence}
