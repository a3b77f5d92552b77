-- Counts an instance as one that lives.
--
-- KEYS  the instances
-- ARGV  the instance; for how many microseconds it lives
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local until_then = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], math.max(now + ARGV[2], tonumber(until_then or 0)), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if not last then return 1 end
redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) / 1000) + 1)
return redis.call('ZCARD', KEYS[1])
