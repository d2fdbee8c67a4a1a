-- Add to a hold, if every limit that it counts against has room. rungs_1.lua is put before this.
--
-- KEYS  1 holds  2 deadlines  3 balance  4 .. n+3 counters
-- ARGV  1 request id  2 amount wanted  3 least that is of use  4 time to live (us)
--       then four for each counter: limit ('' = none)  limit with grace  grace time (us)  '1' if enforced
--
-- Answers  ok added held   |   full (no room for the least)   |   gone (no such hold)   |   keys counter-keys

local function int(number) return string.format('%.0f', number) end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return {'gone'} end
local amount, rest = string.match(record, '^(%d+)\n(.*)$')
local prepaid, listed = string.match(rest, '^%d+\n(%d?)\n[^\n]*\n[^\n]*\n([^\n]*)\n')
if listed ~= table.concat(KEYS, ' ', 4) then return {'keys', listed} end

local added = math.min(tonumber(ARGV[2]), 9007199254740992 - amount)  -- 2^53: beyond, doubles are not exact
for i = 4, #KEYS do
  local at = 4 + (i - 4) * 4
  local counter = redis.call('HMGET', KEYS[i], 's', 'h', 'g')
  if ARGV[at + 1] ~= '' and ARGV[at + 4] == '1' then
    local cap = tonumber(ARGV[at + 1])
    if counter[3] and now < counter[3] + tonumber(ARGV[at + 3]) then cap = tonumber(ARGV[at + 2]) end
    added = math.min(added, cap - (counter[1] or '0') - (counter[2] or '0'))
  end
end
if prepaid == '1' then
  local balance = redis.call('HMGET', KEYS[3], 'granted', 'spent', 'held', 'x', 'b')
  if not balance[5] then return {'full'} end  -- it is being built: who asks again later may be lucky
  local granted = (balance[1] or '0') - gone(balance[4], now)
  added = math.min(added, granted - (balance[2] or '0') - (balance[3] or '0'))
end
if added < tonumber(ARGV[3]) then return {'full'} end
redis.call('ZSCORE', KEYS[2], ARGV[1])

local more = int(added)
for i = 4, #KEYS do
  if redis.call('HEXISTS', KEYS[i], 'b') == 1 then redis.call('HINCRBY', KEYS[i], 'h', more) end
end
if prepaid == '1' then redis.call('HINCRBY', KEYS[3], 'held', more) end
local total = int(amount + added)
redis.call('HSET', KEYS[1], ARGV[1], total .. '\n' .. rest)
redis.call('ZADD', KEYS[2], int(now + ARGV[4]), ARGV[1])
return {'ok', more, total}
