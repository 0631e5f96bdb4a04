-- Takes marks of pulled authors away. KEYS: the timeline's sources. ARGV: marks (packed); one of a later turn stays.
local record = redis.call('HGET', KEYS[1], RECORD)
if not record then
  return 0
end
for position = 1, #ARGV[1], MARK do
  local others, turn = unmarked(record, string.sub(ARGV[1], position, position + 7))
  if turn and struct.unpack('>I4', turn) <= struct.unpack('>I4', ARGV[1], position + 8) then
    record = others
  end
end
redis.call('HSET', KEYS[1], RECORD, record)
return 1
