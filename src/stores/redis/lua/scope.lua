-- One scope of quotas, one hash. The field "s" is the scope; every other field is a call that is out.
--
-- The scope, as msgpack:  time, first expiry, last expiry, and six numbers a limit:
--   by rate:      dimension, window,  amount,  burst,  level,  charged
--   by calendar:  dimension, period,  number,  used,   0,      0
-- Times and windows are microseconds; the period is -1 for a day and -2 for a month. Amounts are whole
-- units: the double that Lua counts in holds 2^53 of them, and no limit is above 2^50. A limit that
-- would be is counted in units of a power of two, which is the dimension's part above eight.
--
-- `level` is what has not drained yet. `charged` is the sum of all charges, modulo 2^52: a call
-- remembers what it was right after its own, so that what was charged behind it is the difference, and
-- what of it has not drained is the level less that. Refunds lower the level, and so every place
-- behind them too. Without calls that are out it starts from zero.
--
-- A call, as msgpack:  expiry, and three numbers a limit:
--   by rate:      dimension, window,  charged
--   by calendar:  dimension, period,  number

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
  local coarse = floor(dimension / 8)
  return min(MOST, ceil(amounts[dimension % 8 + 1] / 2 ^ coarse))
end

local function amounts_at(argument)
  local amounts = {}
  for i = 1, 5 do amounts[i] = tonumber(ARGV[argument + i - 1]) end
  return amounts
end

-- Fits or not.
local function charge(state, i, amount)
  local charged = max(0, min(amount, MOST - state[i + 4]))
  state[i + 4] = state[i + 4] + charged
  state[i + 5] = (state[i + 5] + charged) % TURN
end

local function find(state, dimension, window)
  for i = 4, #state, 6 do
    if state[i] % 8 == dimension % 8 and state[i + 1] == window then return i end
  end
end

-- Lets drain what has. While a clock that was set back has not caught up, nothing does.
local function advance(state, now)
  local from = state[1]
  if now <= from then
    if from - now > SKEW then state[1] = now end
    return
  end
  for i = 4, #state, 6 do
    if state[i + 1] > 0 and state[i + 4] > 0 then
      state[i + 4] = max(0, state[i + 4] - drained(state[i + 2], state[i + 1], from, now))
    end
  end
  state[1] = now
end

-- Writes a scope, and a call if there is one, and sees to it that it is forgotten once it is idle.
local function save(key, state, now, ...)
  local calls = state[2] > 0
  local needed = state[3]
  for i = 4, #state, 6 do
    if not calls then state[i + 5] = 0 end
    if state[i + 1] < 0 then
      if state[i + 3] > 0 then needed = max(needed, end_of(state[i + 1], state[i + 2])) end
    elseif state[i + 4] > 0 then
      needed = max(needed, state[1] + ceil(state[i + 4] * state[i + 1] / state[i + 2]))
    end
  end
  if needed == 0 then
    redis.call('DEL', key)
  else
    redis.call('HSET', key, 's', cmsgpack.pack(unpack(state)), ...)
    redis.call('PEXPIRE', key, min(2 ^ 42, max(0, ceil((needed - now) / 1000)) + 2))
  end
end

-- The calls that were not settled in time are over; what they took stays taken.
local function expire(key, state, now)
  if state[2] == 0 or now < state[2] then return end
  local first, last = 0, 0
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] ~= 's' then
      local ends = cmsgpack.unpack(all[i + 1])
      if ends <= now then
        redis.call('HDEL', key, all[i])
      else
        first = first == 0 and ends or min(first, ends)
        last = max(last, ends)
      end
    end
  end
  state[2], state[3] = first, last
  save(key, state, now)
end

-- The scope under a key at present, and the call of that name if it is out.
local function fetch(key, call, now)
  local found = redis.call('HMGET', key, 's', call)
  if not found[1] then return {now, 0, 0}, false end
  local state = {cmsgpack.unpack(found[1])}
  advance(state, now)
  expire(key, state, now)
  local out = found[2] and {cmsgpack.unpack(found[2])}
  return state, out and out[1] > now and out
end
