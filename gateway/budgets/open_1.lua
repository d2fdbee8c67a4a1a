-- Where the count of a key's open calls is not that of its holds: one that is too high refuses the key for good.
-- KEYS  1 holds  2 open calls     Answers key reference, open by holds, open as counted, key reference...

local open = {}
for _, record in ipairs(redis.call('HVALS', KEYS[1])) do
  local reference = string.match(record, '^%d+\n%d+\n%d?\n([^\n]*)\n')
  open[reference] = (open[reference] or 0) + 1
end
local counted = redis.call('HGETALL', KEYS[2])
local off = {}
local function compare(reference, by_holds, by_count)
  if by_holds ~= by_count then
    off[#off + 1] = reference
    off[#off + 1] = by_holds
    off[#off + 1] = by_count
  end
end
for i = 1, #counted, 2 do
  compare(counted[i], open[counted[i]] or 0, tonumber(counted[i + 1]))
  open[counted[i]] = nil
end
for reference, by_holds in pairs(open) do compare(reference, by_holds, 0) end
return off
