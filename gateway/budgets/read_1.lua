-- One counter, the sequence of its partition and since when its limit counts, all of the same instant.
--
-- KEYS  1 counter  2 sequence  3 rules of the org     ARGV  1 the rules' field of the limit's identity
-- Answers  settled held open grace-start counted-since unseeded sequence published-since

local reading = redis.call('HMGET', KEYS[1], 's', 'h', 'o', 'g', 'b', 'u')
reading[7] = redis.call('GET', KEYS[2])
reading[8] = redis.call('HGET', KEYS[3], ARGV[1])
return reading
