-- Share the record of a client key, unless there is one, or keys were changed since it was read from Postgres.
-- KEYS  1 record  2 generation     ARGV  1 record as JSON  2 seconds to live  3 generation before it was read, or ''
-- Returns nil if it is shared now, else what is there instead, if anything is.
if (redis.call('GET', KEYS[2]) or '') == ARGV[3]
    and redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then
    return false
end
return redis.call('GET', KEYS[1])
