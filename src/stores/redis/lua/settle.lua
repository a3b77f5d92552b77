-- Corrects what was taken to what was used, once.
--
-- KEYS  the scopes, in their order
-- ARGV  the call; five amounts that were taken; five that were used

-- The place of a limit in what the call remembers.
local function place_of(call, dimension, window)
  for i = 2, #call, 3 do
    if call[i] == dimension % 8 and call[i + 1] == window then return call[i + 2] end
  end
end

local function correct_budget(state, i, number, had, has)
  if number == state[i + 2] then
    state[i + 3] = max(0, state[i + 3] - had) + has
  else
    state[i + 3] = state[i + 3] + max(0, has - had)
  end
  state[i + 3] = min(MOST, state[i + 3])
end

-- Of what was not used, the part goes back that has not drained: the level less what was charged
-- behind it.
local function correct_rate(state, i, place, had, has)
  local level = state[i + 4]
  if has >= had then
    charge(state, i, has - had)
  else
    local waiting = max(0, level - (state[i + 5] - place) % TURN)
    state[i + 4] = level - min(had - has, waiting)
  end
end

local function correct(state, call, taken, used)
  for i = 4, #state, 6 do
    local place = place_of(call, state[i], state[i + 1])
    local had, has = place and units(taken, state[i]) or 0, units(used, state[i])
    if state[i + 1] < 0 then
      correct_budget(state, i, place, had, has)
    else
      correct_rate(state, i, place, had, has)
    end
  end
end

local now = clock()
local taken, used = amounts_at(2), amounts_at(7)

for n, key in ipairs(KEYS) do
  local state, call = fetch(key, ARGV[1] .. n, now)
  if call then
    correct(state, call, taken, used)
    redis.call('HDEL', key, ARGV[1] .. n)
    if redis.call('HLEN', key) == 1 then state[2], state[3] = 0, 0 end
    save(key, state, now)
  end
end
return 0
