-- Only forward: of two gateways that note at once, the slower one changes nothing.
--
-- KEYS  1 "place hash" of the newest entry of the audit log that a gateway has seen     ARGV  1 place  2 hash

local noted = redis.call('GET', KEYS[1])
if not noted or tonumber(string.match(noted, '^%d+')) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
end
