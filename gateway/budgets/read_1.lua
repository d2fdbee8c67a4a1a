-- One counter and the sequence of its partition, of the same instant.
--
-- KEYS  1 counter  2 sequence
-- Answers  settled held open grace-start seeded-since unseeded sequence

local reading = redis.call('HMGET', KEYS[1], 's', 'h', 'o', 'g', 'b', 'u')
reading[7] = redis.call('GET', KEYS[2])
return reading
