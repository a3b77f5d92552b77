-- Every fact that has not ended: account, what is left in microseconds, kind.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local ends, kind = string.match(all[i + 1], '^(%d+) (.*)$')
  if ends and tonumber(ends) > now then
    found[#found + 1] = {all[i], tonumber(ends) - now, kind}
  end
end
return found
