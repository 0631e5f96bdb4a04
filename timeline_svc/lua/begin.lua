-- Makes an empty timeline that is not ready, where there is none or none that can be read.
-- KEYS: the timeline, and for a home timeline its sources. ARGV: the empty timeline, its time to live in seconds, and for a home timeline
-- the rest of the head of its record. Returns the generation of the one that is there now.
local timeline = open(redis.call('GETRANGE', KEYS[1], -PART, -1))
if timeline and (not KEYS[2] or record_of(KEYS[2], timeline)) then
  return timeline.generation
end
local generation = open(ARGV[1]).generation
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if KEYS[2] then
  -- What is noted there belongs to a timeline that is lost, and may have changed since: who begins this one asks for it.
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], RECORD, generation .. ARGV[3])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return generation
