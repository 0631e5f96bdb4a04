-- Makes an empty timeline that is not ready, where there is none or none that can be read.
-- KEYS: the timeline, and for a home timeline its sources. ARGV: the empty timeline, its time to live in seconds, and for a home timeline
-- the rest of the head of its record, and the id since which one that is not ready must have been begun.
-- Returns the generation of the one that is there now.
local timeline = open(redis.call('GETRANGE', KEYS[1], -PART, -1))

-- What was begun long ago, and never made ready, may hold what came late from authors of whom nobody knows any more that they left.
local function is_good()
  if not KEYS[2] then
    return true
  end
  local record = record_of(KEYS[2], timeline)
  return record and (timeline.state == READY or compare(record, BEGAN, ARGV[4], 1) >= 0)
end

if timeline and is_good() then
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
