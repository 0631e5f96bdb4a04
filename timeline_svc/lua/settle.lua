-- Forgets changes of sources so old that nothing sent before them can still arrive. KEYS: the viewer's sources, the viewer's timeline.
-- ARGV: changes with a version below this (8 bytes) are old, the cap.
-- What arrived late from an author who left goes together with the note that hid it, a late mark too.
local hidden, changes = source_changes(KEYS[1])
local old = {}
for _, change in ipairs(changes) do
  if compare(change.version, 1, ARGV[1], 1) < 0 then
    old[#old + 1] = change.author
  else
    hidden[change.author] = nil
  end
end
local timeline = open(redis.call('GET', KEYS[2]) or '')
if timeline and next(hidden) then
  local live = string.sub(timeline.bytes, 1, timeline.count * PART)
  write(KEYS[2], filter(live, hidden, timeline.floor), timeline.state, timeline.generation, timeline.floor, tonumber(ARGV[2]))
end
local record = redis.call('HGET', KEYS[1], RECORD)
if record and next(hidden) then
  for author in pairs(hidden) do
    record = unmarked(record, author)
  end
  redis.call('HSET', KEYS[1], RECORD, record)
end
for _, author in ipairs(old) do
  redis.call('HDEL', KEYS[1], author)
end
return #old
