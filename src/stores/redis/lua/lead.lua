-- Takes a lead, unless another has it. ARGV: the token; the lease in milliseconds.
local holder = redis.call('GET', KEYS[1])
if not holder then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return (not holder or holder == ARGV[1]) and 1 or 0
