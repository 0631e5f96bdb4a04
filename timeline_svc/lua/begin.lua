-- Makes an empty timeline that is not ready, where there is none or none that can be read.
-- KEYS: the timeline. ARGV: the empty timeline, its time to live in seconds. Returns the generation of the one that is there now.
local timeline = open(redis.call('GETRANGE', KEYS[1], -PART, -1))
if timeline then
  return timeline.generation
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return open(ARGV[1]).generation
