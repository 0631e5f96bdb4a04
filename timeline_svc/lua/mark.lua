-- Marks an author as pulled in many timelines. KEYS: the sources of the timelines. ARGV: the author (8 bytes), the turn (4 bytes).
-- Where there is no timeline there is no record to mark. Returns how many are marked now.
local count = 0
for _, key in ipairs(KEYS) do
  local record = redis.call('HGET', key, RECORD)
  if record then
    redis.call('HSET', key, RECORD, marked(record, ARGV[1], ARGV[2]))
    count = count + 1
  end
end
return count
