-- Keeps a fact unless one about the same account ends later.
--
-- KEYS  the facts: a hash of accounts, each with the end in microseconds and the kind
-- ARGV  the account; for how many microseconds; the kind; how many facts may be kept
--
-- Gives 0 where there is no room.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ends, latest, known = now + ARGV[2], 0, 0

local FAR = 601000000   -- no fact lasts for so long: its clock was wrong

local function end_of(fact)
  return tonumber(string.match(fact, '^%d+') or 0)
end

local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local other = end_of(all[i + 1])
  if other <= now or other > now + FAR then
    redis.call('HDEL', KEYS[1], all[i])
  else
    latest = math.max(latest, other)
    if all[i] == ARGV[1] then known = other end
  end
end

if ends <= now or known >= ends then return 1 end
if known == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', ends, ARGV[3]))
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(latest, ends) - now) / 1000) + 1)
return 1
