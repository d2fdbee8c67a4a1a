-- Check every limit that applies to a request and take every hold, or none. Idempotent by request id.
--
-- KEYS  1 holds  2 deadlines  3 rules of the org  4 revoked keys  5 open calls  6 admissions of the key
--       7 balance  8 counter index  9 .. n+8 counters, the org's total last  n+9 done marker of the request
-- ARGV  1 request id  2 fixed  3 least  4 most  5 admission (JSON)  6 requests per minute or ''
--       7 open calls at most or ''
--       8 hold time to live (us)  9 edition of the rules  10 and 11 the windows hold in [from, to) (us; '' = ever)
--       12 key reference  13 '1' if a balance is required  14 subject (org team user key operation model)
--       then seven for each counter: limit ('' = none)  limit with grace  grace time (us)  '1' if enforced
--       window start (us)  counted since (us)  expiry (ms; '' = never)
--
-- A hold record is seven lines: amount, started_us, balance flag, key reference, subject, counter keys
-- separated by blanks, admission.
--
-- Answers
--   ok amount started_us remaining|'' grace-indexes shadow-indexes     indexes of counters, separated by ','
--   again amount started_us         this request holds already
--   done state                      this request was resolved already
--   unpublished | stale             the rules are missing in Redis | of another edition than the caller's
--   time now_us                     the windows passed in are not those of Redis's clock
--   seed index...                   these counters need their base from the ledger
--   wait index...                   these are being seeded
--   revoked | rate wait_us | open count
--   build                           the balance is not there: it has to be built from the ledger
--   limit kind index settled held cap     kind: never | exhausted | contended
--   balance kind granted spent held       granted: less what has expired
--
-- rungs_1.lua is put before this.
--
-- Lua numbers are doubles: exact up to 2^53, which no limit exceeds (a sum above it is above every limit; that it
-- is compared to the nearest even microcredit then changes nothing). Sums are only changed by HINCRBY. Nothing is
-- rolled back on an error, so every key is read (which checks its type) before the first write.

local MINUTE_US = 60000000
-- What a counter can hold: beyond 2^63 HINCRBY fails, and here it must not, when half is written. Far enough below it
-- that no rounding matters; no hold passes 2^53.
local HELD_MOST = 4611686018427387904

local function int(number) return string.format('%.0f', number) end

