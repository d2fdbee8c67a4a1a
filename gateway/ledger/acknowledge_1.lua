-- The rows of these entries are committed: drop them, and let the markers of their requests expire.
--
-- KEYS  1 stream  2.. markers     ARGV  1 group  2 markers' time to live (s)  3.. entry ids

redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3))
redis.call('XDEL', KEYS[1], unpack(ARGV, 3))
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
