-- Push the deadlines of holds out.
-- KEYS  1 deadlines     ARGV  1 time to live (us)  2.. request ids     Answers the ids that hold nothing (any more).

local clock = redis.call('TIME')
local deadline = string.format('%.0f', clock[1] * 1000000 + clock[2] + ARGV[1])
local gone = {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], deadline, ARGV[i])
  else
    gone[#gone + 1] = ARGV[i]
  end
end
return gone
