-- First step of seeding: make a counter that starts in the middle of its window, with what is held right now.
--
-- From here on every settlement of an attached hold is counted here, and all others have a sequence number of at
-- most the one answered: the ledger is asked for exactly those. Holds that match are known to the caller, because
-- no new one is admitted while the counter is missing or unseeded.
--
-- KEYS  1 holds  2 sequence  3 counter index  4 counter
-- ARGV  1 token  2 counted since (us)  3 expiry (ms; '' = never)  4 how long a token protects (us)
--       5.. request ids of open holds that match
--
-- Answers  attached sequence   |   busy (another gateway is at it)   |   ready (already seeded)

local function int(number) return string.format('%.0f', number) end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local counter = redis.call('HMGET', KEYS[4], 'b', 'u', 'g')
if counter[1] == ARGV[2] then
  if not counter[2] then return {'ready'} end
  local since = string.match(counter[2], ' (%d+)$')
  if now - since < tonumber(ARGV[4]) then return {'busy'} end
end
redis.call('ZSCORE', KEYS[3], KEYS[4])
redis.call('HEXISTS', KEYS[1], ARGV[1])

local sequence = redis.call('GET', KEYS[2])
if not sequence then
  sequence = int(now)
  redis.call('SET', KEYS[2], sequence)
end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[4], 'b', ARGV[2], 'u', ARGV[1] .. ' ' .. int(now), 's', 0, 'h', 0, 'o', 0)
if counter[3] then redis.call('HSET', KEYS[4], 'g', counter[3]) end
if ARGV[3] ~= '' then redis.call('PEXPIREAT', KEYS[4], ARGV[3]) end
redis.call('ZADD', KEYS[3], ARGV[3] ~= '' and ARGV[3] or '+inf', KEYS[4])
for i = 5, #ARGV do
  local record = redis.call('HGET', KEYS[1], ARGV[i])
  if record then
    local head, listed, admission =
      string.match(record, '^([^\n]*\n[^\n]*\n[^\n]*\n[^\n]*\n[^\n]*\n)([^\n]*)(\n.*)$')
    redis.call('HINCRBY', KEYS[4], 'h', string.match(head, '^%d+'))
    redis.call('HINCRBY', KEYS[4], 'o', 1)
    if not string.find(' ' .. listed .. ' ', ' ' .. KEYS[4] .. ' ', 1, true) then
      redis.call('HSET', KEYS[1], ARGV[i], head .. listed .. ' ' .. KEYS[4] .. admission)
    end
  end
end
return {'attached', sequence}
