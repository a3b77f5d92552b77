-- Corrects what was taken to what was used, once.
--
-- KEYS  the scopes, in their order
-- ARGV  the call; five amounts that were taken; five that were used; 1 where another slot refused the
--       call, so that it never was

-- The place of a limit in what the call remembers.
local function place_of(call, dimension, window)
  for i = 2, #call, 3 do
    if call[i] == dimension % 8 and call[i + 1] == window then return call[i + 2] end
  end
end

local never_was = ARGV[12] == '1'

local function correct_budget(marks, n, number, had, has)
  local used = marks[2 * n]
  if number == marks[2 * n - 1] then
    used = max(0, used - had) + has
  else
    used = used + max(0, has - had)
  end
  marks[2 * n] = min(MOST, used)
end

-- Of what was not used, the part goes back that has not drained: the level less what was charged
-- behind it. What never was is not charged either, if nothing was behind it: calls before it keep what
-- goes back of them.
local function correct_rate(scope, n, place, had, has)
  local marks, m = scope.marks, 2 * n
  if has >= had then return charge(scope, n, has - had) end
  local waiting = max(0, marks[m - 1] - (marks[m] - place) % TURN)
  local back = min(had - has, waiting)
  marks[m - 1] = marks[m - 1] - back
  if never_was and place == marks[m] then marks[m] = (marks[m] - back) % TURN end
end

local function correct(scope, call, taken, used)
  local l = scope.limits
  for n = 1, #l / 4 do
    local dimension, window = l[4 * n - 3], l[4 * n - 2]
    local place = place_of(call, dimension, window)
    local had, has = place and units(taken, dimension) or 0, units(used, dimension)
    if window < 0 then
      correct_budget(scope.marks, n, place, had, has)
    else
      correct_rate(scope, n, place, had, has)
    end
  end
end

local now = clock()
local taken, used = amounts_at(2), amounts_at(7)

for n, key in ipairs(KEYS) do
  local scope, call = fetch(key, ARGV[1] .. n, now)
  if call then
    correct(scope, call, taken, used)
    redis.call('HDEL', key, ARGV[1] .. n)
    if redis.call('HLEN', key) == 2 then scope.first, scope.last = 0, 0 end
    save(key, scope, now)
  end
end
return 0
