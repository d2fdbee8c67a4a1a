-- Put before the scripts in which a sum may come to a level of its limit.
--
-- A ladder is "enforced amount:level amount:level ...", ascending (see gateway.budgets.levels). What was told is
-- "level@limit@next@mark": the highest level announced, the limit it was of, the amount of the next level ('' = none),
-- and a mark: of counters 'g' once a grace was announced.

local function int(number) return string.format('%.0f', number) end

-- Whether a sum may have come to a level that is not told: a quick answer, for every call above the first level.
local function is_news(limit, after, told)
  if not told then return true end
  local of, next_amount = string.match(told, '@(%d+)@(%d*)@')
  return of ~= limit or (next_amount ~= '' and after >= tonumber(next_amount))
end

-- The levels that are reached and not told yet (nil: none), whether the limit is enforced ('1' | '0'), what is told
-- then up to the mark, the mark as it was, and whether anything was told of this limit before.
local function reached(limit, ladder, after, told)
  local floor, of, mark = 0, '', ''
  if told then floor, of, mark = string.match(told, '^(%d+)@(%d+)@%d*@(.*)$') end
  floor = of == limit and tonumber(floor) or 0
  local levels, highest, next_amount = {}, int(floor), ''
  for amount, level in string.gmatch(ladder, '(%d+):(%d+)') do
    if after < tonumber(amount) then
      next_amount = amount
      break
    end
    if tonumber(level) > floor then
      levels[#levels + 1] = level
      highest = level
    end
  end
  local told_now = highest .. '@' .. limit .. '@' .. next_amount .. '@'
  local found = #levels > 0 and table.concat(levels, ',') or nil
  return found, string.sub(ladder, 1, 1), told_now, mark, of == limit
end