local done_key = KEYS[#KEYS]
local counters = #KEYS - 9
local rid = ARGV[1]

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local state = redis.call('GET', done_key)
if state then return {'done', state} end
local record = redis.call('HGET', KEYS[1], rid)
if record then
  local amount, started = string.match(record, '^(%d+)\n(%d+)\n')
  return {'again', amount, started}
end

local edition = redis.call('HGET', KEYS[3], 'e')
if not edition then return {'unpublished'} end
if edition ~= ARGV[9] then return {'stale'} end
if ARGV[10] ~= '' and (now < tonumber(ARGV[10]) or now >= tonumber(ARGV[11])) then
  return {'time', int(now)}
end

if redis.call('SISMEMBER', KEYS[4], ARGV[12]) == 1 then return {'revoked'} end
local open_calls = tonumber(redis.call('HGET', KEYS[5], ARGV[12]) or '0')
if ARGV[7] ~= '' and open_calls >= tonumber(ARGV[7]) then return {'open', int(open_calls)} end
if ARGV[6] ~= '' then
  local earliest = redis.call('LINDEX', KEYS[6], '-' .. ARGV[6])
  if earliest and now - earliest < MINUTE_US then return {'rate', int(earliest + MINUTE_US - now)} end
end

local fixed, least, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local need = fixed + least
if fixed + most == 0 then need = -9007199254740992 end -- what costs nothing passes a limit that is overdrawn
local extra = most
local remaining = nil
local refusal, refusal_rank = nil, 0
local missing, seed, wait, grace, shadow, starts = {}, {'seed'}, {'wait'}, {}, {}, {}

local function refuse(rank, answer)
  if rank > refusal_rank then refusal, refusal_rank = answer, rank end
end

-- What one room leaves for a request when others share it: not everything that it declares.
local function afford(room, open)
  if room < fixed + most then
    local share = (room - room % (open + 1)) / (open + 1) - fixed
    extra = math.min(extra, math.max(least, share))
  end
  if remaining == nil or room < remaining then remaining = room end
end

local total_open = 0
for i = 1, counters do
  local at = 14 + (i - 1) * 7
  local counter = redis.call('HMGET', KEYS[8 + i], 's', 'h', 'o', 'g', 'b', 'u')
  local s, h, o = tonumber(counter[1] or '0'), tonumber(counter[2] or '0'), tonumber(counter[3] or '0')
  total_open = o
  if not counter[5] then
    missing[i] = true
    if tonumber(ARGV[at + 5]) < tonumber(ARGV[at + 6]) then seed[#seed + 1] = tostring(i) end
  elseif counter[5] ~= ARGV[at + 6] then
    seed[#seed + 1] = tostring(i)
  elseif counter[6] then
    wait[#wait + 1] = tostring(i)
  end
  if h + fixed + most >= HELD_MOST then
    refuse(1, {'limit', 'contended', tostring(i), counter[1] or '0', counter[2] or '0', int(HELD_MOST)})
  end
  if ARGV[at + 1] ~= '' then
    local limit, ceiling = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local cap, best = limit, limit
    if ceiling > limit then
      if counter[4] then
        if now < counter[4] + tonumber(ARGV[at + 3]) then cap, best = ceiling, ceiling end
      else
        best = ceiling
        if limit - s < need and ceiling - s - h >= need then
          cap = ceiling
          starts[i] = true
        end
      end
    end
    local room = cap - s - h
    if room >= need then
      if limit - s - h < need then grace[#grace + 1] = tostring(i) end
      if ARGV[at + 4] == '1' then afford(room, o) end
    elseif ARGV[at + 4] ~= '1' then
      shadow[#shadow + 1] = tostring(i)
    elseif ceiling < need then
      refuse(3, {'limit', 'never', tostring(i), counter[1] or '0', counter[2] or '0', int(ceiling)})
    elseif best - s < need then
      refuse(2, {'limit', 'exhausted', tostring(i), counter[1] or '0', counter[2] or '0', int(best)})
    else
      refuse(1, {'limit', 'contended', tostring(i), counter[1] or '0', counter[2] or '0', int(best)})
    end
  end
end
if #seed > 1 then return seed end
if #wait > 1 then return wait end

if ARGV[13] == '1' then
  local balance = redis.call('HMGET', KEYS[7], 'granted', 'spent', 'held', 'x', 'b')
  if not balance[5] then return {'build'} end
  local granted = (balance[1] or '0') - gone(balance[4], now)
  local spent, held = tonumber(balance[2] or '0'), tonumber(balance[3] or '0')
  local room = granted - spent - held
  if room >= need then
    afford(room, total_open)
  else
    local exhausted = granted - spent < need
    refuse(exhausted and 2 or 1,
      {'balance', exhausted and 'exhausted' or 'contended', int(granted), balance[2] or '0', balance[3] or '0'})
  end
end
if refusal then return refusal end

-- Reads that only check the type of what is written below.
redis.call('ZSCORE', KEYS[2], rid)
if next(missing) then redis.call('ZSCORE', KEYS[8], rid) end

local amount = int(fixed + extra)
local keys = {}
for i = 1, counters do
  local at = 14 + (i - 1) * 7
  local key = KEYS[8 + i]
  keys[i] = key
  redis.call('HINCRBY', key, 'h', amount)
  redis.call('HINCRBY', key, 'o', 1)
  if missing[i] then
    redis.call('HSET', key, 'b', ARGV[at + 6])
    local expiry = ARGV[at + 7]
    if expiry ~= '' then redis.call('PEXPIREAT', key, expiry) end
    redis.call('ZADD', KEYS[8], expiry ~= '' and expiry or '+inf', key)
  end
  if starts[i] then redis.call('HSET', key, 'g', int(now)) end
end
if ARGV[13] == '1' then redis.call('HINCRBY', KEYS[7], 'held', amount) end
local lines = {amount, int(now), ARGV[13], ARGV[12], ARGV[14], table.concat(keys, ' '), ARGV[5]}
redis.call('HSET', KEYS[1], rid, table.concat(lines, '\n'))
redis.call('ZADD', KEYS[2], int(now + tonumber(ARGV[8])), rid)
redis.call('HINCRBY', KEYS[5], ARGV[12], 1)
if ARGV[6] ~= '' then
  redis.call('RPUSH', KEYS[6], int(now))
  redis.call('LTRIM', KEYS[6], '-' .. ARGV[6], -1)
  redis.call('PEXPIRE', KEYS[6], 60000)
end

return {'ok', amount, int(now), remaining and int(remaining - fixed - extra) or '',
  table.concat(grace, ','), table.concat(shadow, ',')}
