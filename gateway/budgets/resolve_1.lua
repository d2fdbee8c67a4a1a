-- End a hold: exactly one of settle, release and reap ever takes effect.
--
-- KEYS  1 holds  2 deadlines  3 open calls  4 balance  5 sequence  6 stream  7 .. n+6 counters
--       n+7 done marker of the request
-- ARGV  1 mode: settle | release | reap | charge (settle a hold whose record Redis lost)
--       2 request id  3 cost  4 result (JSON)  5 done marker's time to live (ms)
--       6 started_us  7 admission  8 '1' if a balance is charged        (6 to 8: mode charge only)
--       then three for each counter: limit ('' = none, or not enforced)  limit with grace  grace time (us)
--
-- Answers
--   ok remaining|'' sequence|''
--   dup state           resolved before: settled | released | reaped; nothing was changed
--   keys counter-keys   the hold now lists other counters than KEYS: ask again with these
--   lost                neither a record nor a marker: Redis lost the hold
--   alive               mode reap: the deadline has not passed
--
-- A counter that is gone (its window is long over, or Redis lost it) is not made again: what it missed is on the
-- stream, and seeding reads it from there. See hold_1.lua for arithmetic and the order of reads and writes.

local function int(number) return string.format('%.0f', number) end

local mode, rid, cost = ARGV[1], ARGV[2], ARGV[3]
local done_key = KEYS[#KEYS]
local counters = #KEYS - 7

local state = redis.call('GET', done_key)
if state then return {'dup', state} end
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local amount, started, prepaid, keyref, admission = '0', ARGV[6], ARGV[8], nil, ARGV[7]
local record = redis.call('HGET', KEYS[1], rid)
local deadline = redis.call('ZSCORE', KEYS[2], rid)
if record then
  local listed
  amount, started, prepaid, keyref, listed, admission =
    string.match(record, '^(%d+)\n(%d+)\n(%d?)\n([^\n]*)\n[^\n]*\n([^\n]*)\n(.*)$')
  if listed ~= table.concat(KEYS, ' ', 7, #KEYS - 1) then return {'keys', listed} end
  redis.call('HGET', KEYS[3], keyref)
elseif mode == 'release' then
  -- It may still arrive, from a connection thought dead: the marker keeps it from taking effect.
  redis.call('SET', done_key, 'released', 'PX', ARGV[5])
  return {'ok', '', ''}
elseif mode ~= 'charge' then
  return {'lost'}
end
if mode == 'reap' then
  if deadline and tonumber(deadline) > now then return {'alive'} end
  cost = amount
elseif mode == 'release' then
  cost = '0'
end

local given_back = amount == '0' and '0' or '-' .. amount  -- Redis takes no '-0'

local present, remaining = {}, nil
for i = 1, counters do
  local counter = redis.call('HMGET', KEYS[6 + i], 's', 'h', 'g', 'b')
  present[i] = counter[4]
  local limit, ceiling = ARGV[6 + i * 3], ARGV[7 + i * 3]
  if present[i] and limit and limit ~= '' then
    local cap = tonumber(limit)
    if counter[3] and now < counter[3] + tonumber(ARGV[8 + i * 3]) then cap = tonumber(ceiling) end
    local room = cap - (counter[1] or '0') - cost - ((counter[2] or '0') - amount)
    if remaining == nil or room < remaining then remaining = room end
  end
end
if prepaid == '1' then
  local balance = redis.call('HMGET', KEYS[4], 'granted', 'spent', 'held')
  local room = (balance[1] or '0') - (balance[2] or '0') - cost - ((balance[3] or '0') - amount)
  if remaining == nil or room < remaining then remaining = room end
end
redis.call('GET', KEYS[5])
redis.call('XLEN', KEYS[6])

local sequence = ''
if mode ~= 'release' then
  sequence = int(redis.call('INCR', KEYS[5]))
  if sequence == '1' then
    sequence = int(now)
    redis.call('SET', KEYS[5], sequence)
  end
  redis.call('XADD', KEYS[6], '*', 'id', rid, 't', started, 'f', int(now), 'n', sequence, 'c', cost,
    'a', admission, 'r', ARGV[4])
end
for i = 1, counters do
  if present[i] then
    if cost ~= '0' then redis.call('HINCRBY', KEYS[6 + i], 's', cost) end
    if record then
      redis.call('HINCRBY', KEYS[6 + i], 'h', given_back)
      redis.call('HINCRBY', KEYS[6 + i], 'o', -1)
    end
  end
end
if prepaid == '1' then
  redis.call('HINCRBY', KEYS[4], 'spent', cost)
  redis.call('HINCRBY', KEYS[4], 'held', given_back)
end
if record then
  redis.call('HDEL', KEYS[1], rid)
  redis.call('ZREM', KEYS[2], rid)
  if redis.call('HINCRBY', KEYS[3], keyref, -1) <= 0 then redis.call('HDEL', KEYS[3], keyref) end
end
local ended = {settle = 'settled', charge = 'settled', release = 'released', reap = 'reaped'}
redis.call('SET', done_key, ended[mode], 'PX', ARGV[5])
return {'ok', remaining and int(remaining) or '', sequence}
