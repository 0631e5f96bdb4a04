-- Notes that a follow came or went. KEYS: the viewer's follow changes, the viewer's timeline.
-- ARGV: the author (8 bytes), the edge's version (8 bytes), '1' when it went, seconds to keep the note, the cap.
-- An unfollowed author's entries are removed; what is still on its way to the timeline is hidden by the note.
-- Returns the timeline's floor (8 bytes); nothing when it is missing, or when a newer change of the same edge is noted.
local author, version, gone, keep, cap = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local noted = redis.call('HGET', KEYS[1], author)
if noted and compare(noted, 1, version, 1) > 0 then
  return false
end
redis.call('HSET', KEYS[1], author, version .. gone)
redis.call('EXPIRE', KEYS[1], keep)
local timeline = open(redis.call('GET', KEYS[2]) or '')
if not timeline then
  return false
end
if gone == '1' then
  local live = string.sub(timeline.bytes, 1, timeline.count * PART)
  write(KEYS[2], filter(live, { [author] = true }, timeline.floor), timeline.state, timeline.generation, timeline.floor, cap)
end
return timeline.floor
