-- Put before the scripts that ask what is left of a balance.
--
-- Rungs are "instant_us:microcredits instant_us:microcredits ...", ascending: so much of the balance is gone from that
-- instant on. An upper bound, as usage that is not posted yet has taken its part of it.

local function gone(rungs, now)
  local sum = 0
  if rungs then
    for at, microcredits in string.gmatch(rungs, '(%d+):(%d+)') do
      if now < tonumber(at) then break end
      sum = sum + microcredits
    end
  end
  return sum
end
