-- Takes from every scope or from none.
--
-- KEYS  the scopes, in their order
-- ARGV  the call; in how many microseconds it is given up; five amounts; and for each scope: the calls
--       it may run or -1, the number of limits, and of each: dimension, window or period, amount, burst
--
-- Gives nothing where it was taken, or had been before. Else three numbers for each limit that is in
-- the way: the scope and the limit, from one, or zero for calls, and how long it is.

local MOST_NUMBERS = 3 + 6 * 32   -- of a scope

-- What a limit was keeps its fullness as far as both allow, and its debt. Where the unit changes no
-- place is kept: what is refunded must not be too much.
local function carry_over(state, i, dimension, amount, burst)
  local finer = 2 ^ (floor(state[i] / 8) - floor(dimension / 8))
  if state[i + 1] < 0 then
    return state[i + 2], min(MOST, ceil(state[i + 3] * finer)), 0, 0
  end
  local level, before = ceil(state[i + 4] * finer), ceil(state[i + 3] * finer)
  level = min(level, before, burst) + max(0, level - before)
  local charged = finer == 1 and state[i + 5] or (state[i + 5] + TURN / 2) % TURN
  return amount, burst, min(MOST, level), charged
end

local function fresh(window, amount, burst, now)
  if window < 0 then return number_of(window, now), 0, 0, 0 end
  return amount, burst, 0, 0
end

-- Whether the scope has these limits already, before any that others gave it.
local function has(state, limits)
  local i = 4
  for l = 1, #limits, 4 do
    if state[i] ~= limits[l] or state[i + 1] ~= limits[l + 1] then return false end
    local by_rate = limits[l + 1] > 0
    if by_rate and (state[i + 2] ~= limits[l + 2] or state[i + 3] ~= limits[l + 3]) then return false end
    i = i + 6
  end
  return state[2] > 0 or i > #state
end

local function append(list, ...)
  for _, value in ipairs({...}) do list[#list + 1] = value end
end

-- Gives a scope the limits it is to have from now on. Others that it had go on being charged as long
-- as calls are out: while a configuration rolls out, instances with the old one come and go.
local function adopt(state, limits, now)
  if has(state, limits) then return end
  local next, kept = {state[1], state[2], state[3]}, {}
  for l = 1, #limits, 4 do
    local dimension, window, amount, burst = unpack(limits, l, l + 3)
    local old = find(state, dimension, window)
    if old then
      kept[old] = true
      append(next, dimension, window, carry_over(state, old, dimension, amount, burst))
    else
      append(next, dimension, window, fresh(window, amount, burst, now))
    end
  end
  for i = 4, #state, 6 do
    if state[2] > 0 and not kept[i] and #next < MOST_NUMBERS then
      append(next, unpack(state, i, i + 5))
    end
  end
  for i = 1, max(#state, #next) do state[i] = next[i] end
end

-- A period that has begun is not left again, unless the clock was wrong by more than one.
local function turn(state, i, now)
  local number = number_of(state[i + 1], now)
  if number > state[i + 2] then
    state[i + 2], state[i + 3] = number, 0
  elseif number + 1 < state[i + 2] then
    state[i + 2] = number
  end
end

local function wait_for(state, i, limit, cost, now)
  if state[i + 1] < 0 then
    turn(state, i, now)
    if state[i + 3] + cost <= limit then return nil end
    return max(0, end_of(state[i + 1], state[i + 2]) - now)
  end
  local over = state[i + 4] + cost - state[i + 3]
  if over <= 0 then return nil end
  return state[1] - now + drain_time(state[i + 2], state[i + 1], state[1], over)
end

local function objections(state, limits, running, most, amounts, now)
  local found = {}
  if most >= 0 and running >= most then found = {0, 0} end
  for l = 1, #limits / 4 do
    local i = 6 * l - 2
    local wait = wait_for(state, i, limits[4 * l - 1], units(amounts, state[i]), now)
    if wait then append(found, l, min(wait, 2 ^ 53)) end
  end
  return found
end

-- Charges a scope; what the call is to remember.
local function take(state, amounts, now, ends)
  local call = {ends}
  for i = 4, #state, 6 do
    local cost = units(amounts, state[i])
    if state[i + 1] < 0 then
      turn(state, i, now)
      state[i + 3] = min(MOST, state[i + 3] + cost)
    else
      charge(state, i, cost)
    end
    local place = state[i + 1] < 0 and state[i + 2] or state[i + 5]
    append(call, state[i] % 8, state[i + 1], place)
  end
  state[2] = state[2] == 0 and ends or min(state[2], ends)
  state[3] = max(state[3], ends)
  return call
end

local now = clock()
local amounts = amounts_at(3)
local states, running, calls, against = {}, {}, {}, {}
local at = 8

for n, key in ipairs(KEYS) do
  local most, limits = tonumber(ARGV[at]), {}
  for l = 1, 4 * ARGV[at + 1] do limits[l] = tonumber(ARGV[at + 1 + l]) end
  at = at + 2 + #limits
  if not states[key] then
    local state, out = fetch(key, ARGV[1] .. n, now)
    if out then return {} end
    states[key] = state
    running[key] = most >= 0 and max(0, redis.call('HLEN', key) - 1) or 0
  end
  local state = states[key]
  adopt(state, limits, now)
  local found = objections(state, limits, running[key], most, amounts, now)
  for i = 1, #found, 2 do
    append(against, n, found[i], found[i + 1])
  end
  if #against == 0 then
    calls[n] = cmsgpack.pack(unpack(take(state, amounts, now, now + ARGV[2])))
    running[key] = running[key] + 1
  end
end

if #against > 0 then return against end
for n, key in ipairs(KEYS) do
  save(key, states[key], now, ARGV[1] .. n, calls[n])
end
return {}
