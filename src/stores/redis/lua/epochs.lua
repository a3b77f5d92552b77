-- The epochs of labels. One that is not known begins now: the number is the time in microseconds, so
-- that none comes twice, though the label be forgotten.
--
-- KEYS  the labels
-- ARGV  after how many milliseconds one that nobody asks for is forgotten; 1 to begin new epochs
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epochs = {}
for n, key in ipairs(KEYS) do
  local epoch = tonumber(redis.call('GET', key) or 0)
  if epoch == 0 or ARGV[2] == '1' then epoch = math.max(now, epoch + 1) end
  redis.call('SET', key, string.format('%d', epoch), 'PX', ARGV[1])
  epochs[n] = epoch
end
return epochs
