-- A balance, the sequence of its partition and the time, all of the same instant.
-- KEYS  1 balance  2 sequence     Answers  built granted spent held latest-change rungs reference sequence now_us

local standing = redis.call('HMGET', KEYS[1], 'b', 'granted', 'spent', 'held', 'i', 'x', 'ref')
standing[8] = redis.call('GET', KEYS[2])
local clock = redis.call('TIME')
standing[9] = string.format('%.0f', clock[1] * 1000000 + clock[2])
return standing
