-- Notes that an author's posts came into a feed or went. KEYS: the viewer's sources, the viewer's timeline.
-- ARGV: the author (8 bytes), the change's version (8 bytes), '1' when they went, seconds to keep the note, the cap, and the turn (4 bytes)
-- when the author's posts have to be pulled; else the empty string.
-- The entries of an author who went are removed; what is still on its way to the timeline is hidden by the note. While a timeline is made
-- nothing is removed: its maker may know already that the author is back. A mark stays: this may be an older change than the author's next
-- one, which asked for turns before the mark was set. Nobody heeds a hidden author's mark, and it goes with the note.
-- Returns the timeline's floor (8 bytes); nothing when it is missing (who rebuilds it asks for what changed lately), or when a newer change
-- of the same author is noted.
local author, gone, keep, cap, turn = ARGV[1], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local timeline = open(redis.call('GET', KEYS[2]) or '')
if not timeline or not note(KEYS[1], author, ARGV[2], gone) then
  return false
end
redis.call('EXPIRE', KEYS[1], keep)
local record = record_of(KEYS[1], timeline)
if gone == '1' and timeline.state == READY then
  local live = string.sub(timeline.bytes, 1, timeline.count * PART)
  write(KEYS[2], filter(live, { [author] = true }, timeline.floor), timeline.state, timeline.generation, timeline.floor, cap)
elseif gone == '0' and record then
  -- What was put together for reading further down lacks the new author from now on.
  record = string.sub(record, 1, 3) .. struct.pack('>I4', struct.unpack('>I4', record, 4) + 1) .. string.sub(record, 8)
  redis.call('HSET', KEYS[1], RECORD, turn ~= '' and marked(record, author, turn) or record)
end
return timeline.floor
