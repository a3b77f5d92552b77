-- Takes from every scope or from none.
--
-- KEYS  the scopes, in their order
-- ARGV  the call; in how many microseconds it is given up; five amounts; and for each scope: the calls
--       it may run or -1, the number of limits, and of each: dimension, window or period, amount, burst
--
-- Gives nothing where it was taken, or had been before. Else three numbers for each limit that is in
-- the way: the scope and the limit, from one, or zero for calls, and how long it is.

local MOST_LIMITS = 32   -- of a scope, those of other instances included

-- What a limit was keeps its fullness as far as both allow, and its debt. Where the unit changes no
-- place is kept: what is refunded must not be too much.
local function carry_over(scope, n, dimension, window, burst)
  local l, level, charged = scope.limits, scope.marks[2 * n - 1], scope.marks[2 * n]
  local finer = 2 ^ (floor(l[4 * n - 3] / 8) - floor(dimension / 8))
  if window < 0 then return level, min(MOST, ceil(charged * finer)) end
  local before = ceil(l[4 * n] * finer)
  level = ceil(level * finer)
  level = min(level, before, burst) + max(0, level - before)
  if finer ~= 1 then charged = (charged + TURN / 2) % TURN end
  return min(MOST, level), charged
end

-- Whether the scope has these limits already, before any that others gave it.
local function has(scope, limits)
  for i = 1, #limits do
    if scope.limits[i] ~= limits[i] then return false end
  end
  return #scope.limits == #limits or scope.first > 0
end

local function append(list, ...)
  for _, value in ipairs({...}) do list[#list + 1] = value end
end

-- Gives a scope the limits it is to have from now on, whether the call is let in or not. Others that
-- it had go on being charged as long as calls are out: while a configuration rolls out, instances with
-- the old one come and go.
local function adopt(key, scope, limits, now)
  if has(scope, limits) then return end
  local is_new = #scope.limits == 0
  local l, marks, kept = {}, {}, {}
  for i = 1, #limits, 4 do
    local dimension, window, amount, burst = unpack(limits, i, i + 3)
    local old = find(scope, dimension, window)
    append(l, dimension, window, amount, burst)
    if old then
      kept[old] = true
      append(marks, carry_over(scope, old, dimension, window, burst))
    else
      append(marks, window < 0 and number_of(window, now) or 0, 0)
    end
  end
  for n = 1, #scope.limits / 4 do
    if scope.first > 0 and not kept[n] and #l < 4 * MOST_LIMITS then
      append(l, unpack(scope.limits, 4 * n - 3, 4 * n))
      append(marks, unpack(scope.marks, 2 * n - 1, 2 * n))
    end
  end
  scope.limits, scope.marks, scope.changed = l, marks, true
  if not is_new then save(key, scope, now) end
end

-- A period that has begun is not left again, unless the clock was wrong by more than one.
local function turn(marks, n, period, now)
  local number = number_of(period, now)
  if number > marks[2 * n - 1] then
    marks[2 * n - 1], marks[2 * n] = number, 0
  elseif number + 1 < marks[2 * n - 1] then
    marks[2 * n - 1] = number
  end
end

-- How long until a limit has room; nothing where it has.
local function wait_for(scope, n, amounts, now)
  local l, marks, i = scope.limits, scope.marks, 4 * n - 3
  local window, cost = l[i + 1], units(amounts, l[i])
  if window < 0 then
    turn(marks, n, window, now)
    if marks[2 * n] + cost <= l[i + 2] then return nil end
    return max(0, end_of(window, marks[2 * n - 1]) - now)
  end
  local over = marks[2 * n - 1] + cost - l[i + 3]
  if over <= 0 then return nil end
  return scope.at - now + drain_time(l[i + 2], window, scope.at, over)
end

-- Adds what is in the way.
local function object(against, at, scope, limits, running, most, amounts, now)
  if most >= 0 and running >= most then append(against, at, 0, 0) end
  for n = 1, limits do
    local wait = wait_for(scope, n, amounts, now)
    if wait then append(against, at, n, min(wait, 2 ^ 53)) end
  end
end

-- Charges a scope; what the call is to remember.
local function take(scope, amounts, now, ends)
  local call, l, marks = {ends}, scope.limits, scope.marks
  for n = 1, #l / 4 do
    local dimension, window = l[4 * n - 3], l[4 * n - 2]
    local cost = units(amounts, dimension)
    if window < 0 then
      turn(marks, n, window, now)
      marks[2 * n] = min(MOST, marks[2 * n] + cost)
    else
      charge(scope, n, cost)
    end
    local c = 3 * n - 1
    call[c], call[c + 1] = dimension % 8, window
    call[c + 2] = window < 0 and marks[2 * n - 1] or marks[2 * n]
  end
  local second = floor(ends / 1000000) + 1
  scope.first = scope.first == 0 and second or min(scope.first, second)
  scope.last = max(scope.last, second)
  return cmsgpack.pack(unpack(call))
end

local now = clock()
local amounts = amounts_at(3)
local scopes, running, calls, against = {}, {}, {}, {}
local at = 8

for n, key in ipairs(KEYS) do
  local most, limits = tonumber(ARGV[at]), {}
  for i = 1, 4 * ARGV[at + 1] do limits[i] = tonumber(ARGV[at + 1 + i]) end
  at = at + 2 + #limits
  if not scopes[key] then
    local scope, out = fetch(key, ARGV[1] .. n, now)
    if out then return {} end
    scopes[key] = scope
    running[key] = 0
    if most >= 0 and not scope.changed then
      running[key] = max(0, redis.call('HLEN', key) - 2)
    end
  end
  local scope = scopes[key]
  adopt(key, scope, limits, now)
  object(against, n, scope, #limits / 4, running[key], most, amounts, now)
  if #against == 0 then
    calls[n] = take(scope, amounts, now, now + ARGV[2])
    running[key] = running[key] + 1
  end
end

if #against > 0 then return against end
for n, key in ipairs(KEYS) do
  save(key, scopes[key], now, ARGV[1] .. n, calls[n])
end
return {}
