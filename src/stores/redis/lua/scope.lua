-- One scope of quotas, one hash:
--
--   "l"       its limits, four numbers each: dimension, window, amount, burst
--   "s"       how it is used: time, first expiry, last expiry, and two numbers a limit:
--             level and charged, or for a budget the number of its period and what is used of it
--   a call    that is out: expiry, and three numbers a limit: dimension, window, and what `charged` or
--             the number of the period was right after the call
--
-- All of them msgpack, the limits apart so that neither field is longer than the 64 bytes up to which
-- the server packs a hash. Times and windows are microseconds, first and last expiry whole seconds. The
-- window of a budget is -1 for a day and -2 for a month. Amounts are whole units: the double that Lua
-- counts in holds 2^53 of them, and no limit is above 2^50. A limit that would be is counted in units
-- of a power of two, which is the dimension's part above eight.
--
-- `level` is what has not drained yet. `charged` is the sum of all charges, modulo 2^52: what was
-- charged behind a call is the difference to what the call remembers, and what of the call has not
-- drained is the level less that. Refunds lower the level, and so every place behind them too. Without
-- calls that are out it starts from zero.

local MOST = 2 ^ 51        -- where levels stop
local TURN = 2 ^ 52        -- where `charged` starts again
local DAY = 86400000000
local SKEW = 5000000       -- a clock that is behind by more was wrong before

local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- What flows in until a time inside of a window. Rounded down, but the same whoever asks: differences
-- add up, so that rounding is never cumulative.
local function inflow(amount, window, inside)
  return floor(inside * amount / window)
end

local function drained(amount, window, from, to)
  local a, b = from % window, to % window
  local windows = ((to - b) - (from - a)) / window
  return windows * amount + inflow(amount, window, b) - inflow(amount, window, a)
end

-- The first time after `from` at which `more` have drained, as a duration.
local function drain_time(amount, window, from, more)
  local inside = from % window
  local due = inflow(amount, window, inside) + more
  local windows = floor(due / amount)
  local rest = due - windows * amount
  local at = ceil(rest * window / amount)
  while inflow(amount, window, at) < rest do at = at + 1 end
  while at > 0 and inflow(amount, window, at - 1) >= rest do at = at - 1 end
  return windows * window + at - inside
end

-- The civil calendar, after Hinnant: months since year 0, and the day on which one begins.
local function month_of(day)
  local z = day + 719468
  local of_era = z % 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  return (year + floor(z / 146097) * 400) * 12 + floor((5 * of_year + 2) / 153) + 2
end

local function first_day(month)
  local year, from_march = floor(month / 12), month % 12 - 2
  if from_march < 0 then year, from_march = year - 1, from_march + 12 end
  local of_era = year % 400
  local of_year = floor((153 * from_march + 2) / 5)
  local days = of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year
  return floor(year / 400) * 146097 + days - 719468
end

local function number_of(period, now)
  local day = floor(now / DAY)
  return period == -1 and day or month_of(day)
end

local function end_of(period, number)
  return (period == -1 and number + 1 or first_day(number + 1)) * DAY
end

-- An amount of a dimension, in its units.
local function units(amounts, dimension)
  if dimension < 8 then return min(MOST, amounts[dimension + 1]) end
  local coarse = floor(dimension / 8)
  return min(MOST, ceil(amounts[dimension % 8 + 1] / 2 ^ coarse))
end

local function amounts_at(argument)
  local amounts = {}
  for i = 1, 5 do amounts[i] = tonumber(ARGV[argument + i - 1]) end
  return amounts
end

-- The limit of a scope on the same thing, if it has one.
local function find(scope, dimension, window)
  local l = scope.limits
  for n = 1, #l / 4 do
    if l[4 * n - 3] % 8 == dimension % 8 and l[4 * n - 2] == window then return n end
  end
end

-- Charges a limit by rate, whether it fits or not.
local function charge(scope, n, amount)
  local marks, m = scope.marks, 2 * n
  local charged = max(0, min(amount, MOST - marks[m - 1]))
  marks[m - 1] = marks[m - 1] + charged
  marks[m] = (marks[m] + charged) % TURN
end

-- Lets drain what has. While a clock that was set back has not caught up, nothing does.
local function advance(scope, now)
  local from, l, marks = scope.at, scope.limits, scope.marks
  if now <= from then
    if from - now > SKEW then scope.at = now end
    return
  end
  for n = 1, #l / 4 do
    local window, level = l[4 * n - 2], marks[2 * n - 1]
    if window > 0 and level > 0 then
      marks[2 * n - 1] = max(0, level - drained(l[4 * n - 1], window, from, now))
    end
  end
  scope.at = now
end

-- When the scope is as good as a new one; zero for now.
local function idle_at(scope)
  local l, marks = scope.limits, scope.marks
  local at = scope.last * 1000000
  for n = 1, #l / 4 do
    local window, level, used = l[4 * n - 2], marks[2 * n - 1], marks[2 * n]
    if window < 0 then
      if used > 0 then at = max(at, end_of(window, level)) end
    elseif level > 0 then
      at = max(at, scope.at + ceil(level * window / l[4 * n - 1]))
    end
  end
  return at
end

-- Writes a scope, with a call if there is a new one, and sees to it that it is forgotten once it is
-- idle.
local function save(key, scope, now, ...)
  local l, marks = scope.limits, scope.marks
  for n = 1, #l / 4 do
    if scope.first == 0 and l[4 * n - 2] > 0 then marks[2 * n] = 0 end
  end
  local idle = idle_at(scope)
  if idle == 0 then
    redis.call('DEL', key)
    scope.changed = true   -- whoever writes it again has to write its limits too
    return
  end
  local used = cmsgpack.pack(scope.at, scope.first, scope.last, unpack(marks))
  if scope.changed then
    redis.call('HSET', key, 'l', #l > 0 and cmsgpack.pack(unpack(l)) or '')
  end
  redis.call('HSET', key, 's', used, ...)
  redis.call('PEXPIRE', key, min(2 ^ 42, max(0, ceil((idle - now) / 1000)) + 2))
end

-- The calls that were not settled in time are over; what they took stays taken. Looked through once a
-- second at the most, however many are out: a call is over up to a second after its end.
local function expire(key, scope, now)
  if scope.first == 0 or now < scope.first * 1000000 then return end
  local first, last = 0, 0
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if #all[i] > 1 then
      local ends = cmsgpack.unpack(all[i + 1])
      if ends <= now then
        redis.call('HDEL', key, all[i])
      else
        first = first == 0 and ends or min(first, ends)
        last = max(last, ends)
      end
    end
  end
  scope.first, scope.last = ceil(first / 1000000), ceil(last / 1000000)
  save(key, scope, now)
end

-- The scope under a key at present, and the call of that name if it is out.
local function fetch(key, call, now)
  local found = redis.call('HMGET', key, 's', 'l', call)
  if not found[1] then
    return {at = now, first = 0, last = 0, limits = {}, marks = {}, changed = true}, false
  end
  local limits = found[2] and {cmsgpack.unpack(found[2])} or {}
  local at, first, last = cmsgpack.unpack(found[1])
  local marks = {select(4, cmsgpack.unpack(found[1]))}
  local scope = {at = at, first = first, last = last, limits = limits, marks = marks}
  advance(scope, now)
  expire(key, scope, now)
  local out = found[3] and {cmsgpack.unpack(found[3])}
  return scope, out and out[1] > now and out
end
