-- Makes an empty timeline that is not ready, where there is none or none that can be read.
-- KEYS: the timeline. ARGV: the empty timeline, its time to live in seconds.
if not open(redis.call('GETRANGE', KEYS[1], -PART, -1)) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
return 1
