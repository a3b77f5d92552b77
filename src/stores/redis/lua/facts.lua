-- Every fact that has not ended: account, what is left in microseconds, kind.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local ends, kind = string.match(all[i + 1], '^(%d+) (.*)$')
  -- No fact lasts for more than ten minutes: one that would was written by a clock that was wrong.
  if ends and tonumber(ends) > now and tonumber(ends) <= now + 601000000 then
    found[#found + 1] = {all[i], tonumber(ends) - now, kind}
  end
end
return found
