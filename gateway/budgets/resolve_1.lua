-- End a hold: exactly one of settle, release and reap ever takes effect.
--
-- KEYS  1 holds  2 deadlines  3 open calls  4 balance  5 sequence  6 stream  7 alert stream  8 .. n+7 counters
--       n+8 done marker of the request
-- ARGV  1 mode: settle | release | reap | charge (settle a hold whose record Redis lost)
--       2 request id  3 cost  4 result (JSON)  5 done marker's time to live (ms)
--       6 started_us  7 admission  8 '1' if a balance is charged        (6 to 8: mode charge only)
--       9 channel of settled events
--       10 lowest alert level of a balance (%; '' = none)  11 all of them, separated by ','
--       12 the amount at which a balance is called low ('' = none)
--       then five for each counter: limit ('' = none)  limit with grace ('' = not enforced)  grace time (us)
--       lowest amount of its ladder ('' = none)  ladder
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
--
-- rungs_1.lua and crossing_1.lua are put before this.
-- Levels are announced here because only here sums change: once, by whoever comes
-- to them. What is announced is decided while reading and written at the end.

local EACH = 5
-- Where sums stop growing: beyond 2^63 HINCRBY fails, and here it must not, when half is written. No cost passes 2^53.
local MOST, MOST_TEXT = 4611686018427387904, '4611686018427387904'

local mode, rid, cost = ARGV[1], ARGV[2], ARGV[3]
local done_key = KEYS[#KEYS]
local counters = #KEYS - 8

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
  if listed ~= table.concat(KEYS, ' ', 8, #KEYS - 1) then return {'keys', listed} end
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

local announcements, told, charged = {}, {}, mode ~= 'release'
local function announce(kind, key, limit, sum, value, enforced, granted)
  announcements[#announcements + 1] = {'e', kind, 'k', key, 'm', limit, 's', int(sum), 't', int(now), 'v', value,
    'f', enforced, 'd', granted, 'a', admission}
end

local present, full, remaining = {}, {}, nil
for i = 1, counters do
  local key, at = KEYS[7 + i], 8 + i * EACH
  local counter = redis.call('HMGET', key, 's', 'h', 'g', 'b', 'a')
  present[i], full[i] = counter[4], (counter[1] or '0') + cost >= MOST
  local limit, ceiling, lowest = ARGV[at], ARGV[at + 1], ARGV[at + 3]
  if present[i] and ceiling and ceiling ~= '' then
    local cap = tonumber(limit)
    if counter[3] and now < counter[3] + tonumber(ARGV[at + 2]) then cap = tonumber(ceiling) end
    local room = cap - (counter[1] or '0') - cost - ((counter[2] or '0') - amount)
    if remaining == nil or room < remaining then remaining = room end
  end
  if charged and present[i] and lowest and lowest ~= '' then
    local after = (counter[1] or '0') + cost
    if counter[3] or after >= tonumber(lowest) and is_news(limit, after, counter[5]) then
      local levels, enforced, told_now, mark = reached(limit, ARGV[at + 4], after, counter[5])
      if levels then announce('level', key, limit, after, levels, enforced, '') end
      local grace = counter[3] and mark ~= 'g' and ceiling ~= ''
      if grace then announce('grace', key, limit, after, int(counter[3] + ARGV[at + 2]), enforced, '') end
      if levels or grace then told[key] = told_now .. (grace and 'g' or mark) end
    end
  end
end
local left = ''
-- A balance that is being built says nothing yet.
if prepaid == '1' and redis.call('HEXISTS', KEYS[4], 'b') == 1 then
  local balance = redis.call('HMGET', KEYS[4], 'granted', 'spent', 'held', 'ref', 'a', 'x')
  local granted = int((balance[1] or '0') - gone(balance[6], now))
  local after = granted - (balance[2] or '0') - cost
  left = int(after)
  local room = after - ((balance[3] or '0') - amount)
  if remaining == nil or room < remaining then remaining = room end
  local whole = balance[4] or granted
  local ref, low = tonumber(whole), ARGV[12]
  local used = (ref - after) * 100
  local is_low = low ~= '' and after <= tonumber(low)
  -- A balance that was called low already, and stands on no new level, is the usual case below the first level.
  local is_known = balance[5] and not is_news(whole, used, balance[5])
    and not (is_low and string.sub(balance[5], -#low - 1) ~= '@' .. low)
  if charged and ref > 0 and not is_known and (is_low or ARGV[10] ~= '' and used >= ref * ARGV[10]) then
    local steps = {'1'}
    for level in string.gmatch(ARGV[11], '%d+') do steps[#steps + 1] = int(ref * level) .. ':' .. level end
    local levels, _, told_now, mark, same = reached(whole, table.concat(steps, ' '), used, balance[5])
    -- The mark of a balance is the amount that was announced as low since the last top-up.
    if not same then mark = '' end
    is_low = is_low and mark ~= low
    if levels then announce('level', KEYS[4], whole, after, levels, '1', granted) end
    if is_low then announce('low', KEYS[4], whole, after, low, '1', granted) end
    if levels or is_low then told[KEYS[4]] = told_now .. (is_low and low or mark) end
  end
end
local spent = prepaid == '1' and redis.call('HGET', KEYS[4], 'spent') or '0'
redis.call('GET', KEYS[5])
redis.call('XLEN', KEYS[6])
if #announcements > 0 then redis.call('XLEN', KEYS[7]) end

local sequence = ''
if charged then
  sequence = int(redis.call('INCR', KEYS[5]))
  if sequence == '1' then
    sequence = int(now)
    redis.call('SET', KEYS[5], sequence)
  end
  redis.call('XADD', KEYS[6], '*', 'id', rid, 't', started, 'f', int(now), 'n', sequence, 'c', cost,
    'a', admission, 'r', ARGV[4], 'p', prepaid == '1' and '1' or '')
end
for i = 1, counters do
  if present[i] then
    if full[i] then
      redis.call('HSET', KEYS[7 + i], 's', MOST_TEXT)
    elseif cost ~= '0' then
      redis.call('HINCRBY', KEYS[7 + i], 's', cost)
    end
    if record then
      redis.call('HINCRBY', KEYS[7 + i], 'h', given_back)
      redis.call('HINCRBY', KEYS[7 + i], 'o', -1)
    end
  end
end
if prepaid == '1' then
  if spent + cost >= MOST then
    redis.call('HSET', KEYS[4], 'spent', MOST_TEXT)
  else
    redis.call('HINCRBY', KEYS[4], 'spent', cost)
  end
  redis.call('HINCRBY', KEYS[4], 'held', given_back)
end
if record then
  redis.call('HDEL', KEYS[1], rid)
  redis.call('ZREM', KEYS[2], rid)
  if redis.call('HINCRBY', KEYS[3], keyref, -1) <= 0 then redis.call('HDEL', KEYS[3], keyref) end
end
local ended = {settle = 'settled', charge = 'settled', release = 'released', reap = 'reaped'}
redis.call('SET', done_key, ended[mode], 'PX', ARGV[5])
for key, what in pairs(told) do redis.call('HSET', key, 'a', what) end
for _, fields in ipairs(announcements) do redis.call('XADD', KEYS[7], '*', unpack(fields)) end
if charged then
  redis.call('PUBLISH', ARGV[9], table.concat({rid, started, int(now), sequence, cost,
    prepaid == '1' and '1' or '', left, admission, ARGV[4]}, '\n'))
end
return {'ok', remaining and int(remaining) or '', sequence}
